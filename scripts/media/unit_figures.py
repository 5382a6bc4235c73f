"""Figures of sequences of units that show when a generator repeats itself, or says everything alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

ORDERS = (1, 2, 3)


def figures(sequences: Sequence[Any]) -> dict[str, Any]:
    """Return figures of 1-D integer arrays, all sequences together.

    units; unit_entropy_bits; repetition, the share of units that equal the one before; distinct_1 to
    distinct_3, the share of n-grams that are no second occurrence, repetitions of a unit left out (Li et al.
    2016). Entropy and distinct n-grams depend on the number of units: compare with as many.
    """
    import numpy as np

    sequences = [sequence for sequence in map(np.asarray, sequences) if len(sequence)]
    if not sequences:
        return {"units": 0}
    every = np.concatenate(sequences)
    shares = np.unique(every, return_counts=True)[1] / len(every)
    changes = [np.flatnonzero(np.diff(sequence, prepend=sequence[0] - 1)) for sequence in sequences]
    steps = len(every) - len(sequences)
    kept = sum(map(len, changes)) - len(sequences)
    found = {
        "units": len(every),
        "unit_entropy_bits": round(float(-(shares * np.log2(shares)).sum()), 4),
        "repetition": round(1 - kept / steps, 4) if steps else 0.0,
    }
    spelt = [sequence[places].tolist() for sequence, places in zip(sequences, changes)]
    for order in ORDERS:
        grams = [tuple(units[at : at + order]) for units in spelt for at in range(len(units) - order + 1)]
        found[f"distinct_{order}"] = round(len(set(grams)) / len(grams), 4) if grams else None
    return found


def excerpt(sequences: Iterable[Any], units: int) -> list[Any]:
    """Return sequences from the beginning until they have so many units, the last one cut."""
    found: list[Any] = []
    for sequence in sequences:
        if units <= 0:
            break
        found.append(sequence[:units])
        units -= len(found[-1])
    return found


def words_a_second(records: Iterable[dict[str, Any]]) -> float | None:
    """Return words over seconds of the records that have `text` and a duration, None where none has."""
    known = [
        (len(str(record["text"]).split()), record.get("duration") or record.get("synthesis_duration"))
        for record in records
        if "text" in record
    ]
    seconds = math.fsum(duration for _, duration in known if duration)
    return round(sum(words for words, duration in known if duration) / seconds, 3) if seconds else None
