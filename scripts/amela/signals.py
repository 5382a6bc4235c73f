"""What a task does when it is asked to stop: USR1 comes before the time limit, TERM and INT from people or
preemption.
"""

from __future__ import annotations

import signal
import time
from typing import Any

# How long the batch in flight may go on: the launchers ask for USR1 180 s before the end, SLURM kills 30 s
# after TERM.
PATIENCE_S: dict[int, float] = {signal.SIGUSR1: 90.0, signal.SIGTERM: 10.0, signal.SIGINT: 10.0}


class Stop:
    """Remembers that a signal asked to stop.

    Inside `with stop:` a handler only sets a flag that the loop looks at. Elsewhere, where nothing needs an
    orderly end (a long scan, a wait, a debugger's run), it raises KeyboardInterrupt: Ctrl-C ends it now.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._in_loop = False
        self._deadline = float("inf")

    def listen(self) -> Stop:
        """Take over USR1, TERM and INT."""
        for number in PATIENCE_S:
            signal.signal(number, self._note)
        return self

    def _note(self, number: int, _frame: Any) -> None:
        impatient = number == signal.SIGINT and self.signal is not None  # Ctrl-C twice
        if self.signal in (None, signal.SIGUSR1):  # cancelled after the time limit's warning is cancelled
            self.signal = number
        self._deadline = min(self._deadline, time.monotonic() + (0 if impatient else PATIENCE_S[number]))
        if not self._in_loop:
            raise KeyboardInterrupt

    def __enter__(self) -> None:
        self._in_loop = True

    def __exit__(self, *_exc: object) -> None:
        self._in_loop = False

    def __bool__(self) -> bool:
        return self.signal is not None

    def patience_is_over(self) -> bool:
        """Tell whether the batch in flight must be abandoned now."""
        return time.monotonic() >= self._deadline

    @property
    def wants_requeue(self) -> bool:
        """Tell whether the task should come back by itself: only the time limit says so, or nobody could
        cancel it.
        """
        return self.signal == signal.SIGUSR1

    @property
    def name(self) -> str:
        """Return the signal's name."""
        return signal.Signals(self.signal).name if self.signal else "none"
