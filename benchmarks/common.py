"""What every benchmark shares: cases run in turn, medians, CPU time and peak memory of a command, a table.

results = compare({"ours": lambda: run_command([...]), "peer": lambda: time_call(function, argument)})
print_table("title", ["case", "wall s"], [[name, f"{run.wall_s:.2f}"] for name, run in results.items()])
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"


class Run(NamedTuple):
    """One measured run. `peak_mb` (MB = 1e6 bytes) is that of the largest process, 0 for a call inside this
    one.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float = 0.0
    output: str = ""


def run_command(
    command: Sequence[object],
    timeout_s: float = 3600,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    statuses: Sequence[int] = (0,),
) -> Run:
    """Run a command to its end; CPU time counts the children it waited for, `output` is stdout and stderr
    together.

    Linux hands a parent's own peak memory on through fork and exec, so a benchmark imports nothing heavy
    itself: what is measured belongs into the command. Raises RuntimeError for an exit status that is not in
    `statuses`.
    """
    with tempfile.TemporaryFile() as output:
        start_s = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        _, wait_status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start_s
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(wait_status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode not in statuses:
        raise RuntimeError(
            f"{' '.join(map(str, command))}\nexit status {process.returncode}:\n{text[-3000:]}"
        )
    return Run(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, text)


def time_call(function: Callable[..., object], *arguments: object) -> Run:
    """One call inside this process: wall and CPU time (all its threads, no children)."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    function(*arguments)
    return Run(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def compare(cases: Mapping[str, Callable[[], Run]], rounds: int = 5, warm_up: int = 1) -> dict[str, Run]:
    """Every case once a round, so that a busy minute hits all of them; the medians of the rounds after the
    warm-up.
    """
    runs: dict[str, list[Run]] = {name: [] for name in cases}
    for round_index in range(warm_up + rounds):
        for name, case in cases.items():
            run = case()
            if round_index >= warm_up:
                runs[name].append(run)
    return {name: median_run(measured) for name, measured in runs.items()}


def median_run(runs: Sequence[Run]) -> Run:
    """The median of wall and of CPU time, the largest peak, the last output."""
    return Run(
        statistics.median(run.wall_s for run in runs),
        statistics.median(run.cpu_s for run in runs),
        max(run.peak_mb for run in runs),
        runs[-1].output,
    )


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> None:
    """Print a Markdown table that also reads well in a terminal: `left` columns to the left, then to the
    right.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    print(
        f"\n{title}\n",
        line(columns),
        "|" + "|".join(f" {cell} " for cell in rule) + "|",
        *[line(row) for row in cells],
        sep="\n",
        flush=True,
    )


def print_machine() -> None:
    """One line on the machine, for above the tables."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"Python {platform.python_version()}, load {load}",
        flush=True,
    )
