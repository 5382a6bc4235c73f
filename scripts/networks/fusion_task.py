"""Training the fusion model on a multimodal data set: what the loop of training.py asks of a task."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from media.emotions import labels_of
from networks import fusion_loss, sampler
from networks.distributed import Group
from networks.flight_dataset import ArrowFlightDataset
from networks.fusion import MultimodalModel
from networks.fusion_batch import Batch, Example, collate
from networks.fusion_masks import draw
from networks.fusion_rows import Rows, columns_of

VALIDATION_ROWS = 32  # utterances among which a text has to find its audio
VALIDATION = 2**32  # stands for the epoch where masks of the validation are drawn
COLLAPSED, LEAST_ROWS = 1e-6, 8  # embeddings that vary less, of so many utterances, are all the same


class CollapsedError(ValueError):
    """The model says the same of everything; the message says what to change."""


class Step(NamedTuple):
    """The part of one process of an optimizer step: none of a batch of which it has no row."""

    batches: list[Batch]
    count: int
    cells: int
    filled: int


class FusionTask:
    """A fusion model and the reader of its data; training.py says what the methods are.

    `reader` has `lengths(split)` and `batches(ticket)` as media.dataset_reader.DirectReader has.
    """

    counted = "utterances"
    rates: ClassVar[dict[str, float]] = {}

    def __init__(self, model: MultimodalModel, reader: Any, data: dict[str, Any], config: dict[str, Any],
                 group: Group, device: torch.device, log: Callable[[str], None]) -> None:  # fmt: skip
        self.model, self.reader, self.config = model, reader, config
        self.group, self.device, self.log = group, device, log
        self.names = data["emotion_names"]
        self.rows = Rows(data["statistics"], config)
        self.lengths = np.asarray(reader.lengths("train"))
        self.size = f"{len(self.lengths):,} utterances to train on"
        self.plan = lru_cache(maxsize=2)(self._plan)  # of an epoch; the loader may be one ahead
        self.told = False
        self.stream: Any = None
        self.coming = (-1, -1)  # epoch and step that the stream gives next

    def _plan(self, epoch: int) -> list[np.ndarray]:
        config = self.config
        return sampler.batches(
            self.lengths, config["seed"], epoch, config["batch_size"], by_length=config["group_by_length"]
        )

    def steps_in(self, epoch: int) -> int:
        """Return the optimizer steps of an epoch; the last one may have fewer batches."""
        return -(-len(self.plan(epoch)) // self.config["grad_accum_steps"])

    def load(self, epoch: int, step: int) -> Step:
        """Return the part of this process of a step, out of the stream of the epoch, opened where the run
        stands.
        """
        config, group = self.config, self.group
        size = config["grad_accum_steps"]
        whole = self.plan(epoch)[step * size : (step + 1) * size]
        if self.coming != (epoch, step):
            asked = {"seed": config["seed"], "epoch": epoch, "batch_size": config["batch_size"],
                     "by_length": config["group_by_length"], "rank": group.rank, "world": group.world,
                     "start": step * size}  # fmt: skip
            self.stream = self._open("train", asked)
        batches = []
        for batch in whole:
            share = sampler.share(batch, self.lengths, group.rank, group.world)
            examples = self.rows.of_batch(next(self.stream))
            batches += [self._collate(examples, share, epoch)] if len(share) else []
        self.coming = (epoch, step + 1)
        self._tell_cuts()
        return Step(batches, sum(map(len, whole)), sum(map(_cells, batches)), sum(map(_filled, batches)))

    def _open(self, split: str, asked: dict[str, Any]) -> Any:
        ticket = {"split": split, "columns": columns_of(self.config["modalities"]), **asked}
        return iter(ArrowFlightDataset(self.reader, ticket))

    def _collate(self, examples: list[Example], rows: np.ndarray, epoch: int) -> Batch:
        """Return examples as a batch; what is hidden of a row depends on seed, epoch and row alone."""
        config, stride = self.config, self.config["audio_stride"]
        hidden = [
            draw(
                np.random.default_rng([config["seed"], epoch, int(row)]),
                config["modalities"],
                -(-example.frames // stride),
                len(example.text),
                config["mask_rate"],
            )
            for row, example in zip(rows, examples)
        ]
        return collate(examples, hidden, stride, config["num_speakers"], config["audio"])

    def _tell_cuts(self) -> None:
        if self.rows.cut and not self.told:
            self.told = True
            self.log(f"warning: texts longer than --max-seq-length {self.config['max_seq_length']} are cut")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return sums over utterances: `loss`, and its part of each modality."""
        batch = batch.to(self.device)
        return fusion_loss.losses(self.model(batch), batch)

    def validate(self) -> dict[str, Tensor]:
        """Return the sums of this process's batches of the validation set, whole ones dealt in turn."""
        group = self.group
        every = {"seed": None, "batch_size": VALIDATION_ROWS}
        sums: dict[str, Tensor] = {}
        number = group.rank
        for batch in self._open("valid", {**every, "start": group.rank, "every": group.world}):
            _add(sums, self._scored(batch, number))
            number += group.world
        if not sums:  # more processes than batches: the same sums, of nothing
            (batch,) = self._open("valid", {**every, "stop": 1})
            sums = {name: torch.zeros_like(value) for name, value in self._scored(batch, 0).items()}
        return sums

    def _scored(self, found: Any, number: int) -> dict[str, Tensor]:
        examples = self.rows.of_batch(found)
        rows = np.arange(len(examples)) + number * VALIDATION_ROWS
        batch = self._collate(examples, rows, VALIDATION).to(self.device)
        sums = fusion_loss.sums_of(self.model(batch), batch)
        has = self.config["modalities"]
        if self.config["retrieves"]:
            of_text = batch.hiding([name for name in has if name != "text"])
            sums["retrieval"] = fusion_loss.retrieved(self.model(of_text), of_text)
        if "emotion" in self.config["reconstruct"]:
            of_rest = batch.hiding(["emotion"])
            output = self.model(of_rest)
            rest = fusion_loss.sums_of(output, of_rest)["masked_emotion"]
            sums["emotion"] = torch.cat([rest, self._emotions(output.found["emotion"], batch)])
        return sums

    def _emotions(self, given: Tensor, batch: Batch) -> Tensor:
        """Return [labels given right, labels] of the emotions of a batch."""
        mean, std = (torch.from_numpy(part).to(given.device) for part in self.rows.scales["emotion"])
        found, wanted = (
            labels_of((values.float() * std + mean)[batch.emotion_valid].tolist(), self.names)
            for values in (given, batch.target["emotion"])
        )
        right = sum(one == two for one, two in zip(found, wanted))
        return torch.tensor([right, len(wanted)], dtype=torch.float64, device=given.device)

    def figures(self, sums: dict[str, list[float]]) -> dict[str, float | None]:
        """Return the scores of a validation; CollapsedError where all utterances have one embedding."""
        found = fusion_loss.scores(sums)
        if "retrieval" in sums:
            right, rows = sums["retrieval"]
            found["retrieval"] = right / rows if rows else None
        if "emotion" in sums:
            error, total, right, rows = sums["emotion"]
            found["r2_emotion_from_rest"] = 1 - error / total if total else None
            found["emotion_accuracy"] = right / rows if rows else None
        if "accuracy" not in found and "retrieval" in found:
            found["accuracy"] = found["retrieval"]
        spread, rows = found["embedding_spread"], sums["loss"][1]
        if rows >= LEAST_ROWS and spread is not None and not spread >= COLLAPSED:
            raise CollapsedError(
                f"the model has collapsed: over {rows:.0f} utterances of the validation set the variance of "
                f"the embedding is {spread:.1e} of its mean square, wanted at least {COLLAPSED:.0e}: it says "
                "the same of all; lower --learning-rate, set --warmup-steps or --clip, in a new run"
            )
        return found


def accuracy_is(config: dict[str, Any]) -> str | None:
    """Return in words what `accuracy` is in the metrics of a run."""
    if "text" in config["reconstruct"]:
        return "share of the masked text tokens of the validation set that are given back right"
    if config["retrieves"]:
        return (
            "retrieval@1: share of validation utterances to whose audio their own text alone makes the model "
            f"expect the nearest, among the texts of {VALIDATION_ROWS}"
        )
    return None


def _add(sums: dict[str, Tensor], more: dict[str, Tensor]) -> None:
    for name, value in more.items():
        sums[name] = sums[name] + value if name in sums else value


def _cells(batch: Batch) -> int:
    return batch.steps_valid.numel() + batch.tokens_valid.numel()


def _filled(batch: Batch) -> int:
    return int(batch.steps_valid.sum()) + int(batch.tokens_valid.sum())
