"""Fundamental frequency of speech: normalised autocorrelation by FFT, then the best path through its peaks.

A frame is a Hann window of three periods of the lowest pitch. Its power spectrum, weighted towards where
voices are stronger than noise, goes back to an autocorrelation; divided by that of the window (Boersma 1993)
its peaks stand at the period, and their height is the share of the frame that repeats. A parabola places the
peak between lags. The path (networks/pitch_path.py) weighs height against leaps and changes of voicing. The
window is symmetric, so a glide's value is that of the frame's centre; what it smooths is undone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from networks.pitch_path import best_path

LOW_HZ, HIGH_HZ = 60.0, 600.0  # from men's low notes to children
EDGE = 1.03  # half a semitone beyond either end still counts
PERIODS = 3  # of LOW_HZ in a window
HUM_HZ = 40.0  # what lies below is no voice
FULL_HZ, BAND_HZ = (
    700.0,
    3000.0,
)  # full weight up to here, none from there on: noise has most of what lies above
LAG_RATE_HZ = 16_000  # the autocorrelation is read at least this often
CANDIDATES = 8  # peaks a frame that the path may choose from,
FAVOUR = 0.04  # the highest when each is this much lower an octave down: a perfect voice has more than 8
OWN = 0.1  # of a window's autocorrelation, at least: where a cut one hardly overlaps itself
PIECE = 1024  # frames at a time: bounded memory, and the same numbers however a stream was cut
SHARPEN_S = 0.02  # to the frames that say how a contour bends
SPREAD = 0.1414  # standard deviation of a squared Hann window, in its lengths: what a pitch is a mean over


class Pitch(NamedTuple):
    """Of frames centred at t · hop, 1 + n // hop of them: `f0_hz` float32, 0 where unvoiced, and `voicing`
    float32 in 0..1, the share of the frame that repeats, at the pitch or at the best candidate of one.
    """

    f0_hz: torch.Tensor
    voicing: torch.Tensor


class Peaks(NamedTuple):
    """Of each frame: `hz` and `height` (frames, CANDIDATES), 0 where there are fewer; `power` (frames,), mean
    square below BAND_HZ.
    """

    hz: np.ndarray
    height: np.ndarray
    power: np.ndarray


def track_pitch(
    samples: torch.Tensor, sample_rate_hz: int, hop: int, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ
) -> Pitch:
    """Return the pitch of samples (n,), in [-1, 1], a frame every `hop` samples, on the CPU.

    Any length and any rate from 4 · high_hz on; the spectra are worked out where the samples are.
    """
    return track_pitches([samples], sample_rate_hz, hop, low_hz, high_hz)[0]


def track_pitches(
    batch: Sequence[torch.Tensor],
    sample_rate_hz: int,
    hop: int,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
) -> list[Pitch]:
    """Return the pitch of each of several recordings: what one at a time gives, in less time."""
    return track_streams([[samples] for samples in batch], sample_rate_hz, hop, low_hz, high_hz)


def track_pitch_blocks(
    blocks: Iterable[torch.Tensor],
    sample_rate_hz: int,
    hop: int,
    low_hz: float = LOW_HZ,
    high_hz: float = HIGH_HZ,
) -> Pitch:
    """Return the pitch of a recording of any length that comes as blocks (n,): exactly that of the whole, in
    memory for the candidates alone: 25 MB an hour at 10 ms, and as much again for a while.
    """
    return track_streams([blocks], sample_rate_hz, hop, low_hz, high_hz)[0]


def track_streams(
    batch: Sequence[Iterable[torch.Tensor]], sample_rate_hz: int, hop: int, low_hz: float, high_hz: float
) -> list[Pitch]:
    """Return the pitch of recordings that each come as blocks."""
    finder = finder_of(sample_rate_hz, hop, low_hz, high_hz)
    return best_pitches([finder.stream(blocks) for blocks in batch], hop / sample_rate_hz, low_hz)


def best_pitches(records: Sequence[Peaks], hop_s: float = 0.01, low_hz: float = LOW_HZ) -> list[Pitch]:
    """Return the best path through the peaks of each recording; `low_hz` is that of the finder."""
    bend_s2 = (SPREAD * PERIODS / low_hz) ** 2 / 2
    return [
        Pitch(torch.from_numpy(sharpened(f0_hz, bend_s2, hop_s)), torch.from_numpy(voicing))
        for f0_hz, voicing in best_path(records, hop_s)
    ]


class Finder:
    """The peaks of the autocorrelation of each frame: candidates of its pitch."""

    def __init__(self, sample_rate_hz: int, hop: int, low_hz: float, high_hz: float) -> None:
        self.sample_rate_hz, self.hop = sample_rate_hz, hop
        self.low_hz, self.high_hz = low_hz / EDGE, high_hz * EDGE
        self.window = 2 * round(PERIODS / low_hz * sample_rate_hz / 2)
        self.n_fft = fast_size(
            self.window + self.window // 4
        )  # the ends of a Hann window are next to nothing
        self.n_lags = self.n_fft * max(1, math.ceil(LAG_RATE_HZ / sample_rate_hz))
        self.lag_rate_hz = sample_rate_hz * self.n_lags / self.n_fft
        self.first = max(2, math.floor(self.lag_rate_hz / self.high_hz))
        self.last = max(math.ceil(self.lag_rate_hz / self.low_hz), self.first + CANDIDATES)
        self.shape = torch.hann_window(self.window)
        hz = torch.arange(self.n_fft // 2 + 1) * sample_rate_hz / self.n_fft
        hz = hz[hz < BAND_HZ]
        slope = ((hz - FULL_HZ) / (BAND_HZ - FULL_HZ)).clamp(0, 1)
        self.weight = (0.5 + 0.5 * torch.cos(math.pi * slope)) * (hz > HUM_HZ)
        self.own = self.repeats(self.shape)
        self.favour = FAVOUR * torch.arange(self.first, self.last + 1).log2()

    def stream(self, blocks: Iterable[torch.Tensor]) -> Peaks:
        """Return the peaks of a recording that comes as blocks."""
        return gathered(found for piece in self.pieces(blocks) for found in self.peaks(*piece))

    def repeats(self, shape: torch.Tensor) -> torch.Tensor:
        """Return the autocorrelation (..., lags) of windows (..., window), 1 at lag 0."""
        own = torch.fft.rfft(shape.double(), self.n_fft).abs().square()
        own = torch.fft.irfft(own, self.n_lags)[..., : self.last + 2]
        return (own / own[..., :1]).clamp(min=OWN).float()

    def pieces(self, blocks: Iterable[torch.Tensor]) -> Iterator[tuple[torch.Tensor, int, int]]:
        """Yield the frames (count, window) of a stream, with zeros around it, and where the recording starts
        and ends, in samples from the start of the first of them; all but the last are PIECE frames.
        """
        half = self.window // 2
        wanted = (PIECE - 1) * self.hop + self.window
        held, size, start = [torch.zeros(half)], half, half
        for block in blocks:
            held = [held[0].to(block), *held[1:], block]
            size += len(block)
            if size < wanted + half:  # the frames that are left need no more than is kept
                continue
            together = torch.cat(held)
            while len(together) >= wanted + half:
                yield together[:wanted].unfold(0, self.window, self.hop), start, len(together)
                together, start = together[PIECE * self.hop :], 0
            held, size = [together], len(together)
        together = torch.cat([*held, held[0].new_zeros(half)])
        yield together.unfold(0, self.window, self.hop), start, len(together) - half

    def peaks(self, frames: torch.Tensor, start: int, end: int) -> Iterator[Peaks]:
        """Yield the peaks of frames (count, window), PIECE of them at a time; the recording starts and ends
        at these samples from the start of the first frame, with zeros around it.
        """
        for some in frames.split(PIECE):
            shape, own = self.windows(len(some), start, end)
            yield self.peaks_in(some.float(), shape.to(some.device), own.to(some.device))
            start, end = start - PIECE * self.hop, end - PIECE * self.hop

    def windows(self, count: int, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the windows (count or 1, window) of frames and their autocorrelation (count or 1, lags): the
        ends of a recording cut them, and what is left of one has an autocorrelation of its own.
        """
        first = torch.arange(count) * self.hop
        cut = ((first < start) | (first + self.window > end)).nonzero()[:, 0]
        if not len(cut):
            return self.shape[None], self.own[None]
        shape, own = self.shape.repeat(count, 1), self.own.repeat(count, 1)
        at = first[cut, None] + torch.arange(self.window)
        shape[cut] *= (at >= start) & (at < end)
        own[cut] = self.repeats(shape[cut])
        return shape, own

    def peaks_in(self, frames: torch.Tensor, shape: torch.Tensor, own: torch.Tensor) -> Peaks:
        """Return the peaks of frames (count, window) in windows that are shaped so, and repeat as `own`."""
        weight, favour = self.weight.to(frames.device), self.favour.to(frames.device)
        frames = frames * shape
        frames -= shape * (frames.sum(1, keepdim=True) / shape.sum(1, keepdim=True).clamp(min=1e-9))
        spectrum = torch.fft.rfft(frames, self.n_fft)
        spectrum = torch.view_as_real(spectrum[:, : len(weight)])
        power = spectrum.square().sum(2) * weight
        lags = torch.fft.irfft(power, self.n_lags)[:, self.first - 1 : self.last + 2]
        energy = power.sum(1, keepdim=True) * (2 / self.n_lags)
        height = lags / (energy.clamp(min=1e-20) * own[:, self.first - 1 :])
        before, at, after = height[:, :-2], height[:, 1:-1], height[:, 2:]
        is_peak = (at > before) & (at >= after) & (at > 0)
        index = torch.where(is_peak, at - favour, -9.0).topk(CANDIDATES, dim=1)[1]
        here = is_peak.gather(1, index)
        before, at, after = (x.gather(1, index) for x in (before, at, after))
        shift = 0.5 * (before - after) / (before - 2 * at + after).clamp(max=-1e-9)
        hz = self.lag_rate_hz / (index + self.first + shift)
        here &= (hz >= self.low_hz) & (hz <= self.high_hz)
        top = (at - 0.25 * (before - after) * shift).clamp(0, 1)
        level = energy[:, 0] * (self.n_lags / self.n_fft) / shape.square().sum(1).clamp(min=1e-20)
        return Peaks((hz * here).cpu().numpy(), (top * here).cpu().numpy(), level.cpu().numpy())


