"""How a process comes by its deal: its job's own, the one it joins, or a new one that it makes."""

from __future__ import annotations

import argparse
import base64
import heapq
import json
import os
import time
import zlib
from array import array
from pathlib import Path
from typing import Any

from amela import beats, provenance
from amela.changes import changes
from amela.deals import Deal, cuts, find_results, overwritten_lines, read_deals
from amela.errors import CallError
from amela.files import StrPath, link_first, make_folder, read_when_whole
from amela.log import log
from amela.manifest import Record, Scan, check_duplicates, open_manifest, scan
from amela.results import found_lines, result_files
from amela.shards import MUST, NEVER, OPENERS, Ask
from amela.slurm import Place, command_line

SLOWEST_SCAN_BYTES_S = 5e6  # a manifest is read at least as fast


def take_deal(folder: Path, args: argparse.Namespace, asked: Ask, job: str, place: Place, field: str) -> Deal:
    """Return the deal this process works in: its job's own, the one to join, or a new one that it makes."""
    open_manifest(args.manifest).close()  # says what is wrong before anything is made beside it
    make_folder(folder / "deals"), make_folder(folder / "jobs")
    ticket = folder / "jobs" / job
    waited = False
    while True:
        has_ticket = ticket.exists()  # before the deals are read, as its deal must be among them
        deals = read_deals(folder)
        if has_ticket:  # a requeued task returns to its own deal
            return deals[int(read_when_whole(ticket)) - 1]
        deal = next((deal for deal in deals if deal.header["job"] == job), None) or _to_join(
            deals, asked, args
        )
        if deal is None:
            if not waited:
                _refuse_while_others_run(folder, job, args)
                waited = True
            if _is_being_made(folder, len(deals) + 1, args.manifest):
                continue
            deal = _make_deal(folder, deals, args, asked, job, place, field)
        if deal is not None:
            _check_settings([deal], args)
            link_first(ticket, b"%d\n" % deal.number)


def _to_join(deals: list[Deal], asked: Ask, args: argparse.Namespace) -> Deal | None:
    """Return the deal that the call joins, None where it makes a new one."""
    latest = deals[-1] if deals else None
    if asked.join == MUST:
        if latest is None:
            raise CallError(
                "a part of an array joins the deal of a full one, and there is none yet: submit the full "
                "array first (`--array=0-15`), or say the number of shards by --num-shards 16"
            )
        if asked.shard is not None and asked.shard >= latest.num_shards:
            raise CallError(
                f"found task {asked.shard}, wanted one of 0 to {latest.num_shards - 1}: the latest deal "
                f"has {latest.num_shards} shards; submit a full array to deal anew"
            )
        return latest
    if latest is None or asked.join == NEVER or latest.is_finished():
        return None
    if asked.num_shards not in (None, latest.num_shards):
        return None
    opener = _opener(args)
    return latest if opener is None or (asked.num_shards and opener == latest.header["opener"]) else None


def _opener(args: argparse.Namespace) -> str | None:
    return next((flag for flag in OPENERS if getattr(args, flag)), None)


def _refuse_while_others_run(folder: Path, job: str, args: argparse.Namespace) -> None:
    """Raise CallError while tasks of another submission are at work; a task killed just now is waited for."""
    if args.force:
        return
    deadline = time.monotonic() + beats.BEAT_S * (beats.STALE_AFTER + 1)
    first: dict[str, Any] = {}
    told = False
    while True:
        alive = [beat for beat in beats.read_beats(folder) if beat["job"] != job and beats.is_alive(beat)]
        if not alive:
            return
        for beat in alive:
            if first.setdefault(beat["path"], beat["time"]) != beat["time"] or beats.can_see(beat):
                raise CallError(
                    f"job {beat['job']} is at work on this stage (task {beat['shard']} on {beat['host']}, "
                    f"process {beat['pid']}); wait for it, `scancel {beat['job']}`, or deal anew all the "
                    "same with --force"
                )
        if time.monotonic() > deadline:
            return
        if not told:
            told = True
            left_s = deadline - time.monotonic()
            log(f"waiting up to {left_s:.0f} s to see whether job {alive[0]['job']} still beats")
        time.sleep(min(1.0, beats.BEAT_S / 4))


def _is_being_made(folder: Path, number: int, manifest: StrPath) -> bool:
    """Claim the next deal, or wait a moment for the task that has it: one pass over 10 M lines is enough for
    1,000.

    Nothing rests on the claim: when its task is gone, or takes too long, others deal too, and the first link
    wins.
    """
    claim = folder / "deals" / f"claim-{number:06d}"
    patience_s = 30 + os.path.getsize(manifest) / SLOWEST_SCAN_BYTES_S
    mine = json.dumps(
        {**beats.whereabouts(), "state": beats.RUNNING, "every_s": patience_s / beats.STALE_AFTER}
    )
    if link_first(claim, mine.encode() + b"\n") or not beats.is_alive(json.loads(read_when_whole(claim))):
        return False
    time.sleep(0.1)
    return True


