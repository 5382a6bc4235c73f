"""N-gram models of units: interpolated modified Kneser-Ney, over units 0..K-1 and nothing else.

The vocabulary is closed, and the start symbol is context only: it is never predicted, nor is an end. So the
probabilities are those of the same events as an LSTM's. Each order is a sorted table: an n-gram is the place
of its first n-1 units in the table below, times K + 1, plus its last unit, so any order fits into 64 bits and
counting is sorting.

Source: Chen & Goodman, An empirical study of smoothing techniques for language modeling (TR-10-98), section
4.1.6; where it leaves a choice (counts of n-grams at the start, the base, fallback discounts) that of kenlm.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

FALLBACK = (0.5, 1.0, 1.5)  # discounts where counts of counts give none, as kenlm's --discount_fallback


class Table(NamedTuple):
    """The n-grams of one order, sorted by key; arrays of one length."""

    keys: np.ndarray  # int64: place of the first n - 1 units in the table below · (K + 1) + last unit
    log_probability: np.ndarray  # float64, nats, of the last unit after the others
    log_backoff: np.ndarray  # float64, nats: weight of the order below for units not seen after this n-gram


class NGram(NamedTuple):
    """A model; tables[n - 1] holds the n-grams of n units. Order 1 holds each unit, and the start symbol as
    a context.
    """

    vocab_size: int
    tables: list[Table]
    discounts: list[tuple[float, ...]]  # (D1, D2, D3+) of each order

    @property
    def order(self) -> int:
        """Units of the longest n-gram."""
        return len(self.tables)

    def score(self, units: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
        """Return the natural log-probability of each unit of a sequence, (units,) float64.

        `targets` are other units to score at the same places, behind the same units before.
        """
        units = checked(units, self.vocab_size)
        targets = units if targets is None else checked(targets, self.vocab_size)
        found = self.tables[0].log_probability[targets]
        context = np.concatenate([[self.vocab_size], units[:-1]]) if len(units) else units
        for shorter, table in zip(self.tables, self.tables[1:]):
            # context: the place of the units before in the shorter table; -1 where they do not stand there
            own = at = places(table.keys, context, units, self.vocab_size)
            if targets is not units:
                at = places(table.keys, context, targets, self.vocab_size)
            backed_off = found + np.where(context >= 0, shorter.log_backoff[context], 0.0)
            found = np.where(at >= 0, table.log_probability[at], backed_off)
            context = shifted(own)
        return found

    def start(self) -> np.ndarray:
        """Return what `extend` needs to know before the first unit, (order - 1,) int64."""
        contexts = np.full(self.order - 1, -1)
        contexts[:1] = self.vocab_size
        return contexts

    def extend(self, contexts: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the natural log-probability of a unit behind each context, (n,), and the contexts then.

        contexts: (n, order - 1), the place of the units before in the table of each length, -1 where they do
        not stand there; units: (n,).
        """
        found, behind = self.tables[0].log_probability[units], [units]
        for shorter, table, context in zip(self.tables, self.tables[1:], contexts.T):
            at = places(table.keys, context, units, self.vocab_size)
            backed_off = found + np.where(context >= 0, shorter.log_backoff[context], 0.0)
            found = np.where(at >= 0, table.log_probability[at], backed_off)
            behind.append(at)
        return found, np.stack(behind[: self.order - 1], 1) if self.order > 1 else contexts


def places(keys: np.ndarray, context: np.ndarray, last: np.ndarray, vocab_size: int) -> np.ndarray:
    """Return where the n-grams (place of the context, last unit) stand in a table, -1 where they do not."""
    if not len(keys):
        return np.full(len(last), -1)
    wanted = context * (vocab_size + 1) + last
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where((context >= 0) & (keys[at] == wanted), at, -1)


def shifted(places_of: np.ndarray) -> np.ndarray:
    """Return the places one position later; nothing stands before the first."""
    return np.concatenate([np.full(1, -1, places_of.dtype), places_of[:-1]]) if len(places_of) else places_of


def checked(units: np.ndarray, vocab_size: int) -> np.ndarray:
    """Return units as int64; ValueError where one is not of the vocabulary."""
    units = np.asarray(units, np.int64)
    if len(units) and not 0 <= units.min() <= units.max() < vocab_size:
        raise ValueError(f"found units {units.min()} to {units.max()}, wanted 0 to {vocab_size - 1}")
    return units


class Counted(NamedTuple):
    """The distinct n-grams of one order, sorted by key."""

    keys: np.ndarray  # int64, as in Table
    counts: np.ndarray  # int64: occurrences; where it is a shorter order, distinct units before (see fit)
    suffixes: np.ndarray  # int64: the place of the last n - 1 units in the table below


