"""One vector an utterance, from what is known of it: sound, features, embeddings, units or codes.

audio      mean and standard deviation over the frames of 39 MFCC (networks/mfcc.py): (78,)
features   the same of the `mfcc` that extract_features.py made: (2 · coefficients,)
embedding  the mean over the frames of `embedding_filepath`
units      the sum of a table's rows, one a unit (times its duration): the direction is that of the mean
codes      the same of codes (frames, levels), a table a level, summed over the levels
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import IO, Any, Callable

import numpy as np

AUDIO, FEATURES, EMBEDDING, UNITS, CODES = "audio", "features", "embedding", "units", "codes"
FIELDS = {
    FEATURES: "features_filepath",
    EMBEDDING: "embedding_filepath",
    UNITS: "units_filepath",
    CODES: "codes_filepath",
    AUDIO: "audio_filepath",
}
AT_ONCE = 256  # records that are read ahead
TOLD_EVERY = 20_000  # records
STANDARDISED = (AUDIO, FEATURES)  # C0 is some hundred times as large as the others, and would be all of it


class VectorError(ValueError):
    """An utterance that no vector can be made of; the message says what was found and wanted."""


Maker = Callable[[dict[str, Any], str], np.ndarray]


def maker(source: str, table: np.ndarray | None) -> Maker:
    """Return the function that makes the vector (width,) float32 of (record, key); it may raise what its
    readers raise, all of them ValueErrors, and VectorError.

    `table` (levels, vocabulary, width) is wanted for units and codes.
    """
    make = {AUDIO: _audio(), FEATURES: _features, EMBEDDING: _embedding, UNITS: _units, CODES: _codes}[source]

    def checked(record: dict[str, Any], key: str) -> np.ndarray:
        if not record.get(FIELDS[source]):
            raise VectorError(f"no `{FIELDS[source]}` in the record, wanted it as vectors are of {source}")
        vector = make(record, key, table)
        if not np.isfinite(vector).all():
            raise VectorError(f"found NaN or infinity in the {source} of the record, wanted numbers")
        return vector.astype(np.float32)

    return checked


def _audio() -> Callable[..., np.ndarray]:
    from media.audio import record_window, stream_mono
    from networks.mfcc import Mfcc

    mfcc = Mfcc()

    def statistics(record: dict[str, Any], _key: str, _table: Any) -> np.ndarray:
        sums = Moments()
        for _, frames in mfcc.pieces(stream_mono(**record_window(record))):
            sums.add(frames.numpy())
        return sums.statistics()

    return statistics


def _features(record: dict[str, Any], _key: str, _table: Any) -> np.ndarray:
    sums = Moments()
    sums.add(_array(record, FEATURES, "mfcc", (2,)))
    return sums.statistics()


def _embedding(record: dict[str, Any], _key: str, _table: Any) -> np.ndarray:
    found = _array(record, EMBEDDING, "embedding", (1, 2)).astype(np.float64)
    return found if found.ndim == 1 else found.mean(0)


def _units(record: dict[str, Any], key: str, table: np.ndarray) -> np.ndarray:
    from media.units import read_record

    units, durations = read_record(record, key)
    return _summed(units[:, None], table, durations)


def _codes(record: dict[str, Any], _key: str, table: np.ndarray) -> np.ndarray:
    return _summed(_array(record, CODES, "codes", (2,)), table, None)


def _array(record: dict[str, Any], source: str, name: str, dims: tuple[int, ...]) -> np.ndarray:
    """Return an array of a record; VectorError where it is empty."""
    from media.frames import read_array

    path = record[FIELDS[source]]
    found: np.ndarray = read_array(path, name)
    if found.ndim not in dims or not found.size:
        raise VectorError(f"{path}: found `{name}` of shape {found.shape}, wanted an array of frames")
    return found


def _summed(codes: np.ndarray, table: np.ndarray, durations: np.ndarray | None) -> np.ndarray:
    """Return the sum over frames and levels of the table's rows for codes (frames, levels)."""
    levels, vocabulary, _ = table.shape
    if not len(codes) or codes.shape[1] > levels:
        raise VectorError(f"found codes of shape {codes.shape}, wanted some, of at most {levels} levels")
    if codes.min() < 0 or codes.max() >= vocabulary:
        raise VectorError(
            f"found codes {codes.min()} to {codes.max()}, wanted 0 to {vocabulary - 1}, as the table has rows"
        )
    weights = None if durations is None else np.asarray(durations, np.float64)
    return sum(
        np.bincount(codes[:, level], weights, vocabulary) @ table[level].astype(np.float64)
        for level in range(codes.shape[1])
    )


def write_vectors(
    make: Maker, records: Iterable[tuple[str, dict[str, Any]]], file: IO[bytes], threads: int, log: Any
) -> tuple[int, dict[int, ValueError]]:
    """Write the vector of each (key, record) to a file, a row (width,) float32 each; return the width, 0
    where no record gave one, and what was wrong, by row: that row is zeros.
    """
    width = rows = 0
    problems: dict[int, ValueError] = {}
    records = iter(records)
    with ThreadPoolExecutor(threads) as pool:
        while batch := list(islice(records, AT_ONCE)):
            for found in pool.map(lambda item: _attempt(make, *item), batch):
                vector = found
                if width and not isinstance(vector, ValueError) and len(vector) != width:
                    vector = VectorError(f"found {len(vector)} numbers, wanted {width} as of those before")
                if isinstance(vector, ValueError):
                    problems[rows] = vector
                    vector = np.zeros(width, np.float32)
                elif not width:
                    width = len(vector)
                    file.write(bytes(4 * width * rows))  # of the problems before
                file.write(vector.tobytes())
                rows += 1
            if rows % TOLD_EVERY < len(batch):
                log(f"vectors of {rows} records made")
    file.flush()
    return width, problems


def _attempt(make: Maker, key: str, record: dict[str, Any]) -> Any:
    try:
        return make(record, key)
    except ValueError as error:  # of audio, arrays, units, or our own
        return error


class Moments:
    """Sums of frames (frames, width) that come in pieces."""

    def __init__(self) -> None:
        self.frames, self.sum, self.squares = 0, 0.0, 0.0

    def add(self, frames: np.ndarray) -> None:
        """Add frames."""
        frames = frames.astype(np.float64)
        self.frames += len(frames)
        self.sum = self.sum + frames.sum(0)
        self.squares = self.squares + np.square(frames).sum(0)

    def statistics(self) -> np.ndarray:
        """Return mean and standard deviation (2 · width,); VectorError where there was no frame."""
        if not self.frames:
            raise VectorError("found less than one frame (25 ms) of sound, wanted more")
        mean = self.sum / self.frames
        return np.concatenate([mean, np.sqrt(np.maximum(self.squares / self.frames - mean**2, 0))])
