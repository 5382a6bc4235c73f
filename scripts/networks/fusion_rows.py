"""Reads rows of the multimodal data set, or records of a manifest, as examples for the fusion model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from media.dataset import PROSODY, DatasetError, arrays_of
from media.prosody import semitones
from networks.fusion_batch import ARRAYS, CONTOUR, Example

COLUMNS = {  # of the data set, by what needs them
    "text": ("tokens", "context_tokens"),
    "mel": ("mel", "mel_shape"),
    "mfcc": ("mfcc", "mfcc_shape"),
    "contour": tuple(name for array in CONTOUR for name in (array, f"{array}_shape")),
    "prosody": ("prosody",),
    "emotion": ("emotion",),
    "speaker": ("speaker_id",),
}


def columns_of(modalities: Sequence[str]) -> list[str]:
    """Return the columns that these modalities are read from."""
    return ["key", "frames", *(column for name in modalities for column in COLUMNS[name])]


class Rows:
    """Makes examples of the modalities that a config names, normalised by `statistics` of dataset.json."""

    def __init__(self, statistics: dict[str, Any], config: dict[str, Any]) -> None:
        self.modalities, self.widths = config["modalities"], config["widths"]
        self.arrays = [name for name in ARRAYS if name in self.modalities]
        self.limit, self.vocab_size = config["max_seq_length"], config["vocab_size"]
        self.cut = 0  # texts longer than the limit so far
        self.scales = {}
        for name in self.modalities:
            parts = {"contour": ("f0_semitones", *CONTOUR[1:])}.get(name, (name,))
            if name not in ("text", "speaker"):
                self.scales[name] = [
                    np.concatenate([np.asarray(statistics[part][what], np.float32) for part in parts])
                    for what in ("mean", "std")
                ]

    def of_batch(self, batch: Any) -> list[Example]:
        """Return the rows of a pyarrow RecordBatch; DatasetError for a missing column or a broken row."""
        missing = [name for name in columns_of(self.modalities) if name not in batch.schema.names]
        if missing:
            raise DatasetError(
                f"the data set: found a part without {', '.join(missing)}; its parts are of mixed schemas: "
                "build it anew by build_parquet.py"
            )
        arrays = {
            name: arrays_of(batch, name)
            for modality in self.modalities
            for name in {"contour": CONTOUR, "mel": ("mel",), "mfcc": ("mfcc",)}.get(modality, ())
        }
        plain = [name for name in batch.schema.names if name not in arrays and not name.endswith("_shape")]
        rows = batch.select(plain).to_pylist()
        return [
            self.of_row({**row, **{name: cells[at] for name, cells in arrays.items()}})
            for at, row in enumerate(rows)
        ]

    def of_row(self, row: Mapping[str, Any]) -> Example:
        """Return one row, a value a column; what it lacks is marked as not valid."""
        key, frames = row["key"], int(row["frames"] or 0)
        values, valid = {}, {}
        for name in self.modalities:
            if name in ("text", "speaker"):
                continue
            found = self._array(name, row, frames) if name in ARRAYS else self._vector(name, row)
            mean, std = self.scales[name]
            valid[name] = ~np.isnan(found)
            values[name] = np.where(valid[name], (found - mean) / std, 0.0).astype(np.float32)
            if not np.isfinite(values[name]).all():
                raise DatasetError(
                    f"{key}: {name} holds an infinite number; wanted finite ones: extract it again"
                )
        text, context = self._text(row)
        return Example(key, text, context, frames, values, valid, int(_or(row.get("speaker_id"), -1)))

    def _array(self, name: str, row: Mapping[str, Any], frames: int) -> np.ndarray:
        """Return (frames, width) float32; only what may be missing (pitch where unvoiced) is NaN."""
        parts = CONTOUR if name == "contour" else (name,)
        found = []
        for part in parts:
            wanted = (frames, self.widths[name] // len(parts))
            array = row.get(part)
            array = np.zeros((0, wanted[1])) if array is None or not len(array) else array
            array = (array[:, None] if array.ndim == 1 else array).astype(np.float32)
            if array.shape != wanted:
                raise DatasetError(f"{row['key']}: found {part} of shape {array.shape}, wanted {wanted}")
            if np.isnan(array).any():
                raise DatasetError(
                    f"{row['key']}: {part} holds NaN; wanted numbers: extract its features again"
                )
            found.append(semitones(array) if part == "f0_hz" else array)
        return np.concatenate(found, 1)

    def _vector(self, name: str, row: Mapping[str, Any]) -> np.ndarray:
        """Return (width,) float32, NaN where a value is null."""
        told = row.get(name)
        if told is None:
            return np.full(self.widths[name], np.nan, np.float32)
        if len(told) != self.widths[name]:
            raise DatasetError(
                f"{row['key']}: found {len(told)} values of {name}, wanted {self.widths[name]}"
            )
        if any(value is not None and math.isnan(value) for value in told):
            raise DatasetError(
                f"{row['key']}: {name} holds NaN; wanted a number or null: build the data set anew"
            )
        return np.array(told, np.float32)

    def _text(self, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of text and context, cut to what the model has positions for: context first."""
        if "text" not in self.modalities:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        text, context = (np.array(_or(row.get(name), []), np.int64) for name in ("tokens", "context_tokens"))
        for ids in (text, context):
            if len(ids) and not 0 <= ids.min() <= ids.max() < self.vocab_size:
                raise DatasetError(
                    f"{row['key']}: found token {int(ids.max())}, wanted 0 to {self.vocab_size - 1}: the "
                    "data set and its tokenizer do not belong together"
                )
        self.cut += len(text) > self.limit
        text = text[: self.limit]
        return text, context[: self.limit - len(text)]


def shape_of(data: dict[str, Any], modalities: Sequence[str]) -> dict[str, int]:
    """Return the width of each of these modalities in a data set (dataset.json); DatasetError where it has it
    not.
    """
    widths = {}
    for name in modalities:
        wanted = CONTOUR if name == "contour" else (name,)
        if name in ARRAYS:
            lacking = [array for array in wanted if array not in data["arrays"]]
            why = f"no array {', '.join(lacking)}: extract_features.py makes them" if lacking else ""
            widths[name] = sum(int(data["arrays"].get(array, {}).get("width", 0)) for array in wanted)
        elif name == "emotion":
            widths[name] = len(data["emotion_names"])
            why = "" if widths[name] else "no emotions: tag_emotion.py makes them"
        elif name == "text":
            why = "" if data["vocab_size"] else "no tokens: build it with --tokenizer DIR"
        else:
            widths |= {"prosody": len(PROSODY)} if name == "prosody" else {}
            why = ""
        if why:
            raise DatasetError(
                f"the data set has {why}, then build_parquet.py; or leave {name} out of --modalities"
            )
    return widths


def _or(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value
