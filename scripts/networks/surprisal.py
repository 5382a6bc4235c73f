"""What language models make of units: the log-probability of each, and what they sum up to.

A file longer than the `max_units` of a run is read in pieces, each behind the start symbol, as when the run
was trained and validated: so the figures over its held-out files are its validation loss. N-grams read the
same pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from networks import sampler
from networks.ngram import NGram
from networks.staircase import MIN_STEPS, WHOLE, lay_out
from networks.unit_lm import GptLM
from networks.unit_task import VALIDATION_TOKENS, Units


class Scored(NamedTuple):
    """A piece and natural log-probabilities behind all units before, (units,) float64."""

    piece: int
    units: np.ndarray
    own: np.ndarray  # of each unit
    again: np.ndarray  # of the unit before once more, where there is one


class Tally(NamedTuple):
    """Sums over some units. Changes are units that differ from the one before in their piece."""

    units: int = 0
    nats: float = 0.0  # of all units
    followers: int = 0  # units that have one before them
    changes: int = 0
    change_nats: float = 0.0  # of units that are changes
    new_nats: float = 0.0  # of the same, given that there is a change: what deduplicated units cost

    def plus(self, scored: Scored) -> Tally:
        """Return the sums with a piece more."""
        own, again = scored.own[1:], scored.again[1:]
        changed = scored.units[1:] != scored.units[:-1]
        a_change = np.log1p(-np.exp(again[changed]).clip(max=1 - 1e-12))
        return Tally(
            self.units + len(scored.units),
            self.nats - float(scored.own.sum()),
            self.followers + len(own),
            self.changes + int(changed.sum()),
            self.change_nats - float(own[changed].sum()),
            self.new_nats - float((own[changed] - a_change).sum()),
        )


def by_network(model: Any, vocab_size: int, pieces: Units, device: str) -> Iterator[Scored]:
    """Yield each piece as the network sees it, in batches that fit a budget of units; longest first."""
    min_steps = WHOLE if isinstance(model, GptLM) else MIN_STEPS
    for indices in sampler.in_order(pieces.lengths, VALIDATION_TOKENS):
        chosen = [pieces[int(index)] for index in indices]
        batch = lay_out(chosen, vocab_size, min_steps).to(torch.device(device))
        with torch.inference_mode():
            chances = torch.log_softmax(model(batch).float(), -1)
            before = batch.inputs if batch.places is None else batch.inputs[batch.places]
            both = torch.stack([chances.gather(1, units[:, None])[:, 0] for units in (batch.targets, before)])
        owner = batch.sequences().numpy()
        order = np.argsort(owner, kind="stable")  # by sequence, in time within each
        ends = np.cumsum([len(units) for units in chosen])[:-1]
        own, again = (np.split(part, ends) for part in both.cpu().double().numpy()[:, order])
        for number, index in enumerate(indices):
            yield Scored(int(index), chosen[number], own[number], again[number])


def by_ngram(model: NGram, pieces: Units) -> Iterator[Scored]:
    """Yield each piece as the n-gram model sees it."""
    for index in range(len(pieces.lengths)):
        units = np.asarray(pieces[index], np.int64)
        before = np.concatenate([units[:1], units[:-1]])
        yield Scored(index, units, model.score(units), model.score(units, before))
