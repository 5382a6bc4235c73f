"""Which files a training run uses, and which of them to validate on: chosen once, then frozen beside it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from amela.errors import CallError
from amela.files import StrPath
from amela.log import log, printable
from amela.manifest import Record, read_records, record_key, write_manifest
from amela.tables import read_table

FILES = "files.json"
SHOWN = 5
NAMES = ("file_id", "audio_filepath", "id", "units_filepath")


def read_rows(path: str) -> list[tuple[str, Record]]:
    """Return (key, record) of each record of a manifest, or row of a table that has no `error`."""
    if not path.lower().endswith((".csv", ".tsv")):
        return [(record_key(record), record) for _, record in read_records(path)]
    rows = []
    for line, row in read_table(path):
        key = next((row[name] for name in NAMES if row.get(name)), "")
        if not key:
            raise CallError(
                f"{path}:{line}: found columns {', '.join(row)}, wanted one of {', '.join(NAMES)}"
            )
        if not row.get("error"):
            rows.append((key, dict(row)))
    return rows


def choose_files(
    folder: Path,
    manifest: str,
    settings: dict[str, Any],
    find: Callable[[Record, str], str | None],
    count: Callable[[list[str], list[int | None]], Sequence[int]],
) -> list[Record]:
    """Return the run's files as records: id, units_filepath, unit_count, split (`train` or `valid`).

    They are chosen from the manifest once and written to files.json in the folder; later calls read that,
    whatever became of the manifest. `find` gives the source of a record's units or None, `count` how many
    units each source has, given what the manifest says of it. CallError names records without units, and
    those that are ambiguous.
    """
    path = folder / FILES
    if path.exists():
        return [record for _, record in read_records(path)]
    rows = with_units(manifest, find, settings["skip_missing"])
    told = [_number(record.get("unit_count")) for _, record, _ in rows]
    counts = count([source for _, _, source in rows], told)
    empty = [key for (key, _, _), units in zip(rows, counts) if not units]
    if empty:
        log(f"{len(empty)} files without a unit are left out: {some(empty)}")
    used = [(key, record, source, units) for (key, record, source), units in zip(rows, counts) if units]
    group_of = settings["split_by"]
    groups = [group_by(group_of, key, record, manifest) if group_of else key for key, record, _, _ in used]
    files = [
        {"id": key, "units_filepath": source, "unit_count": int(units)} for key, _, source, units in used
    ]
    return freeze_split(folder, files, groups, settings, manifest)


def freeze_split(
    folder: Path, files: list[Record], groups: list[str], settings: dict[str, Any], manifest: str
) -> list[Record]:
    """Return the files with `split`, those of a group on one side; written to files.json in the folder."""
    valid = _held_out(groups, settings["train_ratio"], settings["seed"], manifest)
    files = [{**file, "split": "valid" if group in valid else "train"} for file, group in zip(files, groups)]
    write_manifest(folder / FILES, files)
    return files


def facts(folder: Path, files: list[Record]) -> dict[str, Any]:
    """Return what config.json says of the files: their hash, and how many units are in each part."""
    sizes = {
        split: sum(file["unit_count"] for file in files if file["split"] == split)
        for split in ("train", "valid")
    }
    return {
        "files": len(files),
        "files_sha256": digest(folder / FILES),
        "train_units": sizes["train"],
        "valid_units": sizes["valid"],
    }


def digest(path: StrPath) -> str:
    """Return the hash of a run's files.json, as its config holds it."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def with_units(
    manifest: str, find: Callable[[Record, str], str | None], skip_missing: bool
) -> list[tuple[str, Record, str]]:
    """Return (key, record, source of its units) of each record; CallError names those without, or with the
    same.
    """
    rows, missing, problems = [], [], []
    owner: dict[str, str] = {}
    for key, record in read_rows(manifest):
        try:
            source = find(record, key)
        except ValueError as exc:
            problems.append(str(exc))
            continue
        if source is None:
            missing.append(key)
        elif source in owner:
            problems.append(
                f"{printable(key)} and {printable(owner[source])} have the same units, {printable(source)}"
            )
        else:
            owner[source] = key
            rows.append((key, record, source))
    if problems:
        raise CallError(f"{manifest}: {some(problems, '; ')}")
    if missing and (not skip_missing or not rows):
        raise CallError(
            f"{manifest}: no units for {len(missing)} of {len(missing) + len(rows)} records "
            f"({some(missing)}): encode them, check TOKENS_DIR, or leave them out by --skip-missing"
        )
    if missing:
        log(f"{len(missing)} records have no units and are left out: {some(missing)}")
    return rows


def _number(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isdigit() else None


def group_by(name: str, key: str, record: Record, manifest: str) -> str:
    """Return a record's value of the field of --split-by; CallError where it has none."""
    if record.get(name) in (None, ""):
        raise CallError(f"{manifest}: {printable(key)} has no {name!r}, wanted by --split-by")
    return str(record[name])


def _held_out(groups: list[str], ratio: float, seed: int, manifest: str) -> set[str]:
    """Return the groups to validate on: a seeded shuffle, at least one on each side."""
    names = sorted(set(groups))
    if len(names) < 2:
        what = "file that has units" if len(groups) < 2 else "value of the field of --split-by"
        raise CallError(
            f"{manifest}: found {len(names)} {what}, wanted at least 2: one to train on, one to validate on"
        )
    random.Random(seed).shuffle(names)
    return set(names[min(len(names) - 1, max(1, round(ratio * len(names)))) :])


def some(names: list[str], separator: str = ", ") -> str:
    """Return the first of some names, and how many there are more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return separator.join(map(printable, names[:SHOWN])) + more
