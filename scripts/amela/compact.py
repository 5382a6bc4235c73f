"""Tidying a stage's state after a merge: many result files become one, heartbeats of the past go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from amela.beats import is_alive, read_beats
from amela.files import attempt_name, discard, sync_folder, write_aside
from amela.log import log
from amela.manifest import Record, to_line
from amela.results import Results


def ended_files(folder: Path) -> set[Path]:
    """Return the result files that nobody writes any more."""
    beats = read_beats(folder)
    running = {beat["attempt"] for beat in beats if is_alive(beat)}
    ended = {beat["attempt"] for beat in beats} - running
    files = set()
    for path in (folder / "results").glob("*.jsonl"):
        kind, attempt = path.name.split(".")[:2]
        if kind == "merged" or attempt in ended:
            files.add(path)
    return files


def compact(folder: Path, results: Results, ended: set[Path], latest_deal: int) -> None:
    """Gather the lines of ended attempts in one merged file, then remove their files.

    Two at once make two merged files, and both count: none removes what it did not read.
    """
    old = [path for path in results.paths if path in ended]
    if old and not (len(old) == 1 and old[0].name.startswith("merged")):
        name = folder / "results" / f"merged.{attempt_name()}-{time.time_ns():x}.jsonl"
        with write_aside(name, "wb") as file:
            file.write(to_line({"amela": 1, "merged": len(old)}))
            for place in _kept_places(results):
                if results.path(place) in ended:
                    file.write(results.read_raw(place))
        for path in old:
            with suppress(OSError):  # what stays is gathered once more
                if path.stat().st_size == results.read_to[path]:  # else its task was taken for dead too soon
                    path.unlink()
        sync_folder(name.parent)
    _remove_old_beats(folder, latest_deal)


def _kept_places(results: Results) -> Iterator[int]:
    """Yield the places of the lines that later merges and deals need: first in the order of the manifest."""
    for line, place in enumerate(results.places):
        if place or results.old_place(line):
            yield place or results.old_place(line)
        if not place:
            yield from results.errors.get(line, {}).values()
    yield from results.unplaced


def _remove_old_beats(folder: Path, latest_deal: int) -> None:
    """Keep the last heartbeat of each shard of the latest deal, those of running tasks, and those without
    which a result file would never count as ended.
    """
    last: dict[Any, Record] = {}
    with_file = {path.name.split(".")[1] for path in (folder / "results").glob("task_*.jsonl")}
    for beat in read_beats(folder):
        shard = (beat["deal"], beat["shard"])
        for stale in (last.pop(shard, None), beat if beat["deal"] != latest_deal else None):
            if stale is not None and stale["attempt"] not in with_file and not is_alive(stale):
                discard(Path(stale["path"]))
        last[shard] = beat


def remove_state(folder: Path) -> None:
    """Remove what a complete stage left beside the manifest, unless tasks are at work."""
    if any(is_alive(beat) for beat in read_beats(folder)):
        log(f"{folder.name}: tasks are at work, so its state stays")
        return
    shutil.rmtree(folder, ignore_errors=True)
