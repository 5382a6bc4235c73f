"""Metadata tables (CSV, TSV) joined to a manifest: columns become fields."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from amela.errors import CallError
from amela.files import explain

Record = dict[str, Any]
KEY_COLUMNS = {
    "path": ("audio_filepath", "path", "file", "filename", "file_name", "wav"),
    "id": ("id", "utt_id", "utterance_id"),
    "stem": ("stem", "id", "name", "file", "filename", "file_name", "path", "audio_filepath"),
}
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")


def read_table(path: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number from 1, column → text) of each row of a CSV or TSV file with a header.

    The delimiter (comma, semicolon, tab) is that which stands most in the header; a byte order mark is taken
    off. Raises CallError with file:line for a row that is longer or shorter than the header.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=header.count)
            if delimiter == "\t":  # quotes are text there, in Common Voice for one
                rows = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
            else:
                rows = csv.reader(file, delimiter=delimiter)
            columns = [name.strip() for name in next(rows, [])]
            if not any(columns) or len(set(columns)) < len(columns):
                raise CallError(f"{path}:1: found the columns {columns}, wanted a header with each name once")
            for row in rows:
                if len(row) != len(columns) and row:
                    raise CallError(
                        f"{path}:{rows.line_num}: found {len(row)} columns, wanted the header's "
                        f"{len(columns)}"
                    )
                if row:
                    yield rows.line_num, dict(zip(columns, row))
    except OSError as exc:
        raise explain(exc, path, "reading") from exc
    except UnicodeDecodeError as exc:
        raise CallError(
            f"{path}: byte {exc.start} is not UTF-8; wanted UTF-8: `iconv -f latin1 -t utf-8`"
        ) from exc
    except csv.Error as exc:
        raise CallError(f"{path}: {exc}") from exc


class Table:
    """The rows of a metadata table by key, and which of them were used. Holds the table in memory.

    A column whose every value is a number becomes numbers (but `007` is text); an empty cell makes no field.
    """

    def __init__(
        self, path: str, by: str, column: str | None = None, columns: list[str] | None = None
    ) -> None:
        self.path, self.by = path, by
        rows = list(read_table(path))
        if not rows:
            raise CallError(f"{path}: found no rows below the header, wanted some")
        found = list(rows[0][1])
        candidates = [column] if column else KEY_COLUMNS[by]
        self.key_column = next((name for name in candidates if name in found), "")
        missing = [name for name in columns or [] if name not in found]
        if not self.key_column or missing:
            raise CallError(
                f"{path}:1: found the columns {', '.join(found)}, wanted {', '.join(missing or candidates)}; "
                "say which with --column NAME, --columns A,B and --by path|id|stem"
            )
        self.columns = columns or [name for name in found if name != self.key_column]
        numeric = {
            name for name in self.columns if all(_NUMBER.fullmatch(row[name]) for _, row in rows if row[name])
        }
        self._rows: dict[str, tuple[int, tuple[Any, ...]]] = {}
        for line, row in rows:
            key = self._key(row[self.key_column])
            if key in self._rows:
                raise CallError(
                    f"{path}:{line}: found {self.key_column} {row[self.key_column]!r} of line "
                    f"{self._rows[key][0]} again, wanted it once"
                )
            values = (_number(row[name]) if name in numeric else row[name] for name in self.columns)
            self._rows[key] = (line, tuple(values))
        self.used: dict[str, str] = {}
        self.unmatched: list[str] = []
        self.unmatched_records = 0
        self.ambiguous: list[str] = []
        self.kept: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def _key(self, text: str) -> str:
        if self.by == "path":
            return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(self.path)), text))
        return os.path.splitext(os.path.basename(text))[0] if self.by == "stem" else text

    def _key_of(self, record: Record) -> str | None:
        if self.by == "id":
            return None if record.get("id") is None else str(record["id"])
        path: str = record.get("audio_filepath", "")
        if not path:
            return None
        return os.path.splitext(os.path.basename(path))[0] if self.by == "stem" else os.path.normpath(path)

    def join(self, records: Iterable[tuple[int, Record]], overwrite: bool = False) -> Iterator[Record]:
        """Yield every record with the fields of its row; a field it has already stays, unless `overwrite`.

        Afterwards `unmatched` names the first records without a row (`unmatched_records` counts them),
        `unused()` the rows without a record, `ambiguous` the rows that met several recordings of one stem,
        `kept` the fields that stayed.
        """
        for line, record in records:
            key = self._key_of(record)
            row = None if key is None else self._rows.get(key)
            if row is None or key is None:
                self.unmatched_records += 1
                if len(self.unmatched) < 10:
                    self.unmatched.append(f"line {line + 1}: {key}")
                yield record
                continue
            path = record.get("audio_filepath", "")
            if self.used.setdefault(key, path) != path and len(self.ambiguous) < 10:
                self.ambiguous.append(f"{key}: {self.used[key]} and {path}")
            for name, value in zip(self.columns, row[1]):
                if value == "":
                    continue
                if name in record and record[name] != value and not overwrite:
                    self.kept[name] = self.kept.get(name, 0) + 1
                else:
                    record[name] = value
            yield record

    def unused(self) -> list[str]:
        """The rows that no record asked for, as `line N: key`."""
        return [f"line {line}: {key}" for key, (line, _) in self._rows.items() if key not in self.used]


def _number(text: str) -> Any:
    if not text:
        return ""
    value = float(text) if any(letter in text for letter in ".eE") else int(text)
    return value if math.isfinite(value) else text
