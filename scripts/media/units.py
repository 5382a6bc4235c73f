"""Units on the disk: which file belongs to which record, and reading them.

A folder of units holds a `.pt` a recording (a 1-D integer tensor, folders as those of the audio) or Parquet
parts of many (columns file_id and units).
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

SHOWN = 5  # names in an error; more only fill the screen
SETTINGS = "settings.json"  # of encode.py
PARTS = 64  # kept in memory while single rows are read: some 20 MB
ROW = "#row="  # PART.parquet#row=12: the 13th row of a part


class UnitsError(ValueError):
    """Units that are missing, ambiguous or unusable; the message names them and says what was wanted."""


def parquet_id(key: str) -> str:
    """Return what stands for a key in Parquet, whose text is UTF-8, as names of files need not be."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def some(names: Sequence[str]) -> str:
    """Return the first of many names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


class UnitFolder:
    """The units of a folder, found by what a record says of itself."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.realpath(folder)
        if not os.path.isdir(folder):
            raise UnitsError(f"{folder}: no such folder; wanted one of units, as encode.py makes it")
        self._by_name: dict[str, list[str]] | None = None
        self._rows: dict[str, dict[str, int]] = {}  # by part and file_id
        self._below: dict[str, bool] = {}  # by folder

    def find(self, record: dict[str, Any], key: str) -> str | None:
        """Return the source of a record's units, None where there is none; UnitsError where it could be
        several.

        By `units_filepath`, else `file_id`, else the path and stem of its audio; `key` is the record's own.
        """
        given = record.get("units_filepath")
        names = [str(record[name]) for name in ("file_id", "id") if record.get(name) not in (None, "")]
        if given and (os.path.exists(given) or self.is_below(given)):  # else of a folder that was moved
            source = self._given(given)
            return self._row(source, [*names, key]) if source and given.endswith(".parquet") else source
        path = os.path.splitext(str(record.get("audio_filepath") or ""))[0]
        for name in [*names, key, parquet_id(key), path, *map(os.path.basename, [*names, path])]:
            found = self._names().get(os.path.splitext(name)[0] if name.endswith(".pt") else name, [])
            mirrored = [source for source in found if path and _mirrors(path, self._relative(source))]
            found = mirrored if len(found) > 1 and mirrored else found
            if len(found) > 1:
                listed = some([os.path.relpath(source, self.folder) for source in found])
                raise UnitsError(
                    f"{key}: found {len(found)} files of that name ({listed}), wanted one: give the record "
                    "a `units_filepath`, or a `file_id` that is a path below the folder"
                )
            if found:
                return found[0]
        return None

    def _given(self, path: str) -> str | None:
        """Return a `units_filepath` that exists; units of another folder may be those of another encoder."""
        if not self.is_below(path):
            raise UnitsError(
                f"{path}: `units_filepath` is not below {self.folder}; wanted units of one folder, as others "
                "may have another vocabulary"
            )
        return path if os.path.exists(path) else None

    def is_below(self, path: str) -> bool:
        """Tell whether a file lies in this folder, links followed; remembered by folder, as asking costs
        several looks at the disk.
        """
        folder = os.path.dirname(path)
        if folder not in self._below:
            self._below[folder] = os.path.join(os.path.realpath(folder), "").startswith(self.folder + os.sep)
        return self._below[folder]

    def _row(self, part: str, names: list[str]) -> str | None:
        """Return the row of a part that has one of the names; other parts are not asked: attempts that died
        leave some.
        """
        if part not in self._rows:
            ids = _column(part, "file_id").to_pylist()
            self._rows[part] = {str(name): row for row, name in enumerate(ids)}
        rows = self._rows[part]
        row = next((rows[name] for name in map(parquet_id, names) if name in rows), None)
        return None if row is None else f"{part}{ROW}{row}"

    def all(self) -> list[tuple[str, str]]:
        """Return (name, source) of all units: the path below the folder, or file_id; sorted."""
        found: dict[str, str] = {}
        for name, sources in self._names().items():
            for source in sources:
                found[source] = name if ROW in source else self._relative(source)
        return sorted((name, source) for source, name in found.items())

    def settings(self) -> dict[str, Any]:
        """Return what settings.json of encode.py says, {} where there is none."""
        try:
            with open(os.path.join(self.folder, SETTINGS), encoding="utf-8") as file:
                return dict(json.load(file))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError) as error:
            raise UnitsError(f"{self.folder}/{SETTINGS}: no object of settings ({error})") from error

    def vocabulary(self) -> int | None:
        """Return the number of units that settings.json says, None where there is none."""
        settings = self.settings()
        try:
            return int(settings["vocabulary"]) if settings else None
        except (ValueError, KeyError, TypeError) as error:
            raise UnitsError(f"{self.folder}/{SETTINGS}: no `vocabulary` in it ({error})") from error

    def durations(self, source: str) -> Any:
        """Return how many frames each unit of a source lasts (units,), as encode.py --dedup writes it."""
        path, is_row, row = source.partition(ROW)
        if is_row:
            return _read_row(path, int(row), "durations")
        return read(
            os.path.join(f"{self.folder}_durations", os.path.relpath(os.path.realpath(path), self.folder))
        )

    def _relative(self, source: str) -> str:
        return os.path.splitext(os.path.relpath(source, self.folder))[0]

    def _names(self) -> dict[str, list[str]]:
        """Return sources by each name they go by: path below the folder, stem; or file_id."""
        if self._by_name is None:
            self._by_name = {}
            for source in sorted(_below(self.folder)):
                relative = self._relative(source)
                for name in {relative, os.path.basename(relative)}:
                    self._by_name.setdefault(name, []).append(source)
            for part in sorted(
                glob.glob(os.path.join(glob.escape(self.folder), "**", "*.parquet"), recursive=True)
            ):
                for row, name in enumerate(_column(part, "file_id").to_pylist()):
                    self._by_name.setdefault(str(name), []).append(f"{part}{ROW}{row}")
        return self._by_name


