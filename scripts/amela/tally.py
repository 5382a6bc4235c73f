"""Counting what passes through a manifest tool, and saying what it wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from amela.errors import CallError
from amela.manifest import read_records, write_manifest

Record = dict[str, Any]


class Tally:
    """Records and hours that passed."""

    def __init__(self) -> None:
        self.records, self.hours = 0, 0.0

    def __str__(self) -> str:
        return f"{self.records:,} records, {self.hours:,.2f} h"

    def add(self, record: Record) -> None:
        """Count one record."""
        self.records += 1
        self.hours += (record.get("duration") or 0.0) / 3600

    def count(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield records as they are."""
        for record in records:
            self.add(record)
            yield record

    def read(self, manifest: str) -> Iterator[tuple[int, Record]]:
        """Yield (line index, record) of a manifest."""
        for index, record in read_records(manifest):
            self.add(record)
            yield index, record


def check_output(path: str, manifest: str, overwrite: bool) -> None:
    """Raise CallError where `path` is the manifest that is read or, unless `overwrite`, any file."""
    if os.path.exists(path) and os.path.exists(manifest) and os.path.samefile(path, manifest):
        raise CallError(f"{path}: found the manifest itself as output, wanted another name")
    if os.path.exists(path) and not overwrite:
        raise CallError(f"{path}: exists; wanted another name, or --overwrite")


def write_tallied(path: str, records: Iterable[Record], read: Tally | None = None) -> None:
    """Write a manifest and print what is in it, of what was `read`; CallError, and no file, for no record at
    all.
    """
    tally = Tally()

    def some() -> Iterator[Record]:
        yield from tally.count(records)
        if not tally.records:
            raise CallError(f"{path}: not written, as no record is left" + (f" of {read}" if read else ""))

    write_manifest(path, some())
    print(f"{path}: {tally}" + (f" (of {read})" if read else ""))


def print_some(what: str, count: int, names: Sequence[str] = ()) -> None:
    """Print a count and its first ten names, nothing for none."""
    if count:
        print(f"{what}: {count:,}", *names[:10], *(["…"] if names and count > 10 else []), sep="\n  ")
