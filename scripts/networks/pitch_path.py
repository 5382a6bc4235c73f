"""The best path through candidates of pitch: which peak of each frame, or none (unvoiced), by Viterbi.

A long recording is decided in rows of frames with as much context on each side as a decision can need, all
rows at once: the rows of a batch of recordings cost one loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from networks.pitch import Peaks

ROW, CONTEXT = 128, 64  # frames
NEAR = 200  # frames on each side that say how loud a frame is
SILENT = 1e-10  # mean square, 100 dB under full scale


class PathCosts(NamedTuple):
    """What the path weighs, in units of the autocorrelation's height, a 10 ms frame."""

    voicing: float = 0.45  # height that no pitch has
    silence: float = 0.03  # amplitude re the loudest frame near, below which no pitch is likelier
    octave: float = 0.02  # an octave lower
    jump: float = 0.5  # an octave's jump from frame to frame
    change: float = 0.14  # from voiced to unvoiced and back


def best_path(records: Sequence[Peaks], costs: PathCosts) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (f0_hz, voicing), float32 (frames,), of each recording."""
    parts = [scores(peaks, costs) for peaks in records]
    rows = [row for octaves, score in parts for row in cut(octaves, score)]
    chosen = decide(np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows]), costs)
    found, start = [], 0
    for peaks in records:
        frames = len(peaks.hz)
        count = -(-frames // ROW)
        path = chosen[start : start + count].reshape(-1)[:frames]
        start += count
        voiced = path < peaks.hz.shape[1]
        index = np.where(voiced, path, 0)[:, None]
        f0_hz = np.where(voiced, np.take_along_axis(peaks.hz, index, 1)[:, 0], 0).astype(np.float32)
        height = np.where(voiced, np.take_along_axis(peaks.height, index, 1)[:, 0], peaks.height.max(1))
        f0_hz[peaks.power < SILENT] = 0
        found.append((f0_hz, np.where(peaks.power < SILENT, 0, height).astype(np.float32)))
    return found


def scores(peaks: Peaks, costs: PathCosts) -> tuple[np.ndarray, np.ndarray]:
    """Return (octaves (frames, K), score (frames, K + 1)); the last state is unvoiced."""
    there = peaks.hz > 0
    octaves = np.log2(np.where(there, peaks.hz, 1)).astype(np.float32)
    voiced = np.where(there, peaks.height + costs.octave * (octaves - 6), -10)
    loud = np.sqrt(peaks.power / np.maximum(running_max(peaks.power, NEAR), SILENT))
    unvoiced = costs.voicing + np.clip(2 - loud / costs.silence / (1 + costs.voicing), 0, None)
    return octaves, np.concatenate([voiced, unvoiced[:, None]], 1).astype(np.float32)


def running_max(values: np.ndarray, reach: int) -> np.ndarray:
    """Return the largest of each value and `reach` on each side of it."""
    padded = np.pad(values, reach, constant_values=-np.inf)
    width, done = 2 * reach + 1, 1
    while done < width:
        step = min(done, width - done)
        padded = np.maximum(padded[: len(padded) - step], padded[step:])
        done += step
    return padded


def cut(octaves: np.ndarray, score: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return rows of ROW frames with CONTEXT on each side; beyond the ends lies silence."""
    frames = len(score)
    count = -(-frames // ROW)
    pad = ((CONTEXT, count * ROW - frames + CONTEXT), (0, 0))
    octaves = np.pad(octaves, pad)
    score = np.pad(score, pad, constant_values=-10)
    score[:CONTEXT, -1] = score[CONTEXT + frames :, -1] = 0
    size = ROW + 2 * CONTEXT
    return [(octaves[at : at + size], score[at : at + size]) for at in range(0, count * ROW, ROW)]


def decide(octaves: np.ndarray, score: np.ndarray, costs: PathCosts) -> np.ndarray:
    """Return the states (rows, ROW) of the best path of octaves (rows, frames, K), score (rows, frames, K + 1)
    of the middle frames.
    """
    rows, frames, states = score.shape
    total = score[:, 0]
    back = np.zeros((frames, rows, states), np.int16)
    turn = np.zeros((states, states), np.float32)
    turn[-1, :-1] = turn[:-1, -1] = costs.change
    for frame in range(1, frames):
        leap = np.zeros((rows, states, states), np.float32)
        np.abs(octaves[:, frame, :, None] - octaves[:, frame - 1, None, :], out=leap[:, :-1, :-1])
        leap *= costs.jump
        leap += turn
        reach = total[:, None, :] - leap
        back[frame] = reach.argmax(2)
        total = (
            np.take_along_axis(reach, back[frame][:, :, None].astype(np.int64), 2)[:, :, 0] + score[:, frame]
        )
    path = np.zeros((rows, frames), np.int64)
    path[:, -1] = total.argmax(1)
    for frame in range(frames - 1, 0, -1):
        path[:, frame - 1] = np.take_along_axis(back[frame], path[:, frame, None], 1)[:, 0]
    return path[:, CONTEXT : CONTEXT + ROW]
