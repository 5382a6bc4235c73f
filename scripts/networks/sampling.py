"""Drawing units from a language model, each sample by a random stream of its own.

A batch always has the same number of rows, and a sample always stands in the same row: then its
floating-point numbers are the same whatever else is drawn beside it, and so are its units.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

ROWS = 32  # of a batch; on a CPU three times the time of one row, as that waits for the weights


class Sample(NamedTuple):
    """What is to be drawn. `name` and `seed` alone decide the random stream."""

    name: str
    number: int  # from 1, among those of its setting
    temperature: float  # 0: the likeliest unit each time
    top_k: int | None
    top_p: float | None
    max_length: int  # units in all, the prompt too
    seed: int
    prompt: list[int] | None

    def draws(self) -> np.ndarray:
        """Return a number from 0 to 1 for each unit, (max_length,) float64; longer samples begin alike."""
        mark = hashlib.sha256(f"{self.seed} {self.name}".encode()).digest()
        return np.random.default_rng(np.frombuffer(mark, np.uint32)).random(self.max_length)

    def begins_at(self) -> int:
        """Return the units that are given."""
        return len(self.prompt or [])

    def row(self) -> int:
        """Return the row of a batch that it stands in: neighbours stand beside each other."""
        setting = self.name.rpartition("_")[0]
        return (hashlib.sha256(setting.encode()).digest()[0] + self.number) % ROWS


class Drawn(NamedTuple):
    """A sample: its units (units,), int16 where that holds them, and the mean log-probability (nats) of those
    drawn.
    """

    units: np.ndarray
    mean_log_probability: float


def draw(model: Any, samples: list[Sample], device: torch.device) -> list[Drawn]:
    """Return the samples, in order; the model is an LstmLM or a GptLM in evaluation mode."""
    found: dict[int, Drawn] = {}
    waiting = list(enumerate(samples))
    with _without_onednn():
        while waiting:
            batch: dict[int, tuple[int, Sample]] = {}
            for entry in waiting:
                batch.setdefault(entry[1].row(), entry)
            drawn = _draw_batch(model, {row: sample for row, (_, sample) in batch.items()}, device)
            found.update((number, drawn[row]) for row, (number, _) in batch.items())
            waiting = [entry for entry in waiting if entry[0] not in found]
    return [found[number] for number in range(len(samples))]


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Its LSTM lays all weights out anew in each call, which for single units takes most of the time."""
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


@torch.inference_mode()
def _draw_batch(model: Any, samples: dict[int, Sample], device: torch.device) -> dict[int, Drawn]:
    """Return the samples by row."""
    steps = max(sample.max_length for sample in samples.values())
    given = torch.full((ROWS, steps), -1)
    draws = torch.zeros((ROWS, steps), dtype=torch.float64)
    for row, sample in samples.items():
        given[row, : sample.begins_at()] = torch.tensor(sample.prompt or [], dtype=torch.long)
        draws[row, : sample.max_length] = torch.from_numpy(sample.draws())
    given, draws = given.to(device), draws.to(device)
    choose = _Chooser(samples, model.start_symbol, device)
    units = torch.full((ROWS,), model.start_symbol, device=device)
    state, kept, told = None, [], []
    for step in range(steps):
        logits, state = model.step(units, state)
        logits = logits.double()
        units = torch.where(given[:, step] < 0, choose(logits, draws[:, step]), given[:, step])
        kept.append(units)
        told.append(logits.log_softmax(1).gather(1, units[:, None])[:, 0])
    dtype = torch.int16 if model.start_symbol <= 1 << 15 else torch.int32
    units, told = torch.stack(kept, 1).to(dtype).cpu().numpy(), torch.stack(told, 1).cpu().numpy()
    return {
        row: Drawn(
            units[row, : sample.max_length],
            float(told[row, sample.begins_at() : sample.max_length].mean()),
        )
        for row, sample in samples.items()
    }


class _Chooser:
    """Draws the next unit of each row: temperature, then the k likeliest, then the likeliest whose
    probabilities reach p (Holtzman et al. 2020); the start symbol, last of the vocabulary, never.
    """

    def __init__(self, samples: dict[int, Sample], vocabulary: int, device: torch.device) -> None:
        self.vocabulary = vocabulary
        temperature, top_k, top_p = [1.0] * ROWS, [vocabulary] * ROWS, [1.0] * ROWS
        for row, sample in samples.items():
            temperature[row] = sample.temperature or 1.0
            top_k[row] = sample.top_k or vocabulary if sample.temperature else 1
            top_p[row] = 1.0 if sample.top_p is None else sample.top_p
        self.temperature, self.top_p = (
            torch.tensor(values, dtype=torch.float64, device=device)[:, None]
            for values in (temperature, top_p)
        )
        self.top_k = torch.tensor(top_k, device=device)[:, None]
        self.ranks = torch.arange(vocabulary, device=device)

    def __call__(self, logits: Tensor, draws: Tensor) -> Tensor:
        """Return the units (rows,) for logits (rows, vocabulary + 1) and numbers from 0 to 1 (rows,)."""
        scaled = logits[:, : self.vocabulary] / self.temperature
        ordered, units = scaled.sort(dim=1, descending=True, stable=True)
        shares = ordered.masked_fill(self.ranks >= self.top_k, -torch.inf).softmax(1)
        before = shares.cumsum(1) - shares
        shares = shares.masked_fill(before >= self.top_p, 0.0)  # the likeliest always stays
        sums = shares.cumsum(1)
        places = torch.searchsorted(sums, (draws[:, None] * sums[:, -1:]), right=True)
        last = (shares > 0).sum(1, keepdim=True) - 1
        return units.gather(1, places.minimum(last))[:, 0]
