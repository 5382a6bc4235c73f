"""A submission that runs here and not on a cluster: tasks, variables, logs and share of the machine."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amela.batch_file import parse_array, read_directives
from amela.cli import cpus
from amela.errors import CallError


@dataclass
class Task:
    """One task of the array, or the only one of a job without an array (index None)."""

    index: int | None
    job_id: int
    out: Path
    err: Path
    restarts: int = 0
    seconds: float = 0.0
    status: int | None = None  # None: not started or not yet ended
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    gpus: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "-" if self.index is None else str(self.index)

    @property
    def state(self) -> str:
        if self.status is None:
            return "not started"
        return {0: "completed", 75: "stopped"}.get(self.status, "failed")


class Job:
    """A submission: its batch file (copied: edits do not reach tasks that still wait) and its tasks."""

    def __init__(
        self,
        batch_file: Path,
        arguments: list[str],
        options: dict[str, str],
        spool: Path,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self.env = env
        self.options = {**read_directives(batch_file), **options}
        self.spool = spool
        self.script = spool / "slurm_script"
        shutil.copyfile(batch_file, self.script)
        self.arguments = arguments
        self.name = self.options.get("job-name", batch_file.name)
        # Milliseconds never repeat, and no SLURM job has so high an id: deals cannot mix.
        self.id = time.time_ns() // 1_000_000
        array = parse_array(self.options["array"]) if self.options.get("array") else None
        self.indices: list[int | None] = list(array.indices) if array else [None]
        self.tasks = [self._task(place, index) for place, index in enumerate(self.indices)]
        self._share(array.at_once if array else None)

    def _share(self, array_limit: int | None) -> None:
        """Divide the machine: how many tasks at once, and what each of them gets."""
        wanted = int(self.options.get("cpus-per-task") or 1)
        self.gpus_a_task = _gpus_asked(self.options)
        self.free_gpus = _gpus_here() if self.gpus_a_task else []
        jobs = int(self.options.get("jobs") or max(1, cpus() // wanted))
        slots = [len(self.tasks), jobs]
        if self.free_gpus:
            self.gpus_a_task = min(self.gpus_a_task, len(self.free_gpus))
            slots.append(len(self.free_gpus) // self.gpus_a_task)
        if array_limit:
            slots.append(array_limit)
        self.at_once = min(slots)
        self.cpus_a_task = max(1, min(wanted, cpus() // self.at_once))

    def _task(self, place: int, index: int | None) -> Task:
        # As in SLURM the last task of an array carries the array's own id.
        job_id = self.id if place == len(self.indices) - 1 else self.id + place + 1
        default = "slurm-%j.out" if index is None else "slurm-%A_%a.out"
        out = self.options.get("output", default)
        err = self.options.get("error", out)
        return Task(index, job_id, self._log(out, job_id, index), self._log(err, job_id, index))

    def _log(self, pattern: str, job_id: int, index: int | None) -> Path:
        values = {
            "x": self.name,
            "A": self.id,
            "a": 4294967294 if index is None else index,
            "j": job_id,
            "N": socket.gethostname().split(".")[0],
            "u": os.environ.get("USER", ""),
            "%": "%",
        }
        path = Path(re.sub(r"%([xAajNu%])", lambda found: str(values[found[1]]), pattern))
        if not path.parent.is_dir():
            raise CallError(
                f"no folder {path.parent}/ for the logs in {Path.cwd()} (SLURM would let the job fail "
                f"without a word); type: mkdir {path.parent}, or cd to the repository first"
            )
        return path

    def environment(self, task: Task) -> dict[str, str]:
        """Return the variables of one task: the caller's and those that sbatch sets."""
        kept = {
            k: v for k, v in self.env.items() if not k.startswith(("SLURM_", "SBATCH_", "AMELA_LAUNCHER"))
        }
        host = socket.gethostname().split(".")[0]
        slurm: dict[str, Any] = {
            "SLURM_JOB_ID": task.job_id, "SLURM_JOB_NAME": self.name, "SLURM_SUBMIT_DIR": Path.cwd(),
            "SLURM_SUBMIT_HOST": host, "SLURMD_NODENAME": host, "SLURM_JOB_NODELIST": host,
            "SLURM_CPUS_PER_TASK": self.cpus_a_task, "SLURM_CPUS_ON_NODE": self.cpus_a_task,
            "AMELA_LOCAL_SBATCH": self.requeue_path(task),
        }  # fmt: skip
        if task.index is not None:
            indices = [index or 0 for index in self.indices]
            slurm.update({"SLURM_ARRAY_JOB_ID": self.id, "SLURM_ARRAY_TASK_ID": task.index,
                          "SLURM_ARRAY_TASK_COUNT": len(indices), "SLURM_ARRAY_TASK_MIN": indices[0],
                          "SLURM_ARRAY_TASK_MAX": indices[-1]})  # fmt: skip
        if task.restarts:
            slurm["SLURM_RESTART_COUNT"] = task.restarts
        if task.gpus:
            slurm["CUDA_VISIBLE_DEVICES"] = ",".join(task.gpus)
        return {**kept, **{name: str(value) for name, value in slurm.items()}}

    def requeue_path(self, task: Task) -> Path:
        """Return the file by which a task asks to be started again, as by `scontrol requeue`."""
        return self.spool / f"requeue_{task.name}"

    def start(self, task: Task) -> None:
        """Start a task in a session of its own: a Ctrl-C in the terminal reaches only this program."""
        task.gpus, self.free_gpus = self.free_gpus[: self.gpus_a_task], self.free_gpus[self.gpus_a_task :]
        mode = "ab" if self.options.get("open-mode") == "append" else "wb"
        with open(task.out, mode) as out, open(task.err, "ab" if task.err == task.out else mode) as err:
            task.process = subprocess.Popen(
                ["bash", str(self.script), *self.arguments],
                env=self.environment(task),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        task.began = time.monotonic()

    def end(self, task: Task) -> None:
        """Take note of a task that ended."""
        assert task.process is not None
        code = task.process.returncode
        task.status = code if code >= 0 else 128 - code
        task.seconds += time.monotonic() - task.began
        task.process = None
        self.free_gpus += task.gpus


def _gpus_asked(options: dict[str, str]) -> int:
    text = options.get("gpus") or (
        options.get("gres", "") if options.get("gres", "").startswith("gpu") else ""
    )
    last = text.rpartition(":")[2]
    return int(last) if last.isdigit() else int(bool(text))


def _gpus_here() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return sorted(path.name[len("nvidia") :] for path in Path("/dev").glob("nvidia[0-9]*"))
