"""Cycles of the voice: how long each one is and how large, as jitter and shimmer need them.

Voiced stretches are cut into rows of frames. From the largest excursion in the middle of a row the search
walks to both of its ends, all rows at once: the next cycle begins where the waveform around this one's start
comes back best (normalised correlation over one period, from 0.8 to 1.25 periods away, placed by a parabola),
as Praat's "To PointProcess (cc)" does it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ROW = 12  # frames: 0.12 s at 10 ms
SHORTEST = 4  # frames of a row
NEAREST, FARTHEST = 0.8, 1.25  # periods to the next cycle
ALIKE = 0.5  # correlation below which a cycle is not one
STEPS = 1000  # no row has so many cycles


class Cycles(NamedTuple):
    """Of rows that walk from cycle to cycle: `period_s` and `size` (rows, cycles), NaN after a row's end.

    `size` is from the lowest to the highest sample of the period around the cycle's start.
    """

    period_s: np.ndarray
    size: np.ndarray


def find_cycles(samples: np.ndarray, sample_rate_hz: int, f0_hz: np.ndarray, hop: int) -> Cycles:
    """Return the cycles of samples (n,) whose pitch f0_hz (frames,) at t · hop is known, 0 where unvoiced.

    Pieces of a recording, cut at whole frames, may be given one by one (`joined`).
    """
    starts, counts = rows_of(f0_hz)
    if not len(starts):
        return joined([])
    middle = starts + counts // 2
    periods = sample_rate_hz / np.maximum(f0_hz, 1)
    group = np.ceil(np.log2(periods[middle])).astype(int)
    last = len(samples) - 1
    found = []
    for size in np.unique(group):  # rows of like periods: their windows are of one length
        rows = group == size
        forth = (starts[rows] + counts[rows] - 1) * hop
        ends = np.minimum(np.concatenate([forth, starts[rows] * hop]), last)
        direction = np.repeat([1, -1], rows.sum())
        start = np.minimum(np.tile(middle[rows] * hop, 2), last).astype(float)
        found.append(walk(samples, periods, hop, start, ends, direction, 2 ** int(size)))
    cycles = joined(found)
    return Cycles(cycles.period_s / sample_rate_hz, cycles.size)


def joined(found: list[Cycles]) -> Cycles:
    """Return the rows of several as those of one."""
    width = max((one.period_s.shape[1] for one in found), default=0)
    wide = [
        [np.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=np.nan) for x in one] for one in found
    ]
    return Cycles(*(np.concatenate(parts) for parts in zip(*wide))) if wide else Cycles(*np.zeros((2, 0, 0)))


def rows_of(f0_hz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return first frames and lengths of rows: voiced stretches, cut to ROW frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], f0_hz > 0, [0]])))
    starts, counts = [], []
    for begin, end in edges.reshape(-1, 2):
        for start in range(begin, end, ROW):
            if min(ROW, end - start) >= SHORTEST:
                starts.append(start)
                counts.append(min(ROW, end - start))
    return np.array(starts, int), np.array(counts, int)


def walk(
    samples: np.ndarray,
    periods: np.ndarray,
    hop: int,
    start: np.ndarray,
    ends: np.ndarray,
    direction: np.ndarray,
    longest: int,
) -> Cycles:
    """Return the cycles of rows from the largest excursion near their `start` to their `ends` (rows,), in the
    `direction` 1 or -1 of each; `periods` (frames,) and results in samples; `longest` is about the longest.
    """
    lags = int(np.ceil((FARTHEST - NEAREST) * longest)) + 3
    pad = 4 * longest + lags
    padded = np.pad(np.asarray(samples, np.float32), pad)
    reach = np.arange(-(longest // 2) - 1, longest // 2 + 2)
    beyond = np.arange(reach[0], reach[-1] + lags)

    def near(at: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Samples (rows, offsets) around `at`, seen in the direction of the walk."""
        return padded[np.rint(at).astype(int)[:, None] + pad + direction[:, None] * offsets]

    def period_at(at: np.ndarray) -> np.ndarray:
        return np.minimum(periods[np.minimum(np.rint(at / hop).astype(int), len(periods) - 1)], longest)

    period = period_at(start)
    within = np.abs(reach) <= period[:, None] / 2
    at = start + direction * reach[np.where(within, np.abs(near(start, reach)), -1).argmax(1)]
    at = np.clip(at, 0, len(samples) - 1)
    alive = np.ones(len(start), bool)
    lengths, sizes = [], []
    for _ in range(STEPS):
        within = np.abs(reach) <= period[:, None] / 2
        around = np.where(within, near(at, reach), 0)
        sizes.append(np.ptp(around, axis=1))
        first = np.floor(NEAREST * period).astype(int) - 1
        lag, alike = best_lag(around, near(at + direction * first, beyond), within, first, FARTHEST * period)
        next_at = at + direction * lag
        alive &= (alike > ALIKE) & (direction * (ends - next_at) >= 0)
        lengths.append(np.where(alive, lag, np.nan))
        if not alive.any():
            break
        at = np.where(alive, next_at, at)
        period = np.where(alive, period_at(at), period)
    cycles = np.stack(lengths, 1)
    return Cycles(cycles, np.where(np.isnan(cycles), np.nan, np.stack(sizes, 1)))


def best_lag(
    template: np.ndarray, long: np.ndarray, inside: np.ndarray, first: np.ndarray, farthest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lag (rows,), between samples, at which a template (rows, width) correlates best with `long`
    (rows, width + lags - 1), and how well; lags count from `first`, and none is beyond `farthest`.
    """
    width = template.shape[1]
    lags = long.shape[1] - width + 1
    windows = np.lib.stride_tricks.sliding_window_view(long, width, 1)
    cross = np.einsum("rkw,rw->rk", windows, template)
    sums = np.pad(np.cumsum(np.square(long), 1), ((0, 0), (1, 0)))
    begin, end = inside.argmax(1)[:, None], (width - inside[:, ::-1].argmax(1))[:, None]
    every = np.arange(lags)
    energy = np.take_along_axis(sums, end + every, 1) - np.take_along_axis(sums, begin + every, 1)
    own = np.square(template).sum(1, keepdims=True)
    height = cross / np.sqrt(np.maximum(energy * own, 1e-20))
    allowed = first[:, None] + every <= farthest[:, None] + 1
    index = np.clip(np.where(allowed, height, -1)[:, 1:-1].argmax(1) + 1, 1, lags - 2)[:, None]
    before, at, after = (np.take_along_axis(height, index + step, 1)[:, 0] for step in (-1, 0, 1))
    shift = np.clip(0.5 * (before - after) / np.minimum(before - 2 * at + after, -1e-9), -0.5, 0.5)
    return first + index[:, 0] + shift, at
