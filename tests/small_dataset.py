"""A multimodal data set of random arrays, as build_parquet.py writes one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from media.dataset import DATASET, FORMAT, PROSODY, SPLITS, batch_of, descriptions, schema_of
from media.emotions import LABELS

SMALL = {
    "mel": {"width": 80, "dtype": "<f2"},
    "mfcc": {"width": 20, "dtype": "<f2"},
    "f0_hz": {"width": 1, "dtype": "<f4"},
}
SPEECH = {**SMALL, "voicing": {"width": 1, "dtype": "<f4"}, "energy_db": {"width": 1, "dtype": "<f2"}}


def make_dataset(
    folder: Path,
    rows: dict[str, int] | None = None,
    frames: tuple[int, int] = (5, 40),
    part_rows: int = 16,
    group_rows: int = 4,
    seed: int = 0,
    arrays: dict[str, dict[str, Any]] = SMALL,
) -> Path:
    """Write a data set with so many rows a split, of so many frames each; every 8th row has no audio."""
    rows = {"train": 50, "valid": 9, "test": 0, **(rows or {})}
    random = np.random.default_rng(seed)
    schema = schema_of(arrays, len(LABELS))
    splits: dict[str, Any] = {}
    for split in SPLITS:
        (folder / split).mkdir(parents=True, exist_ok=True)
        parts = []
        for at in range(0, rows[split], part_rows):
            numbers = range(at, min(at + part_rows, rows[split]))
            name = f"{split}/part-{len(parts):05d}.parquet"
            batch = batch_of([_row(split, number, frames, arrays, random) for number in numbers], schema)
            parts.append({"file": name, "rows": len(numbers), **_write(folder / name, batch, group_rows)})
        splits[split] = {"rows": rows[split], "parts": parts}
    describe(folder, splits, arrays, seed)
    return folder


def _write(path: Path, batch: Any, group_rows: int) -> dict[str, Any]:
    from pyarrow import parquet

    arrays = {name for name in batch.schema.names if f"{name}_shape" in batch.schema.names}
    others = [name for name in batch.schema.names if name not in arrays]
    with parquet.ParquetWriter(
        path, batch.schema, compression="zstd", use_dictionary=others, write_statistics=others
    ) as writer:
        writer.write_batch(batch, row_group_size=group_rows)
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def describe(folder: Path, splits: dict[str, Any], arrays: dict[str, dict[str, Any]], seed: int) -> None:
    """Write dataset.json."""
    content = {
        "format": FORMAT,
        "splits": splits,
        "split_by": "hash",
        "columns": descriptions(arrays),
        "arrays": arrays,
        "hop_s": 0.01,
        "sample_rate_hz": 16000,
        "prosody_names": list(PROSODY),
        "emotion_names": list(LABELS),
        "speakers": ["a", "b"],
        "statistics": {},
        "counts": {},
        "tokenizer_sha256": None,
        "vocab_size": 100,
        "settings": {"seed": seed},
    }
    (folder / DATASET).write_text(json.dumps(content))


def _row(
    split: str, number: int, frames: tuple[int, int], arrays: dict[str, dict[str, Any]], random: np.random.Generator
) -> dict[str, Any]:
    count = 0 if number % 8 == 7 else int(random.integers(*frames, endpoint=True))
    emotion = None if number % 3 else [1.0] * len(LABELS)
    return {
        "key": f"{split}/{number}",
        "audio_filepath": f"/data/{number}.wav" if count else None,
        "offset": None,
        "duration": count / 100,
        "lang": "en",
        "speaker": "ab"[number % 2],
        "speaker_id": number % 2,
        "text": f"text {number}",
        "tokens": list(range(number % 7 + 1)),
        "context_tokens": [1, 2],
        "control_tokens": None,
        "frames": count,
        "prosody": [120.0, None, 0.5, -20.0, 4.0, 2.0, 10.0],
        "emotion": emotion,
        "emotion_label": None if emotion is None else "joy",
        **{name: _array(count, about, random) if count else None for name, about in arrays.items()},
    }


def _array(count: int, about: dict[str, Any], random: np.random.Generator) -> np.ndarray:
    """Return what compresses about as log mel spectra of speech do: slow changes, and noise in each value."""
    slow = np.cumsum(random.standard_normal((count, 1)), axis=0) - 40
    noisy = slow + 6 * random.standard_normal((count, about["width"]))
    return (noisy if about["width"] > 1 else noisy[:, 0]).astype(about["dtype"])
