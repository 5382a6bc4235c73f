"""A Parquet part of a data set: checked against dataset.json, read by row groups, decoded into a file."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from media.dataset import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 2**25  # of a record batch in a decoded file: fewer of them cost less memory to know
KEPT_BYTES = 2**29  # of row groups that are read from Parquet itself
AGAIN = "copy the data set again, or give the command of build_parquet.py again"


class Part(NamedTuple):
    """A part whose size and number of rows are those of dataset.json."""

    path: Path
    sha256: str
    rows_of_groups: list[int]
    bytes_of_groups: list[int]  # decoded
    schema: Any

    @property
    def decoded_bytes(self) -> int:
        """Return about what it takes decoded."""
        return sum(self.bytes_of_groups)

    def blocks(self) -> list[list[int]]:
        """Return the row groups put together into blocks of at most BLOCK_BYTES, or one group."""
        found: list[list[int]] = []
        taken = 0
        for group, size in enumerate(self.bytes_of_groups):
            if not found or taken + size > BLOCK_BYTES:
                found, taken = [*found, []], 0
            found[-1].append(group)
            taken += size
        return found


def read_part(folder: Path, facts: dict[str, Any]) -> Part:
    """Return the part that dataset.json lists as `facts`; DatasetError where the file is another one."""
    import pyarrow as pa
    from pyarrow import parquet

    path = folder / facts["file"]
    try:
        size = path.stat().st_size
        if size != facts["bytes"]:
            raise DatasetError(f"{path}: {size} bytes, wanted {facts['bytes']} by dataset.json; {AGAIN}")
        with parquet.ParquetFile(path) as file:
            meta, schema = file.metadata, file.schema_arrow.remove_metadata()
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file, and dataset.json lists it; {AGAIN}") from error
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error
    if meta.num_rows != facts["rows"]:
        raise DatasetError(f"{path}: {meta.num_rows} rows, wanted {facts['rows']} by dataset.json; {AGAIN}")
    groups = [meta.row_group(index) for index in range(meta.num_row_groups)]
    rows, sizes = [group.num_rows for group in groups], [group.total_byte_size for group in groups]
    return Part(path, facts["sha256"], rows, sizes, schema)


def damaged(path: Path, error: Exception) -> DatasetError:
    """Return what to raise where reading a part failed."""
    what = " ".join(str(error).split())[:200]
    return DatasetError(f"{path}: {what}; wanted a part as build_parquet.py writes it: {AGAIN}")


def check_bytes(part: Part) -> None:
    """Raise DatasetError where a part's bytes are not those that dataset.json was written for."""
    digest = hashlib.sha256()
    try:
        with open(part.path, "rb") as file:
            while data := file.read(2**22):
                digest.update(data)
    except OSError as error:
        raise damaged(part.path, error) from error
    if digest.hexdigest() != part.sha256:
        raise DatasetError(
            f"{part.path}: its SHA-256 is {digest.hexdigest()[:12]}…, wanted {part.sha256[:12]}… by "
            f"dataset.json: the file was changed; {AGAIN}"
        )


def read_groups(part: Part, groups: list[int]) -> pa.RecordBatch:
    """Return row groups as one record batch; DatasetError where the file is damaged."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(part.path) as file:
            table = file.read_row_groups(groups)
    except (pa.ArrowException, OSError) as error:
        raise damaged(part.path, error) from error
    arrays = [column.combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=part.schema)


def decode(part: Part, target: str) -> None:
    """Write a part as an Arrow IPC file, a record batch a block; OSError where the disk is full."""
    import pyarrow as pa

    with pa.OSFile(target, "wb") as file, pa.ipc.new_file(file, part.schema) as writer:
        for groups in part.blocks():
            writer.write_batch(read_groups(part, groups))
    with open(target, "rb") as done:
        os.fsync(done.fileno())  # its name says what is in it, also after a power cut


def open_decoded(path: Path, part: Part) -> Any:
    """Return the reader of a decoded file in mapped memory, or None where it is not that of the part."""
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        whole = reader.num_record_batches == len(part.blocks()) and reader.schema.equals(part.schema)
    except (pa.ArrowException, OSError):
        return None
    return reader if whole else None


class RowGroups:
    """Row groups of parts that are not decoded; the last ones read are kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Path, int], pa.RecordBatch] = OrderedDict()
        self._checked: set[Path] = set()
        self._lock = threading.Lock()

    def get(self, part: Part, group: int) -> pa.RecordBatch:
        """Return a row group; DatasetError where the file is damaged or was changed."""
        key = (part.path, group)
        with self._lock:
            batch = self._kept.pop(key, None)
            if batch is None:
                if part.path not in self._checked:
                    check_bytes(part)
                    self._checked.add(part.path)
                batch = read_groups(part, [group])
            while self._kept and batch.nbytes + sum(one.nbytes for one in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
            self._kept[key] = batch
        return batch
