"""Language models on the page: the curves of a data set's runs, and the table of its grids."""

from __future__ import annotations

from collections import Counter
from typing import Any

CURVE_POINTS = 300  # of one curve on the page; more cannot be seen
NAMES = {
    "embedding_dim": "Embedding",
    "hidden_size": "Hidden",
    "num_layers": "Layers",
    "learning_rate": "Learning rate",
}


def section(rows: list[dict[str, Any]], varied: list[str]) -> dict[str, Any]:
    """Return the runs as the page draws them; `rows` and `varied` as amela/grid_runs.py gives them."""
    states = Counter(row["state"] for row in rows)
    done = f"{len(rows)} {'run' if len(rows) == 1 else 'runs'}"
    if set(states) != {"done"}:
        done += ": " + ", ".join(f"{number} {state}" for state, number in states.most_common())
    return {
        "note": f"{done}. Ranked by the lowest validation loss (nats a unit); perplexity is e to its power.",
        "columns": [*map(setting_name, varied), "Best loss", "Perplexity", "At step", "State"],
        "runs": [
            {
                "rank": row["rank"],
                "cells": [*(_shown(row["settings"].get(name)) for name in varied), *_figures(row)],
                "training": thin(row["training"]),
                "validation": thin(row["validation"]),
            }
            for row in rows
        ],
    }


def setting_name(name: str) -> str:
    """Return the name of a setting as a heading."""
    return NAMES.get(name, name.replace("_", " ").capitalize())


def thin(curve: list[tuple[int, float]]) -> list[list[float]]:
    """Return at most so many [step, loss] as can be seen, evenly, the last one always."""
    step = max(1, -(-len(curve) // CURVE_POINTS))
    kept = curve[::-1][::step][::-1]
    return [[step, round(loss, 5)] for step, loss in kept]


def _figures(row: dict[str, Any]) -> list[str]:
    if row["best_loss"] is None:
        return ["", "", "", row["state"]]
    return [f"{row['best_loss']:.4f}", f"{row['perplexity']:.2f}", f"{row['best_step']:,}", row["state"]]


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
