"""Exit statuses, the error of a bad call, and the way every script ends."""

from __future__ import annotations

import errno
import sys
from typing import Callable

from amela.log import error, flush, trace

OK = 0  # complete
BUG = 1  # our bug
BAD_CALL = 2  # bad call or input
TOO_MANY_ERRORS = 3  # more records failed than --max-error-rate allows
INCOMPLETE = 4  # the merge found records without a result
STOPPED = 75  # stopped early or broken device: the same command goes on

DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE)


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
    except CallError as exc:
        error(str(exc))
        status = BAD_CALL
    except StoppedError as exc:
        error(str(exc))
        status = STOPPED
    except KeyboardInterrupt:
        error("interrupted: what was done is kept, the same command goes on where this one stopped")
        status = STOPPED
    except BrokenPipeError:  # `status.py … | head`: nobody reads on, and that is fine
        status = OK
    except Exception as exc:
        if isinstance(exc, OSError) and exc.errno in DISK_TROUBLE:
            where = exc.filename or "the disk"
            error(f"{where}: {exc.strerror}; what was done is kept; then give the same command again")
            status = STOPPED
        else:
            trace()
            error(f"{type(exc).__name__}: {exc}")
            status = BUG
    flush()
    sys.exit(status)
