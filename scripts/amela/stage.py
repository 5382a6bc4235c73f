"""run_shard: the one way through which every map stage runs, resumes, isolates bad records and ends."""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from amela import provenance, slurm, workers
from amela.dealing import take_deal
from amela.deals import WORTH_BALANCING, Deal
from amela.errors import BAD_CALL, OK, STOPPED, TOO_MANY_ERRORS, CallError, StoppedError
from amela.keeper import Attempt, Keeper
from amela.leaving import leave
from amela.log import error, log
from amela.manifest import Record, read_records, record_key
from amela.merge import merge
from amela.progress import Progress
from amela.results import ResultsWriter
from amela.shards import OPENERS, ask
from amela.signals import Stop
from amela.spool import open_shard
from amela.state import stage_folder
from amela.workers import Load, Process

STATES = {OK: "done", STOPPED: "stopped"}  # of the last heartbeat; "failed" otherwise


def run_shard(
    args: argparse.Namespace, stage: str, fields: tuple[str, ...], load: Load, process: Process
) -> int:
    """Do this process's share of a stage and return the exit status.

    Args:
        args: of `stage_parser`; `args.settings` are the settings that change results.
        stage: its name, which is that of its state folder.
        fields: that `process` gives; the first marks a record as done.
        load: `load(args)` returns the model; heavy imports inside. Runs in a worker process.
        process: `process(model, batch)` returns a dict of new fields, or an exception, for each record, in
        order.
    """
    names = _names(fields, args.field)
    if args.only:
        return _run_only(args, load, process, names)
    stop = Stop().listen()
    place = slurm.here() if slurm.in_batch_job() else slurm.Place(None, None, None, None, None, 0)
    asked = ask(args, place)
    folder = stage_folder(args.manifest, stage, args.field)
    deal = take_deal(folder, args, asked, slurm.job_name(place), place, names[fields[0]])
    status = _run_attempt(args, stage, folder, deal, place, asked.shard, names, load, process, stop)
    whole = asked.shard is None and not place.is_array
    if whole and status not in (STOPPED, BAD_CALL, 1):
        report = merge(args.manifest, stage=stage, field=args.field, max_error_rate=args.max_error_rate)
        if status == OK and not args.limit:
            status = report.status
    return status


def _names(fields: tuple[str, ...], field: str) -> dict[str, str]:
    """Return the name each field is written under: with --field NAME the first is NAME, the others
    NAME_<field>.
    """
    if not field:
        return {name: name for name in fields}
    return {name: field if name == fields[0] else f"{field}_{name}" for name in fields}


def _run_only(args: argparse.Namespace, load: Load, process: Process, names: dict[str, str]) -> int:
    """Print the fields of one record, or its traceback; write nothing."""
    for _, record in read_records(args.manifest):
        if args.only in (record.get("audio_filepath"), str(record.get("id")), record_key(record)):
            result = workers.run(load(args), process, [record])[0]
            if isinstance(result, BaseException):
                raise result
            print(
                json.dumps(
                    {names.get(name, name): value for name, value in result.items()},
                    indent=2,
                    ensure_ascii=False,
                )
            )
            return OK
    raise CallError(f"{args.manifest}: no record has the path or id {args.only!r}")


def _run_attempt(
    args: argparse.Namespace,
    stage: str,
    folder: Path,
    deal: Deal,
    place: slurm.Place,
    shard: Any,
    names: dict[str, str],
    load: Load,
    process: Process,
    stop: Stop,
) -> int:
    """Open the shard, run the keeper over it, and settle what comes after: marker, requeue, last beat."""
    number = shard or 0
    host = socket.gethostname().split(".")[0]
    job = slurm.job_name(place) if place.job else "local"
    name = f"{job}-{place.restart}-{host}-{os.getpid()}-{time.time_ns() // 1_000_000:x}"
    spool = open_shard(args.manifest, folder, deal, shard, args.limit)
    _announce(stage, deal, number, spool.seconds(), len(spool))
    beat = {
        "stage": stage,
        "job": deal.header["job"] if not place.job else place.job,
        "task": place.task,
        "deal": deal.number,
        "shard": number,
        "num_shards": deal.num_shards,
        "restart": place.restart,
        "attempt": name,
        "started": time.time(),
        "limit": args.limit,
    }
    attempt = Attempt(name, beat, str(folder / "beats" / f"task_{number:04d}.{name}.json"))
    header: Record = {
        "deal": deal.number,
        "generation": deal.header["generation"],
        "shard": number,
        "attempt": name,
        "made_by": provenance.versions(),
    }
    writer = ResultsWriter(
        folder / "results" / f"task_{number:04d}.{name}.jsonl", header, deal.header["generation"]
    )
    progress = Progress(f"{stage} {number + 1}/{deal.num_shards}", len(spool), spool.seconds())
    keeper = Keeper(args, load, process, names, spool, writer, attempt, progress, stop)
    status = _run_to_the_end(args, keeper, writer, deal, number, stop)
    if status == STOPPED and stop:
        anew = [flag for flag in OPENERS if getattr(args, flag)]
        but = f" (without --{anew[0].replace('_', '-')}, which begins anew)" if anew else ""
        leave(stop, place, progress.done + progress.failed > 0, "record", but)
    return status


