"""Prosody as tokens: each value by the eighth of the training records' values that it falls into."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

FIELDS = {"PITCH": "f0_median_hz", "ENERGY": "energy_db", "RATE": "rate_syl_s"}
BINS = 8
TOKENS = tuple(f"[{name}_q{number}]" for name in FIELDS for number in range(BINS))


def value_of(record: dict[str, Any], field: str) -> float | None:
    """Return a record's value of a field; None where it has none, or no finite number."""
    value = record.get(field)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def edges_of(values: Sequence[float]) -> list[float]:
    """Return the BINS - 1 edges between bins that hold equally many of the values (8 bytes each, if in an
    array); numpy's linear quantiles, so their order does not matter.
    """
    import numpy as np

    shares = np.arange(1, BINS) / BINS
    return [float(edge) for edge in np.quantile(np.asarray(values, np.float64), shares)]


def bin_tokens(record: dict[str, Any], bins: dict[str, Any]) -> list[str]:
    """Return a record's tokens, e.g. [PITCH_q0] below the first edge and [PITCH_q7] from the last edge on.

    `bins` is {"PITCH": {"field": …, "edges": [7 numbers]}, …}; a value that the record has not gives none.
    """
    found = []
    for name, one in bins.items():
        value = value_of(record, one["field"])
        if value is not None:
            found.append(f"[{name}_q{bisect_right(one['edges'], value)}]")
    return found
