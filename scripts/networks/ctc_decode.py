"""The labels that a CTC model heard: those of the best path, or the best by a prefix beam search.

A prefix is a sequence of labels; of each is kept the probability of all paths that give it, those that end in
a blank apart from those that end in its last label, as only behind a blank may the same label follow anew.
Each prefix has one number for good, so that those that become equal are one. With a beam and top_k without
bounds the result is P(labels | frames) of every labelling.

Source: Graves & Jaitly 2014 (prefix search); Hannun et al. 2014 (with a language model and a bonus a label).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from networks.ngram import NGram

NONE = -1  # the label before the first one, and the prefix before the empty one


class Fusion(NamedTuple):
    """A language model over the labels, added to the CTC probability: + weight · log P + bonus · labels."""

    model: NGram
    weight: float = 0.5
    bonus: float = 0.0  # nats a label, against the language model's liking for short labellings


class _Beam(NamedTuple):
    """The prefixes in the beam, arrays of one length; probabilities in nats."""

    number: np.ndarray  # of the prefix
    shorter: np.ndarray  # number of the prefix without its last label
    last: np.ndarray  # its last label
    blank: np.ndarray  # log P of the paths that end in a blank
    label: np.ndarray  # log P of those that end in its last label
    bonus: np.ndarray  # what language model and bonus add
    context: np.ndarray  # (…, order - 1), of the language model

    @property
    def both(self) -> np.ndarray:
        """log P of all paths of each prefix."""
        return np.logaddexp(self.blank, self.label)


def greedy(log_probs: Tensor, lengths: Tensor, blank: int) -> list[list[int]]:
    """Return the labels of the best path of each utterance: repetitions merged, then blanks left out.

    log_probs: (F, V), log-probabilities or logits of the real frames, one utterance after the other, F the
    sum of `lengths` (B,).
    """
    found = []
    for path in log_probs.argmax(1).cpu().split(lengths.tolist()):
        merged = torch.unique_consecutive(path)
        found.append(merged[merged != blank].tolist())
    return found


def prefix_beam(
    log_probs: Tensor,
    blank: int,
    beam: int = 16,
    top_k: int = 20,
    least: float = -10.0,
    fusion: Fusion | None = None,
    blank_offset: float = 0.0,
) -> list[tuple[list[int], float]]:
    """Return up to `beam` labellings of one utterance, the best first, each with its log P(labels | frames).

    log_probs: (T, V), natural, normalised. In each frame only the `top_k` likeliest labels of log-probability
    `least` and above may make a prefix longer. Their order is that of log P with what `fusion` adds.
    blank_offset: nats, added to the blank's log-probability (negative: fewer deletions).
    """
    frames = log_probs.detach().float().cpu()
    others = frames.index_fill(1, torch.tensor([blank]), -math.inf)
    chances, labels = (part.numpy() for part in others.topk(min(top_k, frames.shape[1]), 1))
    counts = ((chances >= least) & (chances > -np.inf)).sum(1)
    prefixes, now = _Prefixes(), _start(fusion)
    for frame, few, chance, count in zip(frames.numpy(), labels, chances, counts):
        blank_chance = float(frame[blank]) + blank_offset
        now = _step(now, frame, blank_chance, few[:count], chance[:count], beam, fusion, prefixes)
    order = np.argsort(-(now.both + now.bonus), kind="stable")
    return [(prefixes.labels(int(now.number[at])), float(now.both[at])) for at in order]


class _Prefixes:
    """All prefixes that were ever in the beam, numbered; 0 is the empty one."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[int, int], int] = {}
        self.made_of: list[tuple[int, int]] = [(NONE, NONE)]  # (number of the prefix without its last, last)

    def number(self, shorter: int, last: int) -> int:
        """Return the number of a prefix, which is the same whenever it is asked for."""
        found = self.numbers.setdefault((shorter, last), len(self.made_of))
        if found == len(self.made_of):
            self.made_of.append((shorter, last))
        return found

    def labels(self, number: int) -> list[int]:
        """Return the labels of a prefix."""
        found = []
        while number:
            number, last = self.made_of[number]
            found.append(last)
        return found[::-1]


def _start(fusion: Fusion | None) -> _Beam:
    """Return the empty prefix."""
    nothing = np.full(1, NONE)
    context = fusion.model.start() if fusion else np.empty(0, np.int64)
    return _Beam(np.zeros(1, np.int64), nothing, nothing, np.zeros(1), np.full(1, -np.inf), np.zeros(1),
                 context[None])  # fmt: skip


def _step(now: _Beam, frame: np.ndarray, blank_chance: float, few: np.ndarray, chance: np.ndarray, beam: int,
          fusion: Fusion | None, prefixes: _Prefixes) -> _Beam:  # fmt: skip
    """Return the beam after a frame (V,), in which the labels `few` may make a prefix longer."""
    both = now.both
    child, parent = np.nonzero(now.shorter[:, None] == now.number)  # pairs in the beam, one label apart
    source = np.where(now.last[parent] == now.last[child], now.blank[parent], both[parent])
    label = now.label.copy()
    label[child] = np.logaddexp(label[child], source)
    stayed = now._replace(blank=both + blank_chance, label=label + frame[now.last])
    if not len(few):
        return stayed

    again = now.last[:, None] == few
    longer = np.where(again, now.blank[:, None], both[:, None]) + chance
    at, column = np.nonzero(again[child])
    longer[parent[at], column] = -np.inf  # stands in the beam, and has its share from above
    bonus, context = _fused(now, few, fusion)
    rank = np.concatenate([stayed.both + stayed.bonus, (longer + bonus).ravel()])
    kept = np.argpartition(-rank, beam)[:beam] if len(rank) > beam else np.arange(len(rank))
    kept = kept[rank[kept] > -np.inf]
    old, fresh = kept[kept < len(both)], kept[kept >= len(both)] - len(both)
    row, column = np.divmod(fresh, len(few))
    shorter, last = now.number[row], few[column]
    numbers = [prefixes.number(*made_of) for made_of in zip(shorter.tolist(), last.tolist())]
    new = _Beam(np.array(numbers, np.int64), shorter, last, np.full(len(fresh), -np.inf),
                longer[row, column], bonus[row, column], context[fresh])  # fmt: skip
    return _Beam(*(np.concatenate([ours[old], theirs]) for ours, theirs in zip(stayed, new)))


def _fused(now: _Beam, few: np.ndarray, fusion: Fusion | None) -> tuple[np.ndarray, np.ndarray]:
    """Return what is added to each prefix (rows) with each label behind it (columns); the contexts then."""
    size = (len(now.number), len(few))
    if fusion is None:
        return np.zeros(size), np.empty((size[0] * size[1], 0), np.int64)
    contexts, labels = np.repeat(now.context, len(few), 0), np.tile(few, len(now.number))
    chance, contexts = fusion.model.extend(contexts, labels)
    return now.bonus[:, None] + fusion.weight * chance.reshape(size) + fusion.bonus, contexts
