"""A workflow: steps as plain data, what of it is missing, and the sbatch lines that do it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from amela.batch_file import read_directives
from amela.manifest import scan
from amela.state import stage_folder
from amela.summary import StageSummary, summarise

MOST_ERRORS = 0.1  # share of failed records that is no failure, as for the stages and the merge


class Step(NamedTuple):
    """One job: slurm/LAUNCHER.slurm with its arguments, and what it waits for."""

    name: str
    arguments: str  # {source}, {stem}, {name}, {manifest}, {field_flag} are filled in
    after_ok: tuple[str, ...] = ()  # steps that must have succeeded
    after_any: tuple[str, ...] = ()  # steps that must have ended
    stage: str = ""  # of a map stage, run as an array: its state says what is left
    merges: str = ""  # stage whose results this step brings into the manifest
    makes: str = ""  # file or folder; done where it is newer than what the step reads
    defaults: str = ""  # arguments unless --NAME-args gives others
    on_request: bool = False  # only where --NAME-args is given

    @property
    def launcher(self) -> str:
        """Return the batch file, by the name before a dot: `merge.vad` is a step of slurm/merge.slurm."""
        return f"slurm/{self.name.split('.')[0]}.slurm"

    @property
    def flag(self) -> str:
        """Return the step's part of its options' names."""
        return self.name.replace(".", "_")


@dataclass
class Wish:
    """What the user asks for in one step, and what running out of time or memory before adds to it."""

    arguments: list[str]
    sbatch: list[str]


@dataclass
class Call:
    """One sbatch call; `after_ok` and `after_any` hold names of calls that stand before it."""

    name: str
    step: str
    options: list[str]
    launcher: str
    arguments: list[str]
    after_ok: list[str]
    after_any: list[str]

    def command(self, ids: dict[str, str], dependencies: bool = True) -> list[str]:
        """Return the words after `sbatch`, with the job ids (or $variables) of the calls before."""
        if not dependencies:
            return [*self.options, self.launcher, *self.arguments]
        dependency = [
            f"{kind}:" + ":".join(ids[name] for name in names)
            for kind, names in (("afterok", self.after_ok), ("afterany", self.after_any))
            if names
        ]
        waiting = [f"--dependency={','.join(dependency)}", "--kill-on-invalid-dep=yes"] if dependency else []
        return [*waiting, *self.options, self.launcher, *self.arguments]


def missing_steps(steps: Sequence[Step], values: dict[str, str], asked: dict[str, Wish]) -> list[Step]:
    """Return the steps that are to be done: those without their result, and all that wait for one of these."""
    missing: list[Step] = []
    for step in steps:
        names = {one.name for one in missing}
        if step.on_request and not asked[step.name].arguments:
            continue
        if names & {*step.after_ok, *step.after_any} or not _is_done(step, values):
            missing.append(step)
    return missing


def _is_done(step: Step, values: dict[str, str]) -> bool:
    manifest = Path(values["manifest"])
    if step.stage or step.merges:
        summary = stage_summary(manifest, step.stage or step.merges, values["field"])
        return (
            summary is not None and manifest.exists() and _stage_is_done(summary, manifest, bool(step.merges))
        )
    made = Path(step.makes.format(**values))
    return made.exists() and (made == manifest or made.stat().st_mtime >= manifest.stat().st_mtime)


def _stage_is_done(summary: StageSummary, manifest: Path, merged: bool) -> bool:
    """Tell whether no record of the manifest waits for the stage, or with `merged` for the merge of its results."""
    found = scan(manifest, summary.field)
    without = found.records - sum(found.has_field)
    totals = summary.totals()
    if totals["failed"] > MOST_ERRORS * found.records:
        return False  # tried once more, as the environment may have been broken
    if merged:
        return without <= totals["failed"]
    return without == 0 or (totals["left"] == 0 and summary.records == found.records)


def stage_summary(manifest: Path, stage: str, field: str) -> StageSummary | None:
    """Return how far a stage is (with `field`, that of its --field), None where it was never dealt."""
    folder = stage_folder(manifest, stage, field or None)
    return summarise(folder) if (folder / "deals").is_dir() and any((folder / "deals").iterdir()) else None


def calls(
    steps: Sequence[Step],
    values: dict[str, str],
    asked: dict[str, Wish],
    shards: int,
    at_once: int | None,
    max_array_size: int,
) -> list[Call]:
    """Return the sbatch calls of some steps, in order; an array beyond MaxArraySize becomes several."""
    made: list[Call] = []
    by_step: dict[str, list[str]] = {}
    for step in steps:
        wish = asked[step.name]
        words = [word for word in (part.format(**values) for part in shlex.split(step.arguments)) if word]
        words += wish.arguments or shlex.split(step.defaults)
        before = {
            kind: [name for one in names for name in by_step.get(one, [])]
            for kind, names in (("ok", step.after_ok), ("any", step.after_any))
        }
        parts = _arrays(shards, at_once, max_array_size) if step.stage else [([], [])]
        for number, (options, more) in enumerate(parts, start=1):
            name = step.name.replace(".", "_") + (f"_{number}" if len(parts) > 1 else "")
            made.append(
                Call(
                    name,
                    step.name,
                    options + wish.sbatch,
                    step.launcher,
                    words + more,
                    before["ok"],
                    before["any"],
                )
            )
            by_step.setdefault(step.name, []).append(name)
    return made


def _arrays(shards: int, at_once: int | None, max_array_size: int) -> list[tuple[list[str], list[str]]]:
    """Return (sbatch options, script arguments) of each array that the shards need."""
    sizes = [min(max_array_size, shards - start) for start in range(0, shards, max_array_size)]
    limit = f"%{max(1, at_once // len(sizes))}" if at_once else ""
    if len(sizes) == 1:
        return [([f"--array=0-{shards - 1}{limit}"], [])]
    return [
        (
            [f"--array=0-{size - 1}{limit}"],
            [f"--num-shards={shards}", f"--shard-offset={number * max_array_size}"],
        )
        for number, size in enumerate(sizes)
    ]


def default_shards(steps: Sequence[Step]) -> int:
    """Return the number of shards that the launcher of the first array asks for."""
    for step in steps:
        if step.stage:
            array = read_directives(Path(step.launcher)).get("array", "0-15")
            return int(array.partition("%")[0].rpartition("-")[2]) + 1
    return 1


def folder_name(folder: str) -> str:
    """Return the name of a folder, of `.` and `/data/corpus/` too."""
    return os.path.basename(os.path.realpath(folder)) or "root"
