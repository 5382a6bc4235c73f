"""A training run from its folder to its end: what all trainers do around the loop of training.py."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import torch

from networks import distributed, run_state, tracking
from networks.checkpoints import CheckpointError
from networks.device import DeviceError
from networks.training import DivergedError, Trainer


class Outside(NamedTuple):
    """What a run needs from the packages above this one."""

    folder: Any  # the run's: take, result, freeze, finish, release of amela.run_folder
    stop: Any  # true once a signal came; listens while it is entered
    write_aside: Callable[..., Any]
    log: Callable[[str], None]
    leave: Callable[[bool], None]  # says that it stops, told whether steps were gained
    failure: type[Exception]  # what bad input ends a run as
    bad_input: tuple[type[Exception], ...] = ()  # what the data raise; our own kinds are known


class Ended(NamedTuple):
    """How a run ended: its result, None where it was stopped; `first` in the first of its processes."""

    result: dict[str, Any] | None
    first: bool


def run(
    outside: Outside,
    args: Any,
    prepare: Callable[[], tuple[dict[str, Any], Any]],
    build: Callable[[dict[str, Any], Any, distributed.Group, torch.device], Any],
) -> Ended:
    """Train to the end, or until a signal.

    `args` has device, deterministic, save_steps, checkpoint_epochs and wandb. `prepare` is called by the
    first process once the folder is taken, and returns the frozen config and what the others need to know of
    the data; `build(config, data, group, device)` returns the task, in each process.
    """
    try:
        group, device = distributed.join(args.device)
    except DeviceError as exc:
        raise outside.failure(str(exc)) from exc

    def begin() -> tuple[Any, dict[str, Any], Any]:
        outside.folder.take()
        config, data = prepare()
        return outside.folder.result(), config, data

    try:
        done, config, data = group.first_does(begin, outside.failure)
        if done:
            if group.rank == 0:
                said = f"finished before ({done['ended']}), validation loss {done['best_loss']:.4f}"
                outside.log(f"{outside.folder.path}: {said}")
            return Ended(done, group.rank == 0)
        with outside.stop:
            if args.deterministic:  # even to say no loads the compiler, half a second
                torch.use_deterministic_algorithms(True)
            torch.manual_seed(config["seed"])
            return _train(outside, args, build(config, data, group, device), config, group, device)
    except (CheckpointError, DivergedError, *outside.bad_input) as exc:
        raise outside.failure(str(exc)) from exc
    except RuntimeError as exc:
        if not distributed.lost_another(exc):
            raise
        raise outside.failure("another process of this run ended, and says why; this one ends too") from exc
    finally:
        outside.folder.release()
        group.leave()


def _train(outside: Outside, args: Any, task: Any, config: dict[str, Any], group: distributed.Group,
           device: torch.device) -> Ended:  # fmt: skip
    folder, first = str(outside.folder.path), group.rank == 0
    report = tracking.wandb_report(args.wandb if first else None, folder, config)
    speeds = {"save_steps": args.save_steps, "checkpoint_epochs": args.checkpoint_epochs}
    trainer = Trainer(
        task, run_state.options({**config, **speeds}), config, folder, group, device, outside.write_aside,
        lambda: bool(outside.stop), outside.log, report,
    )  # fmt: skip
    weights = sum(weight.numel() for weight in task.model.parameters())
    trainer.log(f"{folder}: {weights:,} weights, {task.size}, {device}")
    before = trainer.state.step
    ended = trainer.run()
    if ended == "stopped":
        if first:
            outside.leave(trainer.state.step > before)
        return Ended(None, first)
    result = trainer.result(ended)
    if first:
        outside.folder.finish(result)
    trainer.log(
        f"finished: {ended}; best validation loss {result['best_loss']:.4f} at step {result['best_step']}"
    )
    return Ended(result, first)
