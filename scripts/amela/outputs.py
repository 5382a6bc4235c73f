"""Names of the files that a stage makes of its records, and their folder's settings."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Callable

from amela.errors import CallError
from amela.files import link_first, make_folder, read_when_whole, write_aside
from amela.manifest import Record, duplicates, hash_key, read_records, record_key

SETTINGS_FILE = "settings.json"


def below(path: str, part: str) -> str | None:
    """Return what stands after the first folder named `part` in a path, None where there is none."""
    parts = os.path.normpath(path).split(os.sep)[1:]
    if part not in parts[:-1]:
        return None
    return os.sep.join(parts[parts.index(part) + 1 :])


def relative_target(record: Record, dataset: str) -> str:
    """Return the path, without ending, of a record's file below the output folder.

    It mirrors the audio's path below the folder named like the dataset, else the whole of it; a record
    without audio is named by its id. A channel and a part of a recording are named too, in milliseconds.
    """
    audio = record.get("audio_filepath")
    path = str(record["id"]) if audio is None else below(audio, dataset) or os.path.normpath(audio)
    path = os.path.normpath("/" + path).lstrip("/")  # an id may hold `..`
    if audio is not None:
        path = os.path.splitext(path)[0]
    if record.get("channel") is not None:
        path += f"_c{record['channel']}"
    if record.get("offset") is not None:
        start_s, end_s = record["offset"], record["offset"] + record["duration"]
        path += f"_{round(start_s * 1000)}-{round(end_s * 1000)}"
    return path


def check_collisions(manifest: str, target: Callable[[Record], str | None]) -> None:
    """Raise CallError where two records of a manifest would write the same file."""
    hashes = array("q")
    for _, record in read_records(manifest):
        path = target(record)
        hashes.append(hash_key(path) if path is not None else 0)
    twice = set(duplicates(hashes))
    if not twice:
        return
    first: dict[str, tuple[int, str]] = {}
    for index, record in read_records(manifest):
        path = target(record)
        if path is None or hash_key(path) not in twice:
            continue
        key = record_key(record)
        line, known = first.setdefault(path, (index, key))
        if known != key:
            raise CallError(
                f"{manifest}:{index + 1}: found {key}, whose file would be {path}, as that of line "
                f"{line + 1} ({known}), wanted one file a record: rename one, or take one out with "
                "`manifest_tools.py filter`"
            )


@contextmanager
def write_output(path: str) -> Iterator[IO[bytes]]:
    """Yield a file that gets its name, its folder made, when it is whole."""
    make_folder(os.path.dirname(path))
    with write_aside(path, "wb") as file:
        yield file


def claim_folder(folder: str, settings: dict[str, Any], anew: bool) -> None:
    """Write the settings beside the files made with them; CallError where others stand there (unless `anew`,
    which replaces them).
    """
    path = Path(make_folder(folder)) / SETTINGS_FILE
    data = (json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
    if link_first(path, data):
        return
    raw = read_when_whole(path)
    if raw == data:
        return
    if anew:
        with write_aside(path, "wb") as file:
            file.write(data)
        return
    try:
        there = dict(json.loads(raw))
    except ValueError:
        there = {}
    differences = [
        f"{name} was {there.get(name)!r} and is {settings.get(name)!r} now"
        for name in sorted({*there, *settings})
        if there.get(name) != settings.get(name)
    ]
    raise CallError(
        f"{path}: the files there were made with other settings: {'; '.join(differences)}; wanted the same, "
        "another --output, or --overwrite to make them anew"
    )
