"""The few places where SLURM is asked or told something. Everything works without it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

CALL_LIMIT_S = 60  # without a controller each client call hangs


class Place(NamedTuple):
    """Where in SLURM (or local_sbatch.py) this process runs; all None outside."""

    job: str | None  # the array's id, else the job's
    task: int | None  # index in the array
    tasks: int | None  # tasks of this submission, which need not be the number of shards
    first: int | None
    last: int | None
    restart: int  # how often SLURM started this task again

    @property
    def is_array(self) -> bool:
        """Tell whether this is a task of an array."""
        return self.task is not None

    @property
    def is_full_array(self) -> bool:
        """Tell whether the array is 0..N-1, which `--array=0,5,12` and `--array=3` are not."""
        return self.first == 0 and self.last is not None and self.tasks == self.last + 1


def here() -> Place:
    """Return the place of this process by the variables that sbatch sets."""
    env = os.environ
    task = _number("SLURM_ARRAY_TASK_ID")
    job = env.get("SLURM_ARRAY_JOB_ID") if task is not None else env.get("SLURM_JOB_ID")
    return Place(
        job,
        task,
        _number("SLURM_ARRAY_TASK_COUNT"),
        _number("SLURM_ARRAY_TASK_MIN"),
        _number("SLURM_ARRAY_TASK_MAX"),
        _number("SLURM_RESTART_COUNT") or 0,
    )


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else None


def in_batch_job() -> bool:
    """Tell whether this process was started by a batch file, by SLURM or by local_sbatch.py.

    An interactive `salloc` or `srun --pty` shell is not: a script run there by hand is no job to requeue.
    """
    return "AMELA_LAUNCHER" in os.environ and "SLURM_JOB_ID" in os.environ


def job_name(place: Place) -> str:
    """Return what the submission is known by: its job id under a launcher, else a name of its own."""
    return place.job if place.job and in_batch_job() else f"local-{uuid.uuid4().hex[:12]}"


def requeue(place: Place) -> str | None:
    """Requeue this very task; return None, or why it could not be.

    Always `<array id>_<task id>`: the bare job id of one task is the array's, and would restart the whole
    array.
    """
    wish = os.environ.get("AMELA_LOCAL_SBATCH")
    if wish:  # no SLURM: local_sbatch.py starts a task again that leaves this file
        Path(wish).touch()
        return None
    name = f"{place.job}_{place.task}" if place.is_array else str(place.job)
    try:
        done = subprocess.run(
            ["scontrol", "requeue", name], capture_output=True, check=False, text=True, timeout=CALL_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"scontrol requeue {name}: {exc}"
    return None if done.returncode == 0 else f"scontrol requeue {name}: {done.stderr.strip()}"


def array_expression(indices: Iterable[int]) -> str:
    """Return sorted indices as sbatch writes them: [0, 1, 2, 5] is `0-2,5`."""
    runs: list[list[int]] = []
    for index in sorted(set(indices)):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def command_line() -> list[str]:
    """Return the command that started this: the launcher where there is one, else the script; then its
    arguments.
    """
    launcher = os.environ.get("AMELA_LAUNCHER")
    return [launcher or sys.argv[0], *sys.argv[1:]]
