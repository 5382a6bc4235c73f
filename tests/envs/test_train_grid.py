"""Grids: points, arrays under the launcher, what is missing and the line for it; a requeue by SLURM."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import training_runs as runs

from amela import grid
from amela.errors import CallError
from amela.slurm import Place

FLAGS = [*runs.SMALL, "--num-epochs", "2"]
GRID = {"hidden_size": [8, 16], "num-layers": [1, 2]}


@pytest.fixture
def here(checkout: Path) -> Path:
    """Return a checkout with a corpus of units, a grid of four points, and the environment `train`."""
    runs.write_corpus(checkout, 30)
    (checkout / "grid.json").write_text(json.dumps(GRID))
    link = checkout / "envs/.built/train"
    if not link.exists():
        link.symlink_to(sys.prefix)
    return checkout


def script(here: Path, *words: str, ok: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=here, env=runs.environment(), capture_output=True, text=True
    )
    logs = "".join(path.read_text()[-800:] for path in (here / "logs").glob("*.err"))
    assert done.returncode == ok, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}\n{logs}"
    return done.stdout


def array(here: Path, indices: str, *flags: str) -> None:
    command = ["scripts/local_sbatch.py", f"--array={indices}", "--gres=none", "--cpus-per-task=1"]
    script(here, *command, "slurm/train.slurm", "corpus.json", "units", "--grid", "grid.json", *FLAGS, *flags)


def test_an_array_trains_its_points_and_collect_says_what_is_missing(here: Path) -> None:
    array(here, "0,2")
    said = script(here, "scripts/grid.py", "collect", "corpus", ok=4)
    assert (
        "points 1,3 are missing: sbatch --array=1,3 slurm/train.slurm corpus.json units --grid grid.json"
        in said
    )
    array(here, "0-3")
    said = script(here, "scripts/grid.py", "collect", "corpus")
    logs = "".join(path.read_text() for path in (here / "logs").glob("train_*.out"))
    assert logs.count("finished before") == 2
    with open(here / "output/corpus_grid.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    losses = [json.loads((here / row["run"] / "done.json").read_text())["best_loss"] for row in rows]
    assert losses == sorted(losses)
    assert (here / "output/corpus_grid.png").stat().st_size > 10_000
    names = {path.parent.name for path in here.glob("checkpoints/lstm_*/corpus_s42")}
    assert names == {f"lstm_r0.001_h{h}_e12_l{layers}_b8_d0.1" for h in (8, 16) for layers in (1, 2)}


def test_grids_of_a_name_that_begins_alike_are_others(tmp_path: Path) -> None:
    grid.freeze(str(tmp_path), "corpus_more", [{"dropout": 0.1}], ["a"])
    assert not grid.grid_files(tmp_path, "corpus")
    wanted = grid.freeze(str(tmp_path), "corpus", [{"dropout": 0.1}], ["b"])
    assert grid.grid_files(tmp_path, "corpus") == [wanted]


def test_the_default_grid_is_16_points_and_each_task_has_one() -> None:
    points = grid.read_points("default")
    assert len(points) == 16
    assert points[0] == {"embedding_dim": 128, "hidden_size": 256, "num_layers": 2, "dropout": 0.1}
    place = Place("1", 3, 16, 0, 15, 0)
    assert grid.mine(16, place) == [3]
    assert grid.mine(16, place._replace(tasks=5, last=4)) == [3, 8, 13]  # fewer tasks than points
    assert grid.mine(16, place._replace(tasks=2, first=3, last=9)) == [3]  # a part of the array again
    assert grid.mine(16, Place("1", 0, 1, 0, 0, 0)) == [0]
    assert grid.mine(3, Place(None, None, None, None, None, 0)) == [0, 1, 2]
    with pytest.raises(CallError, match="wanted 0 to 2"):
        grid.mine(3, place)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"dropout": [0.1, 0.2, 0.1]}', "points 0 and 2 are the same"),
        ('{"dropout": 0.1}', "wanted a list of values"),
        ("dropout: 0.1", "no JSON"),
        ('{"dropuot": [0.1]}', "no setting is called 'dropuot'"),
        ('{"hidden_size": [16, 16.5]}', "--hidden-size: invalid positive value: '16.5'"),
        ('{"dropout": [2]}', "--dropout: 2 is not between 0 and 1"),
        ('{"batching": ["stairs"]}', "invalid choice: 'stairs'"),
        ('{"group_by_length": ["no"]}', "'no' is neither true nor false"),
        ('{"hidden_size": [16, "16"]}', "points 0 and 1 have one run folder"),
    ],
)
def test_bad_grids_are_said(here: Path, text: str, said: str) -> None:
    (here / "grid.json").write_text(text)
    words = ["scripts/train_lstm.py", "corpus.json", "units", "--grid", "grid.json", *FLAGS]
    done = subprocess.run(
        [sys.executable, *words], cwd=here, env=runs.environment(), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert said in done.stderr


def test_a_real_slurm_requeues_and_two_nodes_train_one_run(cluster, here: Path) -> None:
    """USR1: a checkpoint and the queue again; the metrics are those of a run that nobody asked to stop."""
    (here / "grid.json").write_text('{"hidden_size": [16]}')
    flags = [*runs.SMALL, "--num-epochs", "60", "--early-stopping", "0"]
    words = ["slurm/train.slurm", "corpus.json", "units", "--grid", "grid.json", *flags]
    job = cluster.sbatch("--array=0-0", "--gres=none", "--cpus-per-task=1", "--mem=1G", *words, cwd=here)
    cluster.wait(lambda: runs.last_step(here) >= 20, 60, "20 steps")
    cluster.run("scancel", "--batch", "--signal=USR1", f"{job}_0")
    assert set(cluster.wait_for(job, seconds=300).values()) == {"COMPLETED"}
    text = (here / f"logs/train_{job}_0.out").read_text()
    assert "stopped by SIGUSR1: requeued" in text
    assert "going on from step" in text
    options = ["--array=0-0", "--gres=none", "--cpus-per-task=1", "--mem=1G"]
    job = cluster.sbatch(*options, *words, "--dataset", "unbroken", cwd=here)
    assert set(cluster.wait_for(job, seconds=300).values()) == {"COMPLETED"}
    (first,), (second,) = (here.glob(f"checkpoints/lstm*/{name}_s42") for name in ("corpus", "unbroken"))
    runs.assert_same_run(first, second)
    nodes = [*options, "--nodes=2", "--ntasks=2"]
    job = cluster.sbatch(*nodes, *words, "--dataset", "two", cwd=here)
    cluster.wait(lambda: runs.last_step(here, "two") >= 20, 60, "20 steps on two nodes")
    cluster.run("scancel", "--signal=USR1", f"{job}_0")  # to the two processes, as --signal before the limit
    said = here / f"logs/train_{job}_0.err"
    assert set(cluster.wait_for(job, seconds=300).values()) == {"COMPLETED"}, said.read_text()
    text = (here / f"logs/train_{job}_0.out").read_text()
    assert "stopped by SIGUSR1: requeued" in text
    assert "going on from step" in text
    job = cluster.sbatch(*nodes, *words, "--dataset", "both", cwd=here)
    assert set(cluster.wait_for(job, seconds=300).values()) == {"COMPLETED"}
    (broken,), (whole,) = (here.glob(f"checkpoints/lstm*/{name}_s42") for name in ("two", "both"))
    runs.assert_same_run(broken, whole)
    assert os.path.getsize(whole / "metrics.jsonl") > 1000
