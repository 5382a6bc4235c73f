"""Pitch of records relative to that of their speaker."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

Record = dict[str, Any]


def speaker_medians(records: Iterable[Record], by: str) -> dict[Any, float]:
    """Return the median pitch in Hz of each value of the field `by`: that of its records' `f0_median_hz`,
    each weighing as much as it has of voice (`voiced_ratio` × `duration`, 1 where one is missing).
    """
    found: dict[Any, tuple[array[float], array[float]]] = defaultdict(lambda: (array("d"), array("d")))
    for record in records:
        if record.get("f0_median_hz") and record.get(by) is not None:
            pitches, weights = found[str(record[by])]
            pitches.append(record["f0_median_hz"])
            weights.append((record.get("voiced_ratio") or 1) * (record.get("duration") or 1))
    return {value: _weighted_median(*both) for value, both in found.items()}


def _weighted_median(values: Iterable[float], weights: array[float]) -> float:
    half, reached = sum(weights) / 2, 0.0
    ordered = sorted(zip(values, weights))
    for value, weight in ordered:
        reached += weight
        if reached >= half:
            return value
    return ordered[-1][0]


def with_semitones(records: Iterable[Record], medians: dict[Any, float], by: str) -> Iterator[Record]:
    """Yield the records, those whose speaker's pitch is known with `f0_speaker_median_hz` and
    `f0_median_semitones`, the record's median above it (None where the record has no pitch).
    """
    for record in records:
        median_hz = medians.get(str(record.get(by)))
        if median_hz:
            own_hz = record.get("f0_median_hz")
            semitones = round(12 * math.log2(own_hz / median_hz), 3) if own_hz else None
            yield {**record, "f0_speaker_median_hz": median_hz, "f0_median_semitones": semitones}
        else:
            yield record
