"""Which sequences stand in which batch: a pure function of (lengths, seed, epoch), so that a run can be
resumed in the middle of an epoch with nothing but a position.
"""

from __future__ import annotations

import numpy as np

POOL = 50  # batches whose sequences are sorted by length together: like lengths meet, the order stays random


def batches(
    lengths: np.ndarray,
    seed: int,
    epoch: int,
    batch_size: int,
    batch_tokens: int = 0,
    by_length: bool = True,
    padded: bool = False,
) -> list[np.ndarray]:
    """Return the batches of an epoch, arrays of indices into `lengths`; each index stands once.

    A batch has `batch_size` sequences, or with `batch_tokens` as many as fit into that many tokens (padding
    counted where `padded`; a longer sequence is a batch of its own). `by_length` puts sequences of like
    length together.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    pools = [order]
    if by_length:
        mean = max(1.0, float(lengths.mean())) if len(lengths) else 1.0
        size = POOL * (max(1, int(batch_tokens / mean)) if batch_tokens else batch_size)
        pools = [order[at : at + size] for at in range(0, len(order), size)]
        pools = [pool[np.argsort(-lengths[pool], kind="stable")] for pool in pools]
    found = []
    for pool in pools:
        cut = _fill(pool, lengths, batch_tokens, padded) if batch_tokens else _cut(pool, batch_size)
        found += cut
    return [found[index] for index in random.permutation(len(found))] if by_length else found


def in_order(lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Return batches for an evaluation: the same ones each time, longest sequences first."""
    order = np.argsort(-lengths, kind="stable")
    return _fill(order, lengths, batch_tokens, padded=True)


def share(batch: np.ndarray, lengths: np.ndarray, rank: int, world: int) -> np.ndarray:
    """Return the part of a batch that a rank does: long and short ones dealt evenly; empty where there are
    too few.
    """
    return batch[np.argsort(-lengths[batch], kind="stable")][rank::world]


def _cut(pool: np.ndarray, size: int) -> list[np.ndarray]:
    return [pool[at : at + size] for at in range(0, len(pool), size)]


def _fill(pool: np.ndarray, lengths: np.ndarray, budget: int, padded: bool) -> list[np.ndarray]:
    found, start, total, longest = [], 0, 0, 0
    for at, index in enumerate(pool):
        length = int(lengths[index])
        longest, total = max(longest, length), total + length
        cost = longest * (at - start + 1) if padded else total
        if cost > budget and at > start:
            found.append(pool[start:at])
            start, total, longest = at, length, length
    if len(pool):
        found.append(pool[start:])
    return found