def fit(sequences: Iterable[np.ndarray], vocab_size: int, order: int = 5) -> NGram:
    """Return the model of some sequences of units 0..vocab_size-1; ValueError where there is no unit.

    Counts of the longest n-grams are occurrences, of shorter ones the number of distinct units seen before
    them, but occurrences where they stand at the start.
    """
    begin = np.array([vocab_size], np.int32)
    parts = [begin]
    for units in sequences:
        parts += [checked(units, vocab_size).astype(np.int32), begin]
    stream = np.concatenate(parts)
    if (stream == vocab_size).all():
        raise ValueError("found no units to count, wanted some")
    return _estimate(_count(stream, vocab_size, order), vocab_size)


def _count(stream: np.ndarray, vocab_size: int, order: int) -> list[Counted]:
    """Return the n-grams of each order of a stream in which each sequence begins with the start symbol."""
    is_start = stream == vocab_size
    at_start = np.zeros(vocab_size + 1, bool)  # which n-grams of the order below begin with the start symbol
    at_start[vocab_size] = True
    counts = np.bincount(stream, minlength=vocab_size + 1)
    nothing = np.zeros(vocab_size + 1, np.int64)
    found = [Counted(np.arange(vocab_size + 1), counts, nothing)]
    ends = stream  # the place of the n-gram that ends at each position, -1 where it would cross a start
    for _ in range(order - 1):
        context = shifted(ends)
        valid = np.flatnonzero((context >= 0) & ~is_start)
        wanted = context[valid].astype(np.int64) * (vocab_size + 1) + stream[valid]
        keys, starts, place = _distinct(wanted)
        one = valid[starts]  # a position where each n-gram ends
        counts = np.bincount(place, minlength=len(keys))
        suffixes = ends[one]
        below = found[-1]
        continued = np.bincount(suffixes, minlength=len(below.keys))
        found[-1] = below._replace(counts=np.where(at_start, below.counts, continued))
        at_start = at_start[context[one]]
        found.append(Counted(keys, counts, suffixes))
        ends = np.full(len(stream), -1, np.int32)
        ends[valid] = place
    found[0].counts[vocab_size] = 0  # the start symbol is never predicted
    return found


def _distinct(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (sorted distinct keys, an index of each, place of every key among them)."""
    order = np.argsort(keys)
    in_order = keys[order]
    is_first = np.concatenate([[True], in_order[1:] != in_order[:-1]])[: len(keys)]
    place = np.empty(len(keys), np.int32)
    place[order] = np.cumsum(is_first, dtype=np.int32) - 1
    return in_order[is_first], order[is_first], place


def _estimate(counted: list[Counted], vocab_size: int) -> NGram:
    """Return the model of the counts of each order: discounted, and interpolated with the order below."""
    tables: list[Table] = []
    discounts = []
    lower = np.full(vocab_size + 1, 1 / vocab_size)  # probabilities of the order below; its base is uniform
    for n, (keys, counts, suffixes) in enumerate(counted, start=1):
        discounts.append(discounts_of(counts))
        context = keys // (vocab_size + 1) if n > 1 else np.zeros(len(keys), np.int64)
        contexts = len(tables[-1].keys) if tables else 1
        amount = np.array([0.0, *discounts[-1]])[counts.clip(max=3)]
        total = np.bincount(context, counts, contexts)
        with np.errstate(invalid="ignore", divide="ignore"):
            rest = np.where(total > 0, np.bincount(context, amount, contexts) / total, 1.0)
            probability = (counts - amount) / total[context] + rest[context] * lower[suffixes]
            if tables:
                tables[-1] = tables[-1]._replace(log_backoff=np.log(rest))
            if n == 1:
                probability[vocab_size] = 0.0
            tables.append(Table(keys, np.log(probability), np.zeros(len(keys))))
        lower = probability
    return NGram(vocab_size, tables, discounts)


def discounts_of(counts: np.ndarray) -> tuple[float, float, float]:
    """Return (D1, D2, D3+) by the counts of counts; FALLBACK where one is not between 0 and its count.

    On small closed vocabularies there often is no n-gram that occurs once (kenlm's issues 68 and 153).
    """
    ones, twos, threes, fours = (int((counts == count).sum()) for count in (1, 2, 3, 4))
    if not (ones and twos and threes):
        return FALLBACK
    y = ones / (ones + 2 * twos)
    found = (1 - 2 * y * twos / ones, 2 - 3 * y * threes / twos, 3 - 4 * y * fours / threes)
    return found if all(0 < amount <= count for count, amount in enumerate(found, start=1)) else FALLBACK
