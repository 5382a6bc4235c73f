"""A run that is killed and goes on is the run that was not: weights, optimizer, metrics, bit for bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import training_runs as runs

FLAGS = ["--num-epochs", "4", "--dropout", "0.2", "--grad-accum-steps", "2", "--warmup-steps", "5"]
FLAGS += ["--schedule", "inverse-sqrt"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with units of 80 files and their manifest."""
    folder = tmp_path_factory.mktemp("corpus")
    runs.write_corpus(folder, 80)
    return folder


@pytest.fixture(scope="module")
def unbroken(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run that nobody stopped."""
    folder = copy(corpus, tmp_path_factory.mktemp("unbroken"))
    runs.train(folder, *FLAGS)
    return runs.run_of(folder)


def copy(corpus: Path, folder: Path) -> Path:
    """Return the corpus in another folder, without runs."""
    (folder / "units").symlink_to(corpus / "units")
    shutil.copy(corpus / "corpus.json", folder)
    return folder


@pytest.mark.parametrize("name", ["kill", "usr1", "term"])
def test_stopped_at_random_steps_and_resumed(corpus: Path, unbroken: Path, tmp_path: Path, name: str) -> None:
    folder = copy(corpus, tmp_path)
    for step in sorted(random.Random(name).sample(range(1, 18), 4)):
        status = runs.stop_at(folder, step, runs.SIGNALS[name], *FLAGS)
        assert status == (-signal.SIGKILL if name == "kill" else 75)
    runs.train(folder, *FLAGS)
    runs.assert_same_run(unbroken, runs.run_of(folder))


def test_a_signal_loses_no_step(corpus: Path, tmp_path: Path) -> None:
    folder = copy(corpus, tmp_path)
    assert runs.stop_at(folder, 4, signal.SIGUSR1, *FLAGS, "--save-steps", "1000") == 75
    reached = runs.last_step(folder)
    done = runs.train(folder, *FLAGS)
    assert f"going on from step {reached} " in done.stdout


OTHER_WAYS = [
    ["--arch", "gpt2", "--hidden-size", "64"],
    ["--batching", "stream", "--max-units", "32"],
    ["--batch-tokens", "200", "--eval-steps", "4", "--schedule", "plateau"],
]


@pytest.mark.parametrize("flags", OTHER_WAYS)
def test_the_other_ways_resume_too(corpus: Path, tmp_path: Path, flags: list[str]) -> None:
    flags = [*flags, "--num-epochs", "2"]
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
        copy(corpus, tmp_path / name)
    runs.stop_at(tmp_path / "broken", 4, signal.SIGKILL, *flags)
    for name in ("whole", "broken"):
        runs.train(tmp_path / name, *flags)
    runs.assert_same_run(runs.run_of(tmp_path / "whole"), runs.run_of(tmp_path / "broken"))


def test_two_processes_are_resumed_and_near_one(corpus: Path, unbroken: Path, tmp_path: Path) -> None:
    """Gloo by torchrun: killed and resumed equals unbroken; without dropout the losses are those of one."""
    flags = ["--num-epochs", "2", "--dropout", "0"]
    for name in ("one", "two", "broken"):
        (tmp_path / name).mkdir()
        copy(corpus, tmp_path / name)
    runs.train(tmp_path / "one", *flags)
    launch(tmp_path / "two", flags)
    launch(tmp_path / "broken", flags, kill_at=5)
    launch(tmp_path / "broken", flags)
    one, two, broken = (runs.run_of(tmp_path / name) for name in ("one", "two", "broken"))
    runs.assert_same_run(two, broken)
    losses = [[line["loss"] for line in lines(run) if "loss" in line] for run in (one, two)]
    assert len(losses[0]) == len(losses[1]) > 10
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def lines(run: Path) -> list[dict]:
    """Return the lines of a run's metrics."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def launch(folder: Path, flags: list[str], kill_at: int = 0) -> None:
    """Train with two processes; with `kill_at` end them all once that step was reached."""
    command = runs.command(folder, *flags)
    start = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        *command[1:],
    ]
    process = subprocess.Popen(start, cwd=folder, env=runs.environment(), start_new_session=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    if not kill_at:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        return
    while process.poll() is None and runs.last_step(folder) < kill_at:
        time.sleep(0.005)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True
    ).stdout.split()
    for pid in [str(process.pid), *children]:
        os.kill(int(pid), signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
