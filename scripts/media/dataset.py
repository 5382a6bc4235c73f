"""The multimodal data set: Parquet parts of train, valid and test, and `dataset.json`, which describes them.

A row is a record. An array NAME is a column of its bytes (little endian, C order) beside NAME_shape, its type
in the column's metadata, as in media/frames.py: `np.frombuffer(cell, dtype).reshape(shape)`. What a record
does not have is null.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from media.emotions import LABELS
from media.frames import DTYPE, cells

FORMAT = "amela-multimodal-1"
DATASET = "dataset.json"  # written last: a folder with it is whole
SPLITS = ("train", "valid", "test")
PROSODY = (
    "f0_median_hz",
    "f0_semitone_sd",
    "voiced_ratio",
    "energy_db",
    "rate_syl_s",
    "words_per_s",
    "phones_per_s",
)
LEXICON = ("score", "positive", "neutral", "negative")  # of `sentiment`; else the 28 of media/emotions.py
DESCRIPTION = b"description"  # in the metadata of each field
ARRAYS = {  # name: what it is, its unit
    "mel": "log mel spectrum in dB, (frames, bands)",
    "mfcc": "mel cepstra, (frames, coefficients)",
    "f0_hz": "pitch in Hz, 0 where unvoiced, (frames,)",
    "voicing": "how voiced, 0 to 1, (frames,)",
    "energy_db": "level in dB re full scale, (frames,)",
}
COLUMNS = {
    "key": "what the record is known by: its id, else path, channel, offset and duration",
    "audio_filepath": "absolute path of the recording; null for text alone",
    "offset": "s from the recording's start; null for the whole of it",
    "duration": "s; null where unknown",
    "lang": "language code",
    "speaker": "name of the speaker",
    "speaker_id": "place in `speakers` of dataset.json (those of train, sorted); -1 for none or another",
    "text": "transcript: whisperx_text, else text",
    "tokens": "ids of <bos> text <eos>; null without a tokenizer or a text",
    "context_tokens": "ids of the sentences around it in its recording and split; null without a tokenizer",
    "control_tokens": "ids of its emotion and prosody bins; null without a tokenizer",
    "frames": "frames of each array, hop_s apart; 0 without arrays",
    "prosody": ", ".join(PROSODY) + "; null where unknown",
    "emotion": "scores of `emotion_names` in dataset.json: 28 emotions, or score and shares of a lexicon",
    "emotion_label": "the emotion or sentiment named first",
}


class DatasetError(ValueError):
    """A folder that is no whole data set, or not the one wanted; the message says what to type."""


class Dataset(NamedTuple):
    """What dataset.json says. A part is {"file" (below `folder`), "rows", "bytes", "sha256"}."""

    folder: str
    format: str
    splits: dict[str, dict[str, Any]]  # by split: {"rows", "parts": [part]}; of all three, also an empty one
    split_by: str  # how the records were split, in words
    columns: dict[str, str]  # what each column holds
    arrays: dict[str, dict[str, Any]]  # by name: {"width" (1: of shape (frames,)), "dtype"}
    hop_s: float | None
    sample_rate_hz: int | None
    prosody_names: list[str]
    emotion_names: list[str]  # empty where no record has an emotion
    speakers: list[str]
    statistics: dict[
        str, dict[str, Any]
    ]  # of train: {"mean", "std", "count"}, a value a column; see `moments`
    counts: dict[str, int]  # records without audio, text, …; errors
    tokenizer_sha256: str | None
    vocab_size: int | None
    settings: dict[str, Any]

    def content(self) -> dict[str, Any]:
        """Return what stands in dataset.json."""
        return {name: value for name, value in self._asdict().items() if name != "folder"}


def read_dataset(folder: str) -> Dataset:
    """Return what a folder holds; DatasetError where its dataset.json is missing or of another format."""
    path = os.path.join(folder, DATASET)
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: no such file; wanted a whole data set: `python scripts/build_parquet.py "
            f"MANIFEST {folder}` makes one, or goes on with it"
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: {error}; wanted the JSON that build_parquet.py writes") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise DatasetError(f"{path}: found the format {found!r}, wanted {FORMAT!r}: build it anew")
    missing = [name for name in Dataset._fields if name not in content and name != "folder"]
    if missing:
        raise DatasetError(f"{path}: found no {', '.join(missing)}; wanted what build_parquet.py writes")
    return Dataset(os.path.abspath(folder), *(content[name] for name in Dataset._fields[1:]))


def descriptions(arrays: Iterable[str]) -> dict[str, str]:
    """Return what each column holds, in their order, where these arrays are there."""
    found = dict(COLUMNS)
    for name in arrays:
        found[name] = f"{ARRAYS[name]}: bytes, little endian, C order, type in the field's metadata"
        found[f"{name}_shape"] = f"shape of {name}"
    return found


def schema_of(arrays: dict[str, dict[str, Any]], emotions: int) -> Any:
    """Return the Arrow schema where these arrays are there, and a vector of so many emotions (0: null)."""
    import pyarrow as pa

    ids = pa.list_(pa.int32())
    types = {
        "offset": pa.float64(),
        "duration": pa.float64(),
        "speaker_id": pa.int32(),
        "tokens": ids,
        "context_tokens": ids,
        "control_tokens": ids,
        "frames": pa.int32(),
        "prosody": pa.list_(pa.float32(), len(PROSODY)),
        "emotion": pa.list_(pa.float32(), emotions or len(LABELS)),
        **{name: pa.large_binary() for name in arrays},
        **{f"{name}_shape": ids for name in arrays},
    }
    fields = []
    for name, text in descriptions(arrays).items():
        metadata = {DESCRIPTION: text.encode()}
        if name in arrays:
            metadata[DTYPE] = arrays[name]["dtype"].encode()
        fields.append(pa.field(name, types.get(name, pa.string()), metadata=metadata))
    return pa.schema(fields)


def batch_of(rows: Sequence[dict[str, Any]], schema: Any) -> Any:
    """Return rows as a RecordBatch; a row has a value a column, arrays as NumPy has them, None for null."""
    import numpy as np
    import pyarrow as pa

    columns = []
    for field in schema:
        name = field.name
        if DTYPE in (field.metadata or {}):
            dtype = field.metadata[DTYPE].decode()
            arrays = (row[name] for row in rows)
            raw = [None if array is None else np.ascontiguousarray(array, dtype) for array in arrays]
            columns.append(cells(raw))
            continue
        if name.endswith("_shape"):
            arrays = [row[name.removesuffix("_shape")] for row in rows]
            values = [None if one is None else list(one.shape) for one in arrays]
        else:
            values = [row[name] for row in rows]
        columns.append(pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def arrays_of(batch: Any, name: str) -> list[Any]:
    """Return an array a row of a RecordBatch or Table, None where there is none; not copied, read-only."""
    import numpy as np

    dtype = np.dtype(batch.schema.field(name).metadata[DTYPE].decode())
    found, shapes = batch.column(name), batch.column(f"{name}_shape").to_pylist()
    return [
        None if shape is None else np.frombuffer(cell.as_buffer(), dtype).reshape(shape)
        for cell, shape in zip(found, shapes)
    ]
