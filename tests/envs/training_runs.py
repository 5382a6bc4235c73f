"""Units of a generated grammar, and runs of train_lstm.py on them as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
UNITS = 12
SMALL = ["--vocab-size", str(UNITS), "--embedding-dim", "12", "--hidden-size", "16", "--batch-size", "8",
         "--log-steps", "1", "--save-steps", "3", "--device", "cpu"]  # fmt: skip


class Grammar:
    """Units from a Markov chain of second order, each repeated as at 50 Hz; its entropy is known."""

    def __init__(self, seed: int = 0, units: int = UNITS, stay: float = 0.75) -> None:
        random = np.random.default_rng(seed)
        self.units, self.stay = units, stay
        self.next = random.dirichlet(np.full(units, 0.1), size=(units, units)) + 1e-3
        for unit in range(units):
            self.next[:, unit, unit] = 0.0
        self.next /= self.next.sum(-1, keepdims=True)

    def sequence(self, length: int, random: np.random.Generator) -> tuple[np.ndarray, float]:
        """Return (units, their negative log-probability in nats but for the first two)."""
        before, now = int(random.integers(self.units)), int(random.integers(self.units))
        found, nats = [now], 0.0
        while len(found) < length:
            if random.random() < self.stay:
                nats -= np.log(self.stay)
            else:
                before, now = now, self._draw(before, now, random)
                nats -= np.log(1 - self.stay) + np.log(self.next[self._before, before, now])
            found.append(now)
        return np.array(found), nats

    def _draw(self, before: int, now: int, random: np.random.Generator) -> int:
        self._before = before
        return int(random.choice(self.units, p=self.next[before, now]))


def write_corpus(folder: Path, files: int, seed: int = 1, mean: float = 3.3) -> float:
    """Write units/*.pt and corpus.json; return the grammar's true nats a unit on them."""
    grammar, random = Grammar(), np.random.default_rng(seed)
    (folder / "units").mkdir(parents=True)
    nats = count = 0.0
    with open(folder / "corpus.json", "w") as manifest:
        for number in range(files):
            length = int(np.clip(random.lognormal(mean, 0.7), 2, 300))
            units, own = grammar.sequence(length, random)
            torch.save(torch.from_numpy(units.astype(np.int16)), folder / "units" / f"talk{number}.pt")
            print(json.dumps({"audio_filepath": f"/data/talk{number}.wav"}), file=manifest)
            nats, count = nats + own, count + length - 1
    return nats / count


def command(folder: Path, *flags: str) -> list[str]:
    """Return the command that trains on the corpus of a folder."""
    script = str(SCRIPTS / "train_lstm.py")
    return [sys.executable, script, "corpus.json", "units", *SMALL, *flags]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a run: one thread, no SLURM."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "AMELA"))}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def train(folder: Path, *flags: str, ok: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the training to its end; it must end with the status `ok`."""
    done = subprocess.run(
        command(folder, *flags), cwd=folder, env=environment(**more), capture_output=True, text=True
    )
    assert done.returncode == ok, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done


def stop_at(folder: Path, step: int, number: int, *flags: str, dataset: str = "*") -> int:
    """Start the training, send a signal once metrics.jsonl has that step; return the exit status."""
    process = subprocess.Popen(
        command(folder, *flags),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and last_step(folder, dataset) < step:
        time.sleep(0.002)
    process.send_signal(number)
    return process.wait(timeout=60)


def last_step(folder: Path, dataset: str = "*") -> int:
    """Return the last step that a run's metrics have, 0 where there is no run."""
    for path in folder.glob(f"checkpoints/*/{dataset}_s*/metrics.jsonl"):
        lines = path.read_text().splitlines()
        if lines:
            try:
                return int(json.loads(lines[-1])["step"])
            except ValueError:  # being written
                return 0
    return 0


def run_of(folder: Path) -> Path:
    """Return the one run of a folder."""
    (path,) = folder.glob("checkpoints/*_*/*_s*")
    return path


def same(first: object, second: object) -> bool:
    """Tell whether two checkpoints hold the same, bit for bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def assert_same_run(first: Path, second: Path) -> None:
    """Weights, optimizer, position, best weights, metrics and result of two runs are the same."""
    for name in ("last.pt", "best.pt"):
        one, two = (torch.load(path / name, weights_only=True) for path in (first, second))
        assert same(one, two), name
    for name in ("metrics.jsonl", "done.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


SIGNALS = {"kill": signal.SIGKILL, "usr1": signal.SIGUSR1, "term": signal.SIGTERM}
