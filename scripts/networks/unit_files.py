"""Files of units: a .pt a recording (a 1-D int16 tensor), or parts in Parquet (file_id, units, hop_s …).

They are written to an open binary file and read from a path; who opens and renames it is the caller's matter.
"""

from __future__ import annotations

import io
from typing import IO, Any

import numpy as np
import torch

from networks.weights import WeightsError


def write_pt(file: IO[bytes], values: np.ndarray) -> None:
    """Write a 1-D tensor of the values' type; equal values give equal bytes."""
    memory = io.BytesIO()  # torch writes the name of a real file into it
    torch.save(torch.from_numpy(np.ascontiguousarray(values)), memory)
    file.write(memory.getbuffer())


def read_pt(path: str) -> np.ndarray:
    """Return the 1-D integers of a .pt file as int64; WeightsError for anything else in it."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}; wanted a file of units") from error
    except Exception as error:  # a cut file raises whatever its bytes lead to
        raise WeightsError(f"{path}: damaged, or no tensor: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, torch.Tensor) or found.dim() != 1 or found.is_floating_point():
        what = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise WeightsError(f"{path}: found {what}, wanted a 1-D tensor of integers")
    return found.long().numpy()


def write_parquet(file: IO[bytes], rows: list[dict[str, Any]]) -> None:
    """Write rows of file_id, units (int16), hop_s and, where deduplicated, durations (int32, in frames)."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = [("file_id", pa.string()), ("units", pa.list_(pa.int16())), ("hop_s", pa.float64())]
    if rows and "durations" in rows[0]:
        columns.append(("durations", pa.list_(pa.int32())))
    parquet.write_table(pa.Table.from_pylist(rows, pa.schema(columns)), file, compression="zstd")


def read_parquet(path: str, file_id: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return units and, where there are any, durations of one row, as int64; WeightsError where it is not
    there.
    """
    from pyarrow import ArrowException, parquet

    try:
        rows = parquet.read_table(path, filters=[("file_id", "=", file_id)])
    except (OSError, ArrowException) as error:
        raise WeightsError(f"{path}: {error}; wanted a Parquet file of units") from error
    if len(rows) != 1:
        raise WeightsError(f"{path}: {len(rows)} rows with file_id {file_id!r}; wanted one")
    durations = rows["durations"][0].values.to_numpy() if "durations" in rows.column_names else None
    return rows["units"][0].values.to_numpy().astype(np.int64), durations
