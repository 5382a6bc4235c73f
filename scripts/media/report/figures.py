"""Histograms with bin edges a person would choose."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

BINS = 24
WIDE = 20  # beyond this ratio of the 99th to the 5th percentile, durations are binned by ratio


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def histogram(title: str, unit: str, values: Sequence[float], note: str | None = None) -> dict[str, Any]:
    """Return a histogram: edges, counts, median and a sentence. `unit`: s, Hz, /s, or % for 0 to 1."""
    ordered = sorted(values)
    median = quantile(ordered, 0.5)
    edges_of = {"%": lambda rows: _share_edges(rows[-1]), "s": _duration_edges}
    edges = edges_of.get(unit, _even_edges)(ordered)
    counts = [0] * (len(edges) - 1)
    for value in ordered:
        counts[min(len(counts) - 1, max(0, bisect_right(edges, value) - 1))] += 1
    low, high = quantile(ordered, 0.05), quantile(ordered, 0.95)
    said = {
        "%": lambda value: f"{100 * value:.0f} %",
        "Hz": lambda value: f"{value:.0f} Hz",
        "/s": lambda value: f"{value:.1f} a second",
    }.get(unit, spoken)
    text = f"Median {said(median)}; nine of ten lie between {said(low)} and {said(high)}."
    return {
        "title": title,
        "unit": unit,
        "edges": edges,
        "counts": counts,
        "median": median,
        "note": text + (f" {note}" if note else ""),
    }


def spoken(seconds: float) -> str:
    """Return seconds as people say them: 0.42 s, 12.3 s, 4:05 min, 3:02:11 h, 1,204 h."""
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours < 100 else f"{hours:,} h"


def _share_edges(top: float) -> list[float]:
    last = max(
        1.0, math.ceil(min(top, 2.0) * 20) / 20
    )  # word error rates may pass 1; beyond 2 is the last bin
    return [index / 20 for index in range(round(last * 20) + 1)]


def _duration_edges(ordered: Sequence[float]) -> list[float]:
    low, high = max(quantile(ordered, 0.05), 0.01), max(quantile(ordered, 0.99), 0.02)
    if high / low > WIDE:
        first, last = (
            math.floor(math.log10(max(ordered[0], 0.01)) * 4),
            math.ceil(math.log10(ordered[-1]) * 4),
        )
        return [10 ** (step / 4) for step in range(first, max(last, first + 1) + 1)]
    step = _nice(ordered[-1] / BINS)
    return [index * step for index in range(math.ceil(ordered[-1] / step + 1e-9) + 1)]


def _even_edges(ordered: Sequence[float]) -> list[float]:
    step = _nice((ordered[-1] - ordered[0]) / BINS or ordered[-1] / BINS)
    first, last = math.floor(ordered[0] / step), math.floor(ordered[-1] / step) + 1
    return [index * step for index in range(first, last + 1)]


def _nice(step: float) -> float:
    scale = 10 ** math.floor(math.log10(max(step, 1e-6)))
    return next(factor * scale for factor in (1, 2, 2.5, 5, 10) if factor * scale >= step * 0.999)
