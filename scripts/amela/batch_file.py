"""What a batch file asks for in its `#SBATCH` lines, and what an `--array` text means."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from amela.errors import CallError

SHORT = {
    "J": "job-name",
    "a": "array",
    "o": "output",
    "e": "error",
    "c": "cpus-per-task",
    "t": "time",
    "n": "ntasks",
    "N": "nodes",
    "p": "partition",
    "A": "account",
    "G": "gpus",
    "D": "chdir",
    "d": "dependency",
}


def read_directives(path: Path) -> dict[str, str]:
    """Return the `#SBATCH` options of a batch file, e.g. {"job-name": "asr", "requeue": ""}.

    As sbatch does, only lines before the first command count, and the last of two equal options. CallError
    where the file cannot be read or is no batch file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise CallError(f"{path}: {exc}; wanted a batch file such as slurm/asr.slurm") from exc
    if not lines or not lines[0].startswith("#!"):
        raise CallError(
            f"{path}: first line {lines[0] if lines else ''!r}, wanted #!/bin/bash, or sbatch refuses it"
        )
    options: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith("#SBATCH"):
            options.update(options_of(shlex.split(line[len("#SBATCH") :], comments=True)))
    return options


def options_of(words: list[str]) -> dict[str, str]:
    """Return sbatch options by their long names: {"time": "1-0", "requeue": ""} of `-t 1-0 --requeue`."""
    words = list(words)
    options: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            takes_next = not equals and words and not words[0].startswith("-")
        else:
            name, value = SHORT.get(word[1:2], word[1:2]), word[2:]
            takes_next = not value and words and not words[0].startswith("-")
        options[name] = words.pop(0) if takes_next else value
    return options


class Array(NamedTuple):
    """The tasks of an `--array`: sorted indices, and how many may run at once (None: no limit)."""

    indices: list[int]
    at_once: int | None


def parse_array(text: str) -> Array:
    """Return what `0-15%4`, `0,5,12` or `0-15:2` means to sbatch; CallError for anything that it refuses."""
    expression, percent, limit = text.partition("%")
    if percent and not limit.isdigit():
        raise _bad_array(text)
    indices: list[int] = []
    for part in expression.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::([1-9]\d*))?)?", part)
        if match is None:
            raise _bad_array(text)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise _bad_array(text)
        indices.extend(range(first, last + 1, int(match[3] or 1)))
    return Array(sorted(set(indices)), int(limit or 0) or None)


def _bad_array(text: str) -> CallError:
    return CallError(
        f"--array={text}: not understood; wanted e.g. 0-15, 0-15%4 (four at once), 0,5,12 or 0-15:2"
    )
