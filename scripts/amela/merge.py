"""Merging: results of the shards into the manifest, in its order, whatever else goes on.

The lock only saves work. Correctness rests on this: the new manifest is written aside and replaces the old
one only if that is still the one that was read; and what was merged is kept in
`results/merged.<attempt>.jsonl`, from which any later merge restores a field that is absent.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from amela import finish
from amela.compact import compact, ended_files, remove_state
from amela.deals import cuts, find_results, overwritten_lines, read_deals
from amela.errors import INCOMPLETE, OK, TOO_MANY_ERRORS, CallError
from amela.files import StrPath, explain, write_aside
from amela.log import error, log, printable
from amela.manifest import Record, open_manifest, parse_record, read_lines, scan, to_line
from amela.results import Results
from amela.state import stage_folder, stage_folders

LOCK_WAIT_S = 60.0
PATIENCE = 20  # times that the manifest may change under a merge
SHOWN_ERRORS = 3


class StageReport(NamedTuple):
    """What a merge found of one stage."""

    stage: str
    field: str
    done: int  # records that have the field now
    failed: int  # records with an error
    missing: int
    errors: list[tuple[str, str]]  # the first few: key, what
    finish: str  # the line that does what is missing

    def text(self) -> str:
        """Return the report as lines for a person."""
        counts = f"{self.done} done, {self.failed} failed, {self.missing} missing"
        lines = [f"{self.stage}: {counts} (field `{self.field}`)"]
        lines += [f"  failed: {key}: {what}" for key, what in self.errors]
        if self.failed > len(self.errors):
            lines.append(f"  … and {self.failed - len(self.errors)} more: status.py MANIFEST --errors")
        if self.missing:
            lines.append(f"  to finish: {self.finish}")
        return "\n".join(lines)


class MergeReport(NamedTuple):
    """What a merge found: `status` is 0, 4 while anything is missing, 3 where too much failed."""

    status: int
    stages: list[StageReport]


class _Stage:
    """A stage's deals and results, opened against the manifest as it is."""

    def __init__(self, folder: Path, keys: Any) -> None:
        self.folder, self.name = folder, folder.name
        self.deals = read_deals(folder)
        self.field: str = self.deals[-1].header["field"]
        self.redo = any(deal.header["opener"] in ("fresh", "overwrite") for deal in self.deals)
        self.ended = ended_files(folder)  # before the results are read
        self.results: Results = find_results(folder, keys, cuts(self.deals))
        self.overwritten = overwritten_lines(self.deals)
        self.done = self.failed = 0
        self.missing: list[int] = []
        self.errors: list[tuple[str, str]] = []

    def apply(self, index: int, record: Record) -> bool:
        """Add this stage's fields to a record and count it; True where the record changed."""
        place = self.results.places[index]
        present = self.field in record
        changed = False
        if place and (not present or (self.redo and not self._is_merged(place))):
            line = self.results.read(place)
            changed = any(record.get(name, self) != value for name, value in line["fields"].items())
            record.update(line["fields"])
        if place or (present and not self._waits(index)):
            self.done += 1
        elif index in self.results.errors:
            self.failed += 1
            if len(self.errors) < SHOWN_ERRORS:
                line = self.results.read(next(iter(self.results.errors[index].values())))
                self.errors.append(
                    (printable(line["key"]), f"{line['error']['class']}: {line['error']['message']}")
                )
        else:
            self.missing.append(index)
        return changed

    def _waits(self, index: int) -> bool:
        """Tell whether the field that a record has is to be made anew."""
        return index < self.overwritten or bool(self.redo and self.results.old_place(index))

    def _is_merged(self, place: int) -> bool:
        return self.results.path(place).name.startswith("merged")

    def report(self) -> StageReport:
        """Return what was found."""
        line = finish.line(self.deals[-1], self.missing) if self.missing else ""
        return StageReport(
            self.name, self.field, self.done, self.failed, len(self.missing), self.errors, line
        )


