"""Worker processes: each loads the model once and turns batches into results. The keeper feeds and replaces
them.

They are forked from the keeper, which has no threads and has imported nothing heavy, and ignore its signals.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from typing import Any, Callable, NamedTuple

from amela.errors import CallError, StoppedError
from amela.log import flush, trace
from amela.manifest import Record, to_line
from amela.spool import Item

Load = Callable[[argparse.Namespace], Any]
Process = Callable[[Any, list[Record]], list[Any]]
STOP_SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)

READY, DONE, RAISED, NO_MEMORY, BROKEN, BAD_CALL, MUST_STOP = (
    "ready",
    "done",
    "raised",
    "no memory",
    "broken",
    "bad call",
    "must stop",
)
_context = multiprocessing.get_context("fork")


class Answer(NamedTuple):
    """What a worker says: READY after loading; of a batch DONE with outcomes, RAISED, NO_MEMORY, BROKEN
    device.
    """

    kind: str
    outcomes: list[dict[str, Any]]  # one {"fields": …} or {"error": {"class": …, "message": …}} a record
    text: str


class Worker:
    """A child process with the batch it works on."""

    def __init__(
        self, load: Load, process: Process, args: argparse.Namespace, fields: dict[str, str]
    ) -> None:
        self.connection, theirs = _context.Pipe()
        self.batch: list[Item] = []
        self.ready = False
        self.started_batch = 0.0
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the child ignores them
        try:
            self.child = _context.Process(
                target=_work, args=(os.getpid(), theirs, self.connection, load, process, args, fields)
            )
            self.child.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        theirs.close()

    def give(self, batch: list[Item]) -> None:
        """Hand a batch over."""
        self.batch = batch
        try:
            self.connection.send([item.record for item in batch])
        except (BrokenPipeError, ConnectionResetError):
            pass  # it died just now: take() says so

    def take(self) -> Answer | None:
        """Return the worker's answer, None where it died."""
        try:
            answer: Answer = self.connection.recv()
            return answer
        except (EOFError, OSError):
            return None

    def cause_of_death(self) -> str:
        """Wait for a dead worker and say what ended it."""
        self.child.join(10)
        code = self.child.exitcode
        if code is None or code >= 0:
            return f"the worker process ended with status {code}"
        hint = " (often: out of memory)" if code == -signal.SIGKILL else ""
        return f"the worker process was ended by {signal.Signals(-code).name}{hint}"

    def end(self) -> None:
        """Let an idle worker go, or kill a busy one."""
        if self.batch or not self.ready:
            self.child.kill()
        else:
            try:
                self.connection.send(
                    None
                )  # closing would not tell it: workers forked later hold this end too
            except OSError:
                pass
        self.connection.close()
        self.child.join(5)
        if self.child.is_alive():
            self.child.kill()
            self.child.join()


def _work(
    keeper: int,
    mine: Connection,
    theirs: Connection,
    load: Load,
    process: Process,
    args: argparse.Namespace,
    fields: dict[str, str],
) -> None:
    """Be the worker: load, then answer each batch until the keeper is gone."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    theirs.close()
    _die_with(keeper)
    try:
        try:
            model = load(args)
        except CallError as exc:
            mine.send(Answer(BAD_CALL, [], str(exc)))
            return
        except BaseException as exc:
            trace()
            mine.send(Answer(BROKEN if is_broken_device(exc) else RAISED, [], f"{type(exc).__name__}: {exc}"))
            return
        mine.send(Answer(READY, [], ""))
        for batch in iter(mine.recv, None):
            mine.send(answer(model, process, batch, fields))
            flush()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    finally:
        flush()
        os._exit(0)  # no clean-up of libraries that were loaded here: it crashes in some of them


def _die_with(keeper: int) -> None:
    """Ask Linux to kill this process when the keeper is killed, or its model would stay on the GPU."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        pass
    if os.getppid() != keeper:
        os._exit(0)


def run(model: Any, process: Process, batch: list[Record]) -> list[Any]:
    """Return what `process` makes of a batch, one item a record; ValueError where it gives more or fewer."""
    results = process(model, batch)
    if len(results) != len(batch):
        raise ValueError(f"process gave {len(results)} results for {len(batch)} records")
    return results


def answer(model: Any, process: Process, batch: list[Record], fields: dict[str, str]) -> Answer:
    """Run `process` on a batch; never raises, but for what ends a process."""
    try:
        return Answer(DONE, [outcome(result, fields) for result in run(model, process, batch)], "")
    except CallError as exc:
        return Answer(BAD_CALL, [], str(exc))
    except StoppedError as exc:  # a full disk says nothing about the record whose file was being written
        return Answer(MUST_STOP, [], str(exc))
    except Exception as exc:
        kind = BROKEN if is_broken_device(exc) else NO_MEMORY if is_no_memory(exc) else RAISED
        if len(batch) == 1 and kind == RAISED:
            return Answer(DONE, [outcome(exc, fields)], "")
        return Answer(kind, [], f"{type(exc).__name__}: {exc}")


def outcome(result: Any, fields: dict[str, str]) -> dict[str, Any]:
    """Return what a result line says of a record: its fields under the names asked for, or its error."""
    if isinstance(result, BaseException):
        return {"error": {"class": type(result).__name__, "message": str(result)[:2000]}}
    renamed = {fields.get(name, name): value for name, value in result.items()}
    try:
        to_line(renamed)
    except (TypeError, ValueError) as exc:  # NaN, or a numpy value
        return outcome(ValueError(f"a field is no JSON: {exc}"), fields)
    return {"fields": renamed}


def is_no_memory(exc: BaseException) -> bool:
    """Tell whether an exception means too little memory, which a smaller batch may cure."""
    return (
        isinstance(exc, MemoryError)
        or type(exc).__name__ == "OutOfMemoryError"
        or "out of memory" in str(exc).lower()
    )


def is_broken_device(exc: BaseException) -> bool:
    """Tell whether the GPU's context is lost, so that everything after fails in this process."""
    if is_no_memory(exc):
        return False
    return (
        type(exc).__name__ == "AcceleratorError"
        or "CUDA error" in str(exc)
        or "device-side assert" in str(exc)
    )
