"""Ways to deal records to tasks: how long the slowest task is over the mean, simulated for five kinds of
corpora.

python benchmarks/imbalance.py
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from common import print_table

if TYPE_CHECKING:
    import numpy as np


def imbalance_table() -> None:
    """The slowest task over the mean, for five corpora, 16 and 4,000 tasks."""
    import numpy as np  # only now: a command's peak memory is never below that of the process that started it

    rows = []
    for name, draw in CORPORA.items():
        cells = []
        for scale in (1, 250):
            found = [imbalances(draw(np.random.default_rng(seed), scale), 16 * scale) for seed in range(3)]
            cells += [f"{value:.2f}" for value in np.median(found, axis=0)]
        rows.append([name, *cells])
    ways = ["round robin", "longest first", "30 min windows"]
    columns = [f"{tasks}: {way}" for tasks in ("16 tasks", "4,000 tasks") for way in ways]
    print_table(
        "Imbalance: slowest task / mean, medians of 3 seeds. Windows are dealt round robin",
        ["corpus", *columns],
        rows,
    )


def utterances(random: np.random.Generator, scale: int) -> np.ndarray:
    """100,000 utterances a 16 tasks, median 8 s."""
    return random.lognormal(math.log(8), 0.7, 100_000 * scale).clip(0.5, 40)


def recordings(random: np.random.Generator, scale: int) -> np.ndarray:
    """3,000 recordings a 16 tasks, median 12 min."""
    return random.lognormal(math.log(720), 0.9, 3_000 * scale).clip(10, 6 * 3600)


def day_long(random: np.random.Generator, scale: int) -> np.ndarray:
    """40 day-long recordings and 360 of about 10 min, in random order."""
    durations_s = random.lognormal(math.log(600), 0.5, 400 * scale)
    durations_s[: 40 * scale] = random.normal(16 * 3600, 3600, 40 * scale)
    return random.permutation(durations_s)


def every_sixteenth(random: np.random.Generator, scale: int) -> np.ndarray:
    """Utterances, every 16th three times as long: a corpus of 16 microphones, say."""
    durations_s = utterances(random, scale)
    durations_s[::16] *= 3
    return durations_s


def sorted_recordings(random: np.random.Generator, scale: int) -> np.ndarray:
    """The shortest first."""
    durations_s = recordings(random, scale)
    durations_s.sort()
    return durations_s


CORPORA: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "utterances, median 8 s": utterances,
    "recordings, median 12 min": recordings,
    "1 in 10 day-long": day_long,
    "every 16th 3 times as long": every_sixteenth,
    "recordings sorted by length": sorted_recordings,
}


def imbalances(durations_s: np.ndarray, tasks: int) -> list[float]:
    """Round robin, longest first, and windows of 30 min dealt round robin."""
    import numpy as np

    pieces = np.ceil(durations_s / 1800).astype(int)
    windows_s = np.repeat(durations_s / pieces, pieces)
    return [
        over_mean(round_robin(durations_s, tasks)),
        longest_first(durations_s, tasks),
        over_mean(round_robin(windows_s, tasks)),
    ]


def round_robin(durations_s: np.ndarray, tasks: int) -> np.ndarray:
    """Seconds of each task."""
    import numpy as np

    padded = np.zeros(-(-len(durations_s) // tasks) * tasks)
    padded[: len(durations_s)] = durations_s
    return padded.reshape(-1, tasks).sum(0)


def longest_first(durations_s: np.ndarray, tasks: int) -> float:
    """The imbalance of `--balance duration`; above a million records its bound, 1 + the longest record / the
    mean.
    """
    mean_s = durations_s.sum() / tasks
    if len(durations_s) > 1_000_000:
        return float(1 + durations_s.max() / mean_s)
    heap = [0.0] * tasks
    for duration_s in sorted(durations_s.tolist(), reverse=True):
        heapq.heapreplace(heap, heap[0] + duration_s)
    return max(heap) / mean_s


def over_mean(loads_s: np.ndarray) -> float:
    """The largest over the mean."""
    return float(loads_s.max() / loads_s.mean())


if __name__ == "__main__":
    imbalance_table()
