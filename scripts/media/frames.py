"""Arrays of each record on the disk: features, embeddings, codes. Parquet parts of many records, or a .npz
each.

A source names one record's arrays: `PART.parquet#row=12` or `FILE.npz`. In a part, an array NAME is a column
NAME of its bytes (little endian, C order) beside NAME_shape; its type stands in the column's metadata, so any
reader of Parquet can have it: `np.frombuffer(cell, dtype).reshape(shape)`. Numbers and texts about a record
(hop_s, sample_rate_hz …) are columns of their own. Codes may lie in a .npy each instead, which has room for
nothing else.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import IO, Any, Callable

from media.units import ROW, parquet_id

GROUP_ROWS = 128  # a reader of one record reads its group
OPEN_PARTS = 16
GROUPS_BYTES = 2**29  # kept of groups: an array of 16 tasks deals its records over as many parts
DTYPE = b"dtype"
_groups: OrderedDict[Any, Any] = OrderedDict()


class FramesError(ValueError):
    """Arrays that are missing or damaged; the message names the file and says what was wanted."""


def store(
    found: Iterable[Any],
    folder: str,
    form: str,
    target: Callable[[dict[str, Any]], str],
    write_output: Callable[[str], AbstractContextManager[IO[bytes]]],
) -> list[Any]:
    """Write the arrays of a batch; return the source of each record's, exceptions pass through.

    `found` has (key, record, arrays by name, what to note by name) or an exception a record; `form` is
    parquet (one part, named by what is in it) or npz (`target(record)` names the file below `folder`). Every
    record of a batch has arrays of the same names and types.
    """
    items = list(found)
    whole = [item for item in items if not isinstance(item, Exception)]
    if form == "npz":
        return [
            item if isinstance(item, Exception) else _npz(item, folder, target, write_output)
            for item in items
        ]
    content = to_parquet([(key, arrays, notes) for key, _, arrays, notes in whole])
    path = os.path.join(folder, f"part-{hashlib.sha256(content).hexdigest()[:16]}.parquet")
    if whole:
        with write_output(path) as file:
            file.write(content)
    rows = iter(range(len(whole)))
    return [item if isinstance(item, Exception) else f"{path}{ROW}{next(rows)}" for item in items]


def to_parquet(rows: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> bytes:
    """Return a part of rows (key, arrays, notes); equal rows give equal bytes."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    columns = {"key": pa.array([parquet_id(key) for key, _, _ in rows], pa.string())}
    fields = [pa.field("key", pa.string())]
    array_names = list(rows[0][1]) if rows else []
    for name in array_names:
        arrays = [arrays[name] for _, arrays, _ in rows]
        dtype = arrays[0].dtype.newbyteorder("<")
        columns[name] = cells([np.ascontiguousarray(array, dtype) for array in arrays])
        columns[f"{name}_shape"] = pa.array([array.shape for array in arrays], pa.list_(pa.int32()))
        fields.append(pa.field(name, pa.large_binary(), metadata={DTYPE: dtype.str.encode()}))
        fields.append(pa.field(f"{name}_shape", pa.list_(pa.int32())))
    for name in rows[0][2] if rows else ():
        columns[name] = pa.array([notes[name] for _, _, notes in rows])
        fields.append(pa.field(name, columns[name].type))
    memory = io.BytesIO()
    table = pa.table(columns, pa.schema(fields))
    others = [name for name in table.column_names if name not in array_names]
    parquet.write_table(  # of arrays, statistics and dictionaries would be copies that nobody reads
        table,
        memory,
        compression="zstd",
        row_group_size=GROUP_ROWS,
        use_dictionary=others,
        write_statistics=others,
    )
    return memory.getvalue()


