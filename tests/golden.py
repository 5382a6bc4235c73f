"""Outputs of the original programs: the whole set where it is at hand, else the small one in tests/data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

SMALL = Path(__file__).parent / "data" / "golden"
VARIANTS = ("base", "bn")
LAYERS, KMEANS_LAYER, WIDTH = 3, 2, 48
UNITS = 20  # of the codebooks


def whole() -> Path | None:
    """The folder with hubert/ and hifigan/, or None where there is none."""
    folder = Path(os.environ.get("AMELA_GOLDEN") or Path(__file__).parents[2] / "shared" / "golden")
    return folder if (folder / "hifigan").is_dir() else None


def hubert(name: str) -> Path:
    """The path of a file of the encoders: base.pt, bn.km …"""
    folder = whole()
    return folder / "hubert" / name if folder else SMALL / name


def hubert_reference(variant: str) -> list[dict]:
    """A dict a recording: wav, units, dedup_units, dedup_durations, and features by layer."""
    found = np.load(hubert(f"{variant}.ref.npz"))
    indices = sorted(int(name.split("_")[1]) for name in found if name.startswith("wav_"))
    return [
        {name: found[f"{name}_{index}"] for name in ("wav", "units", "dedup_units", "dedup_durations")}
        | {layer: found[f"feat_{index}_l{layer}"] for layer in range(1, LAYERS + 1)}
        for index in indices
    ]  # fmt: skip


def hifigan(name: str) -> Path:
    """The path of a file of the vocoders; skips where only the small set is at hand."""
    folder = whole()
    if folder is None:
        pytest.skip("no golden vocoders: set AMELA_GOLDEN to the folder that has hubert/ and hifigan/")
    return folder / "hifigan" / name
