"""The flags that AMELA's users type, as they type them; beginning with the weights of another run."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_runs as runs


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with units of 30 files, their manifest, and a run on them."""
    folder = tmp_path_factory.mktemp("corpus")
    runs.write_corpus(folder, 30)
    runs.train(folder, "--num-epochs", "3")
    return folder


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "corpus"))


def type_in(folder: Path, words: str, ok: int = 0) -> str:
    """Run a command of an earlier tool, ours in its place."""
    command = [sys.executable, str(runs.SCRIPTS / "train_lstm.py"), *shlex.split(words)]
    done = subprocess.run(command, cwd=folder, env=runs.environment(), capture_output=True, text=True)
    assert done.returncode == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_amelas_own_command_line_runs_as_typed(corpus: Path) -> None:
    rows = "".join(f"talk{number}\n" for number in range(30))
    (corpus / "manifest.csv").write_text(f"file_id\n{rows}")
    said = type_in(
        corpus,
        "--manifest manifest.csv --tokens_dir units --embedding_dim 16 --hidden_size 24 --num_layers 2 "
        "--dropout 0.1 --batch_size 32 --learning_rate 0.001 --num_epochs 2 --early_stopping 10 "
        "--train_ratio 0.9 --seed 42 --device cpu --vocab_size 12 --load_on_the_fly",
    )
    (run,) = corpus.glob("checkpoints/*/manifest_s42")
    assert run.parent.name == "lstm_r0.001_h24_e16_l2_b32_d0.1"
    assert "perplexity" in said
    files = [json.loads(line) for line in (run / "files.json").read_text().splitlines()]
    assert [file["split"] for file in files].count("train") == 27


def test_the_later_flags_are_there_and_do_what_they_say(corpus: Path) -> None:
    type_in(
        corpus,
        "corpus.json units --vocab_size 12 --hidden_size 16 --batch_size 4 --device cpu --dataset later "
        "--use_bf16 --group_by_length --schedule inverse-sqrt --warmup_steps 4 --max_steps 6 --eval_steps 3 "
        "--save_steps 3 --early_stopping 3 --grad_accum_steps 2 --max_grad_norm 5 --log_steps 1",
    )
    (run,) = corpus.glob("checkpoints/*/later_s42")
    config = json.loads((run / "config.json").read_text())
    assert (config["precision"], config["clip"], config["grad_accum_steps"]) == ("bf16", 5, 2)
    assert (config["beta1"], config["beta2"]) == (0.9, 0.98)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "valid_loss" in line] == [3, 6]
    rates = [line["lr"] for line in lines if "lr" in line]
    assert rates == sorted(rates[:4]) + sorted(rates[4:], reverse=True)
    assert max(rates) == pytest.approx(0.001)


def test_a_new_run_begins_with_the_weights_of_another(corpus: Path) -> None:
    """At learning rate 0 it ends with them; config.json says which file they were; it goes on by itself."""
    best = runs.run_of(corpus) / "best.pt"
    flags = ["--dataset", "tuned", "--learning-rate", "0", "--resume_from_checkpoint", str(best)]
    runs.train(corpus, *flags, "--num-epochs", "1")
    (run,) = corpus.glob("checkpoints/*/tuned_s42")
    first, second = (torch.load(path, weights_only=True) for path in (best, run / "last.pt"))
    assert runs.same(first["model"], second["model"])
    assert second["state"]["epoch"] == 0
    config = json.loads((run / "config.json").read_text())
    assert len(config["resume_from_checkpoint"]) == 64
    assert "finished before" in runs.train(corpus, *flags, "--num-epochs", "1").stdout
    other = best.with_name("last.pt")
    told = runs.train(corpus, *flags[:-1], str(other), "--num-epochs", "1", ok=2).stderr
    assert "resume_from_checkpoint: " in told


def test_weights_that_do_not_fit_are_refused(corpus: Path) -> None:
    best = str(runs.run_of(corpus) / "best.pt")
    more = ["--dataset", "x", "--num-epochs", "1", "--resume-from-checkpoint"]
    for flags, said in (
        ([*more, best, "--hidden-size", "20"], "best.pt: found hidden_size 16, wanted 20"),
        ([*more, best, "--arch", "gpt2"], "found arch lstm, wanted gpt2"),
        ([*more, "none.pt"], "none.pt: No such file or directory"),
        ([*more, "corpus.json"], "corpus.json: damaged"),
    ):
        told = runs.train(corpus, *flags, ok=2).stderr
        assert said in told, told
        assert "Traceback" not in told


def test_a_gpu_that_is_not_here_is_no_reason_to_train_for_days_on_a_cpu(corpus: Path) -> None:
    told = runs.train(corpus, "--device", "cuda", ok=2, CUDA_VISIBLE_DEVICES="").stderr
    assert "--device cuda: PyTorch finds no GPU here; wanted cpu" in told
