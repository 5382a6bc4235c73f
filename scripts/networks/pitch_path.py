"""The best path through candidates of pitch: which peak of each frame, or none (unvoiced), by Viterbi.

A recording is decided in rows of frames with as much context on each side as a decision needs, all rows at
once, so that those of a batch of recordings cost one loop. It is decided twice: the first path says where the
voice lies around each row, and the second one pays a little for being far from there, which settles octaves
that the frames alone leave open. Both pay for a lower octave, and more so where no candidate repeats well:
noise makes periods of two and three cycles as good as one. The quietest frames around say how much of a frame
may be noise, and how well that noise repeats: voices in the background do. The costs were set on the sounds
of benchmarks/pitch.py and others like them; Talkin (1995) and Boersma (1993) weigh candidates this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from networks.pitch import Peaks

# All in units of a peak's height, which is 1 for a sound that repeats exactly.
OCTAVE, OCTAVE_IN_DOUBT = 0.01, 0.05  # for being an octave lower; and as much more in doubt
DOUBT = 0.07  # of a frame does not repeat: octaves are in doubt,
IN_NOISE = 2.0  # and more so up to this many times more, where that may be noise
LEAP, CHANGE = 1.0, 0.25  # an octave's leap, a change of voicing: in 10 ms
UNVOICED = 0.38  # height that no pitch has, in loud frames
LOUD_DB, QUIET_DB = 10.0, 30.0  # below the loudest frame near: still loud; surely no voice
FAINT = 0.015  # more for no pitch a dB below LOUD_DB
ABOVE_NOISE, MOST_NOISE = 0.15, 0.4  # height that a pitch has over noise; most that noise adds to no pitch,
FADE_DB = 5.0  # in full from here below LOUD_DB
FREE, FAR, MOST = (
    0.6,
    0.3,
    0.1,
)  # octaves from the voice that cost nothing; cost of each more, at most, in doubt
SURE = 0.7  # height of frames that say where the voice lies

ROW, CONTEXT = 128, 64  # frames
AT_ONCE = 64  # rows: bounded memory
AROUND = 2  # rows on each side that say where the voice lies, and what the noise is:
QUIETEST, NOISE = 0.1, 2.0  # the quietest of these frames, and the most noise has in others, in their power
NEAR = 200  # frames on each side that say how loud a frame is
SILENT = 1e-10  # mean square, 100 dB under full scale
NEVER = -9.0


class Ground(NamedTuple):
    """Of each frame (frames,): `unvoiced`, the score of having no pitch, and `noise`, the share of its power
    that may be noise.
    """

    unvoiced: np.ndarray
    noise: np.ndarray


def best_path(records: Sequence[Peaks], hop_s: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (f0_hz, voicing), float32 (frames,), of each recording; 0 Hz where unvoiced."""
    grounds = [ground_of(peaks) for peaks in records]
    voices = [np.full(-(-len(peaks.hz) // ROW), np.nan, np.float32) for peaks in records]
    for _ in range(2):
        chosen = decide_all(records, grounds, voices, hop_s)
        voices = [voice_around(peaks, states) for peaks, states in zip(records, chosen)]
    found = []
    for peaks, states in zip(records, chosen):
        sounds = peaks.power > SILENT
        hz, height = (at_states(x, states) for x in (peaks.hz, peaks.height))
        voiced = (states < peaks.hz.shape[1]) & sounds
        height = np.where(voiced, height, peaks.height.max(1))
        found.append((np.where(voiced, hz, 0), np.where(sounds, height, 0).astype(np.float32)))
    return found


def ground_of(peaks: Peaks) -> Ground:
    """Return the ground of frames: in quiet ones having no pitch scores more, in those that may be noise as
    much as noise repeats.
    """
    noise, repeats = noise_around(peaks)
    level_db = 10 * np.log10(np.maximum(peaks.power, SILENT))
    below_db = running_max(level_db, NEAR) - level_db
    faint_db = np.maximum(below_db - LOUD_DB, 0)
    noisy = np.clip(repeats + ABOVE_NOISE - UNVOICED, 0, MOST_NOISE) * np.minimum(faint_db / FADE_DB, 1)
    unvoiced = UNVOICED + FAINT * faint_db + 0.5 * (below_db > QUIET_DB) + noise * noisy
    return Ground(unvoiced.astype(np.float32), noise)


def noise_around(peaks: Peaks) -> tuple[np.ndarray, np.ndarray]:
    """Return the share (frames,) of each frame's power that may be noise, and the median height (frames,) of
    the highest candidates of that noise: of the quietest frames around its row.
    """
    highest = peaks.height.max(1)
    floor, repeats = np.empty((2, len(highest)), np.float32)
    for start in range(0, len(highest), ROW):
        around = slice(max(0, start - AROUND * ROW), start + (AROUND + 1) * ROW)
        power = peaks.power[around]
        rank = int(QUIETEST * len(power))
        limit = np.partition(power, rank)[rank]
        floor[start : start + ROW] = limit
        repeats[start : start + ROW] = np.median(highest[around][power <= limit])
    return np.minimum(NOISE * floor / np.maximum(peaks.power, SILENT), 1), repeats


def running_max(values: np.ndarray, reach: int) -> np.ndarray:
    """Return the largest of each value and `reach` on each side of it."""
    padded = np.pad(values, reach, constant_values=-np.inf)
    width, done = 2 * reach + 1, 1
    while done < width:
        step = min(done, width - done)
        padded = np.maximum(padded[: len(padded) - step], padded[step:])
        done += step
    return padded


def at_states(values: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return the candidate's value (frames,) of values (frames, K); any where the state is unvoiced."""
    return np.take_along_axis(values, np.minimum(states, values.shape[1] - 1)[:, None], 1)[:, 0]


def voice_around(peaks: Peaks, states: np.ndarray) -> np.ndarray:
    """Return the median pitch (rows,), in octaves, of the sure frames around each row; NaN where none is."""
    sure = (states < peaks.hz.shape[1]) & (at_states(peaks.height, states) > SURE)
    octaves = np.log2(np.maximum(at_states(peaks.hz, states), 1))
    voices = []
    for start in range(0, len(states), ROW):
        around = slice(max(0, start - AROUND * ROW), start + (AROUND + 1) * ROW)
        voice = octaves[around][sure[around]]
        voices.append(np.median(voice) if len(voice) else np.nan)
    return np.array(voices, np.float32)


def decide_all(
    records: Sequence[Peaks], grounds: list[Ground], voices: list[np.ndarray], hop_s: float
) -> list[np.ndarray]:
    """Return the states (frames,) of the best path of each recording; K, one more than the last candidate, is
    unvoiced.
    """
    chosen, waiting = [], []
    for parts in zip(records, grounds, voices):
        for start in range(0, len(parts[2]), AT_ONCE):
            waiting.append(rows(*parts, start, min(start + AT_ONCE, len(parts[2]))))
            if sum(len(octaves) for octaves, _ in waiting) >= AT_ONCE:
                chosen.append(decide(*map(np.concatenate, zip(*waiting)), hop_s))
                waiting = []
    if waiting:
        chosen.append(decide(*map(np.concatenate, zip(*waiting)), hop_s))
    ends = np.cumsum([len(voice) for voice in voices])[:-1]
    every = np.split(np.concatenate(chosen), ends)
    return [states.ravel()[: len(peaks.hz)] for states, peaks in zip(every, records)]


def rows(
    peaks: Peaks, ground: Ground, voices: np.ndarray, first: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return octaves (rows, frames, K) of candidates and scores (rows, frames, K + 1) of states, of rows from
    `first` to before `end`: ROW frames with CONTEXT on each side; beyond the ends of a recording is silence.
    """
    start, stop = first * ROW - CONTEXT, end * ROW + CONTEXT
    inside = slice(max(0, start), stop)
    pad = (max(0, -start), max(0, stop - len(peaks.hz)))
    hz, height = (np.pad(x[inside], (pad, (0, 0))) for x in (peaks.hz, peaks.height))
    octaves = np.log2(np.where(hz > 0, hz, 1))
    unvoiced, noise = (np.pad(x[inside], pad)[:, None] for x in ground)
    doubts = (1 - height.max(1, keepdims=True)) / DOUBT
    lower = OCTAVE + OCTAVE_IN_DOUBT * np.minimum(doubts, 1 + IN_NOISE * noise)
    voiced = np.where(hz > 0, height + lower * (octaves - 7.4), NEVER)  # 7.4: 170 Hz
    view = np.lib.stride_tricks.sliding_window_view
    octaves, voiced, doubt, unvoiced = (
        view(x, ROW + 2 * CONTEXT, 0)[::ROW].transpose(0, 2, 1)
        for x in (octaves, voiced, np.minimum(doubts, 1), unvoiced)
    )
    distance = np.nan_to_num(np.abs(octaves - voices[first:end, None, None]))
    voiced = voiced - doubt * np.clip(FAR * (distance - FREE), 0, MOST)
    return octaves, np.concatenate([voiced, unvoiced], 2)


def decide(octaves: np.ndarray, score: np.ndarray, hop_s: float) -> np.ndarray:
    """Return the states (rows, ROW) of the best path through the middle of each row, of octaves (rows,
    frames, K) and score (rows, frames, K + 1).
    """
    count, frames, states = score.shape
    pace = np.float32(0.01 / hop_s)
    cost = np.zeros((frames - 1, count, states, states), np.float32)
    cost[:, :, -1, :-1] = cost[:, :, :-1, -1] = CHANGE * pace
    at = np.ascontiguousarray(octaves.transpose(1, 0, 2)) * (LEAP * pace)
    leap = cost[:, :, :-1, :-1]
    np.abs(np.subtract(at[1:, :, :, None], at[:-1, :, None, :], out=leap), out=leap)
    total = np.ascontiguousarray(score.transpose(1, 0, 2))
    reach = np.empty_like(cost[0])
    for frame in range(1, frames):
        np.subtract(total[frame - 1][:, None, :], cost[frame - 1], out=reach)
        total[frame] += np.maximum.reduce(reach, 2)
    back = np.subtract(total[:-1, :, None, :], cost, out=cost).argmax(3)
    path = np.empty((frames, count), np.intp)
    path[-1] = total[-1].argmax(1)
    every = np.arange(count)
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = back[frame - 1, every, path[frame]]
    return path.T[:, CONTEXT : CONTEXT + ROW]
