"""Fundamental frequency of speech: normalised autocorrelation by FFT, then the best path through its peaks.

Each frame is a Hann window of three periods of the lowest pitch. Its power spectrum, limited to where voices
have harmonics, goes back to an autocorrelation; divided by that of the window (Boersma 1993) its peaks stand
at the period and their height is the share of the frame that repeats. The peak is placed by a parabola. The
path (networks/pitch_path.py) weighs height against jumps and against changes of voicing, as Talkin 1995.
Since the window is symmetric, a glide's value is that of the frame's centre.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from networks.pitch_path import PathCosts, best_path

LOW_HZ, HIGH_HZ = 60.0, 600.0  # men's creak to children
PERIODS = 3  # of LOW_HZ in a window
BAND_HZ = 3000.0  # what lies above says more about noise than about pitch
HUM_HZ = 40.0  # what lies below is no voice
LAG_RATE_HZ = 16_000  # the autocorrelation is read at least this often
CANDIDATES = 8  # peaks a frame that the path may choose from
PIECE = 1024  # frames at a time: bounded memory, and the same numbers however a stream was cut
SILENT = 1e-10  # mean square below which a frame is silence: 100 dB under full scale


class Pitch(NamedTuple):
    """Of frames centred at t · hop, 1 + n // hop of them: `f0_hz` float32, 0 where unvoiced, and `voicing`
    float32 in 0..1, the height of the autocorrelation at the period.
    """

    f0_hz: torch.Tensor
    voicing: torch.Tensor


def track_pitch(
    samples: torch.Tensor,
    sample_rate_hz: int,
    hop: int,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
) -> Pitch:
    """Return the pitch of samples (n,), in [-1, 1], a frame every `hop` samples, on the CPU.

    Works where `samples` are (CPU or GPU), at any length and rate from 4 · high_hz on.
    """
    return track_pitches([samples], sample_rate_hz, hop, low_hz, high_hz)[0]


def track_pitches(
    batch: Sequence[torch.Tensor],
    sample_rate_hz: int,
    hop: int,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
) -> list[Pitch]:
    """Return the pitch of each of several recordings, the same as one at a time, in less time."""
    finder = Finder(sample_rate_hz, hop, low_hz, high_hz)
    return best_pitches([finder.whole(samples) for samples in batch])


def track_pitch_blocks(
    blocks: Iterable[torch.Tensor],
    sample_rate_hz: int,
    hop: int,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
) -> Pitch:
    """Return the pitch of a recording of any length that comes as blocks (n,): exactly that of the whole, in
    memory for the peaks alone (about 7 MB an hour at 10 ms).
    """
    return best_pitches([Finder(sample_rate_hz, hop, low_hz, high_hz).stream(blocks)])[0]


class Peaks(NamedTuple):
    """Of each frame: `hz` and `height` (frames, CANDIDATES), 0 where there are fewer; `power` (frames,), mean
    square.
    """

    hz: np.ndarray
    height: np.ndarray
    power: np.ndarray


class Finder:
    """The peaks of the autocorrelation of each frame."""

    def __init__(self, sample_rate_hz: int, hop: int, low_hz: float, high_hz: float) -> None:
        self.hop = hop
        self.low_hz, self.high_hz = low_hz, high_hz
        self.window = 2 * round(PERIODS / low_hz * sample_rate_hz / 2)
        self.n_fft = fast_size(self.window + self.window // 4)  # a Hann window's ends are nothing
        self.n_lags = self.n_fft * max(1, math.ceil(LAG_RATE_HZ / sample_rate_hz))
        self.lag_rate_hz = sample_rate_hz * self.n_lags / self.n_fft
        hz = torch.arange(self.n_fft // 2 + 1) * sample_rate_hz / self.n_fft
        self.bins = int((hz < BAND_HZ).sum())
        self.weight = ((hz > HUM_HZ) & (hz < BAND_HZ)).float()[: self.bins]
        self.shape = torch.hann_window(self.window)
        self.first = max(2, math.floor(self.lag_rate_hz / high_hz))
        self.last = math.ceil(self.lag_rate_hz / low_hz)
        own = torch.fft.rfft(self.shape.double(), self.n_fft).abs().square()
        own = torch.fft.irfft(own, self.n_lags)[: self.last + 2]
        self.own = (own / own[0]).float()

    def whole(self, samples: torch.Tensor) -> Peaks:
        """Return the peaks of samples (n,)."""
        return self.stream([samples])

    def stream(self, blocks: Iterable[torch.Tensor]) -> Peaks:
        """Return the peaks of a recording given in blocks."""
        found = [self.peaks(frames) for frames in self.pieces(blocks)]
        return Peaks(*(np.concatenate(parts) for parts in zip(*found)))

    def pieces(self, blocks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield frames (≤ PIECE, window) of a stream, zeros around it."""
        half = self.window // 2
        wanted = (PIECE - 1) * self.hop + self.window
        held, size = [torch.zeros(half)], half
        for block in blocks:
            held = [held[0].to(block), *held[1:], block]
            size += len(block)
            while size >= wanted + half:  # the frames that are left need no more than is kept
                together = torch.cat(held)
                yield together[:wanted].unfold(0, self.window, self.hop)
                held = [together[PIECE * self.hop :]]
                size = len(held[0])
        together = torch.cat([*held, held[0].new_zeros(half)])
        yield from together.unfold(0, self.window, self.hop).split(PIECE)

    def peaks(self, frames: torch.Tensor) -> Peaks:
        """Return the peaks of frames (count, window)."""
        shape, weight, own = (x.to(frames.device) for x in (self.shape, self.weight, self.own))
        spectrum = torch.fft.rfft(frames.float() * shape, self.n_fft)[:, : self.bins]
        power = (spectrum.real.square() + spectrum.imag.square()) * weight
        lags = torch.fft.irfft(power, self.n_lags)[:, : self.last + 2]
        height = lags / (lags[:, :1].clamp(min=1e-20) * own)
        inside = height[:, self.first - 1 : self.last + 2]
        before, at, after = inside[:, :-2], inside[:, 1:-1], inside[:, 2:]
        is_peak = (at > before) & (at >= after) & (at > 0)
        best, index = torch.where(is_peak, at, 0.0).topk(min(CANDIDATES, at.shape[1]), dim=1)
        before, after = before.gather(1, index), after.gather(1, index)
        bend = (before - 2 * best + after).clamp(max=-1e-12)
        shift = (0.5 * (before - after) / bend).clamp(-1, 1)
        top = (best - 0.25 * (before - after) * shift).clamp(0, 1)
        hz = self.lag_rate_hz / (index + self.first + shift)
        there = (best > 0) & (hz >= self.low_hz) & (hz <= self.high_hz)
        level = power.sum(1) * (2 / self.n_fft / float(self.shape.square().sum()))
        none = torch.zeros(())
        return Peaks(
            *(
                x.cpu().numpy()
                for x in (torch.where(there, hz, none.to(hz)), torch.where(there, top, none.to(hz)), level)
            )
        )


def best_pitches(records: Sequence[Peaks]) -> list[Pitch]:
    """Return the best path through the peaks of each recording."""
    found = best_path(records, PathCosts())
    return [Pitch(torch.from_numpy(hz), torch.from_numpy(height)) for hz, height in found]


def fast_size(at_least: int) -> int:
    """Return the smallest even size from `at_least` on whose only prime factors are 2, 3 and 5."""
    size = at_least + at_least % 2
    while True:
        left = size
        for prime in (2, 3, 5):
            while left % prime == 0:
                left //= prime
        if left == 1:
            return size
        size += 2
