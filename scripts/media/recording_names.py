"""Which recording a record is of, how long that is, and its name among the files made of a corpus."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any


def output_names(sources: list[str]) -> dict[str, str]:
    """Return a name for each audio file: its path below the shared folder, suffix only where needed."""
    if not sources:
        return {}
    root = os.path.commonpath([os.path.dirname(source) for source in sources])
    whole = {source: os.path.relpath(source, root) for source in sources}
    stems = Counter(_stem(path) for path in whole.values())
    names = {source: _stem(path) if stems[_stem(path)] == 1 else path for source, path in whole.items()}
    return names if len(set(names.values())) == len(names) else whole  # a.wav, a.flac and a.wav.mp3


def duration_s(records: list[dict[str, Any]]) -> float:
    """Return the length of a recording: of its record, or of the file where records are windows."""
    end_s = max((record.get("offset") or 0.0) + (record.get("duration") or 0.0) for record in records)
    path = records[0].get("audio_filepath")
    if path and os.path.exists(path) and any(record.get("offset") is not None for record in records):
        from media.audio import AudioError, probe

        try:
            return max(end_s, probe(path).duration_s)
        except AudioError:
            return float(end_s)
    return float(end_s)


def source_of(record: dict[str, Any]) -> str:
    """Return what recording a record is of: its file, a record without one is its own."""
    path = record.get("audio_filepath")
    return os.path.normpath(path) if path else os.path.normpath("/" + str(record["id"]))


def _stem(path: str) -> str:
    from media.audio import AUDIO_SUFFIXES

    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in AUDIO_SUFFIXES else path
