"""Run a batch file without SLURM: the same file, arguments, variables, log names and signals.

    python scripts/local_sbatch.py --array=0-15%4 slurm/asr.slurm metadata/corpus.json

Ctrl-C (or TERM) stops the tasks as `scancel` does, a second one kills them; USR1 asks them to save and start
again, as SLURM does before the time limit. The same command again goes on where this one stopped. The status
is the highest of all tasks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from amela.cli import parser, positive
from amela.errors import STOPPED, run_main
from amela.local_job import Job, Task

KILL_WAIT_S = 30  # between TERM and KILL, SLURM's own default
POLL_S = 0.05
ROWS_SHOWN = 20  # beyond that the table shows only the tasks that did not complete
OPTIONS = ("array", "jobs", "job-name", "output", "error", "cpus-per-task", "gres")
MEANT_FOR_SLURM = (
    "time",
    "mem",
    "partition",
    "account",
    "qos",
    "constraint",
    "exclude",
    "nodelist",
    "signal",
)


class Runner:
    """Starts tasks while there is room, forwards signals, and starts those again that ask for it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.waiting = list(job.tasks)
        self.running: list[Task] = []
        self.signals: list[int] = []
        self.kill_at: float | None = None  # set once the tasks were told to stop
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, lambda received, _: self.signals.append(received))

    def run(self) -> None:
        """Return when every task has ended, or when those that were running at a Ctrl-C have."""
        while self.waiting or self.running:
            while self.signals:
                self._forward(self.signals.pop(0))
            if self.kill_at and time.monotonic() > self.kill_at:
                self._send(signal.SIGKILL)
            while self.waiting and len(self.running) < self.job.at_once:
                task = self.waiting.pop(0)
                self.job.start(task)
                self.running.append(task)
            time.sleep(POLL_S)
            for task in [task for task in self.running if task.process and task.process.poll() is not None]:
                self._ended(task)
            _show_status(self.job, self.running)

    def _ended(self, task: Task) -> None:
        self.running.remove(task)
        self.job.end(task)
        if self.kill_at is not None and task.status == 128 + signal.SIGTERM:
            task.status = STOPPED  # in its prologue, or before Python could say so: it made nothing yet
        request = self.job.requeue_path(task)
        if request.exists():
            request.unlink()
            if self.kill_at is None:
                task.restarts += 1
                self.waiting.append(task)
                return
        name = "job" if task.index is None else f"task {task.index}"
        _print(f"{name} {task.state}, status {task.status}, {task.seconds:.1f} s{_last_error(task)}")

    def _forward(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self._send(number)
            return
        if self.kill_at is None:
            _print(f"stopping {len(self.running)} running tasks; once more kills them at once")
            self.waiting.clear()
            self._send(signal.SIGTERM)
            self.kill_at = time.monotonic() + KILL_WAIT_S
        else:
            self.kill_at = time.monotonic()

    def _send(self, number: int) -> None:
        for task in self.running:
            assert task.process is not None
            try:  # USR1 goes to the batch script alone (B:), the others to everything it started
                (os.kill if number == signal.SIGUSR1 else os.killpg)(task.process.pid, number)
            except ProcessLookupError:
                pass


def _last_error(task: Task) -> str:
    if task.status in (0, None):
        return ""
    with open(task.err, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
        lines = file.read().decode("utf-8", "replace").splitlines()
    named = [line for line in lines if line.startswith("ERROR")] or lines
    return f": {named[-1]}" if named else ""


def _print(line: str) -> None:
    erase = "\r\033[K" if sys.stdout.isatty() else ""
    print(f"{erase}{line}", flush=True)


def _show_status(job: Job, running: list[Task]) -> None:
    """On a terminal, keep one line current: tasks that ended, and the end of the log that runs longest."""
    if not (sys.stdout.isatty() and running) or time.monotonic() % 1 > POLL_S:
        return
    ended = sum(task.status is not None for task in job.tasks)
    with open(running[0].out, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 2048))
        lines = file.read().decode("utf-8", "replace").split()
    width = shutil.get_terminal_size().columns - 1
    text = f"{ended}/{len(job.tasks)} tasks, {len(running)} running  {' '.join(lines)[-width:]}"
    print(f"\r\033[K{text[:width]}", end="", flush=True)


def _print_table(job: Job) -> None:
    rows = [task for task in job.tasks if len(job.tasks) <= ROWS_SHOWN or task.status != 0]
    if len(job.tasks) > 1:
        print(f"{'task':>5}  {'state':<11} {'status':>6} {'restarts':>8} {'time_s':>8}  log")
        for task in rows:
            status = "-" if task.status is None else task.status
            numbers = f"{status:>6} {task.restarts:>8} {task.seconds:>8.1f}"
            print(f"{task.name:>5}  {task.state:<11} {numbers}  {task.out}")
        counts = Counter(task.state for task in job.tasks)
        print(", ".join(f"{count} {state}" for state, count in counts.items()), flush=True)


def main() -> int:
    """Run the batch file; return the highest status of its tasks (75 where some never started)."""
    cli = parser(__doc__)
    cli.add_argument(
        "--array", metavar="LIST", help="tasks to run, e.g. 0-15, 0-15%%4 (four at once), 0,5,12, 0-15:2"
    )
    cli.add_argument(
        "--jobs", type=positive, metavar="N", help="tasks at once (default: what CPUs and GPUs here allow)"
    )
    for name in OPTIONS[2:]:
        cli.add_argument(f"--{name}", metavar="X", help="as for sbatch, instead of the #SBATCH line")
    for name in MEANT_FOR_SLURM:
        cli.add_argument(f"--{name}", help=argparse.SUPPRESS)
    cli.add_argument("batch_file", type=Path, help="e.g. slurm/asr.slurm")
    cli.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to the script")
    args = cli.parse_args()
    arguments = sys.argv[len(sys.argv) - len(args.arguments) :]  # as typed: the parser rewrites --two_words
    options = {
        name: str(getattr(args, name.replace("-", "_")))
        for name in OPTIONS
        if getattr(args, name.replace("-", "_"))
    }
    with tempfile.TemporaryDirectory(prefix="local_sbatch_") as spool:
        job = Job(args.batch_file, arguments, options, Path(spool))
        logs = sorted({str(path) for path in (job.tasks[0].out, job.tasks[0].err)})
        what = f"{len(job.tasks)} tasks, {job.at_once} at a time; " if len(job.tasks) > 1 else ""
        print(f"{job.name} {job.id}: {what}logs: {' '.join(logs)}", flush=True)
        Runner(job).run()
        _print_table(job)
    return max(STOPPED if task.status is None else task.status for task in job.tasks)


if __name__ == "__main__":
    run_main(main)
