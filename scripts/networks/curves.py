"""A picture of a run's losses, drawn from its metrics: whatever was stopped and went on, it is whole."""

from __future__ import annotations

import json
import os
from typing import Any, Callable

from networks.metrics import METRICS

CURVES = "curves.png"


def draw(folder: str, what: str, write_aside: Callable[..., Any]) -> str:
    """Draw training and validation loss (`what`: nats a token) and, where it is known, accuracy over the
    steps into curves.png in the folder; return its path.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with open(os.path.join(folder, METRICS), encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.endswith("}\n")]
    shown = (("loss", "training", "C0"), ("valid_loss", "validation", "C1"), ("accuracy", "training", "C0"),
             ("valid_accuracy", "validation", "C1"))  # fmt: skip
    has_accuracy = any("valid_accuracy" in line for line in lines)
    figure, all_axes = plt.subplots(
        1, 1 + has_accuracy, figsize=(6 * (1 + has_accuracy), 4), layout="constrained", squeeze=False
    )
    for name, label, colour in shown:
        axes = all_axes[0, -1 if "accuracy" in name else 0]
        points = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
        if points and (has_accuracy or "accuracy" not in name):
            axes.plot(*zip(*points), label=label, color=colour, marker="." if "valid" in name else "")
            axes.set_ylabel("accuracy" if "accuracy" in name else f"loss ({what})")
    for axes in all_axes[0]:
        axes.set_xlabel("optimizer step")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    path = os.path.join(folder, CURVES)
    with write_aside(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
    return path
