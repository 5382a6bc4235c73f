"""Deals: what the tasks of one submission share, frozen by the first of them.

A deal is a file `deals/000007.json`: a line of JSON (number of shards, settings, who made it) and a line with
the bitmap of the records to do, a bit a line of the manifest. Shard i of n does the i-th, i+n-th … record to
do (round robin), or what the deal says where it balances durations. The file is linked under the next number,
so that of two tasks that deal at once one wins and the other joins it.
"""

from __future__ import annotations

import base64
import json
import zlib
from array import array
from pathlib import Path
from typing import NamedTuple

from amela.errors import CallError
from amela.files import explain, make_folder, read_when_whole
from amela.manifest import Record
from amela.results import Cuts, Results

WORTH_BALANCING = 1.1  # predicted slowest task over the mean


class Deal(NamedTuple):
    """A deal as read from its file."""

    path: Path
    header: Record  # number, job, num_shards, settings, field, generation, opener, lines, shards, command …

    @property
    def number(self) -> int:
        """The deal's number, from 1."""
        return int(self.header["number"])

    @property
    def num_shards(self) -> int:
        """How many shards the deal has."""
        return int(self.header["num_shards"])

    def read_twins(self) -> set[int]:
        """Return the lines of the manifest as dealt whose record stands on another line too."""
        return set(json.loads(read_when_whole(self.path).split(b"\n", 1)[1])["twins"])

    def read_plan(self) -> tuple[array[int], set[int]]:
        """Return the shard of each line of the manifest as dealt, -1 where nothing is to do; and the lines
        that failed.
        """
        payload = json.loads(read_when_whole(self.path).split(b"\n", 1)[1])
        todo = zlib.decompress(base64.b64decode(payload["todo"]))
        dealt = (
            iter(array("I", zlib.decompress(base64.b64decode(payload["shards"]))))
            if "shards" in payload
            else None
        )
        shards = array("i", [-1]) * int(self.header["lines"])
        position = 0
        for index in range(len(shards)):
            if todo[index >> 3] >> (index & 7) & 1:
                shards[index] = next(dealt) if dealt else position % self.num_shards
                position += 1
        return shards, set(payload["failed_before"])

    def done_marker(self, shard: int) -> Path:
        """Return the file that says a shard of this deal has nothing left to do."""
        return self.path.parent.parent / "done" / f"{self.number:06d}-{shard:05d}"

    def mark_done(self, shard: int) -> None:
        """Write down that a shard has nothing left to do."""
        marker = self.done_marker(shard)
        make_folder(marker.parent)
        try:
            marker.touch()
        except OSError as exc:
            raise explain(exc, marker) from exc

    def is_finished(self) -> bool:
        """Tell whether every shard was done."""
        markers = self.path.parent.parent / "done"
        return sum(1 for _ in markers.glob(f"{self.number:06d}-*")) >= self.num_shards


def read_deals(folder: Path) -> list[Deal]:
    """Return the deals of a stage's state, the latest last; reads only their first lines."""
    deals = []
    for path in sorted((folder / "deals").glob("[0-9]*.json")):
        with open(path, "rb") as file:
            first = file.readline()
        if not first.endswith(b"\n"):
            first = read_when_whole(path).split(b"\n", 1)[0]
        deals.append(Deal(path, json.loads(first)))
    return deals


def cuts(deals: list[Deal]) -> Cuts:
    """Return from which generation on lines count, by the deals that opened one."""
    fresh = [deal.header["generation"] for deal in deals if deal.header["opener"] in ("fresh", "overwrite")]
    retry = [deal.header["generation"] for deal in deals if deal.header["opener"] == "retry_errors"]
    return Cuts(max(fresh, default=0), max(retry, default=0))


def overwritten_lines(deals: list[Deal]) -> int:
    """Return of how many lines fields from elsewhere are done again too: those that the manifest had when
    the run that counts was opened by --overwrite. What is added later is not overwritten.
    """
    opened = [deal.header for deal in deals if deal.header["opener"] in ("fresh", "overwrite")]
    return int(opened[-1]["lines"]) if opened and opened[-1]["opener"] == "overwrite" else 0


def find_results(folder: Path, keys: array[int], cut: Cuts, patience: int = 20) -> Results:
    """Return the indexed results of a stage's state; begins again when a merge removes a file meanwhile."""
    for _ in range(patience):
        results = Results(keys, cut)
        try:
            return results.find(folder)
        except FileNotFoundError:
            results.close()
    raise CallError(f"{folder}: result files keep vanishing: is something else removing them?")
