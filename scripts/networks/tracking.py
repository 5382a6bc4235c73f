"""Weights & Biases beside our own files: one run there for each run folder, however often it is taken up
again.
"""

from __future__ import annotations

import os
from typing import Any, Callable

ID_FILE = "wandb_id"


def ignore(values: dict[str, Any]) -> None:
    """Send nothing."""
    del values


def wandb_report(
    project: str | None, folder: str, config: dict[str, Any]
) -> Callable[[dict[str, Any]], None]:
    """Return a function that sends a line of metrics to the project, by its step; one that does nothing
    without project.

    WANDB_MODE=offline writes below the run's folder, to be sent later by `wandb sync`.
    """
    if not project:
        return ignore
    import wandb

    path = os.path.join(folder, ID_FILE)
    known = None
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            known = file.read().strip()
    name = os.path.relpath(folder).replace(os.sep, " ")
    run = wandb.init(project=project, id=known, resume="allow", dir=folder, config=config, name=name)
    if known is None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(run.id)
    return lambda values: run.log(values, step=values["step"])
