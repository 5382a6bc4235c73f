"""One task's work on a data set: its parts one after another, and what all parts came to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, BinaryIO, Callable

from amela.dataset_plan import Plan, digest
from amela.errors import TOO_MANY_ERRORS
from amela.files import discard, make_folder, write_aside
from amela.log import error, log
from amela.manifest import Record, open_manifest, record_key, to_line
from amela.progress import Progress
from amela.signals import Stop

JUDGED_FROM = 20  # records tried before the rate of errors means anything
SHOWN = 3  # errors printed
Place = tuple[int, str, Record]  # line of the manifest from 0, key, record
Write = Callable[[Record, "Iterator[Place]", IO[bytes]], Record]


class TooManyError(Exception):
    """More records failed than --max-error-rate allows: how many in words, and the errors."""


class AbandonedError(Exception):
    """The task was told to stop, in the middle of a part."""


class Task:
    """Builds parts of a data set until it is told to stop; `gained` says how many."""

    def __init__(self, plan: Plan, manifest: str, max_error_rate: float, stop: Stop) -> None:
        self.plan, self.manifest, self.max_error_rate, self.stop = plan, manifest, max_error_rate, stop
        self.splits = plan.splits()
        self.tried = self.failed = self.gained = 0

    def build(self, parts: list[Record], write: Write) -> None:
        """Build those of the parts that are not there; `write` writes one and returns what is in it: rows,
        errors …. AbandonedError and TooManyError end it early.
        """
        left = [part for part in parts if self.plan.built(part) is None]
        total = sum(part["lead"] + part["rows"] + part["trail"] for part in left)
        progress = Progress("build_parquet", total, 0.0)
        with open_manifest(self.manifest) as file:
            self.plan.check_manifest(file)
            for part in left:
                self._build(part, self._places(part, file, progress), write)
                self.gained += 1
        if left:
            progress.finish()

    def _build(self, part: Record, places: Iterator[Place], write: Write) -> None:
        """Write one part, and then that it is whole."""
        name = f"{part['split']}/part-{part['number']:05d}.parquet"
        path = self.plan.out / name
        make_folder(path.parent)
        with write_aside(path, "w+b") as file:
            found = write(part, places, file)
            self._judge(found["errors"], part["rows"])
            size = file.tell()
            file.seek(0)
            found |= {"file": name, "bytes": size, "sha256": digest(file)}
            self.plan.check_latest()
        if not found["rows"]:
            discard(path)
        self.plan.keep(part, found)

    def _places(self, part: Record, file: BinaryIO, progress: Progress) -> Iterator[Place]:
        """Yield a part's records, and those around it."""
        for line, record in self.plan.records(part, self.splits, file, self.manifest):
            if self.stop:
                raise AbandonedError
            yield line, record_key(record), record
            progress.count(float(record.get("duration") or 0), failed=False)
            progress.show()

    def _judge(self, errors: list[Record], records: int) -> None:
        self.tried += records
        self.failed += len(errors)
        if self.tried >= JUDGED_FROM and self.failed > self.max_error_rate * self.tried:
            raise TooManyError(f"{self.failed:,} of {self.tried:,} records failed", errors)


def collect(plan: Plan, max_error_rate: float) -> list[tuple[Record, Any]] | None:
    """Return all parts with what is in them, None while one is missing; write errors.jsonl, and remove what
    earlier plans left. TooManyError where more records failed than are allowed.
    """
    plan.check_latest()
    built = [(part, plan.built(part)) for part in plan.parts]
    left = sum(found is None for _, found in built)
    if left:
        log(
            f"{plan.out}: {len(built) - left:,} of {len(built):,} parts are there; the task that finds all "
            "of them writes dataset.json, else the same command does"
        )
        return None
    errors = [one for _, found in built if found for one in found["errors"]]
    records = sum(part["rows"] for part in plan.parts)
    if len(errors) > max_error_rate * records:
        raise TooManyError(f"{len(errors):,} of {records:,} records failed", errors)
    path = plan.out / "errors.jsonl"
    if errors:
        with write_aside(path, "wb") as file:
            file.writelines(to_line(one) for one in sorted(errors, key=lambda one: int(one["line"])))
        log(f"{len(errors):,} records failed and are left out: {path} (--fresh tries them again)")
    else:
        discard(path)
    plan.tidy()
    return built


def void(plan: Plan, trouble: TooManyError) -> int:
    """Say why too many records fail, and have their parts built again by the next command."""
    what, errors = trouble.args
    for one in errors[:SHOWN]:
        error(f"line {one['line']}, {one['key']}: {one['class']}: {one['message']}")
    error(f"{what}, more than --max-error-rate: mend what is broken, then give the same command again")
    for part in plan.parts:
        found = plan.built(part)
        if found and found["errors"]:
            plan.forget(part)
    return TOO_MANY_ERRORS
