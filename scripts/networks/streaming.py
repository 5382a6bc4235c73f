"""Recordings of any length in pieces whose frames have their surroundings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np


class Piece(NamedTuple):
    """Samples that begin with frame 0 of the piece; of its frames, `before` belong to the piece before, then
    come `count` of its own. Frame t has its centre at sample t · hop.
    """

    samples: np.ndarray
    before: int
    count: int


def pieces(blocks: Iterable[np.ndarray], hop: int, frames: int, context: int) -> Iterator[Piece]:
    """Yield pieces of `frames` own frames, and `context` more on each side where the recording has them, of
    blocks of samples. Together they have each of its 1 + n // hop frames once, and depend on the recording
    alone, not on its blocks.
    """
    waiting: list[np.ndarray] = []
    held = before = 0
    for block in blocks:
        waiting.append(block)
        held += len(block)
        if held <= (before + frames + context) * hop:
            continue
        whole = np.concatenate(waiting)
        while len(whole) > (before + frames + context) * hop:
            yield Piece(whole[: (before + frames + context) * hop], before, frames)
            kept = max(0, before + frames - context)
            whole, before = whole[kept * hop :], before + frames - kept
        waiting, held = [whole], len(whole)
    if held:
        yield Piece(np.concatenate(waiting), before, 1 + held // hop - before)


class Rows:
    """Rows of float32 numbers that come in pieces. They are kept in slabs so large that the system gives each
    by itself, as it is filled, and takes it back whole: among the short-lived blocks of a long run they would
    leave holes that nobody can use.
    """

    SLAB = 64 << 20  # bytes

    def __init__(self) -> None:
        self.count = 0
        self.slabs: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Add rows (n, width), all of one width."""
        room = max(1, self.SLAB // (4 * rows.shape[1]))
        while len(rows):
            used = self.count % room
            if not used:
                self.slabs.append(np.empty((room, rows.shape[1]), np.float32))
            some = rows[: room - used]
            self.slabs[-1][used : used + len(some)] = some
            self.count += len(some)
            rows = rows[len(some) :]

    def take(self, most: int) -> Iterator[np.ndarray]:
        """Yield all rows, in order, at most so many at a time, and let go of what was yielded."""
        left = self.count
        while self.slabs:
            slab = self.slabs.pop(0)[:left]
            left -= len(slab)
            for start in range(0, len(slab), most):
                yield slab[start : start + most]

    def whole(self) -> np.ndarray:
        """Return all rows (n, width), and let go of them here; (0, 0) where there are none."""
        parts = list(self.take(self.count))
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
