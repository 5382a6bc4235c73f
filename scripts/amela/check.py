"""Every fault of a manifest, line by line (`manifest_tools.py validate`)."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from amela.errors import CallError
from amela.manifest import duplicates, hash_key, open_manifest, parse_record, read_lines, record_key

Record = dict[str, Any]
Line = tuple[int, Record]
Probe = Callable[[str], float]
_CHUNK = 2000  # records whose files are looked at together


def faults(
    manifest: str, probe: Probe | None = None, tolerance_s: float = 0.1, workers: int = 8
) -> Iterator[str]:
    """Yield a sentence a fault, each beginning with `file:line:`; nothing for a sound manifest.

    Looks for lines that are no record, keys given twice, times that cannot be and, with `probe` (path →
    seconds, raises for a file that cannot be read), for audio that is missing, unreadable or not as long as
    `duration` says.
    """
    keys = array("q")
    chunk: list[Line] = []
    with ThreadPoolExecutor(workers) as pool:
        for index, record in _sound_lines(manifest, keys):
            if isinstance(record, str):
                yield record
                continue
            keys[index] = hash_key(record_key(record))
            yield from (f"{manifest}:{index + 1}: {fault}" for fault in _times(record))
            if probe:
                chunk.append((index, record))
                if len(chunk) == _CHUNK:
                    yield from _files(manifest, chunk, probe, tolerance_s, pool)
                    chunk = []
        if probe:
            yield from _files(manifest, chunk, probe, tolerance_s, pool)
    yield from _twice(manifest, keys)
    if not any(keys):
        yield f"{manifest}: found no sound record, wanted one JSON object a line"


def _sound_lines(manifest: str, keys: array[int]) -> Iterator[tuple[int, Any]]:
    """Yield (line index, record or the sentence that says what is wrong); `keys` grows by 0 a line."""
    with open_manifest(manifest) as file:
        lines = read_lines(file, manifest)
        while True:
            try:
                raw = next(lines)
                keys.append(0)
                if not raw.isspace():
                    yield len(keys) - 1, parse_record(raw, manifest, len(keys) - 1)
            except StopIteration:
                return
            except CallError as exc:
                yield len(keys) - 1, str(exc)


def _times(record: Record) -> Iterator[str]:
    """What cannot be in the times of one record."""
    duration_s = record.get("duration")
    if duration_s == 0:
        yield "`duration` is 0, wanted more"
    channel = record.get("channel")
    if channel is not None and not (type(channel) is int and channel >= 0):
        yield f"`channel` is {channel!r}, wanted a whole number from 0"
    speech = record.get("speech")
    if speech is None:
        return
    if not isinstance(speech, list):
        yield f"`speech` is {type(speech).__name__}, wanted a list of {{start_s, end_s}}"
        return
    last_s = 0.0
    for number, part in enumerate(speech):
        start_s, end_s = (part.get("start_s"), part.get("end_s")) if isinstance(part, dict) else (None, None)
        if not (
            isinstance(start_s, (int, float))
            and isinstance(end_s, (int, float))
            and last_s <= start_s < end_s
        ):
            yield f"`speech[{number}]` is {str(part)[:80]}, wanted start_s < end_s, from {last_s} on"
            return
        last_s = end_s
    if duration_s is not None and last_s > duration_s + 0.1:
        yield f"`speech` ends at {last_s} s, after the record's {duration_s} s"


def _files(
    manifest: str, chunk: list[Line], probe: Probe, tolerance_s: float, pool: ThreadPoolExecutor
) -> Iterator[str]:
    """What is wrong with the audio of some records; each file is opened once."""

    def look(path: str) -> tuple[float | None, str]:
        try:
            return probe(path), ""
        except (OSError, ValueError) as exc:
            text = str(exc)
            return None, text if os.path.basename(path) in text else f"{path}: {type(exc).__name__}: {text}"

    paths = list(dict.fromkeys(record["audio_filepath"] for _, record in chunk if "audio_filepath" in record))
    found = dict(zip(paths, pool.map(look, paths)))
    for index, record in chunk:
        if "audio_filepath" not in record:
            continue
        file_s, fault = found[record["audio_filepath"]]
        if file_s is None:
            yield f"{manifest}:{index + 1}: {fault}"
            continue
        duration_s, offset_s = record.get("duration"), record.get("offset")
        if offset_s is not None and offset_s + duration_s > file_s + tolerance_s:
            yield (
                f"{manifest}:{index + 1}: found a part from {offset_s} to {offset_s + duration_s:.3f} s, "
                f"wanted it within the file's {file_s:.3f} s"
            )
        elif offset_s is None and duration_s is not None and abs(duration_s - file_s) > tolerance_s:
            yield (
                f"{manifest}:{index + 1}: found `duration` {duration_s} s, but the file has {file_s:.3f} s; "
                f"wanted them within {tolerance_s} s (--tolerance-s)"
            )


def _twice(manifest: str, keys: array[int]) -> Iterator[str]:
    """Keys that stand on two lines; a second reading tells them from hashes that agree by chance."""
    twice = set(duplicates(keys))
    if not twice:
        return
    first: dict[str, int] = {}
    for index, record in _sound_lines(manifest, array("q")):
        if isinstance(record, str) or hash_key(key := record_key(record)) not in twice:
            continue
        if key in first:
            yield f"{manifest}:{index + 1}: found the key {key!r} of line {first[key] + 1} again, not once"
        first.setdefault(key, index)
