"""CTC by its definition: every path of a few frames over a few classes, and what labels it gives."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor


def paths(log_probs: Tensor, blank: int) -> list[tuple[tuple[int, ...], tuple[int, ...], float]]:
    """Return (path, its labels, its log-probability) of each of the V ** T paths of (T, V)."""
    frames = log_probs.tolist()
    found = []
    for path in itertools.product(range(len(frames[0])), repeat=len(frames)):
        labels = tuple(label for label, _ in itertools.groupby(path) if label != blank)
        found.append((path, labels, sum(frame[label] for frame, label in zip(frames, path))))
    return found


def labellings(log_probs: Tensor, blank: int) -> dict[tuple[int, ...], float]:
    """Return log P(labels | frames) of every labelling that there is a path for."""
    parts: dict[tuple[int, ...], list[float]] = {}
    for _, labels, score in paths(log_probs, blank):
        parts.setdefault(labels, []).append(math.exp(score))
    return {labels: math.log(math.fsum(chances)) for labels, chances in parts.items()}


def draw(frames: int, classes: int, seed: int, spread: float = 1.0) -> Tensor:
    """Return log-probabilities (frames, classes), float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(frames, classes, generator=generator, dtype=torch.float64)
    return (spread * logits).log_softmax(1)