def _check_settings(earlier: list[Deal], args: argparse.Namespace) -> None:
    """Raise CallError with the difference where settings that change results are not those of the run so
    far.
    """
    then, now = earlier[-1].header["settings"], json.loads(json.dumps(args.settings, default=str))
    if then == now or _opener(args) in ("fresh", "overwrite"):
        return
    raise CallError(
        f"the settings differ from those of the results there are ({changes(then, now)}): give the same "
        "ones, --field NAME to write beside, or --fresh to do all again"
    )


def _make_deal(
    folder: Path, deals: list[Deal], args: argparse.Namespace, asked: Ask, job: str, place: Place, field: str
) -> Deal | None:
    """Deal the records that are left under the next number; None where another process took that number."""
    if deals and any(found_lines(path) for path in result_files(folder)):  # else nothing rests on them yet
        _check_settings(deals, args)
    opener = _opener(args)
    number = len(deals) + 1
    num_shards = asked.num_shards or 1
    found = scan(args.manifest, field)
    twins = find_twins(args.manifest, found)
    generation = (deals[-1].header["generation"] if deals else 0) + bool(opener and deals)
    header: Record = {
        "number": number,
        "job": job,
        "num_shards": num_shards,
        "generation": generation,
        "opener": opener if deals or opener == "overwrite" else None,
        "field": field,
        "array_size": _array_size(place, num_shards),
        "lines": len(found.keys),
        "records": found.records,
        "settings": args.settings,
        "command": command_line(),
        "made_by": provenance.versions(),
    }
    todo, failed_before = _left(folder, [*deals, Deal(folder, header)], found, field)
    payload, loads = _assign(todo, found, num_shards, args.balance)
    payload.update(failed_before=failed_before, twins=twins)
    mean = sum(seconds for _, seconds in loads) / num_shards
    header.update(
        todo=sum(todo),
        balance=args.balance,
        shards=loads,
        imbalance=round(max(seconds for _, seconds in loads) / mean, 3) if mean else 1.0,
    )
    path = folder / "deals" / f"{number:06d}.json"
    data = "\n".join(json.dumps(part, default=str) for part in (header, payload)) + "\n"
    return Deal(path, header) if link_first(path, data.encode()) else None


def _array_size(place: Place, num_shards: int) -> int:
    """Return how many shards one array takes: all, or as many as the first of several; 0 outside an array."""
    if not place.is_array:
        return 0
    several = place.is_full_array and place.tasks is not None and 1 < place.tasks < num_shards
    return place.tasks or num_shards if several else num_shards


def find_twins(manifest: StrPath, found: Scan) -> list[int]:
    """Return the lines whose record stands on others too, and say so; CallError where an id names two."""
    first = check_duplicates(manifest, found.keys)
    repeated = sorted(first)
    if repeated:
        lines = ", ".join(str(index + 1) for index in repeated[:5]) + (" …" if len(repeated) > 5 else "")
        log(f"{manifest}: {len(repeated)} lines repeat a record (lines {lines}); each gets its result")
    return sorted({*first, *first.values()})


def _left(folder: Path, deals: list[Deal], found: Scan, field: str) -> tuple[bytearray, list[int]]:
    """Return 1 for each line still to do (no result, no field from elsewhere, no error that stands); those
    that failed.
    """
    results = find_results(folder, found.keys, cuts(deals))
    redo = cuts(deals).fresh > 0
    overwritten = overwritten_lines(deals)
    todo = bytearray(len(found.keys))
    foreign = 0
    for index, key in enumerate(found.keys):
        if not key or results.places[index] or results.error_stands(index):
            continue
        ours = results.old_place(index)
        if found.has_field[index] and index >= overwritten and not (redo and ours):
            foreign += not ours
            continue
        todo[index] = 1
    results.close()
    if foreign:
        log(
            f"{foreign} records have `{field}` already and are left as they are (--overwrite does them too, "
            "--field NAME writes beside)"
        )
    return todo, [index for index in sorted(results.failed_ever) if todo[index]]


def _assign(todo: bytearray, found: Scan, num_shards: int, balance: str | None) -> Any:
    """Return the second line of a deal and [records, seconds] of each shard."""
    bitmap = bytearray((len(todo) + 7) // 8)
    lines = array("I")
    for index, wanted in enumerate(todo):
        if wanted:
            bitmap[index >> 3] |= 1 << (index & 7)
            lines.append(index)
    payload = {"todo": _pack(bytes(bitmap))}
    loads = [[0, 0.0] for _ in range(num_shards)]
    dealt = array("I", (position % num_shards for position in range(len(lines))))
    if balance:
        heap = [(0.0, 0, shard) for shard in range(num_shards)]  # seconds, records, shard
        for position in sorted(range(len(lines)), key=lambda at: -found.durations[lines[at]]):
            seconds, records, shard = heap[0]
            dealt[position] = shard
            heapq.heapreplace(heap, (seconds + found.durations[lines[position]], records + 1, shard))
        payload["shards"] = _pack(dealt.tobytes())
    for position, shard in enumerate(dealt):
        loads[shard][0] += 1
        loads[shard][1] += found.durations[lines[position]]
    return payload, loads


def _pack(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()
