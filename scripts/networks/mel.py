"""Mel spectra and cepstra by librosa's definitions, in torch, on any device.

Power spectra of Hann windows whose centres lie at t · hop, zeros beyond both ends; Slaney's mel scale and
areas of 1; decibels; orthonormal cosine transform. Kaldi's definitions are in spectra.py. Sources: librosa
0.11 (filters.mel, feature.melspectrogram, feature.mfcc, power_to_db); Slaney's Auditory Toolbox.
"""

from __future__ import annotations

import math

import torch

LINEAR_HZ = 200 / 3  # a mel, below BREAK_HZ
BREAK_HZ = 1000.0  # from here on the scale is logarithmic
LOG_STEP = math.log(6.4) / 27  # of a mel, above
AMIN = 1e-10  # powers below it are taken for it: -100 dB
TOP_DB = 80.0  # what lies further below a record's loudest value is raised to that


def slaney_bank(n_mels: int, n_fft: int, sample_rate_hz: int) -> torch.Tensor:
    """Return triangles (n_mels, n_fft // 2 + 1), float64, from 0 Hz to half the rate, each of
    area 1 (in Hz).
    """
    top = _mel(sample_rate_hz / 2)
    ends_hz = _hz(torch.linspace(0, top, n_mels + 2, dtype=torch.float64))
    bins_hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate_hz / n_fft
    left, centre, right = ends_hz[:-2, None], ends_hz[1:-1, None], ends_hz[2:, None]
    up, down = (bins_hz - left) / (centre - left), (right - bins_hz) / (right - centre)
    return torch.minimum(up, down).clamp(min=0) * 2 / (right - left)


def _mel(hz: float) -> float:
    if hz < BREAK_HZ:
        return hz / LINEAR_HZ
    return BREAK_HZ / LINEAR_HZ + math.log(hz / BREAK_HZ) / LOG_STEP


def _hz(mel: torch.Tensor) -> torch.Tensor:
    above = mel - BREAK_HZ / LINEAR_HZ
    return torch.where(above < 0, mel * LINEAR_HZ, BREAK_HZ * torch.exp(above * LOG_STEP))


def cosines(count: int, n_mels: int) -> torch.Tensor:
    """Return the first `count` rows of the orthonormal DCT-II, as columns: (n_mels, count), float64."""
    order = torch.arange(count, dtype=torch.float64)
    angles = math.pi / n_mels * (torch.arange(n_mels, dtype=torch.float64)[:, None] + 0.5) * order
    scale = torch.full((count,), math.sqrt(2 / n_mels), dtype=torch.float64)
    scale[0] = math.sqrt(1 / n_mels)
    return torch.cos(angles) * scale


def centred_frames(samples: torch.Tensor, window: int, hop: int) -> torch.Tensor:
    """Return the 1 + n // hop windows (frames, window) of samples (n,), `window` even: a view."""
    return torch.nn.functional.pad(samples, (window // 2, window // 2)).unfold(0, window, hop)


def mean_squares(samples: torch.Tensor, window: int, hop: int) -> torch.Tensor:
    """Return the mean square (frames,), float32, of each of `centred_frames`."""
    sums = torch.nn.functional.pad(samples.double().square(), (window // 2 + 1, window // 2)).cumsum(0)
    return ((sums[window::hop] - sums[:-window:hop]) / window).float()


def to_db(power: torch.Tensor) -> torch.Tensor:
    """Return 10 log10 of a power, re 1, at least -100 dB."""
    return 10 * power.clamp(min=AMIN).log10()
