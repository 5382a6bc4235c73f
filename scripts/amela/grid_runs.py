"""What is known of the runs of a data set's grids: how far each is, its losses, its rank."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Callable

from amela.files import StrPath
from amela.grid import grid_files
from amela.run_folder import CONFIG, state_of


def losses_of(run: Path) -> dict[str, Any]:
    """Return best_loss, best_step, step and the curves of a run by its metrics.jsonl; see ranked_runs."""
    lines = _metrics(run / "metrics.jsonl")
    curve = [(line["step"], line["valid_loss"]) for line in lines if "valid_loss" in line]
    best_step, best = min(curve, key=lambda pair: pair[1]) if curve else (None, None)
    return {"best_loss": best, "best_step": best_step, "step": lines[-1]["step"] if lines else None,
            "training": [(line["step"], line["loss"]) for line in lines if "loss" in line],
            "validation": curve}  # fmt: skip


def ranked_runs(
    checkpoints: StrPath, dataset: str, losses: Callable[[Path], dict[str, Any]] = losses_of
) -> list[dict[str, Any]]:
    """Return a row a point of all grids of a data set, those of the lowest validation loss first.

    What `freeze` of grid.py wrote of the point (point, settings, run, command), and: grid (its mark), rank,
    state (done, running, stale, stopped, missing), best_loss (nats a unit), perplexity, best_step, step, and
    the curves [(step, loss)] `training` and `validation`. Losses are None where nothing was evaluated yet.
    """
    files = grid_files(checkpoints, dataset)
    rows = [_row(path, json.loads(line), losses) for path in files for line in path.read_text().splitlines()]
    rows.sort(key=lambda row: (row["best_loss"] is None, row["best_loss"] or 0.0, row["point"]))
    for rank, row in enumerate(rows, 1):
        row["rank"] = rank
    return rows


def varied(rows: list[dict[str, Any]]) -> list[str]:
    """Return the names of the settings that any of the grids varies."""
    return list(dict.fromkeys(name for row in rows for name in row["settings"]))


def config_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the config of the first run that was evaluated, {} where there is none."""
    run = next((row["run"] for row in rows if row["best_loss"] is not None), None)
    return {} if run is None else dict(json.loads((Path(run) / CONFIG).read_text()))


def _row(path: Path, entry: dict[str, Any], losses: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    run = Path(entry["run"])
    if not run.exists():  # it stands there as it was typed, and this may be another working folder
        run = path.parent.joinpath(*run.parts[-2:])
    found = losses(run)
    best = found["best_loss"]
    return {**entry, "grid": path.stem.rpartition("_")[2], "state": state_of(run), **found,
            "perplexity": None if best is None else math.exp(min(best, 700.0))}  # fmt: skip


def _metrics(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]  # the last may be half written
