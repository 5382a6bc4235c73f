"""What is known of a manifest's stages without opening a result file: deals, markers of done shards,
heartbeats.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from amela import finish
from amela.beats import RUNNING, is_alive, read_beats
from amela.deals import Deal, cuts, read_deals
from amela.files import StrPath
from amela.manifest import Record
from amela.results import errors_void, read_results, result_files
from amela.state import stage_folders

ORDER = (
    "running",
    "stale",
    "failed",
    "stopped",
    "waiting",
    "done",
)  # of shards, those that need a look first


class ShardSummary(NamedTuple):
    """How far one shard of the latest deal is."""

    shard: int
    state: str  # waiting, running, stale, stopped, failed, done
    records: int
    done: int
    failed: int
    left: int
    audio_s: float  # done by its last attempt
    x_real_time: float | None
    eta_s: float | None
    beat: Record  # the last heartbeat, {} without one


class StageSummary(NamedTuple):
    """How far a stage is."""

    stage: str
    field: str
    deal: int
    job: str
    records: int  # of the manifest when it was dealt
    todo: int  # records of this deal
    shards: list[ShardSummary]
    finish: str  # the line that does what is left; "" when nothing is, or while all of it runs

    def to_show(self, limit: int) -> list[ShardSummary]:
        """Return at most `limit` shards, those that need a look first; done ones only where all fit."""
        shards = [shard for shard in self.shards if shard.state != "done" or len(self.shards) <= limit]
        return sorted(shards, key=lambda shard: (ORDER.index(shard.state), shard.shard))[:limit]

    def totals(self) -> dict[str, Any]:
        """Return done, failed, left, audio_s, x_real_time and eta_s over all shards."""
        running = [shard for shard in self.shards if shard.state == RUNNING]
        etas = [shard.eta_s for shard in running if shard.eta_s is not None]
        return {
            "done": sum(shard.done for shard in self.shards),
            "failed": sum(shard.failed for shard in self.shards),
            "left": sum(shard.left for shard in self.shards),
            "audio_s": sum(shard.audio_s for shard in self.shards),
            "x_real_time": sum(shard.x_real_time or 0 for shard in running) or None,
            "eta_s": max(etas, default=None),
            "states": sorted({shard.state for shard in self.shards}),
        }


def summaries(manifest: StrPath) -> list[StageSummary]:
    """Return the summary of each stage that was dealt on a manifest, sorted by name."""
    return [summarise(folder) for folder in stage_folders(manifest)]


def summarise(folder: Path) -> StageSummary:
    """Return the summary of one stage's latest deal."""
    deal = read_deals(folder)[-1]
    attempts: dict[int, list[Record]] = {}
    for beat in read_beats(folder):
        if beat["deal"] == deal.number:
            attempts.setdefault(beat["shard"], []).append(beat)
    shards = [_shard(deal, number, attempts.get(number, [])) for number in range(deal.num_shards)]
    return StageSummary(
        folder.name,
        deal.header["field"],
        deal.number,
        deal.header["job"],
        deal.header["records"],
        deal.header["todo"],
        shards,
        _finish(deal, shards),
    )


def _shard(deal: Deal, number: int, beats: list[Record]) -> ShardSummary:
    """Return a shard's summary by its last attempt, a running one before any other."""
    records = deal.header["shards"][number][0]
    is_done = deal.done_marker(number).exists()
    if not beats:
        left = 0 if is_done or not records else records
        return ShardSummary(
            number, "done" if not left else "waiting", records, records - left, 0, left, 0.0, None, None, {}
        )
    beat = next((beat for beat in beats if is_alive(beat)), beats[-1])
    alive = is_alive(beat)
    state = beat["state"] if beat["state"] != RUNNING or alive else "stale"
    total = max(records, beat["total"]) if beat["limit"] else beat["total"]
    left = 0 if is_done and not alive else total - beat["done"] - beat["failed"]
    return ShardSummary(
        number,
        "done" if is_done and not alive else state,
        records,
        records - left - beat["failed"],
        beat["failed"],
        left,
        sum(one["audio_s"] for one in beats),
        beat["x_real_time"],
        beat["eta_s"] if alive else None,
        beat,
    )


def _finish(deal: Deal, shards: list[ShardSummary]) -> str:
    open_shards = [shard.shard for shard in shards if shard.left and shard.state != RUNNING]
    return finish.shards_line(deal, open_shards) if open_shards else ""


def errors(folder: Path) -> list[Record]:
    """Return the last error of each record that failed and has no result, with the file it stands in."""
    while True:
        try:
            return _errors(folder)
        except FileNotFoundError:  # a merge compacted one: what it held stands elsewhere now
            continue


def _errors(folder: Path) -> list[Record]:
    cut = cuts(read_deals(folder))
    failed: dict[str, Record] = {}
    for path in result_files(folder):
        if not errors_void(path):
            for line in _lines(path, max(cut.fresh, cut.retry)):
                if "error" in line:
                    failed[line["key"]] = {"key": line["key"], **line["error"], "file": path.name}
    if failed:
        for path in result_files(folder):
            for line in _lines(path, cut.fresh):
                if "fields" in line:
                    failed.pop(line["key"], None)
    return list(failed.values())


def _lines(path: Path, generation: int) -> Iterator[Record]:
    with open(path, "rb") as file:
        for _, line in read_results(file):
            if line.get("generation", 0) >= generation:
                yield line


def age_s(beat: Record) -> float:
    """Return how long ago a heartbeat was written, s."""
    return time.time() - float(beat["time"])
