"""The loop of all trainers on a model that takes no time: learning rates, kept epochs, figures, resume."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import distributed

from amela.files import write_aside
from networks import run_state
from networks.distributed import Group
from networks.training import DivergedError, Trainer

OPTIONS = {
    "seed": 1,
    "learning_rate": 0.1,
    "num_epochs": 4,
    "max_steps": 0,
    "eval_steps": 0,
    "save_steps": 2,
    "log_steps": 1,
    "early_stopping": 0,
    "schedule": "linear",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "beta1": 0.9,
    "beta2": 0.98,
    "clip": 0.0,
    "precision": "fp32",
}


class Step(NamedTuple):
    batches: list[Any]
    count: int = 4
    cells: int = 8
    filled: int = 6


class Lines:
    """Two linear layers that fit y = 3 x in three steps an epoch."""

    counted, size = "points", "12 points"

    def __init__(self, rates: dict[str, float] | None = None, broken_at: int = -1) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.ModuleDict({"backbone": torch.nn.Linear(1, 2), "head": torch.nn.Linear(2, 1)})
        self.rates, self.broken_at, self.validated = rates or {}, broken_at, 0

    def steps_in(self, _epoch: int) -> int:
        return 3

    def load(self, epoch: int, step: int) -> Step:
        return Step([torch.arange(4.0)[:, None] + step + epoch])

    def loss(self, batch: Any) -> dict[str, Any]:
        error = (self.model["head"](self.model["backbone"](batch)) - 3 * batch).square().sum()
        return {"loss": error, "twice": 2 * error}

    def validate(self) -> dict[str, Any]:
        self.validated += 1
        broken = self.validated == self.broken_at
        loss = float("nan") if broken else float(self.loss(torch.ones(1, 1))["loss"])
        return {"loss": torch.tensor([loss, 1.0]).double(), "right": torch.tensor([3.0, 4.0]).double()}

    def figures(self, sums: dict[str, list[float]]) -> dict[str, float]:
        return {"accuracy": sums["right"][0] / sums["right"][1]}


def trainer(folder: Path, task: Lines, stop: Any = lambda: False, **changed: Any) -> Trainer:
    options = run_state.options({**OPTIONS, **changed})
    return Trainer(
        task,
        options,
        {},
        str(folder),
        Group(0, 1, 0),
        torch.device("cpu"),
        write_aside,
        stop,
        lambda _: None,
        lambda _: None,
    )


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_part_of_the_model_has_its_own_learning_rate(tmp_path: Path) -> None:
    task = Lines({"backbone": 0.0})
    before = {name: weight.clone() for name, weight in task.model.state_dict().items()}
    assert trainer(tmp_path, task).run() == "4 epochs"
    moved = {name: not torch.equal(weight, before[name]) for name, weight in task.model.state_dict().items()}
    assert moved == {
        "backbone.weight": False,
        "backbone.bias": False,
        "head.weight": True,
        "head.bias": True,
    }


def test_the_warm_up_is_a_share_of_all_steps(tmp_path: Path) -> None:
    trainer(tmp_path, Lines(), warmup_ratio=0.5, schedule="constant").run()
    rates = [line["lr"] for line in metrics(tmp_path) if "lr" in line]
    assert rates == pytest.approx([0.1 * min(1, (step + 1) / 6) for step in range(12)])


def test_every_so_many_epochs_are_kept_also_of_a_run_that_was_stopped(tmp_path: Path) -> None:
    calls = iter(range(100))
    first = trainer(tmp_path, Lines(), lambda: next(calls) == 5, checkpoint_epochs=2)
    assert first.run() == "stopped"  # behind the last step of an epoch
    assert trainer(tmp_path, Lines(), checkpoint_epochs=2).run() == "4 epochs"
    kept = {path.name: torch.load(path)["state"]["step"] for path in tmp_path.glob("checkpoint_epoch_*.pth")}
    assert kept == {"checkpoint_epoch_2.pth": 6, "checkpoint_epoch_4.pth": 12}


def test_sums_and_figures_are_logged_by_name_and_the_best_are_in_the_result(tmp_path: Path) -> None:
    run = trainer(tmp_path, Lines())
    ended = run.run()
    line = metrics(tmp_path)[0]
    assert line["twice"] == pytest.approx(2 * line["loss"])
    assert line["padding"] == pytest.approx(0.25)
    assert metrics(tmp_path)[-1]["valid_accuracy"] == 0.75
    assert run.result(ended)["accuracy"] == 0.75


def test_a_validation_that_is_no_number_ends_the_run_and_keeps_what_was_saved(tmp_path: Path) -> None:
    run = trainer(tmp_path, Lines(broken_at=3))
    with pytest.raises(DivergedError, match="validation loss is nan by step 9; step 8 is kept"):
        run.run()
    assert torch.load(tmp_path / "last.pt")["state"]["step"] == 8


def test_a_run_that_was_stopped_anywhere_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = Lines()
    (tmp_path / "whole").mkdir()
    trainer(tmp_path / "whole", whole).run()
    for at in range(11):
        folder = tmp_path / str(at)
        folder.mkdir()
        calls = iter(range(100))
        assert trainer(folder, Lines(), lambda at=at, calls=calls: next(calls) == at).run() == "stopped"
        task = Lines()
        trainer(folder, task).run()
        assert (folder / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
        assert all(map(torch.equal, task.model.state_dict().values(), whole.model.state_dict().values()))


def test_the_best_is_that_of_the_highest_figure_and_of_two_equal_ones_the_lower_loss(tmp_path: Path) -> None:
    task = Lines()
    run = trainer(tmp_path, task, best_by="accuracy")
    heard = iter([(3.0, 0.5), (9.0, 0.75), (8.0, 0.75), (1.0, 0.25)])
    task.validate = lambda: {
        "loss": torch.tensor([(now := next(heard))[0], 1.0]),
        "right": torch.tensor([now[1], 1.0]),
    }
    result = run.result(run.run())
    assert (result["best_loss"], result["accuracy"], result["best_step"]) == (8.0, 0.75, 9)


def test_evaluations_by_steps_and_at_the_end_of_each_epoch(tmp_path: Path) -> None:
    trainer(tmp_path, Lines(), eval_steps=2, eval_epochs=True).run()
    assert [line["step"] for line in metrics(tmp_path) if "valid_loss" in line] == [2, 3, 4, 6, 8, 9, 10, 12]


def alone_or_idle(rank: int, folder: str, port: int) -> None:
    """One of two processes of a run, of which only the first has a share of each step."""
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    task = Lines()
    if rank:
        task.load = lambda *_: Step([], cells=0, filled=0)
    options = run_state.options(OPTIONS)
    Trainer(task, options, {}, folder, Group(rank, 2, rank), torch.device("cpu"), write_aside, lambda: False,
            lambda _: None, lambda _: None).run()  # fmt: skip
    distributed.destroy_process_group()


def test_a_process_without_a_share_of_a_batch_waits_for_the_others(tmp_path: Path) -> None:
    (tmp_path / "both").mkdir()
    (tmp_path / "one").mkdir()
    torch.multiprocessing.spawn(alone_or_idle, (str(tmp_path / "both"), free_port()), nprocs=2)
    trainer(tmp_path / "one", Lines()).run()
    found, wanted = metrics(tmp_path / "both"), metrics(tmp_path / "one")
    assert [line.get("loss") for line in found] == pytest.approx([line.get("loss") for line in wanted])


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
