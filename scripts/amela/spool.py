"""The records that one attempt has to do, read from the manifest once, so that it may change meanwhile."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from amela.deals import Deal, cuts, read_deals
from amela.files import StrPath, explain
from amela.log import log
from amela.manifest import Record, from_line, open_manifest, parse_record, read_lines, record_key
from amela.results import Settled, read_header, result_files, settled

KEEP_IN_MEMORY_BYTES = 32 * 2**20


class Item(NamedTuple):
    """A record to do, with its line in the manifest and its key."""

    line: int
    key: str
    record: Record
    failed_before: bool  # tried once more, which says nothing new about the environment

    @property
    def duration_s(self) -> float:
        """Seconds of audio, 0 where unknown."""
        return float(self.record.get("duration") or 0)


class Spool:
    """Lines kept in memory, or beyond 32 MB in a nameless file; given back the longest record first."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=KEEP_IN_MEMORY_BYTES)  # noqa: SIM115
        self._end = 0
        self._offsets, self._indices, self._durations = array("Q"), array("L"), array("f")
        self._failed_before: set[int] = set()

    def add(self, index: int, raw: bytes, duration_s: float, failed_before: bool) -> None:
        """Keep line `index` of the manifest."""
        if failed_before:
            self._failed_before.add(index)
        self._offsets.append(self._end)
        self._indices.append(index)
        self._durations.append(duration_s)
        try:
            self._end += self._file.write(raw.rstrip() + b"\n")
        except OSError as exc:
            raise explain(exc, tempfile.gettempdir()) from exc

    def __len__(self) -> int:
        return len(self._offsets)

    def seconds(self) -> float:
        """Return the seconds of audio in it."""
        return sum(self._durations)

    def items(self) -> Iterator[Item]:
        """Yield the records, the longest first, so that too little memory shows at once and batches pad
        little.
        """
        for place in sorted(range(len(self)), key=lambda at: (-self._durations[at], at)):
            self._file.seek(self._offsets[place])
            record = from_line(self._file.readline())
            index = self._indices[place]
            yield Item(index, record_key(record), record, index in self._failed_before)


def open_shard(manifest: StrPath, folder: Path, deal: Deal, shard: int | None, limit: int | None) -> Spool:
    """Return what is left of a shard (None: of all), without what earlier attempts did. Parses only its own
    lines.
    """
    deals = read_deals(folder)
    redo = any(other.header["opener"] in ("fresh", "overwrite") for other in deals)
    twins = deal.read_twins()
    before = _settled_before(folder, deals, deal, shard, redo, twins)
    spool = Spool()
    shards, failed_before = deal.read_plan()
    field, lines = deal.header["field"], 0
    with open_manifest(manifest) as file:
        for index, raw in enumerate(read_lines(file, manifest)):
            lines += 1
            mine = index < len(shards) and (shards[index] == shard or (shard is None and shards[index] >= 0))
            if not mine or raw.isspace() or len(spool) == limit:
                continue
            record = parse_record(raw, manifest, index)
            key = record_key(record)
            is_settled = index in before.twins if index in twins else key in before.keys
            if (redo or field not in record) and not is_settled:
                failed = index in failed_before or key in before.failed
                spool.add(index, raw, float(record.get("duration") or 0), failed)
    if lines != len(shards):
        log(
            f"{manifest} has {lines} lines and had {len(shards)} when it was dealt: results are matched by "
            "key, and records that this task misses stand as missing in the merge"
        )
    return spool


def _settled_before(
    folder: Path, deals: list[Deal], deal: Deal, shard: int | None, redo: bool, twins: set[int]
) -> Settled:
    """Return what earlier attempts at this shard settled."""
    while True:
        try:
            return settled(list(_files_of_shard(folder, deal, shard, redo)), cuts(deals), twins)
        except FileNotFoundError:  # a merge compacted one: what it held stands elsewhere now
            continue


def _files_of_shard(folder: Path, deal: Deal, shard: int | None, redo: bool) -> Iterator[Path]:
    """Yield the result files of a shard. Of merged ones the manifest tells the fields, the deal the errors:
    they are read only where fields are made anew, or when they may hold errors that the deal cannot know.
    """
    dealt = os.stat(deal.path).st_mtime
    for path in result_files(folder):
        if path.name.startswith("merged"):
            if redo or os.stat(path).st_mtime >= dealt:
                yield path
        elif shard is not None and not path.name.startswith(f"task_{shard:04d}."):
            continue
        elif read_header(path).get("deal") == deal.number:
            yield path
