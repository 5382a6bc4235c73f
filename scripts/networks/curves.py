"""A picture of a run's curves, drawn from its metrics: whatever was stopped and went on, it is whole."""

from __future__ import annotations

import json
import os
from typing import Any, Callable

from networks.metrics import METRICS

CURVES = "curves.png"
WIDE = 3  # panels of a row
ACCURACY = {"accuracy": "training", "valid_accuracy": "validation"}
Panels = dict[str, dict[str, str]]  # what a panel shows: names of figures in the metrics, and what they are


def draw(folder: str, what: str, write_aside: Callable[..., Any], panels: Panels | None = None) -> str:
    """Draw training and validation loss (`what`: nats a token) over the steps into curves.png in the folder,
    with a panel for each of `panels` (accuracy by default) that has something to show; return its path.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with open(os.path.join(folder, METRICS), encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.endswith("}\n")]
    losses = {f"loss ({what})": {"loss": "training", "valid_loss": "validation"}}
    every = {**losses, **({"accuracy": ACCURACY} if panels is None else panels)}
    shown = {title: names for title, names in every.items() if any(map(names.keys().__and__, lines))}
    rows = -(-len(shown) // WIDE)
    columns = min(WIDE, len(shown))
    figure, all_axes = plt.subplots(
        rows, columns, figsize=(6 * columns, 4 * rows), layout="constrained", squeeze=False
    )
    for axes in all_axes.flat[len(shown) :]:
        axes.set_axis_off()
    for axes, (title, names) in zip(all_axes.flat, shown.items()):
        axes.set(xlabel="optimizer step", ylabel=title)
        axes.grid(alpha=0.3)
        for name, label in names.items():
            points = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
            if points:
                axes.plot(*zip(*points), label=label, marker="." if name.startswith("valid") else "")
        if axes.lines:
            axes.legend()
    path = os.path.join(folder, CURVES)
    with write_aside(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
    return path
