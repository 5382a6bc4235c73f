"""A stage as people run it: its records written, its script run in a fork, its batch file run as an array."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from amela.merge import merge
from arrays import Task


def write_records(path: Path, records: list[dict]) -> Path:
    """Write a manifest and return its path."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def run_script(main: Callable, manifest: Path, *words: object, status: int = 0) -> str:
    """Run a script's main in a fork, where what is imported here is loaded already; return what it said."""
    log = manifest.with_suffix(".log")
    ended = Task([manifest, *words], log=log, main=main).wait(120)
    said = log.read_text()
    log.unlink()
    assert ended == status, said
    return said


def run_batch_file(checkout: Path, launcher: str, manifest: Path, stage: str) -> None:
    """Run a batch file as an array of three in a checkout, with this Python, and merge."""
    env = {name: value for name, value in os.environ.items() if name != "AMELA_ENVS"}
    flags = ["--gres=none", "--cpus-per-task=1", "--array=0-2", f"slurm/{launcher}.slurm", str(manifest)]
    done = subprocess.run([sys.executable, "scripts/local_sbatch.py", *flags], cwd=checkout, timeout=120,
                          env={**env, "AMELA_ENV": "local"}, capture_output=True, text=True)  # fmt: skip
    logs = "".join(path.read_text()[-1500:] for path in (checkout / "logs").iterdir())
    assert done.returncode == 0, done.stderr + logs
    assert merge(manifest, stage).status == 0
