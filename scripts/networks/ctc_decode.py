"""The labels that a CTC model heard: the best path, or the best labelling by a prefix beam search."""

from __future__ import annotations

import torch
from torch import Tensor


def greedy(log_probs: Tensor, lengths: Tensor, blank: int) -> list[list[int]]:
    """Return the labels of the best path of each utterance: repetitions merged, then blanks left out.

    log_probs: (F, V), log-probabilities or logits of the real frames, one utterance after the other, F the
    sum of `lengths` (B,).
    """
    best = log_probs.argmax(1).cpu()
    found = []
    for path in best.split(lengths.tolist()):
        merged = torch.unique_consecutive(path)
        found.append(merged[merged != blank].tolist())
    return found
