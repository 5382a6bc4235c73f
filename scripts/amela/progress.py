"""How far a task is: a bar on a terminal, a line every 30 s in a log."""

from __future__ import annotations

import sys
import time

from amela.log import log

LINE_EVERY_S = 30.0
BAR_EVERY_S = 0.2
BAR_WIDTH = 30


def clock(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    whole = int(seconds + 0.5)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class Progress:
    """Counts records and seconds of audio of this attempt, and shows them."""

    def __init__(self, label: str, total: int, total_audio_s: float) -> None:
        self.label, self.total, self.total_audio_s = label, total, total_audio_s
        self.done = self.failed = 0
        self.audio_s = 0.0
        self.started = self._shown = time.monotonic()
        self._bar = sys.stdout.isatty()

    def count(self, audio_s: float, failed: bool) -> None:
        """Count one record."""
        self.done += not failed
        self.failed += failed
        self.audio_s += audio_s

    def x_real_time(self) -> float:
        """Return the seconds of audio done a second."""
        return self.audio_s / max(time.monotonic() - self.started, 1e-3)

    def eta_s(self) -> float | None:
        """Return the seconds left at this speed, None before the first record."""
        tried = self.done + self.failed
        if not tried:
            return None
        share = (
            self.audio_s / self.total_audio_s if self.total_audio_s and self.audio_s else tried / self.total
        )
        return (time.monotonic() - self.started) * (1 - share) / share

    def text(self) -> str:
        """Return one line: done of total, failures, hours of audio, times real time, time left."""
        eta = self.eta_s()
        failed = f", {self.failed} failed" if self.failed else ""
        return (
            f"{self.label}: {self.done}/{self.total} done{failed}, {self.audio_s / 3600:.2f} h of audio, "
            f"{self.x_real_time():.1f} x real time, ETA {clock(eta) if eta is not None else '?'}"
        )

    def show(self) -> None:
        """Redraw the bar or print a line, when it is time."""
        now = time.monotonic()
        if now - self._shown < (BAR_EVERY_S if self._bar else LINE_EVERY_S):
            return
        self._shown = now
        if self._bar:
            filled = BAR_WIDTH * (self.done + self.failed) // max(self.total, 1)
            print(f"\r\x1b[K[{'#' * filled:<{BAR_WIDTH}}] {self.text()}", end="", flush=True)
        else:
            log(self.text())

    def clear(self) -> None:
        """Make room for another line on the terminal."""
        if self._bar:
            print("\r\x1b[K", end="", flush=True)

    def finish(self) -> None:
        """Print the last line."""
        self.clear()
        log(self.text())
