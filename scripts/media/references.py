"""Reference transcripts from outside the manifest: CSV with a header, lines of `NAME<tab or space>text`, a
manifest.
"""

from __future__ import annotations

import csv
import json
import os
from typing import Any

CSV_COLUMN = "transcription"  # AMELA's reference files: file_id,audio_filepath,transcription
PATH_COLUMNS = ("audio_filepath", "path", "filename", "file")
ID_COLUMNS = ("file_id", "id", "utt_id", "utterance")


class ReferencesError(ValueError):
    """A reference file that cannot be used; the message says which, what was found and what was wanted."""


class References:
    """Texts by id, path, file name and file name without ending; the most exact match wins."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._texts: dict[str, str | None] = {}

    def add(self, text: str, path: str = "", name: str = "") -> None:
        """Add the text of a recording known by its path, its name or both."""
        names = _names(path) if path else []
        names += [name] if name and name not in names else []
        for key in names:
            # Two recordings of one name: neither is meant by it, and the full path still tells them apart.
            self._texts[key] = text if self._texts.get(key, text) == text else None

    def of(self, record: dict[str, Any]) -> str | None:
        """Return the text of a record, None where there is none. Raises ReferencesError for a name given
        twice.
        """
        path = record.get("audio_filepath", "")
        names = [str(record["id"])] if "id" in record else []
        for name in names + (_names(path) if path else []):
            if name in self._texts:
                text = self._texts[name]
                if text is None:
                    raise ReferencesError(
                        f"{self.source}: {name} stands there with two different texts; give full paths"
                    )
                return text
        return None

    def __len__(self) -> int:
        return len(self._texts)


def _names(path: str) -> list[str]:
    """The names a recording goes by, the most exact first."""
    base = os.path.basename(path)
    return list(dict.fromkeys([path, base, os.path.splitext(base)[0]]))


def read_references(path: str, column: str | None = None) -> References:
    """Return the texts of a file. `column` is that of a CSV (`transcription`) or the field of a manifest
    (`text`).
    """
    found = References(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.endswith((".json", ".jsonl")):
                _read_manifest(file, path, column or "text", found)
            elif path.endswith(".csv") or column:
                _read_csv(file, path, column or CSV_COLUMN, found)
            else:
                _read_lines(file, path, found)
    except (OSError, UnicodeDecodeError) as error:
        raise ReferencesError(f"{path}: cannot be read: {error}") from error
    if not len(found):
        raise ReferencesError(f"{path}: holds no reference texts")
    return found


def _read_csv(file: Any, path: str, column: str, found: References) -> None:
    rows = csv.DictReader(file, delimiter="\t" if path.endswith(".tsv") else ",")
    columns = rows.fieldnames or []
    paths = [name for name in PATH_COLUMNS if name in columns]
    ids = [name for name in ID_COLUMNS if name in columns]
    if column not in columns or not paths + ids:
        raise ReferencesError(
            f"{path}: its columns are {', '.join(columns) or 'none'}; wanted {column} and one of "
            f"{', '.join(PATH_COLUMNS + ID_COLUMNS)} (`--ref {path}:COLUMN` names another column)"
        )
    for row in rows:
        found.add(row[column] or "", row[paths[0]] if paths else "", row[ids[0]] if ids else "")


def _read_manifest(file: Any, path: str, field: str, found: References) -> None:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if field in record:
                found.add(str(record[field]), record.get("audio_filepath", ""), str(record.get("id", "")))
        except (ValueError, TypeError, AttributeError) as error:
            raise ReferencesError(
                f"{path}:{number}: found no JSON object ({error}); wanted a manifest record"
            ) from error


def _read_lines(file: Any, path: str, found: References) -> None:
    """Kaldi's `text`, or a table of two columns without header."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        name, tab, text = line.rstrip("\r\n").partition("\t")
        if not tab:
            name, tab, text = name.partition(" ")
        if not name:
            raise ReferencesError(
                f"{path}:{number}: found {line[:60]!r}; wanted NAME, a tab or space, and the text"
            )
        found.add(text, name if os.path.splitext(name)[1] else "", name)
