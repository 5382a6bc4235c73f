"""Show how far each stage of a manifest is, a row a shard, and the line that finishes the work.

    python scripts/status.py metadata/corpus.json
    python scripts/status.py metadata/corpus.json --watch
    python scripts/status.py metadata/corpus.json --errors

Reads heartbeats only: it asks neither SLURM nor opens a result file, so it costs the cluster nothing.
"""

from __future__ import annotations

import json
import sys
import time

from amela.beats import BEAT_S
from amela.cli import parser
from amela.errors import OK, CallError, run_main
from amela.log import printable
from amela.progress import clock
from amela.state import stage_folders
from amela.summary import StageSummary, age_s, errors, summaries

HEADER = "    shard  state        done  failed     left    hours x real time       ETA  where"


def table(stage: StageSummary, limit: int) -> str:
    """Return a stage as text: totals, then its shards, those that need a look first; done ones only
    counted.
    """
    totals = stage.totals()
    head = (
        f"{stage.stage}: {stage.todo} of {stage.records} records in deal {stage.deal} (job {stage.job}), "
        f"field `{stage.field}`"
    )
    rows = [
        head,
        HEADER,
        _row(
            "all",
            "",
            totals["done"],
            totals["failed"],
            totals["left"],
            totals["audio_s"],
            totals["x_real_time"],
            totals["eta_s"],
            "",
        ),
    ]
    shards = stage.to_show(limit)
    for shard in shards:
        beat = shard.beat
        where = f"{beat['host']}, {age_s(beat):.0f} s ago" if beat else ""
        rows.append(
            _row(
                f"{shard.shard}/{len(stage.shards)}",
                shard.state,
                shard.done,
                shard.failed,
                shard.left,
                shard.audio_s,
                shard.x_real_time,
                shard.eta_s,
                where,
            )
        )
    hidden = len(stage.shards) - len(shards)
    if hidden:
        rows.append(f"{'':9}  … and {hidden} more shards")
    if stage.finish:
        rows.append(f"to finish: {stage.finish}")
    return "\n".join(rows)


def _row(name, state, done, failed, left, audio_s, speed, eta_s, where) -> str:
    return (
        f"{name:>9}  {state:8} {done:>8} {failed:>7} {left:>8} {audio_s / 3600:>8.2f} "
        f"{f'{speed:.1f}' if speed else '':>11} {clock(eta_s) if eta_s is not None else '':>9}  {where}"
    ).rstrip()


def as_dict(stage: StageSummary) -> dict:
    """Return a stage as JSON wants it."""
    return {
        **stage._asdict(),
        "totals": stage.totals(),
        "shards": [shard._asdict() for shard in stage.shards],
    }


def show(args) -> None:
    """Print what was asked for once."""
    stages = [stage for stage in summaries(args.manifest) if args.stage in (None, stage.stage)]
    if not stages:
        raise CallError(f"{args.manifest}: no stage {args.stage or ''} was started on this manifest")
    if args.errors:
        for folder in stage_folders(args.manifest):
            for error in errors(folder) if args.stage in (None, folder.name) else []:
                print(
                    json.dumps({"stage": folder.name, **error}, ensure_ascii=True)
                    if args.json
                    else f"{folder.name}: {printable(error['key'])}: {error['class']}: {error['message']}"
                )
    elif args.json:
        print(json.dumps([as_dict(stage) for stage in stages], indent=2))
    else:
        print("\n\n".join(table(stage, args.rows) for stage in stages))


def main() -> int:
    """Show the status once, or again and again."""
    arguments = parser(__doc__)
    add = arguments.add_argument
    add("manifest", help="the manifest that the stages were given")
    add("--stage", metavar="NAME", help="only this stage; all by default")
    add("--watch", action="store_true", help="show it again every 30 s until Ctrl-C")
    add("--errors", action="store_true", help="list the records that failed instead")
    add("--json", action="store_true", help="print JSON")
    add("--rows", type=int, default=40, metavar="N", help="most shards shown a stage")
    args = arguments.parse_args()
    if not args.watch:
        show(args)
        return OK
    try:
        while True:
            if sys.stdout.isatty():
                print("\x1b[2J\x1b[H", end="")
            show(args)
            sys.stdout.flush()
            time.sleep(BEAT_S)
    except KeyboardInterrupt:
        return OK


if __name__ == "__main__":
    run_main(main)
