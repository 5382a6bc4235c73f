"""What `vad.py` writes beside the manifest: a table of statistics (CSV), a row a recording, and RTTM."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from typing import IO, Any, Callable

from media.labels import rttm_lines
from media.segments import statistics
from media.tiers import recording_tiers

COLUMNS = (
    "audio_filepath", "duration", "max-spoken", "min-spoken", "avg-spoken", "max-nospch", "min-nospch",
    "avg-nospch", "spch-ratio", "splits", "error",
)  # fmt: skip


def write_table(
    file: IO[str], records: Iterable[dict[str, Any]], field: str, error_of: Callable[[dict[str, Any]], str]
) -> dict[str, Any]:
    """Write a row for each record; returns `files`, `readable`, `unreadable`, `audio_s` and `speech_s`.

    `field` holds the speech; a record without it gets a row of its own with only the error that `error_of`
    gives.
    """
    counts: dict[str, Any] = {"files": 0, "readable": 0, "unreadable": 0}
    audio_s = speech_s = 0.0
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for record in records:
        if field in record:
            segments = [(part["start_s"], part["end_s"]) for part in record[field]]
            last_s = segments[-1][1] if segments else 0.0
            row = statistics(segments, float(record.get("duration") or last_s))
            counts["readable"] += 1
            audio_s += float(record.get("duration") or last_s)
            speech_s += sum(end_s - start_s for start_s, end_s in segments)
        else:
            row = {"error": printable(error_of(record))}
            counts["unreadable"] += 1
        counts["files"] += 1
        writer.writerow({"audio_filepath": printable(str(record.get("audio_filepath", ""))), **row})
    return {**counts, "audio_s": round(audio_s, 1), "speech_s": round(speech_s, 1)}


def rttm_of(records: Iterable[dict[str, Any]], field: str, root: str) -> Iterator[str]:
    """RTTM lines of all records; a file is named by its path below `root`, without ending where that is
    clear.
    """
    stems: dict[str, str] = {}
    for record in records:
        if field in record:
            path = printable(os.path.relpath(record["audio_filepath"], root))
            stem = os.path.splitext(path)[0]
            name = stem if stems.setdefault(stem, path) == path else path
            yield from rttm_lines(name, recording_tiers([{**record, "speech": record[field]}]))


def printable(text: str) -> str:
    """Text that UTF-8 can hold: bytes of a file name that are not UTF-8 become \\udcXX, as in manifests."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
