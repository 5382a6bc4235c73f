"""The models that an evaluation compares: a run's network, and n-grams of the files it was trained on."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple

import numpy as np

from media import packed_units, units
from networks import ngram, surprisal, unit_lm
from networks.surprisal import Scored, Tally
from networks.unit_task import Source, Units


class System(NamedTuple):
    """A model that gives each unit of some pieces a probability."""

    run: str
    model: str  # lstm, gpt2, 5-gram …
    score: Callable[[Units], Iterator[Scored]]
    ngram: ngram.NGram | None = None


class Run(NamedTuple):
    """A training run: its name, what its checkpoint says, its files, and their training and held-out
    sequences.
    """

    name: str
    config: dict[str, Any]
    files: list[dict[str, Any]]
    parts: tuple[Units, Units]
    network: System


def open_run(path: str, files: list[dict[str, Any]], device: str, write_aside: Callable[..., Any]) -> Run:
    """Return the run of a checkpoint; CheckpointError or UnitsError where it, or its units, are not whole."""
    model, config = unit_lm.load(path, device)
    folder = os.path.dirname(os.path.abspath(path))
    cache = os.path.join(os.path.dirname(os.path.dirname(folder)), "units")  # where training packed them
    source = Source(cache if os.access(cache, os.W_OK) else "", config["vocab_size"], write_aside)
    name = os.path.join(*folder.split(os.sep)[-2:])
    return Run(name, config, files, source.parts(files, config["max_units"]), System(
        name, config["arch"], lambda pieces: surprisal.by_network(model, config["vocab_size"], pieces, device)
    ))  # fmt: skip


def ngrams(run: Run, orders: Sequence[int]) -> list[System]:
    """Return n-gram models of the files a run was trained on, whole files, whatever its --max-units."""
    train = run.parts[0]
    files = sorted({file for file, _ in train.pieces})
    found = []
    for order in orders:
        model = ngram.fit(map(train.read, files), run.config["vocab_size"], order)
        found.append(System(run.name, f"{order}-gram", _scorer(model), model))
    return found


def _scorer(model: ngram.NGram) -> Callable[[Units], Iterator[Scored]]:
    return lambda pieces: surprisal.by_ngram(model, pieces)


def pieces_of(sources: Sequence[str], vocab_size: int, max_units: int) -> Units:
    """Return the sequences of some sources, held in memory; UnitsError names what is no file of units of the
    vocabulary.
    """
    arrays = []
    for source in sources:
        found = units.read(source)
        if len(found):
            packed_units.check_range(source, int(found.min()), int(found.max()), vocab_size)
        arrays.append(found.astype(np.int16 if vocab_size <= np.iinfo(np.int16).max else np.int32))
    counts = np.array([len(found) for found in arrays], np.int64)
    return Units(np.flatnonzero(counts).tolist(), counts, max_units, arrays.__getitem__)


def by_file(system: System, pieces: Units) -> dict[int, Tally]:
    """Return the sums of each file, by its number."""
    found: dict[int, Tally] = {}
    for scored in system.score(pieces):
        file = pieces.pieces[scored.piece][0]
        found[file] = found.get(file, Tally()).plus(scored)
    return found


def figures(tallies: Sequence[Tally], hop_s: float | None) -> dict[str, Any]:
    """Return what is reported of the sums of some files; NaN where there is nothing to divide by.

    perplexity_new is that of which unit comes, given that another one comes: that of the deduplicated
    sequence. bits_per_s needs the seconds from one unit to the next.
    """
    total = Tally(*(sum(values) for values in zip(*tallies)))
    nats = total.nats / total.units if total.units else math.nan
    return {
        "files": len(tallies),
        "units": total.units,
        "nats_per_unit": nats,
        "perplexity": math.exp(nats),
        "perplexity_changes": _exp_mean(total.change_nats, total.changes),
        "perplexity_new": _exp_mean(total.new_nats, total.changes),
        "bits_per_s": nats / math.log(2) / hop_s if hop_s else math.nan,
        "repetitions": 1 - total.changes / total.followers if total.followers else math.nan,
    }


def _exp_mean(nats: float, count: int) -> float:
    return math.exp(min(nats / count, 700.0)) if count else math.nan
