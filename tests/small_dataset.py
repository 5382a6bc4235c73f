"""A multimodal data set of random arrays, as build_parquet.py writes one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from media.dataset import DATASET, FORMAT, PROSODY, SPLITS, batch_of, descriptions, schema_of
from media.emotions import LABELS

ARRAYS = {
    "mel": {"width": 80, "dtype": "<f2"},
    "mfcc": {"width": 20, "dtype": "<f2"},
    "f0_hz": {"width": 1, "dtype": "<f4"},
}


def make_dataset(
    folder: Path, rows: dict[str, int] | None = None, frames: tuple[int, int] = (5, 40), part_rows: int = 16,
    group_rows: int = 4, seed: int = 0,
) -> Path:  # fmt: skip
    """Write a data set with so many rows a split, `frames` of them each (every 8th row has no audio)."""
    from pyarrow import parquet

    rows = {"train": 50, "valid": 9, "test": 0, **(rows or {})}
    random = np.random.default_rng(seed)
    schema = schema_of(ARRAYS, len(LABELS))
    splits: dict[str, Any] = {}
    for split in SPLITS:
        (folder / split).mkdir(parents=True, exist_ok=True)
        parts = []
        for at in range(0, rows[split], part_rows):
            indices = range(at, min(at + part_rows, rows[split]))
            name = f"{split}/part-{len(parts):05d}.parquet"
            batch = batch_of([_row(split, index, frames, random) for index in indices], schema)
            with parquet.ParquetWriter(folder / name, schema, compression="zstd") as writer:
                writer.write_batch(batch, row_group_size=group_rows)
            content = (folder / name).read_bytes()
            parts.append({"file": name, "rows": len(indices), "bytes": len(content),
                          "sha256": hashlib.sha256(content).hexdigest()})  # fmt: skip
        splits[split] = {"rows": rows[split], "parts": parts}
    content = {
        "format": FORMAT, "splits": splits, "split_by": "hash", "columns": descriptions(ARRAYS), "arrays": ARRAYS,
        "hop_s": 0.01, "sample_rate_hz": 16000, "prosody_names": list(PROSODY), "emotion_names": list(LABELS),
        "speakers": ["a", "b"], "statistics": {}, "counts": {}, "tokenizer_sha256": None, "vocab_size": 100,
        "settings": {"seed": seed},
    }  # fmt: skip
    (folder / DATASET).write_text(json.dumps(content))
    return folder


def _row(split: str, index: int, frames: tuple[int, int], random: np.random.Generator) -> dict[str, Any]:
    count = 0 if index % 8 == 7 else int(random.integers(*frames, endpoint=True))
    arrays = {
        name: random.standard_normal((count, about["width"]) if about["width"] > 1 else count).astype(about["dtype"])
        if count else None for name, about in ARRAYS.items()
    }  # fmt: skip
    return {
        "key": f"{split}/{index}", "audio_filepath": f"/data/{index}.wav" if count else None, "offset": None,
        "duration": count / 100, "lang": "en", "speaker": "ab"[index % 2], "speaker_id": index % 2,
        "text": f"text {index}", "tokens": list(range(index % 7 + 1)), "context_tokens": [1, 2], "frames": count,
        "control_tokens": None, "prosody": [120.0, None, 0.5, -20.0, 4.0, 2.0, 10.0],
        "emotion": None if index % 3 else [1.0] * len(LABELS), "emotion_label": None if index % 3 else "joy", **arrays,
    }  # fmt: skip
