"""The plan of a data set that one task or many build part by part: frozen by the first of them.

It lies in OUT/.amela/plan-000001.json, linked under the next number, so that of two tasks that plan at once
one wins and the other joins it; beside it, in plan-000001/, is a small file for each part that is whole: its
rows, hash, statistics and errors. So a part is there or is built again, whoever was killed when.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Callable, NamedTuple

from amela.changes import changes
from amela.errors import CallError
from amela.files import StrPath, discard, is_left_over, link_first, make_folder, read_when_whole, write_aside
from amela.log import log
from amela.manifest import Record, open_manifest, parse_record, read_lines

STATE, PLANS = ".amela", "plan-[0-9]*.json"
SPLITS = ("train", "valid", "test")
BLOCK = 2**20


class Plan(NamedTuple):
    """A plan as read from its file."""

    out: Path
    path: Path
    content: Record  # job, settings, manifest, parts, splits, and what the maker of rows needs

    @property
    def parts(self) -> list[Record]:
        """Return the parts: split, number, rows, line, byte, lead, trail."""
        return list(self.content["parts"])

    def splits(self) -> bytes:
        """Return the split of each line of the manifest, 255 where it is blank."""
        return zlib.decompress(base64.b64decode(self.content["splits"]))

    def records(
        self, part: Record, splits: bytes, file: BinaryIO, manifest: str
    ) -> Iterator[tuple[int, Record]]:
        """Yield line (from 0) and record of a part, `lead` before and `trail` after it of the same split."""
        file.seek(part["byte"])
        left = part["lead"] + part["rows"] + part["trail"]
        for line, raw in enumerate(read_lines(file, manifest), part["line"]):
            if splits[line] == part["code"]:
                yield line, parse_record(raw, manifest, line)
                left -= 1
                if not left:
                    return

    def check_manifest(self, file: BinaryIO) -> None:
        """Raise CallError where the open manifest has other content than the one that was planned for."""
        then, now = self.content["manifest"], os.fstat(file.fileno())
        if (now.st_size, now.st_mtime_ns) == (then["bytes"], then["mtime_ns"]):
            return
        if facts_of(file)["sha256"] != then["sha256"]:
            raise CallError(
                f"{file.name}: its content changed since {self.out} was begun ({then['bytes']:,} bytes then, "
                f"{now.st_size:,} now); wanted the manifest of then, another OUT, or --fresh"
            )
        log(f"{file.name} was written again since {self.out} was begun, with the same content")

    def check_latest(self) -> None:
        """Raise CallError where a later plan (--fresh) took over meanwhile."""
        if _latest(self.out) != self.path:
            raise CallError(f"{self.out}: another task began anew with --fresh; wanted one build at a time")

    def keep(self, part: Record, built: Record) -> None:
        """Write down that a part is whole, and what is in it."""
        with write_aside(self._sidecar(part)) as file:
            json.dump(built, file, allow_nan=False)
            file.write("\n")

    def built(self, part: Record) -> Record | None:
        """Return what `keep` wrote of a part; None where it is not built, or its file is gone or cut."""
        try:
            found: Record = json.loads(self._sidecar(part).read_bytes())
            whole = not found["rows"] or os.path.getsize(self.out / found["file"]) == found["bytes"]
        except (FileNotFoundError, ValueError):
            return None
        return found if whole else None

    def forget(self, part: Record) -> None:
        """Have a part built again."""
        discard(self._sidecar(part))

    def _sidecar(self, part: Record) -> Path:
        return self.path.with_suffix("") / f"{part['split']}-{part['number']:05d}.json"

    def tidy(self) -> None:
        """Remove what earlier plans left: their sidecars, and parts of the data set that this one has not."""
        for folder in self.path.parent.glob("plan-[0-9]*/"):
            if folder != self.path.with_suffix(""):
                shutil.rmtree(folder, ignore_errors=True)  # another task may be at it too
        ours = {(part["split"], f"part-{part['number']:05d}.parquet") for part in self.parts}
        for split in SPLITS:  # nothing else: a careless OUT may hold parts of features too
            for path in (self.out / split).glob("part-[0-9][0-9][0-9][0-9][0-9].parquet"):
                if (split, path.name) not in ours:
                    discard(path)
            for path in (self.out / split).glob(".part-*.tmp"):
                if is_left_over(path):
                    discard(path)


def _latest(out: StrPath) -> Path | None:
    return max((Path(out) / STATE).glob(PLANS), default=None)


def open_plan(
    out: StrPath, manifest: str, settings: Record, job: str, fresh: bool, make: Callable[[], Record]
) -> Plan:
    """Return the plan of a data set: the latest, where its settings and manifest are these; `make` makes the
    first one, and with `fresh` another one, once a job.

    CallError, with the differences, where the plan that is there was made for something else.
    """
    state = make_folder(Path(out) / STATE)
    while True:
        path = _latest(out)
        if path is not None:
            plan = Plan(Path(out), path, json.loads(read_when_whole(path)))
            if not fresh or plan.content["job"] == job:
                _check(plan, manifest, settings)
                make_folder(path.with_suffix(""))
                return plan
        number = int(path.stem.partition("-")[2]) + 1 if path else 1
        with open_manifest(manifest) as file:
            facts = facts_of(file)
        content = {"job": job, "settings": settings, "manifest": facts, **make()}
        new = state / f"plan-{number:06d}.json"
        if link_first(new, json.dumps(content, ensure_ascii=True, allow_nan=False).encode() + b"\n"):
            for name in ("dataset.json", "errors.jsonl"):
                discard(Path(out) / name)


def _check(plan: Plan, manifest: str, settings: Record) -> None:
    changed = changes(plan.content["settings"], json.loads(json.dumps(settings)))
    if changed:
        raise CallError(
            f"{plan.out}: the settings differ from those of the data set there ({changed}); "
            "wanted the same ones, another OUT, or --fresh to build all anew"
        )
    with open_manifest(manifest) as file:
        plan.check_manifest(file)


def facts_of(file: BinaryIO) -> Record:
    """Return size, time and hash of an open manifest."""
    stat = os.fstat(file.fileno())
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": digest(file)}


def digest(file: Any) -> str:
    """Return the SHA-256 of an open file, from where it stands."""
    found = hashlib.sha256()
    while block := file.read(BLOCK):
        found.update(block)
    return found.hexdigest()


def packed(splits: bytes) -> str:
    """Return the split of each line as a plan holds it."""
    return base64.b64encode(zlib.compress(splits, 6)).decode()
