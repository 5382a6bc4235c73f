"""Exit statuses, the error of a bad call, and the way every script ends."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Callable

from amela.log import error

OK = 0  # complete
BUG = 1  # our bug
BAD_CALL = 2  # bad call or input
TOO_MANY_ERRORS = 3  # more records failed than --max-error-rate allows
INCOMPLETE = 4  # the merge found records without a result
STOPPED = 75  # stopped early or broken device: the same command goes on


class CallError(Exception):
    """A bad call or bad input. The text says where, what was found, what was wanted and what to type."""


class StoppedError(Exception):
    """The task cannot go on here (disk full, broken device), but the same command goes on elsewhere or
    later.
    """


def run_main(main: Callable[[], int]) -> None:
    """Exit with `main`'s status; a CallError is one `ERROR:` line and status 2, a full disk 75, a bug 1."""
    try:
        status = main()
        sys.stdout.flush()
    except CallError as exc:
        error(str(exc))
        status = BAD_CALL
    except StoppedError as exc:
        error(str(exc))
        status = STOPPED
    except KeyboardInterrupt:
        error("interrupted: the same command goes on where this one stopped")
        status = STOPPED
    except BrokenPipeError:  # `status.py … | head`: nobody reads on, and that is fine
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = OK
    except Exception as exc:
        traceback.print_exc()
        error(f"{type(exc).__name__}: {exc}")
        status = BUG
    sys.exit(status)
