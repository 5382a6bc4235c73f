"""A workflow: steps as plain data, what of it is missing, and the sbatch calls that do it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from amela import grid
from amela.batch_file import read_directives
from amela.manifest import scan
from amela.state import stage_folder
from amela.summary import StageSummary, summarise
from amela.trained import is_trained

CHECKPOINTS = "checkpoints"  # where train_lstm.py puts its runs
MOST_ERRORS = 0.1  # share of failed records that is no failure, as for the stages and the merge


class Step(NamedTuple):
    """One job: a batch file with its arguments, and what it waits for."""

    name: str  # `asr` runs slurm/asr.slurm, and `merge.vad` runs slurm/merge.slurm
    arguments: str  # {folder}, {stem}, {name}, {manifest}, {field_flag} … are filled in, here and below
    after_ok: tuple[str, ...] = ()  # steps that must have succeeded
    after_any: tuple[str, ...] = ()  # steps that must have ended
    stage: str = ""  # of a map stage, run as an array: its state says what is left
    merges: str = ""  # stage whose results this step brings into the manifest
    makes: str = ""  # file or folder; up to date where it is newer than the manifest
    anew: str = ""  # argument by which it replaces what it made of an older manifest
    defaults: str = ""  # arguments unless --NAME-args gives others
    local: str = ""  # and these where it runs without SLURM
    on_request: bool = False  # only where --NAME-args is given, or where `local` is
    spread: bool = False  # an array whose tasks share the work by themselves, and the last one ends it
    trains: bool = False  # the grids of the data set {name}: done when all their runs are
    runs: str = ""  # run folders (a pattern): done when one is that was trained so, on `data`
    data: str = ""  # dataset.json of what it trains on
    beside: str = ""  # step that it runs beside: it starts with that one and is ended after it
    tells: str = ""  # what its log says once others can use it
    manifest: str = "{manifest}"  # that it works on

    @property
    def launcher(self) -> str:
        """Return the batch file."""
        return f"slurm/{self.name.split('.')[0]}.slurm"

    def summary(self, values: dict[str, str]) -> StageSummary | None:
        """Return how far its stage is, None where it was never dealt, or where it has none."""
        stage = (self.stage or self.merges).format(**values)
        manifest = Path(self.manifest.format(**values))
        return stage_summary(manifest, stage, self.field(values)) if stage else None

    def field(self, values: dict[str, str]) -> str:
        """Return the --field that its stage is given, "" for the stage's own."""
        return values["field"] if "{field_flag}" in self.arguments else ""

    def words(self, values: dict[str, str], wish: Wish, here: bool) -> list[str]:
        """Return the arguments of its script; `here`: without SLURM."""
        usual = self.local if here and self.local else self.defaults
        words = [part.format(**values) for part in shlex.split(self.arguments)]
        words += wish.arguments or [part.format(**values) for part in shlex.split(usual)]
        if self.anew and Path(self.makes.format(**values)).exists():
            words.append(self.anew)
        return [word for word in words if word]

    @property
    def flag(self) -> str:
        """Return the step's part of its options' names: `asr-eval` of --asr-eval-args."""
        return self.name.replace(".", "-").replace("_", "-")


@dataclass
class Wish:
    """What the user asks for in one step."""

    arguments: list[str]  # for its script
    sbatch: list[str]  # for sbatch


@dataclass
class Call:
    """One sbatch call; `after_ok` and `after_any` hold names of calls that stand before it."""

    name: str
    step: Step
    options: list[str]
    arguments: list[str]
    after_ok: list[str]
    after_any: list[str]
    beside: list[str]  # the call that it starts with
    as_told: bool  # the user gave arguments

    @property
    def is_array(self) -> bool:
        """Tell whether this is an array, whose result a merge judges."""
        return bool(self.step.stage)

    def words(self) -> list[str]:
        """Return options, batch file and arguments."""
        return [*self.options, self.step.launcher, *self.arguments]

    def dependency(self, ids: dict[str, str]) -> list[str]:
        """Return the options that make it wait, with the job ids (or $variables) of the calls before."""
        kinds = (("afterok", self.after_ok), ("afterany", self.after_any), ("after", self.beside))
        parts = [f"{kind}:" + ":".join(ids[name] for name in names) for kind, names in kinds if names]
        return [f"--dependency={','.join(parts)}", "--kill-on-invalid-dep=yes"] if parts else []


