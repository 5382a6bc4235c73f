"""Data sets to learn from, and runs of train_multimodal.py on them as a user starts them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import torch
import training_runs as runs

import train_multimodal
from amela.errors import BAD_CALL, CallError
from amela.signals import Stop
from toy_dataset import toy_dataset
from toy_speech import VOCABULARY, speech_row

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
WORDS = (
    "--hidden-dim 32 --latent-dim 16 --num-heads 4 --num-layers 1 --transformer-layers 1 --max-seq-length 32",
    "--learning-rate 0.003 --log-steps 1 --save-steps 3 --device cpu",
)
SMALL = " ".join(WORDS).split()


def write_data(folder: Path, train: int, valid: int = 10) -> Path:
    """Write data/ with speech of toy_speech.py, each eighth row text alone; return the folder above it."""
    rows = {"train": train, "valid": valid, "test": 0}
    toy_dataset(folder / "data", rows, text_every=8, vocab_size=VOCABULARY, make_row=speech_row)
    return folder


def command(*flags: object) -> list[str]:
    """Return the command of a small run, with flags that may change it."""
    return [sys.executable, str(SCRIPTS / "train_multimodal.py"), *SMALL, *map(str, flags)]


def train(folder: Path, *flags: object, ok: int = 0) -> str:
    """Train to the end in a folder, within this process; it must end with the status `ok`. Return what went
    wrong.
    """
    torch.set_num_threads(1)  # as in processes of their own
    with contextlib.chdir(folder), mock.patch.object(sys, "argv", command(*flags)[1:]):
        try:
            status, said = train_multimodal.train(train_multimodal.parse_args(), Stop()), ""
        except CallError as error:
            status, said = BAD_CALL, str(error)
    assert status == ok, said
    return said


def stop_at(folder: Path, step: int, number: int, *flags: object) -> int:
    """Train, send a signal once metrics.jsonl has that step; return the exit status."""
    process = subprocess.Popen(
        command(*flags), cwd=folder, env=runs.environment(), stdout=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 60
    while process.poll() is None and runs.last_step(folder) < step and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(number)
    return process.wait(timeout=60)


def lines(run: Path, name: str) -> list[dict]:
    """Return the lines of a run's metrics that hold `name`."""
    found = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in found if name in line]
