"""Praat TextGrids, written by praatio."""

from __future__ import annotations

from collections.abc import Iterable

from media.tiers import Tier, layers


def textgrid(tiers: Iterable[Tier], duration_s: float) -> str:
    """Return a long TextGrid of a recording, with one more tier where the intervals of a tier overlap."""
    from praatio.utilities.constants import INTERVAL_TIER, TextgridFormats
    from praatio.utilities.textgrid_io import getTextgridAsStr

    rows = [
        (tier.name + (f" ({depth})" if depth > 1 else ""), layer)
        for tier in tiers
        for depth, layer in enumerate(layers(tier.intervals) or [[]], 1)
    ]
    end_s = max([duration_s] + [layer[-1].end_s for _, layer in rows if layer])
    grid = {
        "xmin": 0.0,
        "xmax": end_s,
        "tiers": [
            {"class": INTERVAL_TIER, "name": name, "xmin": 0.0, "xmax": end_s, "entries": list(layer)}
            for name, layer in rows
        ],
    }
    # Short intervals are data here: praatio would merge those below 1e-7 s only, but it need not look.
    return str(getTextgridAsStr(grid, TextgridFormats.LONG_TEXTGRID, True, minimumIntervalLength=None))
