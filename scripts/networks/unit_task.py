"""Training a language model on units: what the loop of training.py asks of a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Callable, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from media import packed_units, units
from media.units import UnitsError
from networks import sampler
from networks.distributed import Group
from networks.staircase import MIN_STEPS, WHOLE, Stairs, lay_out

VALIDATION_TOKENS = 32_768  # padded, a batch


class Step(NamedTuple):
    """The part of one process of an optimizer step."""

    batches: list[Stairs]
    count: int
    cells: int
    filled: int


class Units:
    """The sequences of a set of files: `read(file)` gives its units, files longer than `max_units` are cut
    into several.
    """

    def __init__(
        self, files: Sequence[int], counts: np.ndarray, max_units: int, read: Callable[[int], Any]
    ) -> None:
        self.read = read
        self.pieces = [
            (file, start)
            for file in files
            for start in range(0, int(counts[file]), max_units or int(counts[file]) or 1)
        ]
        self.lengths = np.array(
            [min(max_units or int(counts[file]), int(counts[file]) - start) for file, start in self.pieces],
            np.int64,
        )

    def __getitem__(self, index: int) -> np.ndarray:
        file, start = self.pieces[index]
        return self.read(file)[start : start + int(self.lengths[index])]


class Stream:
    """The same sequences as one stream in the order given, the start symbol before each, cut into blocks of
    one length.

    As fairseq trains language models: no padding, but context crosses from one sequence to the next.
    """

    def __init__(self, units: Units, order: np.ndarray, steps: int, start_symbol: int) -> None:
        self.units, self.order, self.steps, self.start_symbol = units, order, steps, start_symbol
        self.ends = np.cumsum(units.lengths[order] + 1)
        blocks = -(-(int(self.ends[-1]) - 1) // steps)
        self.lengths = np.full(blocks, steps, np.int64)
        self.lengths[-1] = int(self.ends[-1]) - 1 - steps * (blocks - 1)

    def __getitem__(self, block: int) -> np.ndarray:
        """Return the block behind the symbol before it."""
        start = block * self.steps
        stop = start + int(self.lengths[block]) + 1
        at = int(np.searchsorted(self.ends, start, side="right"))
        begin = int(self.ends[at - 1]) if at else 0
        parts, have = [], begin
        while have < stop:
            parts += [np.array([self.start_symbol]), self.units[int(self.order[at])]]
            have, at = int(self.ends[at]), at + 1
        return np.concatenate(parts)[start - begin : stop - begin]


class Source:
    """Reads units: out of one memory-mapped array in the folder `cache`, or file by file where that is ""."""

    def __init__(self, cache: str, vocab_size: int, write_aside: Callable[..., Any]) -> None:
        self.cache, self.vocab_size, self.write_aside = cache, vocab_size, write_aside

    def counts(self, names: list[str], told: list[int | None]) -> Sequence[int]:
        """Return how many units each source has; where nothing is cached, what is told is believed until it
        is read.

        UnitsError names sources that cannot be read, or have units outside the vocabulary.
        """
        if not self.cache and None not in told:
            return told
        known = (
            packed_units.pack(names, self.cache, self.write_aside)[1]
            if self.cache
            else packed_units.counts_of(map(units.read, names))
        )
        for name, smallest, largest in zip(names, known.smallest, known.largest):
            packed_units.check_range(name, int(smallest), int(largest), self.vocab_size)
        return known.counts

    def parts(self, files: list[dict[str, Any]], max_units: int) -> tuple[Units, Units]:
        """Return the training and the validation sequences of a run's files."""
        names = [file["units_filepath"] for file in files]
        counts = np.array([file["unit_count"] for file in files], np.int64)
        read = self._packed(names, counts) if self.cache else self._one_by_one(names, counts)
        numbers = {split: [number for number, file in enumerate(files) if file["split"] == split]
                   for split in ("train", "valid")}  # fmt: skip
        return Units(numbers["train"], counts, max_units, read), Units(
            numbers["valid"], counts, max_units, read
        )

    def _packed(self, names: list[str], counts: np.ndarray) -> Callable[[int], np.ndarray]:
        packed, known = packed_units.pack(names, self.cache, self.write_aside)
        changed = np.flatnonzero(known.counts != counts)
        if len(changed):
            self._changed(names[changed[0]], int(known.counts[changed[0]]), int(counts[changed[0]]))
        ends = np.cumsum(counts)
        return lambda file: packed[ends[file] - counts[file] : ends[file]]

    def _one_by_one(self, names: list[str], counts: np.ndarray) -> Callable[[int], np.ndarray]:
        def read(file: int) -> np.ndarray:
            found = units.read(names[file])
            if len(found) != counts[file]:
                self._changed(names[file], len(found), int(counts[file]))
            packed_units.check_range(names[file], int(found.min()), int(found.max()), self.vocab_size)
            return found

        return read

    def _changed(self, name: str, found: int, wanted: int) -> None:
        raise UnitsError(
            f"{name}: found {found} units, wanted the {wanted} that files.json or the manifest says: it was "
            "encoded again; begin a new run"
        )


