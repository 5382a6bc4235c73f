"""Log lines: progress and facts to standard output, failures to standard error behind `ERROR:`."""

from __future__ import annotations

import sys
import time


def log(message: str) -> None:
    """Print one line with the time of day; flushed, so that `tail -f logs/…` shows it at once."""
    print(f"[{time.strftime('%H:%M:%S')}] {_utf8(message)}", flush=True)


def error(message: str) -> None:
    """Print a line that begins with `ERROR:` to standard error (`grep ERROR logs/*.err` finds it)."""
    sys.stdout.flush()
    print(f"ERROR: {_utf8(message)}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return a key or path in one line: file names may hold newlines and need not be UTF-8."""
    return _utf8(text).replace("\n", "\\n").replace("\r", "\\r")


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
