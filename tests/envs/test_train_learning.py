"""Learning is real: on a language of known entropy the model gets near it, far beyond a 5-gram."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import toy_language as toy
import training_runs as runs

SEED = 0  # benchmarks/lm_quality.py does the same over several


def evaluated(folder: Path, name: str, *flags: str) -> list[dict[str, str]]:
    """Return the rows of a table that eval_lm.py writes of the run of a folder."""
    command = [
        sys.executable,
        str(runs.SCRIPTS / "eval_lm.py"),
        str(runs.run_of(folder)),
        *flags,
        "--name",
        "x",
    ]
    subprocess.run(command, cwd=folder, env=runs.environment(), check=True)
    with open(folder / "output" / f"x_{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, toy.Language]:
    """Return a folder with a corpus of the toy language and a run on it, and the language."""
    folder = tmp_path_factory.mktemp("language")
    language = toy.write_corpus(folder, toy.FILES, SEED)
    runs.train(folder, *toy.RECIPE)
    return folder, language


def test_it_ends_near_the_entropy_and_beyond_a_five_gram(trained: tuple[Path, toy.Language]) -> None:
    folder, language = trained
    found = {row["model"]: row for row in evaluated(folder, "lm")}
    true = toy.true_nats(runs.run_of(folder), language)
    nats = {model: float(row["nats_per_unit"]) for model, row in found.items()}
    assert float(found["lstm"]["perplexity"]) < 0.9 * float(found["5-gram"]["perplexity"])
    assert float(found["5-gram"]["perplexity"]) < 0.5 * float(found["1-gram"]["perplexity"])
    assert 0 < nats["lstm"] - true < 0.1 < nats["5-gram"] - true


@pytest.mark.parametrize(
    ("kind", "column", "value", "wanted"),
    [("lexical", "by", "all", 0.85), ("syntactic", "value", "order", 0.9)],
    ids=["words and non-words", "sentences and those out of order"],
)
def test_it_tells_apart(
    trained: tuple[Path, toy.Language], kind: str, column: str, value: str, wanted: float
) -> None:
    """By eval_lm.py; agreement over distance is not learnt from so little, and not asked for."""
    folder, language = trained
    write = toy.write_word_pairs if kind == "lexical" else toy.write_sentence_pairs
    write(folder / kind, language, SEED)
    rows = evaluated(folder, "pairs_scores", "--pairs", f"{kind}/dev", "--tokens-dir", f"{kind}/units")
    for pooling in ("sum", "mean"):
        score = {row["model"]: float(row[pooling]) for row in rows if row[column] == value}
        assert score["lstm"] > wanted
        assert score["1-gram"] < 0.7  # which phones there are does not tell


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