class UnitTask:
    """A language model, its training and its validation sequences; training.py says what the methods are."""

    def __init__(self, model: nn.Module, train: Units, valid: Units, config: dict[str, Any], group: Group,
                 device: torch.device) -> None:  # fmt: skip
        self.model, self.train, self.valid = model, train, valid
        self.rates: dict[str, float] = {}
        self.counted, self.size = "tokens", f"{int(train.lengths.sum()):,} units to train on"
        self.config, self.group, self.device = config, group, device
        self.min_steps = MIN_STEPS if config["batching"] == "staircase" else WHOLE
        self.packed = config["batching"] == "packed"
        self.sequences = lru_cache(maxsize=2)(self._sequences)  # of an epoch; the loader may be one ahead
        self.plan = lru_cache(maxsize=2)(self._plan)

    def _sequences(self, epoch: int) -> Units | Stream:
        config = self.config
        if config["batching"] != "stream":
            return self.train
        order = np.random.default_rng([config["seed"], epoch, 1]).permutation(len(self.train.lengths))
        return Stream(self.train, order, config["max_units"], config["vocab_size"])

    def _plan(self, epoch: int) -> list[np.ndarray]:
        config = self.config
        return sampler.batches(
            self.sequences(epoch).lengths,
            config["seed"],
            epoch,
            config["batch_size"],
            config["batch_tokens"],
            config["group_by_length"],
            padded=self.min_steps == WHOLE and not self.packed,
        )

    def steps_in(self, epoch: int) -> int:
        """Return the optimizer steps of an epoch; the last one may have fewer batches."""
        return -(-len(self.plan(epoch)) // self.config["grad_accum_steps"])

    def load(self, epoch: int, step: int) -> Step:
        """Return the part of this process of a step."""
        size = self.config["grad_accum_steps"]
        whole = self.plan(epoch)[step * size : (step + 1) * size]
        sequences = self.sequences(epoch)
        lengths = sequences.lengths
        shares = [sampler.share(batch, lengths, self.group.rank, self.group.world) for batch in whole]
        batches = [self._lay_out(sequences, share) for share in shares if len(share)]
        count = sum(int(lengths[batch].sum()) for batch in whole)
        filled = sum(len(batch.targets) for batch in batches)
        return Step(batches, count, sum(_cells(batch, self.packed) for batch in batches), filled)

    def _lay_out(self, sequences: Units | Stream, share: np.ndarray) -> Stairs:
        chosen = [sequences[int(index)] for index in share]
        if isinstance(sequences, Stream):
            batch = lay_out(
                [block[1:] for block in chosen], [int(block[0]) for block in chosen], self.min_steps
            )
        else:
            batch = lay_out(chosen, self.config["vocab_size"], self.min_steps)
        return batch.pin_memory() if self.device.type == "cuda" else batch

    def loss(self, batch: Stairs) -> dict[str, Tensor]:
        """Return the sum of the targets' negative log-probabilities, in nats."""
        return {"loss": self._losses(batch).sum()}

    def _losses(self, batch: Stairs) -> Tensor:
        batch = batch.to(self.device)
        return nn.functional.cross_entropy(self._logits(batch).float(), batch.targets, reduction="none")

    def _logits(self, batch: Stairs) -> Tensor:
        return self.model(batch, packed=True) if self.packed else self.model(batch)

    def validate(self) -> dict[str, Tensor]:
        """Return [sum of losses, tokens] over this process's part of the validation set."""
        total = torch.zeros(2, dtype=torch.float64, device=self.device)
        plan = sampler.in_order(self.valid.lengths, max(VALIDATION_TOKENS, self.config["batch_tokens"]))
        for batch in plan[self.group.rank :: self.group.world]:
            losses = self._losses(self._lay_out(self.valid, batch))
            total += torch.stack(
                [losses.double().sum(), torch.tensor(float(len(losses)), device=self.device).double()]
            )
        return {"loss": total}

    def figures(self, sums: dict[str, list[float]]) -> dict[str, float]:
        """Return the perplexity."""
        total, tokens = sums["loss"]
        return {"perplexity": math.exp(min(total / tokens, 700.0))}


def _cells(batch: Stairs, packed: bool) -> int:
    return len(batch.targets if packed else batch.inputs)
