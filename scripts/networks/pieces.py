"""Long signals through a network piece by piece, each with the surroundings that its output depends on.

A stack of convolutions sees a bounded stretch of its input. Given that much more on both sides, and with
what the added part gave cut off, the pieces are what the whole signal gives: equal but for the last bits of
a sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np


def cut_stream(
    blocks: Iterable[np.ndarray], size: int, before: int, after: int
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield (piece, left, length) of a stream of blocks (channels, n): `left` of the piece's samples come
    before the `length` new ones (`size`, at the end fewer), up to `after` stand behind them.
    """
    held: np.ndarray | None = None
    left = 0
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], axis=-1)
        while held.shape[-1] > left + size + after:
            yield held[..., : left + size + after], left, size
            kept = min(before, left + size)
            held, left = held[..., left + size - kept :], kept
    if held is not None and held.shape[-1] > left:
        yield held, left, held.shape[-1] - left


def cut_segments(blocks: Iterable[np.ndarray], size: int, stride: int) -> Iterator[np.ndarray]:
    """Yield segments (channels, `size`) of a stream, one every `stride`; the last ones are shorter."""
    held: np.ndarray | None = None
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], axis=-1)
        while held.shape[-1] >= size:
            yield held[..., :size]
            held = held[..., stride:]
    while held is not None and held.shape[-1]:
        yield held[..., :size]
        held = held[..., stride:]


def cut_array(array: np.ndarray, size: int, around: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield (piece, left, length) of an array's first axis, as `cut_stream` does."""
    for start in range(0, len(array), size):
        first = max(0, start - around)
        yield array[first : start + size + around], start - first, min(size, len(array) - start)
