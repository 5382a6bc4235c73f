"""Pictures of an evaluation: which emotion is taken for which, and how many of each are found."""

from __future__ import annotations

import os
from typing import Any, Callable

import numpy as np


def draw(folder: str, metrics: dict[str, Any], write_aside: Callable[..., Any]) -> None:
    """Write confusion.png and recall.png into a folder; nothing where there is no SER head."""
    if "confusion" not in metrics:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    counts = np.array(metrics["confusion"])
    kept = np.flatnonzero(counts.sum(0) + counts.sum(1))
    names = [name for index, name in enumerate(metrics["emotions"]) if index in kept]
    counts = counts[np.ix_(kept, kept)]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 2.5 + 0.6 * len(names)

    figure, axes = plt.subplots(figsize=(size + 0.8, size), layout="constrained")
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    for row, column in np.ndindex(*counts.shape):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, counts[row, column], ha="center", va="center", color=colour)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="said", ylabel="true", title=f"UA {100 * metrics['ua']:.1f} %")
    _save(figure, os.path.join(folder, "confusion.png"), write_aside)

    figure, axes = plt.subplots(figsize=(size + 0.8, 3.2), layout="constrained")
    axes.bar(names, [metrics["emotions"][name]["recall"] or 0.0 for name in names])
    axes.axhline(metrics["ua"], color="C1", label="UA")
    axes.axhline(metrics["majority"]["ua"], color="0.5", linestyle="--", label="majority's UA")
    axes.set(ylabel="recall", ylim=(0, 1))
    axes.tick_params(axis="x", rotation=45)
    axes.legend()
    _save(figure, os.path.join(folder, "recall.png"), write_aside)


def _save(figure: Any, path: str, write_aside: Callable[..., Any]) -> None:
    from matplotlib import pyplot as plt

    with write_aside(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