finder_of = lru_cache(maxsize=8)(Finder)  # making one takes as long as a second of audio


def gathered(pieces: Iterable[Peaks]) -> Peaks:
    """Return the peaks of pieces as those of one, in arrays that grow: many small ones between the large ones
    of the spectra would leave holes in memory, a gigabyte of them in three hours.
    """
    held = Peaks(*(np.zeros((0, *width), np.float32) for width in ((CANDIDATES,), (CANDIDATES,), ())))
    count = 0
    for piece in pieces:
        end = count + len(piece.power)
        if end > len(held.power):
            held = Peaks(*(np.resize(values, (2 * end, *values.shape[1:])) for values in held))
        for values, new in zip(held, piece):
            values[count:end] = new
        count = end
    return Peaks(*(values[:count] for values in held))


def sharpened(f0_hz: np.ndarray, bend_s2: float, hop_s: float) -> np.ndarray:
    """Return the contour (frames,) less what its own bend added: a frame's value is that of its centre plus
    `bend_s2` times the second derivative. Without it 6 Hz vibrato of a semitone is 4 cents too small.
    """
    reach = max(1, round(SHARPEN_S / hop_s))
    if len(f0_hz) <= 2 * reach:
        return f0_hz
    before, at, after = f0_hz[: -2 * reach], f0_hz[reach:-reach], f0_hz[2 * reach :]
    bend = (before - 2 * at + after) * (bend_s2 / (reach * hop_s) ** 2)
    known = (before > 0) & (at > 0) & (after > 0) & (np.abs(bend) < 0.02 * at)
    found = f0_hz.copy()
    found[reach:-reach] -= np.where(known, bend, 0)
    return found


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
