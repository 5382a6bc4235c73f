"""The toy stage's manifests, and what to look at while it runs; shared by the tests with SLURM."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

RECORDS = 240
BAD = (7, 77, 177)  # records that the toy stage refuses


def write_toy_manifest(path: Path, records: int = RECORDS) -> None:
    """Write a manifest of short texts."""
    chance = random.Random(5)
    lines = []
    for index in range(records):
        words = [chance.choice(["ba", "dada", "gu", "mamama"]) for _ in range(chance.randrange(9))]
        text = " ".join([*words, "bad"] if index in BAD else words)
        lines.append(json.dumps({"id": f"r{index:04d}", "duration": 1.0, "text": text}) + "\n")
    path.write_text("".join(lines))


def reference(here: Path) -> bytes:
    """Return the merged bytes of one uninterrupted process without SLURM on the same texts."""
    write_toy_manifest(here / "metadata/reference.json")
    command = [sys.executable, "scripts/toy_stage.py", "metadata/reference.json"]
    subprocess.run(command, cwd=here, check=True, capture_output=True)
    return (here / "metadata/reference.json").read_bytes()


def results_of(here: Path, task: int) -> int:
    """Return how many lines of results a task has written."""
    files = (here / "metadata/.amela/x.json/toy/results").glob(f"task_{task:04d}.*.jsonl")
    return sum(len(path.read_text().splitlines()) - 1 for path in files)
