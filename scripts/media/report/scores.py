"""What asr_eval.py found: the table of systems, and the error rate and reference of each record."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

STS_TEXT = "sts_text"  # where asr.py writes what it hears in a resynthesis
HEADS = [
    "System",
    "Recordings",
    "Words",
    "WER, %",
    "95 % interval",
    "CER, %",
    "Substituted",
    "Deleted",
    "Inserted",
]


def read_systems(path: Path) -> list[dict[str, Any]]:
    """Return a row a system of NAME_global_metrics.csv; numbers are floats, absent ones None."""
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(file)]


def systems_table(systems: list[dict[str, Any]]) -> list[list[str]]:
    """Return the rows below HEADS as shown."""
    return [
        [
            str(row["system"]),
            _count(row["files"]),
            _count(row["ref_words"]),
            _rate(row["wer"]),
            f"{_rate(row['wer_low'])} to {_rate(row['wer_high'])}",
            _rate(row["cer"]),
            _count(row["substitutions"]),
            _count(row["deletions"]),
            _count(row["insertions"]),
        ]
        for row in systems
    ]


class Score(NamedTuple):
    """Word error rates of one record and of its resynthesis, and the reference; None where not known."""

    wer: float | None = None
    sts_wer: float | None = None
    reference: str | None = None


def read_files(path: Path, system: str) -> Iterator[tuple[str, Score]]:
    """Yield (path, scores) of each row of NAME_metrics.csv: a record each, in order."""
    if not path.is_file():
        return
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        for row in csv.DictReader(file):
            wer, sts_wer = (row.get(f"{name}_wer") for name in (system, STS_TEXT))
            rates = (float(rate) if rate else None for rate in (wer, sts_wer))
            yield row["audio_filepath"], Score(*rates, row["transcription"] or None)


def _number(value: str | None) -> Any:
    try:
        return float(value or "")
    except ValueError:
        return value or None


def _rate(value: Any) -> str:
    return f"{100 * value:.1f}" if isinstance(value, float) else "–"


def _count(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, float) else "–"
