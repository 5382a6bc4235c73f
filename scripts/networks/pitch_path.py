"""The best path through candidates of pitch: which peak of each frame, or none (unvoiced), by Viterbi.

A recording is decided in rows of frames with as much context on each side as a decision needs, all rows at
once, so that those of a batch of recordings cost one loop. It is decided twice: the first path says where the
voice lies around each row, and the second one pays a little for being far from there, which settles octaves
that the frames alone leave open. Both pay for a lower octave, and more so where no candidate repeats well:
noise makes periods of two and three cycles as good as one. The costs were set on the sounds of
benchmarks/pitch.py; Talkin (1995) and Boersma (1993) weigh candidates this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from networks.pitch import Peaks

# All in units of a peak's height, which is 1 for a sound that repeats exactly.
OCTAVE, OCTAVE_IN_DOUBT = 0.01, 0.05  # for being an octave lower; and as much more in doubt
DOUBT = 0.12  # of a frame does not repeat: octaves are in doubt
LEAP, CHANGE = 1.0, 0.16  # an octave's leap, a change of voicing: in 10 ms
UNVOICED = 0.38  # height that no pitch has, in loud frames
LOUD_DB, QUIET_DB = 10.0, 30.0  # below the loudest frame near: still loud; surely no voice
FAINT = 0.015  # more for no pitch a dB below LOUD_DB
FREE, FAR, MOST = (
    0.6,
    0.3,
    0.1,
)  # octaves from the voice that cost nothing; cost of each more, at most, in doubt
SURE = 0.7  # height of frames that say where the voice lies

ROW, CONTEXT = 128, 64  # frames
AROUND = 2  # rows on each side that say where the voice lies
NEAR = 200  # frames on each side that say how loud a frame is
SILENT = 1e-10  # mean square, 100 dB under full scale
NEVER = -9.0


def best_path(records: Sequence[Peaks], hop_s: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (f0_hz, voicing), float32 (frames,), of each recording; 0 Hz where unvoiced."""
    parts = [scores(peaks) for peaks in records]
    first = decide_all(parts, hop_s)
    for peaks, (octaves, score), states in zip(records, parts, first):
        score[:, :-1] -= doubt(peaks) * far_from_voice(octaves, score, states)
    found = []
    for peaks, states in zip(records, decide_all(parts, hop_s)):
        sounds = peaks.power > SILENT
        voiced = (states < peaks.hz.shape[1]) & sounds
        index = np.where(voiced, states, 0)[:, None]
        f0_hz = np.where(voiced, np.take_along_axis(peaks.hz, index, 1)[:, 0], 0)
        height = np.where(voiced, np.take_along_axis(peaks.height, index, 1)[:, 0], peaks.height.max(1))
        found.append((f0_hz.astype(np.float32), np.where(sounds, height, 0).astype(np.float32)))
    return found


def scores(peaks: Peaks) -> tuple[np.ndarray, np.ndarray]:
    """Return (octaves (frames, K) of candidates, score (frames, K + 1)); the last state is unvoiced."""
    there = peaks.hz > 0
    octaves = np.log2(np.where(there, peaks.hz, 1)).astype(np.float32)
    lower = OCTAVE + OCTAVE_IN_DOUBT * doubt(peaks)
    voiced = np.where(there, peaks.height + lower * (octaves - 7.4), NEVER)  # 7.4: 170 Hz
    level_db = 10 * np.log10(np.maximum(peaks.power, SILENT))
    below_db = running_max(level_db, NEAR) - level_db
    unvoiced = UNVOICED + FAINT * np.maximum(below_db - LOUD_DB, 0) + 0.5 * (below_db > QUIET_DB)
    return octaves, np.concatenate([voiced, unvoiced[:, None]], 1).astype(np.float32)


def doubt(peaks: Peaks) -> np.ndarray:
    """Return (frames, 1) how much the octave is in doubt: 0 where a frame repeats exactly, at most 1."""
    return np.minimum((1 - peaks.height.max(1, keepdims=True)) / DOUBT, 1)


def running_max(values: np.ndarray, reach: int) -> np.ndarray:
    """Return the largest of each value and `reach` on each side of it."""
    padded = np.pad(values, reach, constant_values=-np.inf)
    width, done = 2 * reach + 1, 1
    while done < width:
        step = min(done, width - done)
        padded = np.maximum(padded[: len(padded) - step], padded[step:])
        done += step
    return padded


def far_from_voice(octaves: np.ndarray, score: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return what each candidate (frames, K) pays for its distance from the median of the sure frames around
    its row; nothing where there are none.
    """
    frames, width = octaves.shape
    index = np.minimum(states, width - 1)[:, None]
    chosen = np.take_along_axis(octaves, index, 1)[:, 0]
    sure = (states < width) & (np.take_along_axis(score, index, 1)[:, 0] > SURE)
    cost = np.zeros_like(octaves)
    for start in range(0, frames, ROW):
        around = slice(max(0, start - AROUND * ROW), start + (AROUND + 1) * ROW)
        voice = chosen[around][sure[around]]
        if len(voice):
            distance = np.abs(octaves[start : start + ROW] - np.median(voice))
            cost[start : start + ROW] = np.clip(FAR * (distance - FREE), 0, MOST)
    return cost


def decide_all(parts: list[tuple[np.ndarray, np.ndarray]], hop_s: float) -> list[np.ndarray]:
    """Return the states (frames,) of the best path of each recording's (octaves, score)."""
    rows = [cut(octaves, score) for octaves, score in parts]
    chosen = decide(np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows]), hop_s)
    ends = np.cumsum([len(row[0]) for row in rows])[:-1]
    return [states.ravel()[: len(part[0])] for states, part in zip(np.split(chosen, ends), parts)]


def cut(octaves: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (rows, frames, states) of ROW frames with CONTEXT on each side; silence beyond the ends."""
    frames = len(score)
    count = -(-frames // ROW)
    pad = ((CONTEXT, count * ROW - frames + CONTEXT), (0, 0))
    octaves = np.pad(octaves, pad)
    score = np.pad(score, pad, constant_values=NEVER)
    score[:CONTEXT, -1] = score[CONTEXT + frames :, -1] = 0
    size = ROW + 2 * CONTEXT
    view = np.lib.stride_tricks.sliding_window_view
    return tuple(view(x, size, 0)[::ROW].transpose(0, 2, 1) for x in (octaves, score))


def decide(octaves: np.ndarray, score: np.ndarray, hop_s: float) -> np.ndarray:
    """Return the states (rows, ROW) of the best path through the middle of each row, of octaves (rows,
    frames, K) and score (rows, frames, K + 1).
    """
    rows, frames, states = score.shape
    pace = 0.01 / hop_s
    turn = np.zeros((states, states), np.float32)
    turn[-1, :-1] = turn[:-1, -1] = CHANGE * pace
    octaves = octaves * np.float32(LEAP * pace)
    back = np.empty((frames, rows, states), np.intp)
    total = score[:, 0]
    leap = np.zeros((rows, states, states), np.float32)
    for frame in range(1, frames):
        np.subtract(octaves[:, frame, :, None], octaves[:, frame - 1, None, :], out=leap[:, :-1, :-1])
        reach = total[:, None, :] - np.abs(leap)
        reach -= turn
        reach.argmax(2, out=back[frame])
        total = reach.max(2) + score[:, frame]
    path = np.empty((rows, frames), np.intp)
    path[:, -1] = total.argmax(1)
    every = np.arange(rows)
    for frame in range(frames - 1, 0, -1):
        path[:, frame - 1] = back[frame, every, path[:, frame]]
    return path[:, CONTEXT : CONTEXT + ROW]
