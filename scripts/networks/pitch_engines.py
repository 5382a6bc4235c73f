"""Pitch by other people's trackers, on the same frames as ours: pyin, Praat, SwiftF0.

pyin (Mauch & Dixon 2014) is librosa's. Praat's autocorrelation (Boersma 1993) comes with parselmouth,
which is GPL-3.0-or-later and therefore optional. SwiftF0's network ships in its wheel; it hears 46.875 Hz
and more, a frame every 16 ms.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Callable

import numpy as np
import torch

from media.errors import EngineError
from networks.pitch import HIGH_HZ, LOW_HZ, Pitch, track_pitch

PACKAGES = {"pyin": "librosa==0.11.0", "praat": "praat-parselmouth==0.4.7", "swift": "swift-f0==0.3.0"}
MODULES = {"pyin": "librosa", "praat": "parselmouth", "swift": "swift_f0"}
ENGINES = ("amela", *PACKAGES)

Track = Callable[[torch.Tensor, int, int, float, float], Pitch]


def load_pitch_engine(name: str) -> Track:
    """Return the tracker `name` of ENGINES: (samples (n,), sample_rate_hz, hop, low_hz, high_hz) → Pitch.

    Raises EngineError that says what to install where its package is missing.
    """
    if name == "amela":
        return track_pitch
    if importlib.util.find_spec(MODULES[name]) is None:
        raise EngineError(
            f"pitch engine {name}: the package {PACKAGES[name].partition('=')[0]} is not installed here; "
            f"`pip install {PACKAGES[name]}`, or use our own engine, amela"
        )
    if name == "swift":
        return _swift()
    return {"pyin": _pyin, "praat": _praat}[name]


def _pyin(
    samples: torch.Tensor, sample_rate_hz: int, hop: int, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ
) -> Pitch:
    import librosa

    if not len(samples):
        return _none(samples, hop)
    f0_hz, _, voicing = librosa.pyin(
        samples.cpu().numpy(),
        sr=sample_rate_hz,
        hop_length=hop,
        fmin=low_hz,
        fmax=high_hz,
        frame_length=2 ** int(np.ceil(np.log2(4 / low_hz * sample_rate_hz))),
    )
    return _pitch(np.nan_to_num(f0_hz), voicing)


def _praat(
    samples: torch.Tensor, sample_rate_hz: int, hop: int, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ
) -> Pitch:
    import parselmouth

    if len(samples) < 3 / low_hz * sample_rate_hz + 1:  # Praat refuses less than a window
        return _none(samples, hop)
    sound = parselmouth.Sound(samples.cpu().double().numpy(), sample_rate_hz)
    found = sound.to_pitch_ac(time_step=hop / sample_rate_hz, pitch_floor=low_hz, pitch_ceiling=high_hz)
    chosen = found.selected_array
    return _on_grid(found.xs(), chosen["frequency"], chosen["strength"], len(samples), sample_rate_hz, hop)


def _swift() -> Track:
    from swift_f0 import SwiftF0

    network: Any = SwiftF0(threads=1)  # one process a core is how stages run

    def track(
        samples: torch.Tensor, sample_rate_hz: int, hop: int, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ
    ) -> Pitch:
        if len(samples) < 0.02 * sample_rate_hz:  # less than a frame of it
            return _none(samples, hop)
        found = network.detect(samples.cpu().numpy(), sample_rate_hz, low_hz, high_hz)
        f0_hz = np.where(found.confidence >= 0.5, found.pitch_hz, 0)
        return _on_grid(found.timestamps, f0_hz, found.confidence, len(samples), sample_rate_hz, hop)

    return track


def _on_grid(
    times_s: np.ndarray, f0_hz: np.ndarray, voicing: np.ndarray, samples: int, sample_rate_hz: int, hop: int
) -> Pitch:
    """Values at `times_s` (evenly spaced) → at t · hop: voiced as the nearest one is, pitch in between where
    both neighbours are voiced, on a logarithmic scale.
    """
    wanted_s = np.arange(1 + samples // hop) * hop / sample_rate_hz
    after = np.clip(np.searchsorted(times_s, wanted_s), min(1, len(times_s) - 1), len(times_s) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(wanted_s - times_s[before] < times_s[after] - wanted_s, before, after)
    step_s = times_s[1] - times_s[0] if len(times_s) > 1 else hop / sample_rate_hz
    inside = np.abs(wanted_s - times_s[nearest]) <= step_s
    share = np.clip((wanted_s - times_s[before]) / np.maximum(times_s[after] - times_s[before], 1e-9), 0, 1)
    octaves = np.log2(np.maximum(f0_hz, 1))
    between = 2.0 ** (octaves[before] + share * (octaves[after] - octaves[before]))
    both = (f0_hz[before] > 0) & (f0_hz[after] > 0)
    at = np.where(both, between, f0_hz[nearest])
    voiced = inside & (f0_hz[nearest] > 0)
    return _pitch(np.where(voiced, at, 0), np.where(inside, np.interp(wanted_s, times_s, voicing), 0))


def _none(samples: torch.Tensor, hop: int) -> Pitch:
    frames = np.zeros(1 + len(samples) // hop)
    return _pitch(frames, frames)


def _pitch(f0_hz: np.ndarray, voicing: np.ndarray) -> Pitch:
    return Pitch(
        torch.from_numpy(f0_hz.astype(np.float32)), torch.from_numpy(voicing.astype(np.float32)).clamp(0, 1)
    )
