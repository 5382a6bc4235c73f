"""Scores of units as a table of text, and P(phone | unit) as a picture."""

from __future__ import annotations

from typing import Any

PERCENT = ("top_share", "labelled_share", "phone_purity", "cluster_purity", "pnmi", "v_measure", "speaker_nb",
           "speaker_lr", "speaker_chance", "speaker_majority")  # fmt: skip
PRINTED = ("vocabulary", "used", "perplexity", "top_share", "segment_ms", "bitrate", "bitrate_dedup",
           "phone_purity", "cluster_purity", "pnmi", "v_measure", "speaker_nmi", "speaker_nb", "speaker_lr",
           "speaker_chance", "speaker_majority")  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Return the folders below each other as text, columns aligned, shares in percent."""
    columns = [name for name in PRINTED if any(name in row for row in rows)]
    header = ["units", *(f"{name} %" if name in PERCENT else name for name in columns)]
    lines = [header, *([row["units"], *(_cell(name, row.get(name)) for name in columns)] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in PERCENT:
        return f"{100 * value:.2f}"
    if isinstance(value, float):
        return f"{value:.3f}" if name == "speaker_nmi" else f"{value:.1f}"
    return str(value)


def order_of_units(table: Any) -> Any:
    """Return the units that occur in counts (phones, units), by their commonest phone, the surest first."""
    import numpy as np

    there = np.flatnonzero(table.sum(0))
    shares = table[:, there] / table[:, there].sum(0)
    return there[np.lexsort((-shares.max(0), shares.argmax(0)))]


def draw(file: Any, phones: list[str], table: Any, title: str) -> None:
    """Draw P(phone | unit), units sorted by their commonest phone, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = table[:, order_of_units(table)]
    figure, axes = plt.subplots(figsize=(9, max(3.0, 0.16 * len(phones))), layout="constrained")
    image = axes.imshow(shown / shown.sum(0), aspect="auto", interpolation="nearest", cmap="magma_r", vmin=0)
    axes.set_yticks(range(len(phones)), phones, fontsize=6)
    axes.set_xlabel(f"{shown.shape[1]} units, by their commonest phone")
    axes.set_title(title, fontsize=9)
    figure.colorbar(image, label="P(phone | unit)")
    figure.savefig(file, format="png", dpi=150)
    plt.close(figure)
