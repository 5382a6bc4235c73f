"""The ablation of train_ser.py: which alphas a task trains with, and the table of all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from amela.errors import OK, CallError
from amela.files import write_aside
from amela.run_folder import CONFIG, DONE
from amela.slurm import Place

RESULTS = "ablation_results.json"
FIGURES = ("ua", "accuracy", "macro_f1", "wer", "prosody_f1", "best_loss")


def mine(alphas: Sequence[float], place: Place) -> list[float]:
    """Return the alphas of this task of an array, all of them outside."""
    if len(set(alphas)) < len(alphas):
        raise CallError(f"--ablation_alphas {' '.join(f'{alpha:g}' for alpha in alphas)}: one stands twice")
    if not place.is_array:
        return list(alphas)
    tasks = (place.last or 0) - (place.first or 0) + 1
    return list(alphas[(place.task or 0) - (place.first or 0) :: tasks])


def report(folder: Path, alphas: Sequence[float], log: Callable[[str], None]) -> int:
    """Write the table of the alphas whose runs are finished; the best one is that of the highest UA on the
    validation set, never on the test set. Returns the exit status.
    """
    rows: list[dict[str, Any]] = []
    for done in sorted(folder.glob(f"*/{DONE}")):
        config, result = json.loads((done.parent / CONFIG).read_text()), json.loads(done.read_text())
        if config["alpha_asr"] in alphas:
            row = {"alpha_asr": config["alpha_asr"], "alpha_prosody": config["alpha_prosody"]}
            figures = {f"valid_{name}": result.get(name) for name in FIGURES}
            rows.append({**row, "run": str(done.parent), **figures})
    rows.sort(key=lambda row: (row["alpha_asr"], row["run"]))
    best = max(rows, key=lambda row: row["valid_ua"] or 0.0)["alpha_asr"] if rows else None
    missing = sorted(set(alphas) - {row["alpha_asr"] for row in rows})
    found = {
        "best_alpha_asr": best,
        "chosen_by": "UA on the validation set",
        "missing": missing,
        "runs": rows,
    }
    with write_aside(folder / RESULTS) as file:
        json.dump(found, file, indent=1)
        file.write("\n")
    for one in rows:
        known = [name for name in FIGURES if one[f"valid_{name}"] is not None]
        said = ", ".join(f"{name} {one[f'valid_{name}']:.4f}" for name in known)
        log(f"alpha_asr {one['alpha_asr']:g}: {said}")
    todo = f"; not finished: {', '.join(f'{alpha:g}' for alpha in missing)}" if missing else ""
    log(f"{folder / RESULTS}: best alpha_asr by UA on the validation set: {best:g}{todo}")
    return OK
