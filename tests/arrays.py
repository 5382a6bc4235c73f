"""Arrays of tasks without SLURM, as fast as fork: the variables sbatch sets, a process a task, and things to
kill.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent
for folder in (TESTS.parent / "scripts", TESTS / "data"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import toy_stage  # noqa: E402

from amela import beats, provenance  # noqa: E402
from amela.cli import stage_parser  # noqa: E402
from amela.errors import run_main  # noqa: E402
from amela.stage import run_shard  # noqa: E402
from amela.state import stage_folder  # noqa: E402

BEAT_S = 0.5
provenance.versions()  # once: tasks are forks, and asking git takes longer than a small run


def make_manifest(path, texts, **fields):
    """Write a manifest with a record a text, known as r0, r1 …, and return its path."""
    with open(path, "w") as file:
        for number, text in enumerate(texts):
            print(json.dumps({"id": f"r{number}", "text": text, **fields}), file=file)
    return path


def read_manifest(path):
    """Return the records of a manifest."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def result_lines(manifest, stage="toy"):
    """Return all lines of a stage's result files, headers too, with the name of the `file`."""
    paths = sorted((stage_folder(manifest, stage) / "results").glob("*.jsonl"))
    return [
        {**json.loads(line), "file": path.name} for path in paths for line in path.read_text().splitlines()
    ]


class Task:
    """One attempt of one task of an array, running the toy stage in a process of its own."""

    def __init__(
        self, argv, job=None, index=None, indices=(), restart=0, log=os.devnull, main=toy_stage.main
    ):
        self.argv, self.job, self.index, self.indices, self.restart, self.log = (
            argv,
            job,
            index,
            indices,
            restart,
            log,
        )
        self.main = main
        self.requeue_wish = Path(
            f"{argv[0]}.requeue-{job}_{index}"
        )  # appears where `scontrol requeue` would be
        self.status = None
        self.pid = os.fork()
        if self.pid == 0:
            self._be_the_task()

    def _be_the_task(self):
        try:
            faulthandler.disable()  # a crash that a test asks for needs no traceback
            out = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1), os.dup2(out, 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            for name in [name for name in os.environ if name.startswith("SLURM_")]:
                del os.environ[name]
            if self.job is not None:
                os.environ.update(
                    AMELA_LAUNCHER="slurm/toy.slurm",
                    AMELA_GIT_VERSION="test",  # as the launchers do, who ask git once
                    AMELA_LOCAL_SBATCH=str(self.requeue_wish),
                    SLURM_JOB_ID=str(self.job),
                    SLURM_ARRAY_JOB_ID=str(self.job),
                    SLURM_ARRAY_TASK_ID=str(self.index),
                    SLURM_ARRAY_TASK_COUNT=str(len(self.indices)),
                    SLURM_ARRAY_TASK_MIN=str(min(self.indices)),
                    SLURM_ARRAY_TASK_MAX=str(max(self.indices)),
                    SLURM_RESTART_COUNT=str(self.restart),
                )
            beats.BEAT_S = BEAT_S
            sys.argv = ["toy_stage.py", *map(str, self.argv)]
            run_main(self.main)
        except SystemExit as exc:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(exc.code or 0)
        finally:
            os._exit(99)

    def again(self):
        """Start it once more, as a requeue does."""
        return Task(self.argv, self.job, self.index, self.indices, self.restart + 1, self.log, self.main)

    def workers(self):
        """Return the process ids of the task's workers."""
        try:
            return [
                int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            ]
        except OSError:
            return []

    def send(self, number):
        """Signal the task."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill_worker(self):
        """Kill a worker process of the task; False where it has none now."""
        try:
            os.kill(self.workers()[0], signal.SIGKILL)
        except (OSError, IndexError):
            return False
        return True

    def poll(self):
        """Return the exit status, negative for a signal, None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, limit_s=60):
        """Wait for the end and return the exit status."""
        deadline = time.monotonic() + limit_s
        while self.poll() is None:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                raise TimeoutError(f"task {self.index} of job {self.job} runs on; log {self.log}")
            time.sleep(0.002)
        return self.status


def stage_of(process, load=lambda _args: None, **options):
    """Return the main of a stage `toy` that runs another `process`, for what the toy stage does not do."""

    def main():
        parser = stage_parser(None, **options)
        parser.add_argument("--scale", type=float, default=1.0)
        return run_shard(parser.parse_args(), "toy", ("words", "letters"), load, process)

    return main


def wait_until(condition, limit_s=10):
    """Wait until `condition()` is true and return what it gave."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.003)
    return found


def run_array(argv, job, indices, at_once=6, harm=None, rng=None, log=os.devnull, main=toy_stage.main):
    """Run the tasks of an array, at most `at_once` together; `harm(task)` is called now and then. Return
    statuses.
    """
    waiting, running, statuses = list(indices), [], {}
    while waiting or running:
        while waiting and len(running) < at_once:
            running.append(Task(argv, job, waiting.pop(0), indices, log=log, main=main))
        if harm and running and rng.random() < 0.15:
            harm(rng.choice(running))
        for task in list(running):
            status = task.poll()
            if status is not None:
                running.remove(task)
                statuses[task.index] = status
                if status == 75 and rng is not None and rng.random() < 0.7:  # SLURM brings most of them back
                    running.append(task.again())
        time.sleep(0.002)
    return statuses


def do_harm(task, rng=random):
    """Kill, stop or cripple a task as clusters do."""
    what = rng.choice(["kill", "term", "usr1", "worker", "worker"])
    if what == "worker":
        task.kill_worker()
    else:
        task.send({"kill": signal.SIGKILL, "term": signal.SIGTERM, "usr1": signal.SIGUSR1}[what])
