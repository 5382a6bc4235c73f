"""Manifests with features of random numbers, for the tests of build_parquet.py."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from amela.manifest import write_manifest
from media.emotions import LABELS
from media.frames import store

HOP_S = 0.01


def arrays_of(index: int, frames: int, mel_bands: int = 80, dtype: str = "float16") -> dict[str, np.ndarray]:
    """Return the arrays that extract_features.py makes, of random numbers."""
    random = np.random.default_rng(index)
    f0_hz = np.where(random.random(frames) < 0.4, 0, random.uniform(80, 300, frames))
    return {
        "mel": random.normal(-40, 10, (frames, mel_bands)).astype(dtype),
        "mfcc": random.normal(0, 20, (frames, 20)).astype("float16"),
        "f0_hz": f0_hz.astype("float32"),
        "voicing": random.random(frames).astype("float16"),
        "energy_db": random.normal(-30, 5, frames).astype("float16"),
    }


def record_of(index: int, speakers: int = 12) -> dict[str, Any]:
    """Return a record of an utterance of 0.3 to 1 s, all but its features."""
    random = np.random.default_rng([1, index])
    scores = random.random(len(LABELS)).round(3)
    return {
        "audio_filepath": f"/data/corpus/{index:05d}.wav",
        "duration": round(0.3 + 0.01 * int(random.integers(0, 71)), 2),
        "text": f"utterance {index} of the corpus",
        "lang": "en",
        "speaker": f"s{index % speakers:02d}",
        "f0_median_hz": 150.0 + index % 50,
        "f0_semitone_sd": 2.5,
        "voiced_ratio": 0.6,
        "energy_db": -25.5,
        "rate_syl_s": None if index % 7 == 0 else 4.2,
        "emotion": {"label": LABELS[int(scores.argmax())], "score": float(scores.max()),
                    "scores": scores.tolist(), "model": "random"},
    }  # fmt: skip


def write_corpus(
    folder: Path, count: int = 60, batch: int = 16, change: Any = None, form: str = "parquet"
) -> tuple[Path, list[dict[str, Any]], list[dict[str, np.ndarray]]]:
    """Write a corpus of `count` utterances; return its manifest, records and arrays.

    change(index, record, arrays) may alter both, or return None for no features.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records, arrays = [], []
    for index in range(count):
        record = record_of(index)
        found: Any = arrays_of(index, round(record["duration"] / HOP_S))
        if change is not None:
            found = change(index, record, found)
        records.append(record)
        arrays.append(found)
    notes = {"hop_s": HOP_S, "sample_rate_hz": 16_000}
    having = [index for index in range(count) if arrays[index] is not None]
    for at in range(0, len(having), batch):
        some = having[at : at + batch]
        items = [(str(index), records[index], arrays[index], notes) for index in some]
        kinds = {}
        for item in items:  # a part holds arrays of one kind
            kinds.setdefault(tuple((name, array.dtype) for name, array in item[2].items()), []).append(item)
        for one in kinds.values():
            sources = store(
                one, str(folder), form, lambda record: Path(record["audio_filepath"]).stem, _output
            )
            for (index, *_), source in zip(one, sources):
                records[int(index)]["features_filepath"] = source
    manifest = folder / "corpus.json"
    write_manifest(manifest, records)
    return manifest, records, arrays


@contextmanager
def _output(path: str) -> Any:
    with open(path, "wb") as file:
        yield file
