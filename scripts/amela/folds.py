"""Folds: groups (speakers, sessions) dealt into parts that share none of them."""

from __future__ import annotations

import random
from collections.abc import Sequence


def deal_groups(names: Sequence[str], parts: int, seed: int) -> list[list[str]]:
    """Return the names in so many parts, of sizes that differ by one at most; a seeded shuffle."""
    order = sorted(names)
    random.Random(seed).shuffle(order)
    return [sorted(order[part::parts]) for part in range(parts)]
