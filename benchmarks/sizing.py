"""Sizing beyond this machine: rates and files measured here, carried on to 1 M hours, 100 M records, 4,000
tasks.

    python benchmarks/sizing.py

Three tables: the imbalance of ways to deal (simulated), what a stage costs at four scales (measured a line
and a task, multiplied), and what breaks first. Run times of file systems and schedulers are assumed, and say
so; nothing here was tried on a cluster of that size.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from common import ROOT, print_machine, print_table, run_command
from imbalance import imbalance_table

LINES = (1_000_000, 2_000_000)  # two sizes: the slope is the cost of a line
TOY_SHARDS = 8
MANIFEST = Path(__file__).with_name("manifest.py")
LINE_BYTES = 230  # of a manifest with paths and speech times
OPENS_S = 20_000  # assumed: files that the metadata server of a shared file system opens a second
RESULT_BYTES = 1000  # of a record of 36 s: text, segments, model
READ_GB_S = 20.0  # assumed: what a parallel file system gives to all clients together
X_REAL_TIME = 500  # assumed: hours of audio a GPU transcribes in an hour
IMPORT_OPENS = 11_600  # files opened by `import nemo…SALM` (counted by an audit hook, nemo_toolkit 3.0.0)
START_S = 60.0  # assumed: time within which all tasks of an array start


class Scale(NamedTuple):
    """A size of work: a record is a recording or an utterance of about 36 s."""

    name: str
    hours: int
    records: int
    tasks: int


SCALES = (
    Scale("a laptop", 100, 10_000, 4),
    Scale("a group", 10_000, 1_000_000, 64),
    Scale("a centre", 100_000, 10_000_000, 1_000),
    Scale("1,000 nodes", 1_000_000, 100_000_000, 4_000),
)


class Line(NamedTuple):
    """What one line more costs in a step: CPU time (us) and memory (bytes)."""

    cpu_us: float
    memory_b: float


def main() -> None:
    """Measure, multiply, print."""
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        lines = measure_lines(Path(folder))
        files, calls = measure_files(Path(folder) / "toy")
    imbalance_table()
    scale_table(lines, files, calls)
    limits_table(lines)


# --- what a line and a task cost ---


def measure_lines(folder: Path) -> dict[str, Line]:
    """The cost of one more line in each step of benchmarks/manifest.py."""
    steps = ("deal", "open", "merge")
    costs: dict[str, list[tuple[float, float]]] = {step: [] for step in steps}
    for lines in LINES:
        for step in ("make", "deal", "open", "results", "merge"):
            command = [sys.executable, MANIFEST, "--child", step, "--dir", folder, "--lines", lines]
            run = run_command(command)
            if step in steps:
                costs[step].append((run.cpu_s, run.peak_mb))
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    more = LINES[1] - LINES[0]
    return {
        step: Line((big[0] - small[0]) / more * 1e6, max(0.0, big[1] - small[1]) / more * 1e6)
        for step, (small, big) in costs.items()
    }


def measure_files(folder: Path) -> tuple[float, float]:
    """Files a task leaves (state and two logs), and file system calls a task makes below the manifest's
    folder.
    """
    folder.mkdir()
    manifest = folder / "x.json"
    manifest.write_text("".join(json.dumps({"id": f"r{n}", "text": "a b"}) + "\n" for n in range(80)))
    calls = []
    for shard in range(TOY_SHARDS):
        command = [
            sys.executable,
            ROOT / "tests/data/toy_stage.py",
            manifest,
            "--num-shards",
            TOY_SHARDS,
            "--shard-index",
            shard,
        ]
        trace = folder.with_name("calls.txt")
        traced = (
            ["strace", "-f", "-qq", "-e", "trace=%file", "-o", trace, *command]
            if shutil.which("strace")
            else command
        )
        subprocess.run(list(map(str, traced)), check=True, stdout=subprocess.DEVNULL)
        if trace.exists():
            calls.append(
                sum(str(folder) in line and "execve" not in line for line in trace.read_text().splitlines())
            )
    files = sum(1 for path in (folder / ".amela").rglob("*") if path.is_file())
    return files / TOY_SHARDS + 2, statistics.median(calls) if calls else float("nan")


# --- at four scales ---


def scale_table(lines: dict[str, Line], files: float, calls: float) -> None:
    """Print what one stage costs at each scale."""

    def row(name: str, value: Callable[[Scale], float], form: str = "{:,.1f}") -> list[str]:
        return [name, *(form.format(value(scale)) for scale in SCALES)]

    def deal_s(scale: Scale) -> float:
        return scale.records * lines["deal"].cpu_us / 1e6

    rows = [
        row("hours of audio", lambda s: s.hours, "{:,.0f}"),
        row("records", lambda s: s.records, "{:,.0f}"),
        row("tasks", lambda s: s.tasks, "{:,.0f}"),
        row(
            f"a task's work at {X_REAL_TIME} x real time, h",
            lambda s: s.hours / X_REAL_TIME / s.tasks,
            "{:,.2f}",
        ),
        row("manifest, GB", lambda s: s.records * LINE_BYTES / 1e9, "{:,.3f}"),
        row("deal: s, once, while all wait", deal_s),
        row("deal: GB of memory", lambda s: 0.02 + s.records * lines["deal"].memory_b / 1e9, "{:,.2f}"),
        row("deal: task-hours spent waiting", lambda s: deal_s(s) * s.tasks / 3600, "{:,.2f}"),
        row("open a shard: s a task", lambda s: s.records * lines["open"].cpu_us / 1e6),
        row(
            "open: GB of memory a task", lambda s: 0.02 + s.records * lines["open"].memory_b / 1e9, "{:,.2f}"
        ),
        row("open: TB read by all tasks", lambda s: s.records * LINE_BYTES * s.tasks / 1e12, "{:,.3f}"),
        row(
            f"open: min at {READ_GB_S:.0f} GB/s",
            lambda s: s.records * LINE_BYTES * s.tasks / READ_GB_S / 6e10,
        ),
        row("results, GB", lambda s: s.records * RESULT_BYTES / 1e9, "{:,.2f}"),
        row("merge: min", lambda s: s.records * lines["merge"].cpu_us / 6e7, "{:,.2f}"),
        row("merge: GB of memory", lambda s: 0.02 + s.records * lines["merge"].memory_b / 1e9, "{:,.2f}"),
        row("files: state and logs", lambda s: s.tasks * files, "{:,.0f}"),
        row(
            f"file calls of ours a s, all starting in {START_S:.0f} s",
            lambda s: s.tasks * calls / START_S,
            "{:,.0f}",
        ),
        row(
            "file opens of imports a s, likewise (NeMo)",
            lambda s: s.tasks * IMPORT_OPENS / START_S,
            "{:,.0f}",
        ),
        row("heartbeats a s", lambda s: s.tasks / 30),
    ]
    title = (
        f"One ASR stage. Measured here: deal {lines['deal'].cpu_us:.1f}, open {lines['open'].cpu_us:.2f}, "
        f"merge {lines['merge'].cpu_us:.1f} us of CPU a line; {files:.1f} files and {calls:.0f} file calls a "
        "task"
    )
    print_table(title, ["", *(scale.name for scale in SCALES)], rows)


def limits_table(lines: dict[str, Line]) -> None:
    """Print what breaks first, at which size, and what to do then."""
    wait_records = 36e9 / 1000 / lines["deal"].cpu_us  # 10 task-hours of 1,000 tasks, us
    read_tb = READ_GB_S * 600 / 1000  # ten minutes of the file system
    rows = [
        [
            "imports at the start",
            f"{START_S * OPENS_S / IMPORT_OPENS:,.0f} tasks at {OPENS_S:,} opens a second",
            "environments in a squashfs image or on the nodes' own disks; %N",
        ],
        [
            "array elements",
            "1,001: SLURM's default MaxArraySize",
            "submit.py makes several arrays (--shard-offset)",
        ],
        [
            "jobs known to SLURM",
            "10,000: MaxJobCount; MaxSubmitJobs is the site's",
            "fewer tasks, each with more to do",
        ],
        [
            "waiting for the deal",
            f"{wait_records / 1e6:,.0f} M records: 10 task-hours of 1,000 tasks",
            "split the manifest: ten deals at once, each over a tenth",
        ],
        [
            "reading the manifest",
            f"{read_tb / LINE_BYTES * 1e12:.0e} records x tasks: 10 min of {READ_GB_S:.0f} GB/s",
            "split: a tenth for each task",
        ],
        ["one record beyond a task's share", "day-long recordings", "manifest_tools.py window --at-silence"],
        [
            "the merge, one process",
            f"{3600 / lines['merge'].cpu_us:,.0f} M records an hour",
            "split: ten merges at once",
        ],
        ["files, our own calls, heartbeats", "not at 10,000 tasks", ""],
    ]
    print_table("What breaks first, and what to do then", ["what", "where", "then"], rows, left=3)


if __name__ == "__main__":
    main()