def merge(
    manifest: StrPath,
    stage: str | None = None,
    field: str | None = None,
    allow_missing: bool = True,
    max_error_rate: float = 0.1,
    clean: bool = False,
) -> MergeReport:
    """Merge all stages' results into a manifest and report on `stage` (default: all).

    With `allow_missing` False nothing is written while a record of the stage is missing. `clean` removes the
    state of a stage that is complete. CallError where there is nothing to merge or the manifest keeps
    changing.
    """
    target = stage_folder(manifest, stage, field) if stage else None
    with lock(manifest):
        for _ in range(PATIENCE):
            merged = _merge_once(manifest, target, allow_missing)
            if merged is not None:
                break
            log(f"{manifest} changed while it was merged: once more")
        else:
            raise CallError(f"{manifest} keeps changing while it is merged: what writes it?")
        opened, reports = merged
        for one in opened:
            if clean and not one.missing:
                remove_state(one.folder)
    for report in reports:
        log(report.text())
    return MergeReport(_status(reports, max_error_rate), reports)


def _status(reports: list[StageReport], max_error_rate: float) -> int:
    if any(report.missing for report in reports):
        return INCOMPLETE
    for report in reports:
        tried = report.failed + report.done
        if report.failed > max_error_rate * tried:
            error(f"{report.failed} of {tried} records failed, more than --max-error-rate {max_error_rate}")
            return TOO_MANY_ERRORS
    return OK


def _merge_once(manifest: StrPath, target: Path | None, allow_missing: bool) -> Any:
    """Return (stages, reports), or None where the manifest was replaced meanwhile."""
    before = _identity(manifest)
    keys = scan(manifest, "").keys
    stages = [_Stage(folder, keys) for folder in _folders_with_results(manifest, target)]
    asked = [one for one in stages if target is None or one.folder == target]
    try:
        changed = _write_merged(manifest, len(keys), stages, asked, before, allow_missing)
        if changed is None:
            return None
        if changed:
            for one in stages:
                compact(one.folder, one.results, one.ended, one.deals[-1].number)
        return asked, [one.report() for one in asked]
    finally:
        for one in stages:
            one.results.close()


def _folders_with_results(manifest: StrPath, target: Path | None) -> list[Path]:
    folders = stage_folders(manifest)
    if not folders or (target and target not in folders):
        known = ", ".join(folder.name for folder in folders) or "none"
        raise CallError(
            f"{manifest}: found no results of {target.name if target else 'any stage'} (there are: {known}); "
            "run the stage first, on this very manifest"
        )
    return folders


def _write_merged(
    manifest: StrPath, lines: int, stages: list[_Stage], asked: list[_Stage], before: Any, allow_missing: bool
) -> bool | None:
    """Replace the manifest by one with all fields; True when it holds them, False when withheld, None to try
    again.
    """
    changed = False
    try:
        with open_manifest(manifest) as old, write_aside(manifest, "wb") as new:
            for index, raw in enumerate(read_lines(old, manifest)):
                if not raw.isspace():
                    record = parse_record(raw, manifest, index)
                    if index >= lines:
                        raise _TryAgainError
                    if sum(one.apply(index, record) for one in stages):
                        new.write(_merged_line(record, manifest, index))
                        changed = True
                        continue
                new.write(raw if raw.endswith(b"\n") else raw + b"\n")
            if not allow_missing and any(one.missing for one in asked):
                raise _WithheldError
            if not changed:
                raise _UnchangedError
            new.flush()
            os.fsync(new.fileno())
            if _identity(manifest) != before:
                raise _TryAgainError
    except _TryAgainError:
        return None
    except _WithheldError:
        return False
    except _UnchangedError:
        return True
    return True


def _merged_line(record: Record, manifest: StrPath, index: int) -> bytes:
    try:
        return to_line(record)
    except ValueError as exc:  # 1e999 reads as infinity
        raise CallError(f"{manifest}:{index + 1}: found a number out of bounds, wanted JSON") from exc


class _TryAgainError(Exception):
    pass


class _WithheldError(Exception):
    pass


class _UnchangedError(Exception):
    pass


def _identity(path: StrPath) -> tuple[int, int, int]:
    """Return what tells a file from one that replaced it."""
    try:
        found = os.stat(path)
    except OSError as exc:
        raise explain(exc, path, "reading") from exc
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def lock(manifest: StrPath) -> Iterator[None]:
    """Hold `<manifest>.lock` if it can be had within a minute; go on without it otherwise."""
    path = os.path.realpath(manifest) + ".lock"
    try:
        import filelock

        held = filelock.FileLock(path, timeout=LOCK_WAIT_S)
        held.acquire()
    except (ImportError, TimeoutError, OSError, NotImplementedError) as exc:
        log(f"no lock on {path} ({exc}): going on without it, which can cost work but no result")
        yield
        return
    try:
        yield
    finally:
        held.release()
