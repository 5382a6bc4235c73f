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
    """Bring what was printed to the log; a log that cannot take it is no reason to stop."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass


def end_of_log() -> None:
    """Flush for the last time; what a closed pipe did not take is dropped, or Python exits with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _print(line: str, stream: IO[str]) -> None:
    """Print a line; a full disk or a closed pipe under the log must not stop the work, which is elsewhere."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        pass


def printable(text: str) -> str:
    """Return a key or path in one line: file names may hold newlines and need not be UTF-8."""
    return _utf8(text).replace("\n", "\\n").replace("\r", "\\r")


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
