"""Argument parsers of all scripts: kebab-case shown, --two_words understood, settings told from the rest."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes `--two_words` as `--two-words` and sorts its arguments into two kinds.

    `add_argument` adds a *setting*, which changes results: it is frozen in the deal and stands in
    `args.settings`. `add_speed_argument` adds one that does not (device, batch seconds): it may differ
    between attempts.
    """

    def __init__(self, doc: str | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("description", doc)
        kwargs.setdefault("formatter_class", _Formatter)
        super().__init__(allow_abbrev=False, **kwargs)
        self._speed: set[str] = {"help"}
        self._tail: argparse.Action | None = None
        self.takes_num_tasks = False

    def add_speed_argument(self, *names: str, **kwargs: Any) -> argparse.Action:
        """Add an argument that does not change results."""
        action = self.add_argument(*names, **kwargs)
        self._speed.add(action.dest)
        return action

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """Parse with `--two_words` read as `--two-words`; adds `args.settings`, a dict of the settings."""
        if self.takes_num_tasks and self._tail is None:  # the last positional, after those of the script
            self._tail = self.add_speed_argument(
                "num_tasks",
                nargs="?",
                type=positive,
                metavar="NUM_TASKS",
                help="number of shards of the split to join, as --num-shards",
            )
        words = [_kebab(word) for word in (sys.argv[1:] if args is None else args)]
        # intermixed, as optional positionals may come after flags: `asr.py MANIFEST --field pred_text 16`
        parse = self.parse_intermixed_args if self._tail else super().parse_args
        parsed: argparse.Namespace = parse(words, namespace)
        dests = [action.dest for action in self._actions if action.dest not in self._speed]
        parsed.settings = {dest: getattr(parsed, dest) for dest in dests if dest != argparse.SUPPRESS}
        return parsed

    def checked(self, setting: str, value: Any) -> Any:
        """Return a setting that was not typed but read from a file, as its flag reads it; ArgumentError where
        the flag would refuse it.
        """
        action = next(action for action in self._actions if action.dest == setting)
        if isinstance(action, argparse.BooleanOptionalAction):
            if not isinstance(value, bool):
                raise argparse.ArgumentError(action, f"{value!r} is neither true nor false")
            return value
        return action.default if value is None else self._get_values(action, [str(value)])


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Shows the description as written, and the default of each argument that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        quiet = (
            action.default in (None, False, argparse.SUPPRESS, "")
            or "default" in text
            or not action.option_strings
        )
        return text if quiet else text + " (default: %(default)s)"


def _kebab(word: str) -> str:
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    if " " in flag:  # not a flag: several words in one, for another program
        return word
    return flag.replace("_", "-") + equals + value


def parser(doc: str | None) -> Parser:
    """Return a plain parser whose description is the script's docstring."""
    return Parser(doc)


def positive(text: str) -> int:
    """Read an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def not_negative(text: str) -> int:
    """Read an integer of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def seconds(text: str) -> float:
    """Read a number of seconds above 0."""
    number = float(text)
    if not 0 < number < 1e9:  # nan and infinity too
        raise argparse.ArgumentTypeError(f"{text} is not above 0 s")
    return number


def amount(text: str) -> float:
    """Read a finite number of at least 0."""
    number = float(text)
    if not 0 <= number < float("inf"):  # nan too
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 0")
    return number


def ratio(text: str) -> float:
    """Read a number from 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number


def cpus() -> int:
    """Return the CPUs this task was given: SLURM's word, else what the process may run on."""
    given = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
    if given and given.isdigit():
        return max(1, int(given))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stage_parser(
    doc: str | None,
    batch_size: int = 1,
    workers: int = 1,
    manifest: str | None = "JSON lines with audio_filepath (or id); fields are added to it by the merge",
) -> Parser:
    """Return the parser of a map stage: `manifest` (with that help), the flags of the run loop and a last
    NUM_TASKS; with None neither of the two, for a stage that makes its manifest itself.
    """
    stage = Parser(doc)
    stage.takes_num_tasks = manifest is not None
    stage.set_defaults(num_tasks=None)
    add = stage.add_speed_argument
    if manifest is not None:
        add("manifest", help=manifest)
    add("--limit", type=positive, metavar="N", help="do only N records, in this process")
    add("--only", metavar="PATH", help="print the fields of one record (its path or id) and write nothing")
    add(
        "--fail-fast",
        action="store_true",
        help="stop at the first bad record with its traceback, in this process",
    )
    add("--retry-errors", action="store_true", help="try the records again that ended in an error")
    add("--fresh", action="store_true", help="do again everything that this stage made before")
    add("--overwrite", action="store_true", help="do all records, also those whose field came from elsewhere")
    add("--field", metavar="NAME", help="write to this field instead of the stage's own, with its own state")
    add(
        "--num-shards",
        type=positive,
        metavar="N",
        help="number of shards, where the SLURM array does not say it",
    )
    add("--shard-index", type=not_negative, metavar="I", help="shard to do outside an array, from 0")
    add(
        "--shard-offset",
        type=not_negative,
        default=0,
        metavar="K",
        help="added to the array index, for arrays beyond MaxArraySize",
    )
    add("--workers", type=positive, default=workers, metavar="N", help="worker processes of this task")
    add("--batch-size", type=positive, default=batch_size, metavar="N", help="records handed over at once")
    add(
        "--max-error-rate",
        type=ratio,
        default=0.1,
        metavar="R",
        help="stop with status 3 when more than this share of the records fails",
    )
    add("--balance", choices=["duration"], help="deal the longest records first to the least loaded shard")
    add("--force", action="store_true", help="deal anew although tasks of another submission are running")
    return stage


def add_hub_model(stage: Parser, model: str, what: str) -> None:
    """Add the flags of a stage that runs a model of the hub: --model, --revision, --device, --offline."""
    stage.add_argument("--model", default=model, help=what)
    stage.add_argument(
        "--revision", default="main", help="branch, tag or commit of a hub model; pinned at the first task"
    )
    add_device(stage.add_speed_argument)
    add_offline(stage.add_speed_argument)


def add_device(add: Callable[..., Any]) -> None:
    """Add --device by a parser's add_argument, or add_speed_argument where it does not change results."""
    add("--device", default="auto", help="cpu, cuda or cuda:1 (default: a GPU where there is one)")


def add_offline(add: Callable[..., Any]) -> None:
    """Add --offline, likewise."""
    add("--offline", action="store_true", help="never ask the model hub; HF_HUB_OFFLINE=1 does the same")
