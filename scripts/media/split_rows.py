"""The rows of a split by number, gathered into record batches from decoded parts in mapped memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from media.arrow_cache import Cache
from media.dataset import DatasetError
from media.parquet_part import Part, RowGroups, damaged

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

OPEN_BLOCKS = 4096  # some 10 KB each


class SplitRows:
    """Rows 0 to n - 1 of the parts, one after the other; DatasetError where their columns differ."""

    def __init__(self, parts: list[Part], schema: pa.Schema) -> None:
        for part in parts:
            if not part.schema.equals(schema, check_metadata=True):
                raise DatasetError(
                    f"{part.path}: its columns are not those of the other parts (names, types, metadata); "
                    "wanted parts of one command of build_parquet.py"
                )
        self.parts, self.schema = parts, schema
        self._lock = threading.Lock()
        self._lengths: np.ndarray | None = None
        self._blocks: list[tuple[Any, int]] = []  # (reader or part, its block or row group)
        self._starts: np.ndarray | None = None  # first row of each block
        self._groups = RowGroups()
        self._opened: dict[int, pa.RecordBatch] = {}

    @property
    def decoded_bytes(self) -> int:
        """Return about what all rows take decoded."""
        return sum(part.decoded_bytes for part in self.parts)

    def lengths(self) -> np.ndarray:
        """Return (rows,) int32: the frames of each row, of one without audio its tokens; read once."""
        with self._lock:
            if self._lengths is None:
                self._lengths = _lengths_of(self.parts)
        return self._lengths

    def prepare(self, cache: Cache) -> None:
        """Decode what is not decoded yet."""
        import numpy as np

        with self._lock:
            if self._starts is None:
                sizes = []
                for part, reader in zip(self.parts, cache.open(self.parts)):
                    groups = [[group] for group in range(len(part.rows_of_groups))]
                    blocks = groups if reader is None else part.blocks()
                    self._blocks += [(reader or part, index) for index in range(len(blocks))]
                    sizes += [sum(part.rows_of_groups[group] for group in block) for block in blocks]
                self._starts = np.cumsum([0, *sizes[:-1]])
        for part in self.parts:
            cache.touch(part)

    def gather(self, rows: np.ndarray, schema: pa.Schema) -> pa.RecordBatch:
        """Return rows in the order asked for, with the columns of `schema`; what `prepare` has made ready.

        Slices of neighbouring rows cost nothing, and are put together by one copy of what is in them; `take`
        on a table would put whole columns together first, some 25 times as slow.
        """
        import numpy as np
        import pyarrow as pa

        if not len(rows):
            return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
        block = np.searchsorted(self._starts, rows, side="right") - 1
        cuts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(block) != 0)) + 1
        first = np.concatenate([[0], cuts])
        sizes = np.diff(np.concatenate([first, [len(rows)]]))
        opened: dict[int, pa.RecordBatch] = {}
        pieces = []
        for number, start, size in zip(block[first], (rows - self._starts[block])[first], sizes):
            if number not in opened:
                opened[number] = self._block(number).select(schema.names)
            pieces.append(opened[number].slice(start, size))
        return pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)

    def _block(self, number: int) -> pa.RecordBatch:
        source, index = self._blocks[number]
        if isinstance(source, Part):
            return self._groups.get(source, index)
        found = self._opened.get(number)
        if found is None:  # not at each use: Arrow asks the system to page in the whole block
            found = source.get_batch(index)
            if len(self._opened) >= OPEN_BLOCKS:
                self._opened = {}
            self._opened[number] = found
        return found


def _lengths_of(parts: list[Part]) -> np.ndarray:
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute, parquet

    found = [np.zeros(0, np.int32)]
    for part in parts:
        try:
            lengths = parquet.read_table(part.path, columns=["frames"], partitioning=None)[
                "frames"
            ].to_numpy()
            if not lengths.all():
                tokens = parquet.read_table(part.path, columns=["tokens"], partitioning=None)["tokens"]
                counts = compute.fill_null(compute.list_value_length(tokens), 0).to_numpy()
                lengths = np.where(lengths > 0, lengths, counts)
        except (pa.ArrowException, OSError) as error:
            raise damaged(part.path, error) from error
        found.append(lengths.astype(np.int32))
    return np.concatenate(found)
