"""The training loop of all trainers: a step is a pure function of (settings, step), so a run can go on
anywhere.

What is trained is a task, any object that has
    model              an nn.Module with the weights
    counted            what `count` counts: "tokens", "utterances"
    rates              {beginning of weights' names: factor of the learning rate}; 1 for all others
    steps_in(epoch)    optimizer steps of an epoch
    load(epoch, step)  the part of this process of a step: an object with `batches`, `count` (of all
                       processes: what the loss is divided by), `cells` and `filled` (of this process: what
                       is computed, with padding and without)
    loss(batch)        {"loss": a sum over the batch, …}: what is minimised, and other sums to be logged, the
                       same names for each batch
    validate()         {"loss": [sum of losses, count], …} of this process's part of the validation set,
                       float64 tensors, which are added up over the processes
    figures(sums)      {name: figure of the validation} of these sums, lists by then, logged as valid_NAME
Accumulation and processes do not change the objective: sums are divided by the count of the whole step.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any, Callable

import numpy as np
import torch

from networks import checkpoints, schedules
from networks.distributed import Group
from networks.metrics import Metrics
from networks.optimizer import adamw
from networks.run_state import Options, State, improves
from networks.window import Window, means

PLATEAU_FACTOR = 0.5  # of the learning rate, after half as many evaluations without gain as end the run
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class DivergedError(ValueError):
    """The loss is not a number any more; the message says where, and what is kept."""


class Trainer:
    """One process of a run. `run()` trains to the end and returns why it ended, or "stopped" when asked to
    stop.
    """

    def __init__(
        self,
        task: Any,
        options: Options,
        config: dict[str, Any],
        folder: str,
        group: Group,
        device: torch.device,
        write_aside: Callable[..., Any],
        should_stop: Callable[[], bool],
        log: Callable[[str], None],
        also: Callable[[dict[str, Any]], None],
    ) -> None:
        self.task, self.options, self.config, self.folder = task, options, config, folder
        self.group, self.device = group, device
        self.write_aside, self.should_stop = write_aside, should_stop
        self.is_first = group.rank == 0
        self.log: Callable[[str], None] = log if self.is_first else lambda _: None
        self.parameters = [weight for weight in task.model.parameters() if weight.requires_grad]
        self.total_steps = options.max_steps or options.num_epochs * task.steps_in(0)
        self.warmup_steps = options.warmup_steps or round(options.warmup_ratio * self.total_steps)
        self.optimizer, self.rates = adamw(task.model, task.rates, options)
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
        self.state, self.saved_step = State(), -1
        self._resume()
        self.metrics = Metrics(folder, self.state.metrics_bytes, also) if self.is_first else None
        self.window, self.stop = Window(self.state), False
        self.names: list[str] | None = None  # of the sums of a step

    def _resume(self) -> None:
        """Take up the last checkpoint of the folder where there is one."""
        saved = checkpoints.read_last(self.folder, self.device, self.log)
        if saved is None:
            return
        self.task.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.state = State(**saved["state"])
        self.saved_step = self.state.step
        self.log(f"going on from step {self.state.step} (epoch {self.state.epoch + 1})")

    def run(self) -> str:
        """Train until the epochs or steps are done, nothing improves, or a stop is asked for."""
        state, task = self.state, self.task
        while not (ended := self._ended()):
            for step in self._rest_of_epoch():
                self._step(step)
                if state.step % self.options.log_steps == 0:
                    self._write_line()
                if self._is_evaluated():
                    self._evaluate()
                    self.save()
                elif state.step % self.options.save_steps == 0:
                    self.save()
                if self.stop or self._ended():
                    break
            self._keep_epoch()
            if self.stop and not self._ended():
                if self.saved_step != state.step:
                    self.save()
                return "stopped"
            if state.step_in_epoch >= task.steps_in(state.epoch) and not self._ended():
                state.epoch, state.step_in_epoch = state.epoch + 1, 0
        if state.evaluated_step != state.step:  # --max-steps between two evaluations
            self._evaluate()
            self.save()
        self._keep_epoch()
        return ended

    def _keep_epoch(self) -> None:
        """Keep the checkpoint of every so many whole epochs."""
        state, every = self.state, self.options.checkpoint_epochs
        whole = state.step_in_epoch >= self.task.steps_in(state.epoch)
        if every and whole and (state.epoch + 1) % every == 0:
            if self.saved_step != state.step:
                self.save()
            if self.is_first:
                checkpoints.keep(self.folder, state.epoch + 1)

    def result(self, ended: str) -> dict[str, Any]:
        """Return what is to be said of a run that ended."""
        state = self.state
        return {
            "ended": ended,
            "best_loss": state.best_loss,
            "best_step": state.best_step,
            **state.best_figures,
            "step": state.step,
            "epoch": state.epoch + 1,
            "tokens": state.tokens,
        }

    def _ended(self) -> str:
        state, options = self.state, self.options
        if options.early_stopping and state.without_gain >= options.early_stopping:
            return f"no gain in {options.early_stopping} evaluations"
        if options.max_steps and state.step >= options.max_steps:
            return f"{state.step} steps"
        last_done = (
            state.step_in_epoch >= self.task.steps_in(state.epoch) and state.epoch + 1 >= options.num_epochs
        )
        return f"{options.num_epochs} epochs" if last_done and not options.max_steps else ""

    def _is_evaluated(self) -> bool:
        state, options = self.state, self.options
        at_end = state.step_in_epoch == self.task.steps_in(state.epoch)
        due = options.eval_steps and state.step % options.eval_steps == 0
        return bool(due or (at_end and (options.eval_epochs or not options.eval_steps)))

    def _rest_of_epoch(self) -> Iterator[Any]:
        """Yield the steps of the epoch that are left; the next one is loaded while this one is computed."""
        state = self.state
        epoch, numbers = state.epoch, range(state.step_in_epoch, self.task.steps_in(state.epoch))
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.task.load, epoch, numbers[0]) if numbers else None
            for number in numbers:
                with self.window.waiting():
                    step = coming.result()
                if number + 1 in numbers:
                    coming = pool.submit(self.task.load, epoch, number + 1)
                yield step

    def _step(self, step: Any) -> None:
        options, state, model = self.options, self.state, self.task.model
        # drawn anew each step: dropout needs no stored state to be the same after a resume
        torch.manual_seed(
            int(np.random.SeedSequence([options.seed, state.step, self.group.rank]).generate_state(1)[0])
        )
        rate = options.learning_rate * state.plateau
        rate *= schedules.factor(options.schedule, state.step, self.warmup_steps, self.total_steps)
        for part, factor in zip(self.optimizer.param_groups, self.rates):
            part["lr"] = rate * factor
        model.train()
        sums: dict[str, torch.Tensor] = {}
        for batch in step.batches:
            with self.autocast():
                losses = self.task.loss(batch)
            self.scaler.scale(losses["loss"] / step.count).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.detach().float()
        if self.names is None:  # a process may have no share of a batch
            self.names = self.group.union(list(sums))
        sums = {name: sums.get(name, torch.zeros((), device=self.device)) for name in self.names}
        for name in ("cells", "filled"):
            sums[name] = torch.tensor(float(getattr(step, name)), device=self.device)
        self.stop = self.group.add_up(self.parameters, sums, self.should_stop())
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, options.clip or math.inf)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        sums.update(grad_norm=norm, tokens=torch.tensor(float(step.count)), steps=torch.tensor(1.0))
        self.window.add(sums)
        state.step, state.step_in_epoch = state.step + 1, state.step_in_epoch + 1
        state.tokens += step.count

    def autocast(self) -> Any:
        """Return the context of the precision asked for."""
        dtype = PRECISIONS[self.options.precision]
        return torch.autocast(self.device.type, dtype) if dtype else nullcontext()

    def _window(self) -> dict[str, float]:
        """Return the sums since the last line; DivergedError where they are no numbers."""
        sums = self.window.sums()
        skipped = "grad_norm" if self.options.precision == "fp16" else ""  # the scaler leaves such steps out
        bad = [name for name, value in sums.items() if not math.isfinite(value) and name != skipped]
        if bad:
            self._diverged(bad[0], sums[bad[0]])
        return sums

    def _diverged(self, name: str, value: float) -> None:
        kept = (
            f"step {self.saved_step} is kept in {checkpoints.LAST}, the best in {checkpoints.BEST}"
            if self.saved_step >= 0
            else "nothing was saved yet"
        )
        raise DivergedError(
            f"{self.folder}: {name} is {value} by step {self.state.step}; {kept}; "
            f"lower --learning-rate, or set --warmup-steps or --clip, in a new run"
        )

    def _write_line(self) -> None:
        sums, state = self._window(), self.state
        self.window.clear()
        if self.metrics is None or not sums:
            return
        rate = max(part["lr"] for part in self.optimizer.param_groups)
        line = means(sums, rate)
        self.metrics.write(step=state.step, epoch=state.epoch + 1, tokens=state.tokens, **line)
        peak = torch.cuda.max_memory_allocated(self.device) >> 20 if self.device.type == "cuda" else None
        speed = self.window.speed(state.tokens)
        self.metrics.write_speed(step=state.step, **speed, gpu_mb=peak)
        said = f"loss {line['loss']:.4f}, {speed['tokens_per_s']:,.0f} {self.task.counted}/s"
        self.log(f"step {state.step}, epoch {state.epoch + 1}: {said}")

    def _evaluate(self) -> None:
        """Validate; keep the best weights; count evaluations without gain."""
        state, options = self.state, self.options
        self.task.model.eval()
        with torch.no_grad(), self.autocast():
            sums = {name: self.group.sum(sum_).tolist() for name, sum_ in self.task.validate().items()}
        total, count = sums["loss"]
        loss, state.evaluated_step = total / count, state.step
        if not math.isfinite(loss):
            self._diverged("validation loss", loss)
        figures = self.task.figures(sums)
        improved = improves(state, options, loss, figures)
        state.without_gain = 0 if improved else state.without_gain + 1
        if improved:
            state.best_loss, state.best_step, state.best_figures = loss, state.step, figures
            if self.is_first:
                content = {"config": self.config, "model": self.task.model.state_dict(), "step": state.step}
                path = os.path.join(self.folder, checkpoints.BEST)
                checkpoints.write(path, {**content, "valid_loss": loss}, self.write_aside)
        elif options.schedule == "plateau" and state.without_gain % max(1, options.early_stopping // 2) == 0:
            state.plateau *= PLATEAU_FACTOR
        if self.metrics:
            self.metrics.write(
                step=state.step, epoch=state.epoch + 1, tokens=state.tokens, valid_loss=loss,
                **{f"valid_{name}": value for name, value in figures.items()}, best_loss=state.best_loss,
            )  # fmt: skip
        gain = "best so far" if improved else f"best {state.best_loss:.4f} at step {state.best_step}"
        more = "".join(f", {name} {value:.4g}" for name, value in figures.items() if value is not None)
        self.log(f"epoch {state.epoch + 1}: validation loss {loss:.4f}{more} ({gain})")
        self.window.restart(state.tokens)

    def save(self) -> None:
        """Write last.pt; the checkpoint before it stays as previous.pt."""
        state = self.state
        state.window = self._window()
        if self.metrics:
            state.metrics_bytes = self.metrics.size()
            content = {
                "config": self.config,
                "model": self.task.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "state": asdict(state),
            }
            last, previous = (
                os.path.join(self.folder, name) for name in (checkpoints.LAST, checkpoints.PREVIOUS)
            )
            checkpoints.write(last, content, self.write_aside, previous)
        self.saved_step = state.step
        self.group.barrier()
