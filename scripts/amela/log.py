"""Log lines: progress and facts to standard output, failures to standard error behind `ERROR:`."""

from __future__ import annotations

import os
import sys
import time
import traceback
from typing import IO


def log(message: str) -> None:
    """Print one line with the time of day; flushed, so that `tail -f logs/…` shows it at once."""
    _print(f"[{time.strftime('%H:%M:%S')}] {_utf8(message)}", sys.stdout)


def error(message: str) -> None:
    """Print a line that begins with `ERROR:` to standard error (`grep ERROR logs/*.err` finds it)."""
    flush()
    _print(f"ERROR: {_utf8(message)}", sys.stderr)


def trace() -> None:
    """Print the traceback of the exception being handled to standard error."""
    _print(traceback.format_exc().rstrip(), sys.stderr)


def flush() -> None:
    """Bring what was printed to the log; what a full disk or a closed pipe does not take is dropped."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _drop(stream)


def _print(line: str, stream: IO[str]) -> None:
    """Print a line; a full disk or a closed pipe under the log must not stop the work, which is elsewhere."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        _drop(stream)


def _drop(stream: IO[str]) -> None:
    """Forget what a stream could not write: the next fork, or the end of Python, would stumble over it."""
    number = stream.fileno()
    kept, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    stream.flush()
    os.dup2(kept, number)
    os.close(kept)
    os.close(nowhere)


def printable(text: str) -> str:
    """Return a key or path in one line: file names may hold newlines and need not be UTF-8."""
    return _utf8(text).replace("\n", "\\n").replace("\r", "\\r")


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