def hop_of(source: str) -> float | None:
    """Return the seconds from one unit of a source to the next, by the nearest settings.json above it.

    None where there is none, or where units were deduplicated, as these last differently long.
    """
    folder = os.path.dirname(os.path.realpath(source.partition(ROW)[0]))
    while not os.path.exists(os.path.join(folder, SETTINGS)):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return None
    try:
        with open(os.path.join(folder, SETTINGS), encoding="utf-8") as file:
            settings = json.load(file)
        return None if settings.get("dedup") else float(settings["hop_s"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _below(folder: str) -> Iterable[str]:
    for root, _, names in os.walk(folder):
        yield from (os.path.join(root, name) for name in names if name.endswith(".pt"))


def _mirrors(path: str, relative: str) -> bool:
    return path == relative or path.endswith(os.sep + relative)


def _column(part: str, name: str) -> Any:
    """Return a column of a part, of pyarrow; UnitsError where there is none."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return pa.parquet.read_table(part, columns=[name])[name]
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise UnitsError(f"{part}: no Parquet file with a column {name!r}: {error}") from error


def read(source: str) -> Any:
    """Return the units of a source, a 1-D integer array; UnitsError where it holds none."""
    import numpy as np

    path, is_row, row = source.partition(ROW)
    units = _read_row(path, int(row)) if is_row else _read_pt(path)
    if units.ndim != 1 or not np.issubdtype(units.dtype, np.integer):
        raise UnitsError(
            f"{source}: found {units.dtype} of shape {units.shape}, wanted a 1-D array of integers"
        )
    return units


def read_record(record: dict[str, Any], key: str) -> tuple[Any, Any]:
    """Return a record's units and how many frames each lasts, None where each lasts one: (units,) integers.

    By its `units_filepath`, and `durations_filepath` or the part's own durations; `key` is the record's.
    """
    path = record["units_filepath"]
    source = UnitFolder(os.path.dirname(path)).find(record, key)
    if source is None:
        raise UnitsError(f"{path}: no such file, or no units of {key} in it; encode it again")
    part, is_row, row = source.partition(ROW)
    if is_row:
        import pyarrow.parquet

        has_durations = "durations" in pyarrow.parquet.read_schema(part).names
        return read(source), _column(part, "durations")[int(row)] if has_durations else None
    durations = record.get("durations_filepath")
    return read(source), None if durations is None else read(durations)


def _read_pt(path: str) -> Any:
    import torch

    try:
        units = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UnitsError(f"{path}: no such file; encode it again, or leave the record out") from None
    except Exception as error:  # a cut or foreign file raises whatever its bytes lead to
        reason = " ".join(str(error).split())[:160]
        raise UnitsError(f"{path}: no tensor can be read from it ({reason}); encode it again") from error
    if not isinstance(units, torch.Tensor):
        raise UnitsError(f"{path}: found {type(units).__name__}, wanted a tensor of units")
    return units.numpy()


def _read_row(part: str, row: int, column: str = "units") -> Any:
    values, ends = _rows(part, column)
    return values[ends[row] : ends[row + 1]]


@lru_cache(maxsize=PARTS)
def _rows(part: str, column: str) -> tuple[Any, Any]:
    """Return the values of all rows of a part's column, and where each row begins and ends among them."""
    rows = _column(part, column).combine_chunks()
    return rows.values.to_numpy(zero_copy_only=False), rows.offsets.to_numpy()
