"""Units as the page draws them: runs of equal units on the time axis of their recording."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

HOP_S = 0.02  # of HuBERT, where nothing says what made the units


def settings_of(path: str, name: str = "settings.json") -> dict[str, Any]:
    """Return what the nearest file of that name above a file says, {} where there is none."""
    for folder in Path(path).parents:
        try:
            return dict(json.loads((folder / name).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
    return {}


def strip(
    units: Any, durations: Any, hop_s: float, start_s: float = 0.0, end_s: float = math.inf
) -> dict[str, Any]:
    """Return the units from `start_s` to `end_s` of a recording: hop_s, the first frame, runs of [unit,
    frames].

    Frame i lasts from i * hop_s to (i + 1) * hop_s. `units` and `durations` (in frames; None: each lasts one)
    are integers, (units,); equal neighbours become one run.
    """
    import numpy as np

    frames = np.asarray(units) if durations is None else np.repeat(units, durations)
    first = min(len(frames), math.floor(start_s / hop_s + 1e-6))
    last = len(frames) if end_s == math.inf else min(len(frames), math.ceil(end_s / hop_s - 1e-6))
    shown = frames[first:last]
    edges = np.flatnonzero(np.diff(shown, prepend=-1, append=-1))
    runs = np.stack([shown[edges[:-1]], np.diff(edges)], axis=1).tolist() if len(shown) else []
    return {"hop_s": hop_s, "first": first, "runs": runs}


def strip_of(
    record: dict[str, Any], key: str, start_s: float = 0.0, end_s: float = math.inf
) -> dict[str, Any]:
    """Return the strip of a record's units; ValueError where they cannot be read."""
    from media.units import read_record

    units, durations = read_record(record, key)
    frames = len(units) if durations is None else int(sum(durations))
    said = settings_of(record["units_filepath"]).get("hop_s")
    made_s = record.get("synthesis_duration") or record.get("sts_duration")
    hop_s = float(said or (made_s / frames if made_s and frames else HOP_S))
    return strip(units, durations, hop_s, start_s, end_s)