def missing_steps(
    steps: Sequence[Step], values: dict[str, str], wishes: dict[str, Wish], here: bool = False
) -> list[Step]:
    """Return the steps to do: those without their result, and all that wait for one of these."""
    missing: list[Step] = []
    for step in steps:
        wish = wishes[step.name]
        if step.on_request and not wish.arguments and not (here and step.local):
            continue
        waits = {one.name for one in missing} & {*step.after_ok, *step.after_any, step.beside}
        if waits or not (step.beside or _is_done(step, values, wish, here)):
            missing.append(step)
    return missing


def _is_done(step: Step, values: dict[str, str], wish: Wish, here: bool) -> bool:
    manifest = Path(step.manifest.format(**values))
    if not manifest.exists():
        return False
    if step.stage or step.merges:
        summary = step.summary(values)
        return summary is not None and _stage_is_done(summary, manifest, bool(step.merges))
    if step.trains:
        return grid.is_finished(CHECKPOINTS, values["name"])
    if step.runs:
        folders, data = step.runs.format(**values), step.data.format(**values)
        return is_trained(folders, data, step.words(values, wish, here))
    made = Path(step.makes.format(**values))
    return made.exists() and (made == manifest or made.stat().st_mtime >= manifest.stat().st_mtime)


def _stage_is_done(summary: StageSummary, manifest: Path, merged: bool) -> bool:
    """Tell whether no record waits for the stage, or with `merged` for the merge of its results."""
    found = scan(manifest, summary.field)
    without = found.records - sum(found.has_field)
    totals = summary.totals()
    if totals["failed"] > MOST_ERRORS * found.records:
        return False  # tried once more, as the environment may have been broken
    if merged:
        return without <= int(totals["failed"])
    return without == 0 or (totals["left"] == 0 and summary.records == found.records)


def stage_summary(manifest: Path, stage: str, field: str) -> StageSummary | None:
    """Return how far a stage is (with `field`, that of its --field), None where it was never dealt."""
    folder = stage_folder(manifest, stage, field or None)
    return summarise(folder) if any((folder / "deals").glob("[0-9]*.json")) else None


def calls(
    steps: Sequence[Step],
    values: dict[str, str],
    wishes: dict[str, Wish],
    shards: int,
    at_once: int | None,
    max_array_size: int,
    here: bool = False,
) -> list[Call]:
    """Return the sbatch calls of some steps, in order; an array beyond MaxArraySize becomes several."""
    made: list[Call] = []
    for step in steps:
        wish = wishes[step.name]
        words = step.words(values, wish, here)
        after_ok, after_any, beside = (
            [call.name for call in made if call.step.name in names]
            for names in (step.after_ok, step.after_any, (step.beside,))
        )
        arrays: list[tuple[list[str], list[str]]] = [([], [])]
        if step.stage:
            arrays = _arrays(shards, at_once, max_array_size)
        elif step.spread:
            arrays = _arrays(min(shards, max_array_size), at_once, max_array_size)
        for number, (options, more) in enumerate(arrays, start=1):
            name = step.flag.replace("-", "_") + (f"_{number}" if len(arrays) > 1 else "")
            waits = (after_ok, after_any, beside)
            call = Call(name, step, options + wish.sbatch, words + more, *waits, bool(wish.arguments))
            made.append(call)
    return made


def _arrays(shards: int, at_once: int | None, max_array_size: int) -> list[tuple[list[str], list[str]]]:
    """Return (sbatch options, script arguments) of each array that the shards need."""
    starts = range(0, shards, max_array_size)
    limit = f"%{max(1, at_once // len(starts))}" if at_once else ""
    arrays = []
    for start in starts:
        size = min(max_array_size, shards - start)
        more = [f"--num-shards={shards}", f"--shard-offset={start}"] if len(starts) > 1 else []
        arrays.append(([f"--array=0-{size - 1}{limit}"], more))
    return arrays


def first_array(steps: Sequence[Step]) -> dict[str, str]:
    """Return the #SBATCH options of the first array, {} where there is none."""
    return next((read_directives(Path(step.launcher)) for step in steps if step.stage), {})


def folder_name(folder: str) -> str:
    """Return the name of a folder, of `.` and `/data/corpus/` too."""
    return os.path.basename(os.path.realpath(folder)) or "root"