def cells(arrays: list[Any]) -> Any:
    """Return a column of the bytes of contiguous arrays, null for None; those of a single one are not copied.
    """
    import numpy as np
    import pyarrow as pa

    nothing = np.empty(0, np.uint8)
    raw = [nothing if array is None else array.reshape(-1).view(np.uint8) for array in arrays]
    ends = np.cumsum([0, *map(len, raw)], dtype=np.int64)
    data = raw[0] if len(raw) == 1 else np.concatenate(raw or [nothing])
    known = [array is not None for array in arrays]
    valid = None if all(known) else pa.array(known).buffers()[1]  # bits, as those of nulls are
    buffers = [valid, pa.py_buffer(ends), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(raw), buffers)


def read_frames(source: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the arrays (all, or those of `names` that it has) and notes of a source, by name; FramesError
    where it cannot be read. What lies near in a part is kept: records in the order of their parts, also dealt
    over many, cost a read a group.
    """
    import numpy as np

    path, is_row, row = source.partition(ROW)
    try:
        if is_row:
            return _row(path, int(row), names)
        if path.endswith(".npy"):
            return {"codes": np.load(path, allow_pickle=False)}
        with np.load(path, allow_pickle=False) as file:
            wanted = [name for name in file.files if names is None or name in names or not file[name].ndim]
            return {name: file[name] if file[name].ndim else file[name].item() for name in wanted}
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        what = " ".join(str(error).split())[:200]
        raise FramesError(f"{source}: {what}; wanted arrays as a stage of AMELA writes them") from error


def read_array(source: str, name: str) -> Any:
    """Return one array of a source, the others unread; FramesError where it has none."""
    found = read_frames(source, (name,))
    if name not in found:
        raise FramesError(
            f"{source}: found no such array, wanted an array `{name}`, as a stage of AMELA makes"
        )
    return found[name]


def _row(path: str, row: int, names: Sequence[str] | None) -> dict[str, Any]:
    import numpy as np

    part, dtypes, columns = _part(path, os.stat(path).st_mtime_ns, None if names is None else tuple(names))
    group, index = divmod(row, GROUP_ROWS)
    table = _group(part, path, group, columns)
    found: dict[str, Any] = {}
    for name, column in zip(columns, table.columns):
        if name in dtypes:
            shape = table.column(f"{name}_shape")[index].as_py()
            found[name] = np.frombuffer(column[index].as_buffer(), dtypes[name]).reshape(shape)
        elif name.removesuffix("_shape") not in dtypes:
            found[name] = column[index].as_py()
    return found


def _group(part: Any, path: str, group: int, columns: tuple[str, ...]) -> Any:
    """Return a group of rows, as a table; the last ones read are kept, GROUPS_BYTES of them or one."""
    key = (path, id(part), group, columns)
    table = _groups.pop(key, None)
    if table is None:
        table = part.read_row_group(group, columns=list(columns))
        while _groups and table.nbytes + sum(one.nbytes for one in _groups.values()) > GROUPS_BYTES:
            _groups.popitem(last=False)
    _groups[key] = table
    return table


@lru_cache(maxsize=OPEN_PARTS)
def _part(
    path: str, _mtime_ns: int, names: tuple[str, ...] | None
) -> tuple[Any, dict[str, str], tuple[str, ...]]:
    """Return a part, the types of its arrays, and the columns to read where only these arrays are wanted."""
    from pyarrow import parquet

    part = parquet.ParquetFile(path)
    fields = {field.name: (field.metadata or {}).get(DTYPE) for field in part.schema_arrow}
    dtypes = {name: dtype.decode() for name, dtype in fields.items() if dtype}
    unread = set() if names is None else set(dtypes) - set(names)
    return part, dtypes, tuple(name for name in fields if not {name, name.removesuffix("_shape")} & unread)


def _npz(
    item: tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]],
    folder: str,
    target: Callable[[dict[str, Any]], str],
    write_output: Callable[[str], AbstractContextManager[IO[bytes]]],
) -> str:
    import numpy as np

    key, record, arrays, notes = item
    path = os.path.join(folder, target(record) + ".npz")
    with write_output(path) as file:
        np.savez(
            file,
            key=np.array(parquet_id(key)),
            **arrays,
            **{name: np.array(note) for name, note in notes.items()},
        )
    return path
