"""The calls of a workflow run on this machine, one after another; what serves one of them runs beside it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from amela.batch_file import options_of
from amela.errors import OK, STOPPED, CallError, StoppedError
from amela.local_job import Job
from amela.workflow import Call

LONGEST_START_S = 120.0  # until something that runs beside a step can be used
LONGEST_END_S = 10.0  # between TERM and KILL
POLL_S = 0.1


class _TerminatedError(Exception):
    """TERM or HUP came: to this process alone, unlike a Ctrl-C in a terminal."""


class Beside:
    """A job that runs in the background while another step is at work."""

    def __init__(self, call: Call, env: dict[str, str]) -> None:
        self.call = call
        self.spool = tempfile.TemporaryDirectory(prefix="submit_")
        options = options_of(call.options)
        self.job = Job(Path(call.step.launcher), call.arguments, options, Path(self.spool.name), env)
        (self.task,) = self.job.tasks
        self.job.start(self.task)
        what = f"{call.name}, in the background: {shlex.join(call.words())}"
        print(f"— {what}; log: {self.task.out}", flush=True)

    def wait(self) -> None:
        """Return once it can be used, and print what it says then; CallError where it ended before."""
        deadline = time.monotonic() + LONGEST_START_S
        while True:
            ended = self._process().poll() is not None  # before its last words are read
            told = [line for line in self.task.out.read_text(errors="replace").splitlines()
                    if self.call.step.tells in line]  # fmt: skip
            if told:
                print(*told, sep="\n", flush=True)
                return
            if ended or time.monotonic() > deadline:
                last = self.task.err.read_text(errors="replace").splitlines()[-1:] or ["no word"]
                raise CallError(f"{self.call.name} is not at work: {last[0].removeprefix('ERROR: ')}")
            time.sleep(POLL_S)

    def end(self) -> None:
        """End it, by force where it does not listen."""
        process = self._process()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, number)
                try:
                    process.wait(LONGEST_END_S)
                except subprocess.TimeoutExpired:
                    continue
        self.spool.cleanup()

    def _process(self) -> subprocess.Popen[bytes]:
        assert self.task.process is not None
        return self.task.process


def lines_here(todo: Sequence[Call], embedded: bool) -> list[str]:
    """Return the calls as lines of a bash script that runs them here."""

    def line(call: Call) -> str:
        env = "AMELA_ENV=local " if embedded and not call.as_told else ""
        return env + shlex.join(["python", "scripts/local_sbatch.py", *call.words()])

    lines: list[str] = []
    for call in todo:
        if not call.beside:
            lines += [f"{line(one)} &" for one in todo if call.name in one.beside]
            lines.append(line(call))
    return [*lines, "kill $(jobs -p)"] if any(call.beside for call in todo) else lines


def run_here(todo: Sequence[Call], env: dict[str, str], embedded: bool) -> int:
    """Run the calls in order with local_sbatch.py; return the highest status of single jobs.

    With `embedded`, calls to which the user gave no arguments run in the environment `local`.
    """
    statuses: dict[str, int] = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _raise)
    try:
        for call in todo:
            failed = [name for name in call.after_ok if statuses[name] != OK]
            if call.beside:
                continue
            if failed:
                print(f"{call.name}: not run, as {' and '.join(failed)} failed", flush=True)
                statuses[call.name] = statuses[failed[0]]
                continue
            others = [one for one in todo if call.name in one.beside]
            statuses[call.name] = _run(call, others, env, embedded)
            if statuses[call.name] == STOPPED:
                print("stopped: the same command goes on from here", flush=True)
                return STOPPED
    except _TerminatedError as exc:
        raise StoppedError("stopped: the same command goes on from here") from exc
    single = [call.name for call in todo if call.name in statuses and not call.is_array]
    return max((statuses[name] for name in single), default=OK)


def _raise(*_: Any) -> NoReturn:
    raise _TerminatedError


def _run(call: Call, others: Sequence[Call], env: dict[str, str], embedded: bool) -> int:
    """Run one call with what serves it; return its status."""
    with ExitStack() as running:
        for other in others:
            beside = Beside(other, _environment(other, env, embedded))
            running.callback(beside.end)
            beside.wait()
        print(f"— {call.name}: {shlex.join(call.words())}", flush=True)
        script = str(Path(sys.argv[0]).with_name("local_sbatch.py"))
        command = [sys.executable, script, *call.words()]
        return _run_foreground(command, _environment(call, env, embedded))


def _environment(call: Call, env: dict[str, str], embedded: bool) -> dict[str, str]:
    return {"AMELA_ENV": "local", **env} if embedded and not call.as_told else env


def _run_foreground(command: list[str], env: dict[str, str]) -> int:
    """Run a command that handles Ctrl-C itself, and wait for it however often that comes."""
    process = subprocess.Popen(command, env=env)
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:  # the terminal sent it to both
            continue
        except _TerminatedError:
            process.terminate()
            continue
        return status if status >= 0 else 128 - status
