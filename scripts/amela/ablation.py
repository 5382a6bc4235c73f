"""The ablation of train_ser.py: which alphas a task trains with, and the table of all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from amela import grid
from amela.errors import CallError
from amela.files import write_aside
from amela.run_folder import DONE
from amela.slurm import Place

RESULTS, TESTED = "ablation_results.json", "test_metrics.json"
VALIDATED = ("ua", "accuracy", "macro_f1", "ser", "wer", "prosody_f1")
TEST = ("ua", "wa", "macro_f1", "wer", "cer", "prosody_f1", "prosody_auc")


def mine(alphas: Sequence[float], place: Place) -> list[float]:
    """Return the alphas of this task of an array, counted as the points of a grid; all of them outside."""
    if len(set(alphas)) < len(alphas):
        raise CallError(f"--ablation_alphas {' '.join(f'{alpha:g}' for alpha in alphas)}: one stands twice")
    return [alphas[point] for point in grid.mine(len(alphas), place)]


def report(folder: Path, runs: dict[float, Path], log: Callable[[str], None]) -> Path | None:
    """Write the table of the alphas whose runs (folders by alpha) are tested; return the best one's folder,
    None before all are there: that of the highest UA on the validation set, never on the test set.
    """
    rows, written = _rows(runs), None
    while rows != written:  # another task may have ended while this one wrote
        missing = sorted(set(runs) - {row["alpha_asr"] for row in rows})
        best = max(rows, key=_quality) if rows else None
        found = {
            "best_alpha_asr": best and best["alpha_asr"],
            "chosen_by": "UA on the validation set, then SER's loss there; without a SER head the whole loss",
            "missing": missing,
            "runs": rows,
        }
        with write_aside(folder / RESULTS) as file:
            json.dump(found, file, indent=1)
            file.write("\n")
        rows, written = _rows(runs), rows
    for row in rows:
        said = ", ".join(f"{name} {value:.4f}" for name, value in row["valid"].items() if value is not None)
        log(f"alpha_asr {row['alpha_asr']:g}: on the validation set {said}")
    todo = f"; not finished: {', '.join(f'{alpha:g}' for alpha in missing)}" if missing else ""
    if best:
        log(f"{folder / RESULTS}: best alpha_asr on the validation set: {best['alpha_asr']:g}{todo}")
    return runs[best["alpha_asr"]] if best and not missing else None


def _rows(runs: dict[float, Path]) -> list[dict[str, Any]]:
    found = []
    for alpha, run in sorted(runs.items()):
        if (run / DONE).exists() and (run / TESTED).exists():
            done, tested = (json.loads((run / name).read_text()) for name in (DONE, TESTED))
            valid = {"loss": done["best_loss"], **{name: done.get(name) for name in VALIDATED}}
            test = {name: tested.get(name) for name in TEST}
            found.append({"alpha_asr": alpha, "run": str(run), "valid": valid, "test": test})
    return found


def _quality(row: dict[str, Any]) -> tuple[float, float]:
    """Return what the best alpha has most of; SER's loss decides a tie, as the whole one grows with alpha."""
    valid = row["valid"]
    return (0.0, -valid["loss"]) if valid["ua"] is None else (valid["ua"], -valid["ser"])
