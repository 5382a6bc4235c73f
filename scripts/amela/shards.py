"""Which shard of which deal this process does: from the SLURM array, from flags, or alone."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from amela.errors import CallError
from amela.slurm import Place

OPENERS = ("fresh", "overwrite", "retry_errors")  # the flags that make older lines void


class Ask(NamedTuple):
    """What the call asks for, before the deals that exist are looked at."""

    shard: int | None  # shard to do; None for a process that does all
    num_shards: int | None  # of the deal to join or make; None: as the latest one has
    join: (
        str  # NEVER a new deal; UNFINISHED the latest deal if it fits and has work left; MUST the latest deal
    )


NEVER, UNFINISHED, MUST = "never", "unfinished", "must"


def ask(args: argparse.Namespace, place: Place) -> Ask:
    """Return what this process is to do by its flags and its place in an array; CallError where that is
    unclear.
    """
    by_hand = args.num_shards or args.num_tasks
    if args.num_shards and args.num_tasks and args.num_shards != args.num_tasks:
        raise CallError(
            f"found --num-shards {args.num_shards} and NUM_TASKS {args.num_tasks}, wanted one number"
        )
    index = args.shard_index
    if place.is_array:
        if index is not None:
            raise CallError(
                "--shard-index is for runs outside an array; inside one the task's number is the shard"
            )
        index = (place.task or 0) + args.shard_offset
    if by_hand:
        asked = _by_hand(by_hand, index, args.shard_offset, place)
    elif index is None:
        asked = Ask(None, 1, NEVER)
    elif not place.is_full_array or args.shard_offset:
        asked = Ask(index, None, MUST)
    elif place.tasks == 1:  # `--array=0` is a try-out of one task as often as a run of one task
        asked = Ask(index, None, UNFINISHED)
    else:
        asked = Ask(index, place.tasks, NEVER)
    _check(asked, args)
    return asked


def _by_hand(num_shards: int, index: int | None, offset: int, place: Place) -> Ask:
    if index is None and num_shards > 1:
        raise CallError(
            f"--num-shards {num_shards} outside an array: wanted --shard-index too, or "
            f"`sbatch --array=0-{num_shards - 1} …`"
        )
    whole = index is None or (place.is_full_array and place.tasks == num_shards and not offset)
    return Ask(index, num_shards, NEVER if whole else UNFINISHED)


def _check(asked: Ask, args: argparse.Namespace) -> None:
    if asked.num_shards and asked.shard is not None and asked.shard >= asked.num_shards:
        raise CallError(
            f"found shard {asked.shard} of {asked.num_shards}, wanted 0 to {asked.num_shards - 1}: "
            f"`sbatch --array=0-{asked.num_shards - 1} …`"
        )
    opener = next((flag for flag in OPENERS if getattr(args, flag)), None)
    if opener and asked.join == MUST:
        raise CallError(
            f"--{opener.replace('_', '-')} deals all records anew, which a part of an array cannot do: "
            "submit the full array (`--array=0-15`) or give --num-shards"
        )
