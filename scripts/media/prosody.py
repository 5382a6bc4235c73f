"""Figures of a recording's pitch and level."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

REFERENCE_HZ = 27.5  # 0 semitones: the lowest A of a piano, as in eGeMAPS


def semitones(f0_hz: np.ndarray) -> np.ndarray:
    """Return pitch (frames,) in semitones above REFERENCE_HZ, NaN where f0_hz is 0: unvoiced."""
    import numpy as np

    voiced = f0_hz > 0
    return np.where(voiced, 12 * np.log2(np.where(voiced, f0_hz, REFERENCE_HZ) / REFERENCE_HZ), np.nan)


def pitch_figures(f0_hz: np.ndarray) -> dict[str, float | None]:
    """Return `f0_median_hz` and `f0_semitone_sd` (around the record's own median; of two frames at least) of
    the voiced frames, `voiced_ratio` of all; None where no frame is voiced. f0_hz: (frames,), 0 is unvoiced.
    """
    import numpy as np

    voiced = f0_hz[f0_hz > 0].astype(np.float64)
    if not len(voiced):
        return {"f0_median_hz": None, "f0_semitone_sd": None, "voiced_ratio": 0.0}
    median_hz = float(np.median(voiced))
    semitones = 12 * np.log2(voiced / median_hz)
    return {
        "f0_median_hz": round(median_hz, 2),
        "f0_semitone_sd": round(float(semitones.std()), 3) if len(voiced) > 1 else None,
        "voiced_ratio": round(len(voiced) / len(f0_hz), 4),
    }


def level_db(mean_square: float) -> float | None:
    """Return a level in dB re full scale, of which a square wave between -1 and 1 has 0 and a sine -3.01;
    None for digital silence.
    """
    return round(10 * math.log10(mean_square), 2) if mean_square > 0 else None
