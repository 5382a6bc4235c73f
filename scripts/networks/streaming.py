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
