"""Rows with the keys of Nymph's JSONL, one a record (a segment or a sentence), and the same as Parquet.

Arrays are as librosa has them, (coefficients, frames), and float16 as extract_features.py stores them. In
JSON they are lists, in Parquet bytes (little endian, C order) beside `NAME_shape`, as in media/frames.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import IO, Any

from media.frames import DTYPE, read_frames
from media.tiers import text_field, timed_segments
from media.units import parquet_id

ARRAYS = {"mfccs": "mfcc", "mel_spectrogram": "mel"}  # by their names in features
MARKS = {"clip_name", "start_time", "end_time"}  # no manifest of ours has these
GROUP_ROWS, GROUP_BYTES = 1024, 8 * 2**20  # of a row group: what is held in memory at once
LARGEST = 65504.0  # of float16


def row_of(record: dict[str, Any], field: str | None, with_arrays: bool) -> dict[str, Any]:
    """Return a record as a row; what is unknown is None, all of the audio where there is none.

    start_time and end_time in s, pitch: median f0 in Hz, energy: dB re full scale, rate: syllables a second;
    sentiment: `emotion`, else the lexicon's, `model` says whose. FramesError where features cannot be read.
    """
    path, offset_s = record.get("audio_filepath"), record.get("offset")
    start_s, end_s = times_of(record) if path else (None, None)
    source = record.get("features_filepath") if path else None
    found = read_frames(source, tuple(ARRAYS.values()) if with_arrays else ()) if source else {}
    whole = os.path.basename(path) if path else None
    return {
        "audio_filepath": path,
        "clip_name": str(record["id"]) if path and offset_s is not None and record.get("id") else whole,
        "start_time": start_s,
        "end_time": end_s,
        "text": record.get(field or text_field(record)),
        "speaker": record.get("speaker"),
        "prosody": {"pitch": record.get("f0_median_hz"), "energy": record.get("energy_db"),
                    "rate": record.get("rate_syl_s")} if path else None,
        "sentiment": sentiment_of(record),
        "sample_rate": found.get("sample_rate_hz"),
        **{name: found[ours].T if ours in found else None for name, ours in ARRAYS.items()},
    }  # fmt: skip


def times_of(record: dict[str, Any]) -> tuple[float, float | None]:
    """Return start and end (s) in the recording; of a clip of transcribe.py in the one it was cut from."""
    if "parent_filepath" in record:
        return record["start_s"], record["end_s"]
    start_s, duration_s = float(record.get("offset") or 0.0), record.get("duration")
    return start_s, None if duration_s is None else round(start_s + duration_s, 3)


def sentiment_of(record: dict[str, Any]) -> dict[str, Any] | None:
    """Return label, score and the model that gave them, None where neither a model nor a lexicon did."""
    for name, model in (("emotion", "model"), ("sentiment", "engine")):
        found = record.get(name)
        if isinstance(found, dict):
            return {"label": found.get("label"), "score": found.get("score"), "model": found.get(model)}
    return None


def several_segments(record: dict[str, Any], field: str | None) -> bool:
    """Tell whether a record is more than one segment."""
    return len(timed_segments(record, field or text_field(record)) or ()) > 1


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its arrays as lists of the shortest numbers that are the same in float16."""
    return {name: _lists(value) if name in ARRAYS else value for name, value in row.items()}


def from_json(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a JSONL with its arrays; ValueError where they are no matrix of float16."""
    return {**row, **{name: _matrix(name, row.get(name)) for name in ARRAYS}}


def _matrix(name: str, rows: Any) -> Any:
    import numpy as np

    if rows is None:
        return None
    try:
        array = np.array(rows, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: found rows of several lengths or no numbers, wanted a matrix") from None
    largest = np.abs(array[np.isfinite(array)]).max(initial=0)
    if largest > LARGEST:
        raise ValueError(
            f"{name}: found {largest:.4g}, wanted at most {LARGEST:g}, as float16 holds no more: decibels, "
            "e.g. by librosa.power_to_db"
        )
    return array.astype(np.float16)


def write_parquet(rows: Iterable[dict[str, Any]], file: IO[bytes]) -> int:
    """Write rows as they come, at most 1024 of them or some 8 MB of arrays in memory; return how many.

    ValueError for values of another type.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema()
    written = 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(rows):
            columns = {name: [_cell(name, row) for row in group] for name in schema.names}
            try:
                writer.write_table(pa.table(columns, schema))
            except pa.ArrowException as exc:
                raise ValueError(f"row {written + 1} or one of the next {len(group)}: {exc}") from exc
            written += len(group)
    return written


def _schema() -> Any:
    import pyarrow as pa

    number, text = pa.float64(), pa.string()
    fields = [("audio_filepath", text), ("clip_name", text), ("start_time", number), ("end_time", number),
              ("text", text), ("speaker", text),
              ("prosody", pa.struct([(name, number) for name in ("pitch", "energy", "rate")])),
              ("sentiment", pa.struct([("label", text), ("score", number), ("model", text)])),
              ("sample_rate", pa.int32())]  # fmt: skip
    arrays = []
    for name in ARRAYS:
        arrays.append(pa.field(name, pa.large_binary(), metadata={DTYPE: b"<f2"}))
        arrays.append(pa.field(f"{name}_shape", pa.list_(pa.int32())))
    return pa.schema([*(pa.field(*field) for field in fields), *arrays])


def _cell(name: str, row: dict[str, Any]) -> Any:
    array = row.get(name.replace("_shape", ""))
    if array is None:
        return None
    if name in ARRAYS:
        return array.astype("<f2").tobytes()
    if name.endswith("_shape"):
        return array.shape
    return parquet_id(array) if isinstance(array, str) else array


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(row[name].nbytes for name in ARRAYS if row.get(name) is not None)
        if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _lists(array: Any) -> Any:
    import numpy as np

    if array is None:
        return None
    shortest = _shortest()[np.ascontiguousarray(array, np.float16).view(np.uint16)]
    known = np.isfinite(shortest)
    return shortest.tolist() if known.all() else np.where(known, shortest, None).tolist()


@lru_cache(maxsize=1)
def _shortest() -> Any:
    """Return the double with the fewest digits of each float16, by its bits."""
    import numpy as np

    return np.arange(2**16, dtype=np.uint16).view(np.float16).astype(str).astype(np.float64)
