"""The command line that does what is missing, ready to paste."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection

from amela.deals import Deal
from amela.slurm import array_expression

# Flags of a submission that its continuation must not repeat, with whether they take a value.
ONCE = {
    "--fresh": False,
    "--overwrite": False,
    "--retry-errors": False,
    "--force": False,
    "--limit": True,
    "--fail-fast": False,
    "--shard-index": True,
    "--shard-offset": True,
}


def line(deal: Deal, missing: list[int]) -> str:
    """Return the command that finishes the records on the given lines of the manifest."""
    shards, _ = deal.read_plan()
    return shards_line(deal, {shards[index] if index < len(shards) else -1 for index in missing})


def shards_line(deal: Deal, wanted: Collection[int]) -> str:
    """Return the command that finishes the given shards of a deal; -1 stands for records that it does not
    have.
    """
    command, *args = deal.header["command"]
    runner = "sbatch" if command.endswith(".slurm") else "python"
    words = [_short(command), *_without_once(args)]
    shards = set(range(deal.num_shards)) if -1 in wanted else set(wanted)  # -1: deal what is left anew
    size = deal.header["array_size"]
    if not size:
        if deal.num_shards == 1:
            return shlex.join([runner, *words])
        each = " ".join(map(str, sorted(shards)))
        return f"for shard in {each}; do {shlex.join([runner, *words])} --shard-index $shard; done"
    lines = []
    for offset in range(0, deal.num_shards, size):  # more than one beyond MaxArraySize
        part = [shard - offset for shard in shards if offset <= shard < offset + size]
        more = ["--shard-offset", str(offset)] if offset else []
        if part:
            lines.append(shlex.join([runner, f"--array={array_expression(part)}", *words, *more]))
    return "; ".join(lines)


def _short(path: str) -> str:
    """Return a path as one would type it here."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") or len(relative) > len(path) else relative


def _without_once(args: list[str]) -> list[str]:
    kept, skip = [], False
    for word in args:
        flag = word.partition("=")[0].replace("_", "-") if word.startswith("--") else word
        if skip:
            skip = False
        elif flag in ONCE:
            skip = ONCE[flag] and "=" not in word
        else:
            kept.append(word)
    return kept
