"""Training a model that listens: what the loop of training.py asks of a task."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from networks import sampler
from networks.audio_gpt2 import MultimodalGPT2
from networks.audio_text import IGNORED, MultimodalDataset, Pairs, others
from networks.distributed import Group

ACCURACY = "share of tokens that are the likeliest, given those before them and the audio"
NEW = ("projector", "cross")  # weights that the LM did not have


class Step(NamedTuple):
    """The part of one process of an optimizer step."""

    batches: list[Pairs]
    count: int
    cells: int
    filled: int


class AudioTextTask:
    """A model, its training and its validation pairs."""

    def __init__(self, model: MultimodalGPT2, train: MultimodalDataset, valid: MultimodalDataset,
                 config: dict[str, Any], group: Group, device: torch.device) -> None:  # fmt: skip
        self.model, self.train, self.valid = model, train, valid
        self.config, self.group, self.device = config, group, device
        faster = config["audio_learning_rate"] / config["learning_rate"]
        self.rates = dict.fromkeys(NEW, faster)
        self.counted = "tokens"
        self.size = f"{len(train):,} recordings and {int(train.lengths.sum()):,} tokens to train on"
        self.plan = lru_cache(maxsize=2)(self._plan)  # of an epoch; the loader may be one ahead

    def _plan(self, epoch: int) -> list[np.ndarray]:
        config = self.config
        by_length = config["group_by_length"]
        return sampler.batches(
            self.train.lengths, config["seed"], epoch, config["batch_size"], by_length=by_length
        )

    def steps_in(self, epoch: int) -> int:
        """Return the optimizer steps of an epoch; the last one may have fewer batches."""
        return -(-len(self.plan(epoch)) // self.config["grad_accum_steps"])

    def load(self, epoch: int, step: int) -> Step:
        """Return the part of this process of a step."""
        size, lengths, group = self.config["grad_accum_steps"], self.train.lengths, self.group
        whole = self.plan(epoch)[step * size : (step + 1) * size]
        # several batches are dealt together: one of a single pair would leave the other processes idle
        joined = [np.concatenate(whole[at : at + group.world]) for at in range(0, len(whole), group.world)]
        shares = [sampler.share(batch, lengths, group.rank, group.world) for batch in joined]
        batches = [self._ready(self.train.batch(share)) for share in shares if len(share)]
        count = sum(int(lengths[batch].sum()) for batch in whole)
        filled = sum(int(lengths[share].sum()) for share in shares)
        return Step(batches, count, sum(batch.tokens.numel() for batch in batches), filled)

    def _ready(self, batch: Pairs) -> Pairs:
        return batch.pin_memory() if self.device.type == "cuda" else batch

    def loss(self, batch: Pairs) -> dict[str, Tensor]:
        """Return the sum of the targets' negative log-probabilities, in nats, and how many are guessed."""
        nats, right = self._scores(batch)
        return {"loss": nats, "accuracy": right}

    def _scores(self, batch: Pairs) -> tuple[Tensor, Tensor]:
        tokens, targets, frames, counts = batch.to(self.device)
        logits = self.model(tokens, frames, counts).flatten(0, 1)
        targets = targets.flatten()
        nats = nn.functional.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")
        return nats, (logits.detach().argmax(-1) == targets).sum()

    def validate(self) -> dict[str, Tensor]:
        """Return [sum of losses, tokens] over this process's part of the validation set, the tokens guessed,
        and the sum of losses where each text is given the audio of another.
        """
        config, valid = self.config, self.valid
        plan = sampler.in_order(valid.lengths, config["batch_size"] * config["max_length"])
        wrong = others(np.arange(len(valid)), config["seed"])
        sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        for indices in plan[self.group.rank :: self.group.world]:
            batch = valid.batch(indices)
            nats, right = self._scores(batch)
            told = valid.batch(wrong[indices])
            misled, _ = self._scores(batch._replace(frames=told.frames, counts=told.counts))
            tokens = torch.tensor(float(valid.lengths[indices].sum()), device=self.device)
            sums += torch.stack([value.double() for value in (nats, tokens, right, misled)])
        return {"loss": sums[:2], "right": sums[2:3], "misled": sums[3:]}

    def figures(self, sums: dict[str, list[float]]) -> dict[str, float]:
        """Return perplexity, accuracy, and what the right audio saves: nats a token that a text costs more
        with the audio of another one.
        """
        nats, tokens = sums["loss"]
        return {
            "perplexity": math.exp(min(nats / tokens, 700.0)),
            "accuracy": sums["right"][0] / tokens,
            "audio_gain": (sums["misled"][0] - nats) / tokens,
        }
