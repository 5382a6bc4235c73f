"""A small multimodal data set of random rows, for the tests of what reads one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Callable

import numpy as np

from media.dataset import DATASET, FORMAT, PROSODY, SPLITS, Dataset, descriptions, schema_of
from media.dataset_parts import Statistics, write_part
from media.emotions import LABELS

ARRAYS = {
    "mel": {"width": 80, "dtype": "<f2"},
    "mfcc": {"width": 20, "dtype": "<f2"},
    "f0_hz": {"width": 1, "dtype": "<f4"},
    "voicing": {"width": 1, "dtype": "<f2"},
    "energy_db": {"width": 1, "dtype": "<f2"},
}
HOP_S = 0.01


def toy_row(
    index: int, speaker: int, seed: int = 0, vocab_size: int = 60, audio: bool = True
) -> dict[str, Any]:
    """Return a row of random numbers, 20 to 120 frames; without audio its arrays are None."""
    random = np.random.default_rng([seed, index])
    frames = int(random.integers(20, 121)) if audio else 0
    tokens = random.integers(4, vocab_size, random.integers(3, 12)).tolist()
    scores = random.random(len(LABELS))
    row: dict[str, Any] = {
        "key": f"row{index:05d}",
        "audio_filepath": f"/data/row{index:05d}.wav" if audio else None,
        "offset": None,
        "duration": frames * HOP_S if audio else None,
        "lang": "en",
        "speaker": f"speaker{speaker}",
        "speaker_id": speaker,
        "text": " ".join(map(str, tokens)),
        "tokens": [2, *tokens, 3],
        "context_tokens": random.integers(4, vocab_size, random.integers(0, 9)).tolist(),
        "control_tokens": random.integers(4, vocab_size, 4).tolist(),
        "frames": frames,
        "prosody": random.normal(size=len(PROSODY)).tolist() if audio else [None] * len(PROSODY),
        "emotion": (scores / scores.sum()).tolist(),
        "emotion_label": LABELS[int(scores.argmax())],
    }
    for name, array in ARRAYS.items():
        shape = (frames, array["width"])[: 1 if array["width"] == 1 else 2]
        row[name] = random.normal(size=shape).astype(array["dtype"]) if audio else None
    if audio:
        row["f0_hz"] = np.where(random.random(frames) < 0.5, 0, 150 + 20 * row["f0_hz"]).astype("<f4")
    return row


def toy_dataset(
    folder: Path,
    rows: dict[str, int] | None = None,
    part_rows: int = 16,
    speakers: int = 4,
    seed: int = 0,
    text_every: int = 0,
    tokenizer_sha256: str | None = None,
    vocab_size: int = 60,
    make_row: Callable[..., dict[str, Any]] = toy_row,
) -> Dataset:
    """Write a data set (default: 40, 8 and 8 rows) and return it; each `text_every`-th row has no audio."""
    schema, statistics = schema_of(ARRAYS, len(LABELS)), Statistics(ARRAYS, len(LABELS))
    splits: dict[str, dict[str, Any]] = {}
    index = 0
    for split in SPLITS:
        count = (rows or {"train": 40, "valid": 8, "test": 8}).get(split, 0)
        found = []
        for at in range(index, index + count):
            audio = not text_every or at % text_every > 0
            found.append(make_row(at, at % speakers, seed, vocab_size, audio))
        index += count
        for row in found if split == "train" else ():
            statistics.add(row)
        parts = []
        (folder / split).mkdir(parents=True, exist_ok=True)
        for part, at in enumerate(range(0, count, part_rows)):
            path = folder / split / f"part-{part:05d}.parquet"
            with open(path, "wb") as file:
                written = write_part(found[at : at + part_rows], schema, file)
            content = path.read_bytes()
            parts.append({"file": f"{split}/{path.name}", "rows": written, "bytes": len(content),
                          "sha256": hashlib.sha256(content).hexdigest()})  # fmt: skip
        splits[split] = {"rows": count, "parts": parts}
    names = [f"speaker{number}" for number in range(speakers)]
    dataset = Dataset(
        str(folder), FORMAT, splits, "at random", descriptions(ARRAYS), ARRAYS, HOP_S, 16_000, list(PROSODY),
        list(LABELS), names, statistics.figures(), {}, tokenizer_sha256, vocab_size, {}
    )  # fmt: skip
    (folder / DATASET).write_text(json.dumps(dataset.content(), indent=1))
    return dataset
