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
    """Remembers the first signal that asked to stop. Handlers only set a flag: no file is touched in one."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._deadline = float("inf")

    def listen(self) -> Stop:
        """Take over USR1, TERM and INT."""
        for number in PATIENCE_S:
            signal.signal(number, self._note)
        return self

    def _note(self, number: int, _frame: Any) -> None:
        impatient = number == signal.SIGINT and self.signal is not None  # Ctrl-C twice
        self.signal = self.signal or number
        self._deadline = min(self._deadline, time.monotonic() + (0 if impatient else PATIENCE_S[number]))

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
