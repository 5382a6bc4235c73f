"""Writing a part of the multimodal data set, and the statistics of what is in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

from media.dataset import PROSODY, batch_of
from media.moments import Moments
from media.prosody import semitones

GROUP_ROWS, GROUP_BYTES = 128, 16 * 2**20  # of a row group: what reader and writer hold in memory at once
Row = dict[str, Any]


class Statistics:
    """Moments of the rows of a part, or of several: of each array by column, of f0 in semitones (voiced
    frames), of `prosody` and `emotion`.
    """

    def __init__(self, arrays: dict[str, dict[str, Any]], emotions: int) -> None:
        self._arrays = [name for name in arrays if name != "f0_hz"]
        widths = {name: arrays[name]["width"] for name in self._arrays}
        if "f0_hz" in arrays:
            widths["f0_semitones"] = 1
        widths |= {"prosody": len(PROSODY)} | ({"emotion": emotions} if emotions else {})
        self.moments = {name: Moments(width) for name, width in widths.items()}
        self._vectors: dict[str, list[Any]] = {name: [] for name in ("prosody", "emotion") if name in widths}

    def add(self, row: Row) -> None:
        """Count a row."""
        import numpy as np

        moments = self.moments
        for name in self._arrays:
            if row[name] is not None and len(row[name]):
                moments[name].add(row[name].reshape(len(row[name]), -1))
        if row.get("f0_hz") is not None and len(voiced := row["f0_hz"][row["f0_hz"] > 0]):
            moments["f0_semitones"].add(semitones(voiced.astype(np.float64))[:, None])
        for name, vectors in self._vectors.items():
            if row[name] is not None:
                vectors.append(row[name])
                if len(vectors) == GROUP_ROWS:
                    self._add_vectors(name)

    def _add_vectors(self, name: str) -> None:
        """Take in the vectors gathered, many at once, as one is not worth a call."""
        import numpy as np

        vectors, self._vectors[name] = self._vectors[name], []
        if vectors:
            self.moments[name].add(np.array(vectors, np.float64))  # None becomes NaN

    def join(self, others: dict[str, list[list[float]]]) -> None:
        """Take in the moments (as `to_json` has them) of the part that came after."""
        for name, values in others.items():
            self.moments[name].join(Moments.from_json(values))

    def to_json(self) -> dict[str, list[list[float]]]:
        """Return the moments by name, for `join`."""
        for name in self._vectors:
            self._add_vectors(name)
        return {name: moments.to_json() for name, moments in self.moments.items()}

    def figures(self) -> dict[str, dict[str, list[Any]]]:
        """Return mean, std and count by name, a value a column."""
        for name in self._vectors:
            self._add_vectors(name)
        return {name: moments.figures() for name, moments in self.moments.items()}


def write_part(rows: Iterable[Row], schema: Any, file: IO[bytes]) -> int:
    """Write rows as they come, in groups of 128 or some 16 MB; return how many. Equal rows, equal bytes."""
    from pyarrow import parquet

    arrays = {name for name in schema.names if f"{name}_shape" in schema.names}
    others = [name for name in schema.names if name not in arrays]
    written = 0
    with parquet.ParquetWriter(  # of arrays, statistics and dictionaries would be copies that nobody reads
        file, schema, compression="zstd", use_dictionary=others, write_statistics=others
    ) as writer:
        for group in _groups(rows, arrays):
            writer.write_batch(batch_of(group, schema), row_group_size=len(group))
            written += len(group)
    return written


def _groups(rows: Iterable[Row], arrays: set[str]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(row[name].nbytes for name in arrays if row[name] is not None)
        if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
