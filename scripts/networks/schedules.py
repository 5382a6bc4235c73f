"""Learning rates as factors, pure functions of the step; a plateau's is in the loop: it takes evaluations."""

from __future__ import annotations

import math

NAMES = ("constant", "inverse-sqrt", "cosine", "linear", "plateau")


def factor(name: str, step: int, warmup_steps: int, total_steps: int) -> float:
    """Return what the learning rate is multiplied by at a step (from 0): linear warm-up, then the schedule.

    `inverse-sqrt` is 1 at the end of the warm-up (Vaswani et al. 2017); `cosine` and `linear` end at 0.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    if name == "inverse-sqrt":
        return math.sqrt(max(1, warmup_steps) / max(1, step + 1))
    if name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1 - done if name == "linear" else 1.0
