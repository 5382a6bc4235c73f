"""Learning is real: on units of a grammar of known entropy the model gets near it, far beyond a 5-gram."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
import training_runs as runs

from networks import unit_lm
from networks.staircase import WHOLE, lay_out

FLAGS = [
    *["--hidden-size", "96", "--embedding-dim", "32", "--num-layers", "1", "--dropout", "0"],
    *[
        "--batch-size",
        "16",
        "--learning-rate",
        "0.01",
        "--schedule",
        "cosine",
        "--num-epochs",
        "12",
        "--log-steps",
        "50",
    ],
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Return (folder, true nats a unit) of a model trained on 600 files of the grammar."""
    folder = tmp_path_factory.mktemp("grammar")
    true = runs.write_corpus(folder, 1600, mean=4.5)
    runs.train(folder, *FLAGS)
    return folder, true


def split(folder: Path) -> tuple[list[list[int]], list[list[int]]]:
    """Return the sequences trained on, and those validated on."""
    files = [json.loads(line) for line in (runs.run_of(folder) / "files.json").read_text().splitlines()]
    parts = {"train": [], "valid": []}
    for file in files:
        parts[file["split"]].append(torch.load(folder / file["units_filepath"]).tolist())
    return parts["train"], parts["valid"]


def five_gram(train: list[list[int]], valid: list[list[int]]) -> float:
    """Return nats a unit of an interpolated 5-gram (Witten-Bell), the peer that is quickly written."""
    counts: list[dict] = [defaultdict(lambda: defaultdict(int)) for _ in range(5)]
    for units in train:
        for at, unit in enumerate(units):
            for order in range(min(5, at + 1)):
                counts[order][tuple(units[at - order : at])][unit] += 1
    nats = total = 0
    for units in valid:
        for at, unit in enumerate(units):
            chance = 1 / runs.UNITS
            for order in range(min(5, at + 1)):
                seen = counts[order].get(tuple(units[at - order : at]))
                if seen:
                    chance = (seen[unit] + len(seen) * chance) / (sum(seen.values()) + len(seen))
            nats, total = nats - math.log(chance), total + 1
    return nats / total


def test_it_ends_near_the_entropy_and_beyond_a_five_gram(trained: tuple[Path, float]) -> None:
    folder, true = trained
    result = json.loads((runs.run_of(folder) / "done.json").read_text())
    peer = five_gram(*split(folder))
    found = [math.exp(nats) for nats in (true, result["best_loss"], peer)]
    print("perplexity: true {:.3f}, LSTM {:.3f}, 5-gram {:.3f}".format(*found))
    assert result["perplexity"] < 0.9 * math.exp(peer)
    assert result["best_loss"] - true < 0.35


def test_it_tells_sequences_of_the_grammar_from_shuffled_ones(trained: tuple[Path, float]) -> None:
    folder, _ = trained
    model, config = unit_lm.load(str(runs.run_of(folder) / "best.pt"))
    random = np.random.default_rng(0)
    right = total = 0
    for units in split(folder)[1]:
        if len(units) < 10:
            continue
        pair = [np.array(units), random.permutation(units)]
        batch = lay_out(pair, config["vocab_size"], WHOLE)
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(model(batch), batch.targets, reduction="none")
        scores = [float(losses[batch.sequences() == index].sum()) for index in (0, 1)]
        right, total = right + (scores[0] < scores[1]), total + 1
    assert total > 30
    assert right / total > 0.95


def test_precisions_and_ways_of_batching_learn_the_same(tmp_path: Path) -> None:
    """Without dropout, padded, packed and staircase are one objective; bf16 is near."""
    runs.write_corpus(tmp_path, 60)
    flags = ["--num-epochs", "2", "--dropout", "0"]
    found = {}
    ways = [["--batching", name] for name in ("staircase", "padded", "packed")]
    for way in [*ways, ["--precision", "bf16"]]:
        runs.train(tmp_path, *flags, *way, "--dataset", way[-1])
        (done,) = tmp_path.glob(f"checkpoints/*/{way[-1]}_s42/done.json")
        found[way[-1]] = json.loads(done.read_text())["best_loss"]
    assert found["padded"] == pytest.approx(found["staircase"], abs=1e-5)
    assert found["packed"] == pytest.approx(found["staircase"], abs=1e-5)
    assert found["bf16"] == pytest.approx(found["staircase"], abs=0.02)
