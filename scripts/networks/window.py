"""The steps since the last line of metrics: their sums, how long they took, how long data was waited for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, float64, tensor

from networks.run_state import State


class Window:
    """Sums stay on the device until they are asked for; they go on from those of a checkpoint."""

    def __init__(self, state: State) -> None:
        self._sums = {name: tensor(value, dtype=float64) for name, value in state.window.items()}
        self.restart(state.tokens)

    def restart(self, tokens: int) -> None:
        """Measure speed from here on."""
        self._waited_s, self._since, self._tokens_then = 0.0, time.perf_counter(), tokens

    def add(self, sums: dict[str, Tensor]) -> None:
        """Add the sums of a step."""
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.double()

    def sums(self) -> dict[str, float]:
        """Return the sums by name."""
        return {name: float(value) for name, value in self._sums.items()}

    def clear(self) -> None:
        """Begin the next line."""
        self._sums = {}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count what passes inside as waiting for data."""
        start = time.perf_counter()
        yield
        self._waited_s += time.perf_counter() - start

    def speed(self, tokens: int) -> dict[str, float]:
        """Return tokens a second and the share of waiting since the last call; `tokens` of the whole run."""
        passed_s = time.perf_counter() - self._since
        found = {
            "tokens_per_s": round((tokens - self._tokens_then) / passed_s, 1),
            "data_wait": round(self._waited_s / passed_s, 4),
        }
        self.restart(tokens)
        return found


def means(sums: dict[str, float], rate: float) -> dict[str, float | None]:
    """Return what a line of metrics says of the sums of some steps: each part of the loss by what is counted,
    lr, padding, grad_norm.
    """
    counted = ("cells", "filled", "tokens", "steps", "grad_norm")
    norm = sums["grad_norm"]
    return {
        **{name: value / sums["tokens"] for name, value in sums.items() if name not in counted},
        "lr": rate,
        "padding": 1 - sums["filled"] / sums["cells"],
        "grad_norm": norm / sums["steps"] if math.isfinite(norm) else None,
    }
