"""The command line that does what is missing, ready to paste."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable

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
}


def line(deal: Deal, missing: list[int]) -> str:
    """Return the command that finishes the records on the given lines of the manifest."""
    shards, _ = deal.read_plan()
    return shards_line(deal, {shards[index] if index < len(shards) else -1 for index in missing})


def shards_line(deal: Deal, wanted: Iterable[int]) -> str:
    """Return the command that finishes the given shards of a deal; -1 stands for records that it does not
    have.
    """
    command, *args = deal.header["command"]
    args = _without_once(args)
    if not deal.header["array"]:
        return shlex.join(["sbatch" if command.endswith(".slurm") else "python", _short(command), *args])
    indices = set(wanted)
    whole = -1 in indices or len(indices) == deal.num_shards  # deal what is left anew
    array = f"0-{deal.num_shards - 1}" if whole else array_expression(indices)
    return shlex.join(["sbatch", f"--array={array}", _short(command), *args])


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