def _run_to_the_end(
    args: argparse.Namespace, keeper: Keeper, writer: ResultsWriter, deal: Deal, shard: int, stop: Stop
) -> int:
    """Run the keeper, mark the shard as done if it is, and close what is open, whatever happens."""
    state = "failed"
    try:
        if args.limit is not None or args.fail_fast:
            status = _run_inline(args, keeper)
        else:
            with stop:
                status = keeper.run()
        if status == OK:
            writer.sync(now=True)
            if not args.limit:
                deal.mark_done(shard)
        state = STATES.get(STOPPED if status == OK and args.limit else status, "failed")
    except KeyboardInterrupt:
        state = STATES[STOPPED]
        raise
    finally:
        with stop:
            closed = _close(keeper, writer, state)
    return STOPPED if status == OK and not closed else status


def _announce(stage: str, deal: Deal, shard: int, audio_s: float, records: int) -> None:
    """Print the first line of a task, and what to do about shards of unequal length or other versions."""
    log(
        f"{stage}: shard {shard + 1} of {deal.num_shards} (deal {deal.number}), {records} records left, "
        f"{audio_s / 3600:.2f} h of audio"
    )
    if deal.num_shards > 1:
        imbalance = deal.header["imbalance"]
        advice = "" if imbalance <= WORTH_BALANCING or deal.header["balance"] else ": try --balance duration"
        log(f"predicted imbalance {imbalance:.2f} (the longest shard over the mean){advice}")
    now = provenance.versions()
    for name, then in deal.header["made_by"].items():
        if now.get(name) != then:
            log(f"warning: {name} was {then} when this was dealt and is {now.get(name)} now")


def _close(keeper: Keeper, writer: ResultsWriter, state: str) -> bool:
    """Bring the last lines and the last beat to the disk; False, not an error that hides others, where that
    fails.
    """
    try:
        writer.close()
        keeper.beat(state)
    except (CallError, StoppedError) as exc:
        error(str(exc))
        return False
    return True


def _run_inline(args: argparse.Namespace, keeper: Keeper) -> int:
    """Do the shard in this process, for a debugger and plain tracebacks."""
    keeper.beat("running")
    model = keeper.load(args)
    batches: list[Any] = list(keeper.fresh)
    while batches:
        batch = batches.pop(0)
        if args.fail_fast:
            results = workers.run(model, keeper.process, [item.record for item in batch])
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            outcomes = [workers.outcome(result, keeper.fields) for result in results]
        else:
            said = workers.answer(model, keeper.process, [item.record for item in batch], keeper.fields)
            if said.kind == workers.BAD_CALL:
                raise CallError(said.text)
            if said.kind in (workers.BROKEN, workers.MUST_STOP):
                raise StoppedError(said.text)
            if said.kind != workers.DONE and len(batch) > 1:
                batches[:0] = [[item] for item in batch]
                continue
            outcomes = said.outcomes or [workers.outcome(MemoryError(said.text), keeper.fields)]
        for item, outcome in zip(batch, outcomes):
            keeper.record(item, outcome)
        keeper.progress.show()
    keeper.conclude()
    nothing_works = keeper.progress.failed and not keeper.progress.done
    return TOO_MANY_ERRORS if keeper.status == OK and nothing_works else keeper.status
