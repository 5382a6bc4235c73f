"""Eight runs of 200,000 points in a browser: dashboard.py beside Chart.js with all points or its decimation.

    envs/.built/dev/bin/python benchmarks/dashboard.py
    envs/.built/dev/bin/python benchmarks/dashboard.py --runs 2 --points 20000

Random walks in run folders, read by a dashboard on this machine, shown in headless Chromium, which draws by
software. First draw: from asking for the page to the curves of all runs, which the hub has read. Frames: what
passes from one to the next for 10 s in which each run grows by a line every 0.5 s. The peers get the lines of
all runs, which are in the page already: no time to read or to send them is counted. They parse them and draw
the loss, one chart.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import ROOT, SCRIPTS, print_machine, print_table

WIDTH = 1280
FRAMES = """
    const times = [], until = performance.now() + 10_000;
    let last = performance.now();
    const next = (now) => {
      times.push(now - last);
      last = now;
      if (now < until) requestAnimationFrame(next); else arguments[0](times.slice(1));
    };
    requestAnimationFrame(next);"""
PEER = """
    const [runs, points, enabled, done] = arguments;
    let loss = 4;
    const line = (_, step) => JSON.stringify({ step, epoch: 1, tokens: 8000 * step, lr: 0.001,
      loss: (loss += Math.random() - 0.5), padding: Math.random(), grad_norm: Math.random() });
    const texts = Array.from({ length: runs }, () => Array.from({ length: points }, line).join());
    const canvas = Object.assign(document.createElement('canvas'), { width: 800, height: 320 });
    document.body.append(canvas);
    const start = performance.now();
    const datasets = texts.map((text) => ({ borderWidth: 1, pointRadius: 0,
      data: JSON.parse(`[${text}]`).map((row) => ({ x: row.step, y: row.loss })) }));
    new Chart(canvas, { type: 'line', data: { datasets }, options: {
      animation: false, parsing: false, normalized: true, responsive: false,
      scales: { x: { type: 'linear' } },
      plugins: { legend: { display: false }, decimation: { enabled, algorithm: 'min-max' } } } });
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));"""


def write_runs(folder: Path, runs: int, points: int) -> list[Path]:
    """Write runs of random walks; return their folders."""
    paths = []
    for number in range(runs):
        path = folder / f"lstm_{number}" / "corpus_s1"
        path.mkdir(parents=True)
        (path / "config.json").write_text("{}")
        append(path, 1, points, random.Random(number))
        paths.append(path)
    return paths


def append(path: Path, first: int, last: int, chance: random.Random) -> None:
    """Write the lines of some steps, an epoch of 1000."""
    loss = 4.0
    with open(path / "metrics.jsonl", "a") as metrics, open(path / "speed.jsonl", "a") as speed:
        for step in range(first, last + 1):
            loss += chance.random() - 0.5
            row = {"step": step, "epoch": (step - 1) // 1000 + 1, "tokens": step * 8000, "loss": loss}
            row |= {"lr": 0.001, "padding": 0.05 * chance.random(), "grad_norm": chance.random()}
            metrics.write(json.dumps(row) + "\n")
            row = {
                "time": 0.0,
                "step": step,
                "tokens_per_s": 9e4 * chance.random(),
                "data_wait": chance.random(),
            }
            speed.write(json.dumps(row) + "\n")


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Yield the address and the process of a dashboard."""
    command = [sys.executable, str(SCRIPTS / "dashboard.py"), str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        while not (found := re.search(r"open +(http://\S+)", process.stdout.readline())):
            pass
        yield found[1], process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def usage(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Return CPU s so far and peak memory in MB."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    peak = Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:")[1].split()[0]
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(peak) * 1024 / 1e6


def grow(paths: list[Path], points: int, ended: threading.Event) -> None:
    """Append a line to each run every 0.5 s."""
    step = points
    while not ended.wait(0.5):
        step += 1
        for path in paths:
            append(path, step, step, random.Random(step))


def measure(page: Any, args: argparse.Namespace, folder: Path) -> list[list[str]]:
    """Return the rows of the table."""
    paths = write_runs(folder / "checkpoints", args.runs, args.points)
    with hub(folder / "checkpoints") as (url, process):
        start_s = time.perf_counter()
        page.open(url, WIDTH)
        all_there = f"Chart.getChart('chart-loss')?.data.datasets.length === {args.runs}"
        page.wait(f"document.querySelector('#waiting').hidden && {all_there}", 600)
        reading_s = time.perf_counter() - start_s
        cpu_s = usage(process)[0]
        page.driver.refresh()
        page.wait(all_there, 60)
        first_s = page.run("performance.getEntriesByName('drawn')[0].startTime") / 1000
        most = page.run("Math.max(...Chart.getChart('chart-loss').data.datasets.map((d) => d.data.length))")
        width = page.run("Chart.getChart('chart-loss').chartArea.width")
        time.sleep(2)
        before_s, ended = usage(process)[0], threading.Event()
        growth = threading.Thread(target=grow, args=(paths, args.points, ended))
        growth.start()
        page.driver.set_script_timeout(120)
        frames = sorted(page.driver.execute_async_script(FRAMES))
        ended.set()
        growth.join()
        live_s, peak_mb = usage(process)[0] - before_s, usage(process)[1]
        peers = []
        for name, decimation in [
            ("Chart.js, its decimation (min-max)", True),
            ("Chart.js, all points", False),
        ]:
            took_ms = page.driver.execute_async_script(PEER, args.runs, args.points, decimation)
            peers.append([name, f"{took_ms / 1000:.2f}", "", ""])
    print(
        f"the hub: {reading_s:.1f} s until all is read and drawn ({cpu_s:.1f} CPU s), peak {peak_mb:.0f} MB; "
        f"{live_s * 100:.0f} ms of CPU a second while all runs grow; {most} points on {width:.0f} pixels"
    )
    ours = [f"{first_s:.2f}", f"{statistics.median(frames):.0f}", f"{frames[int(0.99 * len(frames))]:.0f}"]
    return [["dashboard.py, seven charts", *ours], *peers]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--points", type=int, default=200_000, help="lines of each run's metrics.jsonl")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    import browser

    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        driver = browser.start(Path(folder) / "profile")
        try:
            rows = measure(browser.Page(driver), args, Path(folder))
        finally:
            driver.quit()
    heads = ["", "first draw s", "frame ms", "99 %"]
    print_table(f"{args.runs} runs of {args.points:,} points", heads, rows)


if __name__ == "__main__":
    main()
