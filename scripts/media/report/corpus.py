"""What one pass over a manifest gathers for the page: totals, values of the charts, rows of the table."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from media.report.examples import thousandths
from media.report.page import shown
from media.report.scores import Score
from media.tiers import clean, segments, timed_segments

MAX_TEXT = 4_000  # characters of one text in the table


class Corpus:
    """What one pass over a manifest gathers: totals, the values of the charts, and the rows of the table."""

    def __init__(self, field: str) -> None:
        self.field = field
        self.records = self.words = self.no_speech = self.truncated = self.units = 0
        self.windows = False
        self.made: dict[str, str] = {}  # the first file of each kind that stages made
        self.speech_s: float | None = None
        self.durations, self.ratios, self.wers = array("d"), array("d"), array("d")
        self.prosody = {"f0_median_hz": array("d"), "rate_syl_s": array("d")}
        self.labels: dict[str, Counter[str]] = {"emotion": Counter(), "sentiment": Counter()}
        self.asr: Counter[str] = Counter()
        self.transcribers: Counter[str] = Counter()
        self.settings: dict[str, dict[str, Any]] = {}
        self.rows: list[dict[str, Any]] = []
        self.lines: list[int] = []  # of the rows, in the manifest
        self.places: dict[str, int] = {}  # of the rows, by the records' keys

    def add(
        self,
        line: int,
        record: dict[str, Any],
        score: Score,
        error: str | None,
        key: str | None,
    ) -> None:
        """Count a record, and keep it as a row of the table unless `key` is None."""
        self.records += 1
        self.windows = self.windows or record.get("offset") is not None
        duration_s, speech = record.get("duration"), record.get("speech")
        if duration_s is not None:
            self.durations.append(duration_s)
        if speech is not None:
            speech_s = length_s(speech)
            self.speech_s = (self.speech_s or 0.0) + speech_s
            if duration_s:
                self.ratios.append(min(1.0, speech_s / duration_s))
        if score.wer is not None:
            self.wers.append(score.wer)
        self.units += record.get("unit_count") or 0
        for name in ("units_filepath", "sts_filepath"):
            if record.get(name):
                self.made.setdefault(name, record[name])
        self.words += len(str(record.get(self.field) or "").split())
        self._count_settings(record.get(asr_field(self.field)), speech)
        self._count_annotations(record)
        if key is not None:
            self.places[key] = len(self.rows)
            self.rows.append(table_row(record, self.field, score, error))
            self.lines.append(line)

    def _count_settings(self, made_by: Any, speech: Any) -> None:
        settings = dict(made_by) if isinstance(made_by, dict) else None
        flags = settings.pop("flags", None) or [] if settings else []
        self.no_speech += "no_speech" in flags or speech == []
        self.truncated += "truncated" in flags
        if settings is not None:
            name = repr(settings)
            self.asr[name] += 1
            self.settings[name] = settings

    def _count_annotations(self, record: dict[str, Any]) -> None:
        for name, values in self.prosody.items():
            if isinstance(record.get(name), (int, float)):
                values.append(record[name])
        for name, counts in self.labels.items():
            tag = record.get(name)
            if isinstance(tag, dict) and tag.get("label"):
                counts[str(tag["label"])] += 1
        if record.get("whisperx_model"):
            self.transcribers[str(record["whisperx_model"])] += 1


def length_s(parts: list[dict[str, float]]) -> float:
    """Return the seconds of speech of a record."""
    return sum(part["end_s"] - part["start_s"] for part in parts)


def asr_field(field: str) -> str:
    """Return the field that says what made a text field."""
    return "asr" if field == "text" else f"{field}_asr"


def table_row(record: dict[str, Any], field: str, score: Score, error: str | None) -> dict[str, Any]:
    """Return a record as the page's scripts read it; what is unknown is left out. Times of parts in ms.

    n name, a has audio, d duration (s), o offset (s), s speech, r its share, t timed texts, x text without
    times, k speaker, w word error rate, v that of the resynthesis, ref reference, f flags, e error.
    """
    duration_s, speech = record.get("duration"), record.get("speech")
    flags = (record.get(asr_field(field)) or {}).get("flags")
    row: dict[str, Any] = {
        "n": record.get("audio_filepath") or str(record.get("id")),
        "a": int("audio_filepath" in record),
        "d": duration_s,
        "o": record.get("offset"),
        "w": score.wer,
        "v": score.sts_wer,
        "e": error,
        "f": flags or None,
    }
    row["k"] = clean(record["speaker"]) if record.get("speaker") else None
    if speech is not None:
        row["s"] = [round(1000 * part[edge]) for part in speech for edge in ("start_s", "end_s")]
        if duration_s:
            row["r"] = round(min(1.0, length_s(speech) / duration_s), 4)
    text = clean(record.get(field) or "")
    if timed_segments(record, field) and len(text) <= MAX_TEXT:
        row["t"] = thousandths((part, clean(part.get("text") or "")) for part in segments(record, field))
    elif text:
        row["x"] = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " …"
    if score.reference:
        row["ref"] = clean(score.reference)[:MAX_TEXT]
    return {name: value for name, value in row.items() if value is not None}


def name_rows(rows: list[dict[str, Any]], output: Path) -> str:
    """Shorten the names to paths below the folder all share; return its address as seen from the page."""
    folders = [os.path.dirname(row["n"]) for row in rows if row["a"]]
    root = os.path.commonpath(folders) if folders else "/"
    for row in rows:
        name = os.path.relpath(row["n"], root) if row["a"] else row["n"]
        row["n"] = shown(name)
        if row["n"] != name:  # not UTF-8: a browser could not make the address of it
            row["h"] = quote(os.fsencode(name))
        if row.pop("a") == 0:
            row["a"] = 0
    base = os.path.relpath(root, os.path.dirname(os.path.abspath(output)))
    return quote(os.fsencode(base)) + "/"
