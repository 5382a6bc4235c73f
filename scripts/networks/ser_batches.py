"""Batches of utterances for train_ser.py: what stands in which step, read by threads ahead of the loop."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Callable, NamedTuple

import numpy as np
import torch
from torch import Tensor

from media.audio import load_mono
from media.ser_data import SerDataError, Utterance
from networks import sampler
from networks.ser_backbones import RATE_HZ, Inputs

Words = list[list[int]]  # tokens of each word


class Batch(NamedTuple):
    """Utterances of a step; `per_text` and `per_word` are what sums over utterances with words, and over
    marked words, are to be multiplied by, so that divided by the count of the step they are means.
    """

    inputs: Inputs
    frames: list[int]  # of each utterance
    emotions: Tensor  # (utterances,)
    words: list[Words]
    prosody: list[Tensor | None]  # (words,) float, None where nobody marked them
    mean_frames: float  # of the step's utterances that have words
    per_text: float
    per_word: float


class Step(NamedTuple):
    """The part of one process of an optimizer step."""

    batches: list[Batch]
    count: int
    cells: int
    filled: int


class Utterances:
    """The utterances of a split with their tokens, batched for a backbone."""

    def __init__(
        self, utterances: list[Utterance], encode: Callable[[str], list[int]], backbone: Any
    ) -> None:
        self.utterances, self.backbone = utterances, backbone
        of_word = lru_cache(maxsize=None)(encode)
        self.words = [[of_word(word) for word in one.words] for one in utterances]
        self.samples = np.array([round(one.duration_s * RATE_HZ) for one in utterances], np.int64)
        short = np.flatnonzero(self.samples < backbone.shortest)
        if len(short):
            one = utterances[short[0]]
            least_s = backbone.shortest / RATE_HZ
            raise SerDataError(
                f"{one.key}: {one.duration_s:.3f} s of sound, wanted at least {least_s:.3f} s; leave it out"
            )
        self.frames = np.array([backbone.frames_of(int(count)) for count in self.samples], np.int64)
        self.has_text = np.array([any(words) for words in self.words], bool)
        self.marked = np.array([len(one.words) if one.prosody else 0 for one in utterances], np.int64)

    def wave(self, index: int) -> np.ndarray:
        """Return the samples (n,) of an utterance at 16 kHz, as many as its duration says."""
        wave = load_mono(sample_rate_hz=RATE_HZ, **self.utterances[index].window)
        count = int(self.samples[index])
        return wave[:count] if len(wave) >= count else np.pad(wave, (0, count - len(wave)))

    def batch(self, indices: np.ndarray, waves: list[np.ndarray], whole: np.ndarray) -> Batch:
        """Return some utterances of a step that has `whole`."""
        chosen = [self.utterances[int(index)] for index in indices]
        marks = [None if not one.prosody else torch.tensor(one.prosody).float() for one in chosen]
        texts = max(1, int(self.has_text[whole].sum()))
        mean_frames = max(1, int(self.frames[whole][self.has_text[whole]].sum())) / texts
        return Batch(
            self.backbone.prepare(waves),
            [int(self.frames[index]) for index in indices],
            torch.tensor([one.emotion for one in chosen]),
            [self.words[int(index)] for index in indices],
            marks,
            mean_frames,
            len(whole) / texts,
            len(whole) / max(1, int(self.marked[whole].sum())),
        )


class Loader:
    """Steps of an epoch, a pure function of (seed, epoch, step); `threads` read up to `ahead` steps before.

    Epochs are batched by length, so that little is padded.
    """

    def __init__(
        self, data: Utterances, config: dict[str, Any], group: Any, threads: int, ahead: int
    ) -> None:
        self.data, self.config, self.group, self.ahead = data, config, group, ahead
        self.pool = ThreadPoolExecutor(max(1, threads))
        self.coming: OrderedDict[tuple[int, int], list[list[Future]]] = OrderedDict()
        self.plan = lru_cache(maxsize=2)(self._plan)

    def _plan(self, epoch: int) -> list[np.ndarray]:
        config = self.config
        return sampler.batches(
            self.data.samples,
            config["seed"],
            epoch,
            config["batch_size"],
            by_length=config["group_by_length"],
        )

    def steps_in(self, epoch: int) -> int:
        """Return the steps of an epoch."""
        return -(-len(self.plan(epoch)) // self.config["grad_accum_steps"])

    def load(self, epoch: int, step: int) -> Step:
        """Return the part of this process of a step."""
        for later in range(step, min(step + 1 + self.ahead, self.steps_in(epoch))):
            if (epoch, later) not in self.coming:
                self.coming[epoch, later] = [
                    [self.pool.submit(self.data.wave, int(index)) for index in share]
                    for share in self._shares(epoch, later)
                ]
        futures = self.coming.pop((epoch, step))
        for key in [key for key in self.coming if key < (epoch, step)]:  # of a step that was left out
            del self.coming[key]
        whole = np.concatenate(self._batches(epoch, step))
        batches, cells, filled = [], 0, 0
        for share, waves in zip(self._shares(epoch, step), futures):
            if len(share):
                batch = self.data.batch(share, [wave.result() for wave in waves], whole)
                batches.append(batch)
                cells += self.data.backbone.computed(batch.frames)
                filled += sum(batch.frames)
        return Step(batches, len(whole), cells, filled)

    def _batches(self, epoch: int, step: int) -> list[np.ndarray]:
        size = self.config["grad_accum_steps"]
        return self.plan(epoch)[step * size : (step + 1) * size]

    def _shares(self, epoch: int, step: int) -> list[np.ndarray]:
        samples, group = self.data.samples, self.group
        return [
            sampler.share(batch, samples, group.rank, group.world) for batch in self._batches(epoch, step)
        ]

    def in_order(self) -> list[np.ndarray]:
        """Return the batches of this process of an evaluation, the longest utterances first."""
        order = np.argsort(-self.data.samples, kind="stable")
        size = self.config["batch_size"]
        batches = [order[at : at + size] for at in range(0, len(order), size)]
        return batches[self.group.rank :: self.group.world]
