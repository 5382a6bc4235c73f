"""How a run trains, and where it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class Options:
    """How to train; the names are those of the flags."""

    seed: int
    learning_rate: float
    num_epochs: int
    max_steps: int  # 0: epochs decide
    eval_steps: int  # 0: at the end of each epoch
    save_steps: int
    log_steps: int
    early_stopping: int  # evaluations without improvement; 0: never
    schedule: str
    warmup_steps: int
    weight_decay: float
    beta1: float
    beta2: float
    clip: float  # 0: none
    precision: str
    warmup_ratio: float = 0.0  # of all steps, where warmup_steps is 0
    checkpoint_epochs: int = 0  # 0: none is kept
    eval_epochs: bool = False  # at the end of each epoch besides
    best_by: str = "loss"  # of the validation; another name is a figure, the highest is the best


@dataclass
class State:
    """Where a run is; with weights and optimizer, all that the next step depends on."""

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    tokens: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    best_figures: dict[str, Any] = field(default_factory=dict)  # of that validation
    evaluated_step: int = -1
    without_gain: int = 0
    plateau: float = 1.0
    metrics_bytes: int = 0
    window: dict[str, float] = field(default_factory=dict)  # sums since the last line of metrics


def options(settings: dict[str, Any]) -> Options:
    """Return the options among the settings of a run."""
    return Options(**{one.name: settings[one.name] for one in fields(Options) if one.name in settings})


def improves(state: State, options: Options, loss: float, figures: dict[str, Any]) -> bool:
    """Tell whether a validation is the best so far: by the figure asked for, else by the loss."""
    name = options.best_by
    if name == "loss":
        return loss < state.best_loss
    return (figures[name], -loss) > (state.best_figures.get(name, -math.inf), -state.best_loss)
