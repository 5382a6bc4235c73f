"""Shard results: files that only one attempt writes, one line a record, in one write call.

    {"amela": …, "deal": 1, "shard": 3, …}                     first line of a file: who wrote it
    {"line": 17, "key": "/a/b.wav", "fields": {"text": "…"}}   a result; `line` is a hint, the key decides
    {"line": 18, "key": "/a/c.wav", "error": {"class": …, "message": …, "attempt": …, "host": …}}
    {"void": "errors", "why": …}                               the error lines of this file do not count

A line of a later generation (`--fresh`, `--overwrite`, `--retry-errors`) says so: `"generation": 2`. What is
torn, cut in a character, without a newline or zero-filled was never a line.
"""

from __future__ import annotations

import errno
import os
import resource
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from amela.errors import CallError
from amela.files import StrPath, explain, make_folder, sync_folder
from amela.manifest import Record, from_line, hash_key, to_line

SYNC_EVERY_S = 10.0  # a lost node costs at most this much work
NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
ERRORS_THAT_STAND = 2  # an error is tried once more by another attempt, then stands
_FILE_BITS = 40  # a place packs the number of a file above the offset in it


class ResultsWriter:
    """Appends the lines of one attempt to its own file, which must not exist."""

    def __init__(self, path: StrPath, header: Record, generation: int) -> None:
        self.path = Path(path)
        self._mark = {"generation": generation} if generation else {}
        self._synced = time.monotonic()
        make_folder(self.path.parent)
        try:
            self._fd = os.open(self.path, NEW_FILE, 0o666)
        except OSError as exc:
            raise explain(exc, path) from exc
        self._moves = 0
        self._write({"amela": 1, **header})
        sync_folder(self.path.parent)

    def _write(self, line: Record) -> None:
        data = to_line(line)
        try:
            written = os.write(self._fd, data)
            while written < len(data):  # a disk that is filling up takes a part, then refuses
                written += os.write(self._fd, data[written:])
        except OSError as exc:
            raise explain(exc, self.path) from exc

    def write(self, index: int, key: str, outcome: dict[str, Any]) -> None:
        """Write one record's outcome, {"fields": …} or {"error": …}; ValueError where it holds NaN."""
        self._write({"line": index, "key": key, **self._mark, **outcome})

    def void_errors(self, why: str) -> None:
        """Take the errors of this attempt back: the environment is broken, not the data."""
        self._write({"void": "errors", "why": why})

    def sync(self, now: bool = False) -> None:
        """Bring the lines to the disk, at most every 10 s unless `now`."""
        if now or time.monotonic() - self._synced > SYNC_EVERY_S:
            try:
                os.fsync(self._fd)
                if os.fstat(self._fd).st_nlink == 0:
                    self._move()
            except OSError as exc:
                raise explain(exc, self.path) from exc
            self._synced = time.monotonic()

    def _move(self) -> None:
        """Go on in another file, with all lines so far: a merge took this task for dead (it was suspended, or
        its clock is wrong) and gathered the lines there were then. A line that stands twice counts once.
        """
        self._moves += 1
        old, path = self._fd, self.path.with_suffix(f".{self._moves}.jsonl")
        self._fd = os.open(path, NEW_FILE, 0o666)
        with open(old, "rb") as file:
            file.seek(0)
            for raw in file:
                os.write(self._fd, raw)
        os.fsync(self._fd)
        sync_folder(path.parent)

    def close(self) -> None:
        """Bring everything to the disk and close."""
        try:
            self.sync(now=True)
        finally:
            try:
                os.close(self._fd)
            except OSError as exc:  # NFS says here that the quota is used up
                raise explain(exc, self.path) from exc


def read_results(file: BinaryIO) -> Iterator[tuple[int, Record]]:
    """Yield (offset, object) of each whole line of an open result file."""
    offset = 0
    for raw in file:
        if raw.endswith(b"\n"):
            try:
                yield offset, from_line(raw)
            except ValueError:
                pass
        offset += len(raw)


def result_files(folder: Path) -> list[Path]:
    """Return the result files of a stage's state, sorted by name: merged ones first."""
    return sorted((folder / "results").glob("*.jsonl"))


def read_header(path: Path) -> Record:
    """Return the first line of a result file, {} where it is torn."""
    with open(path, "rb") as file:
        for _, line in read_results(file):
            return line if "amela" in line else {}
    return {}


def found_lines(path: Path) -> bool:
    """Tell whether a result file holds a result or an error."""
    try:
        with open(path, "rb") as file:
            return any("key" in line for _, line in read_results(file))
    except FileNotFoundError:  # a merge gathered it just now
        return True


def errors_void(path: Path) -> bool:
    """Tell whether an attempt took its error lines back, in its last line."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4096))
        return b'\n{"void": "errors"' in file.read()


class Cuts(NamedTuple):
    """From which generation on lines count."""

    fresh: int = 0  # results and errors
    retry: int = 0  # errors


def _open_one_of_many(path: Path, open_files: int) -> BinaryIO:
    """Open a file for reading; ask for more open files than the usual 1,024 where there are as many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < open_files + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2 * soft, hard) if hard > 0 else 2 * soft, hard))
    try:
        return open(path, "rb")
    except OSError as exc:
        if exc.errno == errno.EMFILE:
            raise CallError(f"{path}: {exc.strerror} ({open_files}, the limit here is {hard}): raise it by "
                            f"`ulimit -n {4 * open_files}`, or merge on another machine") from exc
        raise


class Results:
    """Where the results of a manifest's lines stand: two numbers a line and the few errors.

    Made from the result files by `find`; holds them open, as a merge elsewhere may remove their names.
    """

    def __init__(self, keys: array[int], cuts: Cuts) -> None:
        self.places = array("Q", bytes(8 * len(keys)))  # place of the result that counts, 0 without one
        self._old = array(
            "Q", bytes(8 * len(keys) if cuts.fresh else 0)
        )  # … of one that an older generation made
        self.errors: dict[int, dict[str, int]] = {}  # line → attempt → place
        self.unplaced: list[int] = []  # places of lines whose record the manifest has no more
        self.failed_ever: set[int] = set()  # lines with an error of any generation
        self.paths: list[Path] = []
        self.read_to: dict[Path, int] = {}  # bytes of each file that were there when it was read
        self._files: list[BinaryIO] = []
        self._keys, self._cuts = keys, cuts
        self._stray_places: dict[int, int] = {}  # by key hash: lines whose hint no longer fits
        self._stray_old: dict[int, int] = {}
        self._stray_errors: dict[int, dict[str, int]] = {}

    def find(self, folder: Path) -> Results:
        """Index the result files of a stage's state. FileNotFoundError where a merge removed one
        meanwhile.
        """
        for path in result_files(folder):
            file = _open_one_of_many(path, len(self.paths))
            self._files.append(file)
            self.paths.append(path)
            self._index(len(self._files), file, errors_void(path))
            self.read_to[path] = file.tell()
        self._place_strays()
        return self

    def _index(self, number: int, file: BinaryIO, void: bool) -> None:
        cuts = self._cuts
        for offset, line in read_results(file):
            key = line.get("key")
            if key is None or (void and "error" in line):
                continue
            place = number << _FILE_BITS | offset
            index = line["line"]
            generation = line.get("generation", 0)
            fits = index < len(self._keys) and self._keys[index] == hash_key(key)
            if "error" in line:
                if fits:
                    self.failed_ever.add(index)
                if generation >= max(cuts.fresh, cuts.retry):
                    errors = self.errors if fits else self._stray_errors
                    where = index if fits else hash_key(key)
                    errors.setdefault(where, {})[line["error"]["attempt"]] = place
            elif fits:
                (self.places if generation >= cuts.fresh else self._old)[index] = place
            else:
                (self._stray_places if generation >= cuts.fresh else self._stray_old)[hash_key(key)] = place

    def _place_strays(self) -> None:
        """Give the lines of a manifest that was filtered or sorted meanwhile their results by key."""
        if not (self._stray_places or self._stray_old or self._stray_errors):
            return
        placed = set()
        for index, key in enumerate(self._keys):
            if key in self._stray_places or key in self._stray_old or key in self._stray_errors:
                placed.add(key)
                self.places[index] = self.places[index] or self._stray_places.get(key, 0)
                if self._old:
                    self._old[index] = self._old[index] or self._stray_old.get(key, 0)
                if key in self._stray_errors:
                    self.errors.setdefault(index, {}).update(self._stray_errors[key])
        for strays in (self._stray_places, self._stray_old):
            self.unplaced.extend(place for key, place in strays.items() if key not in placed)
        for key, attempts in self._stray_errors.items():
            self.unplaced.extend(() if key in placed else attempts.values())
        self._stray_places, self._stray_old, self._stray_errors = {}, {}, {}

    def old_place(self, index: int) -> int:
        """Return the place of a line's result by an older generation, 0 without one."""
        return self._old[index] if self._old else 0

    def error_stands(self, index: int) -> bool:
        """Tell whether a line's error was confirmed by a second attempt."""
        return len(self.errors.get(index, ())) >= ERRORS_THAT_STAND

    def read(self, place: int) -> Record:
        """Return the line at a place."""
        return from_line(self.read_raw(place))

    def read_raw(self, place: int) -> bytes:
        """Return the bytes of the line at a place."""
        file = self._files[(place >> _FILE_BITS) - 1]
        file.seek(place & ((1 << _FILE_BITS) - 1))
        return file.readline()

    def path(self, place: int) -> Path:
        """Return the file that a place is in."""
        return self.paths[(place >> _FILE_BITS) - 1]

    def close(self) -> None:
        """Close the result files."""
        for file in self._files:
            file.close()


class Settled(NamedTuple):
    """What some result files say of a shard's records."""

    keys: set[str]  # need no more work: done, or failed for good
    failed: set[str]  # keys with an error
    twins: set[int]  # lines that were done, of those whose key names several


def settled(paths: list[Path], cuts: Cuts, twins: set[int]) -> Settled:
    """Return what the given files say; `twins` are the lines whose key names several."""
    done: set[str] = set()
    done_twins: set[int] = set()
    failed: dict[str, set[str]] = {}
    for path in paths:
        void = errors_void(path)
        with open(path, "rb") as file:
            for _, line in read_results(file):
                key: str | None = line.get("key")
                generation = line.get("generation", 0)
                if key is None or generation < cuts.fresh:
                    continue
                if "fields" in line:
                    done.add(key)
                    if line["line"] in twins:
                        done_twins.add(line["line"])
                elif not void and generation >= cuts.retry:
                    failed.setdefault(key, set()).add(line["error"]["attempt"])
    for_good = {key for key, attempts in failed.items() if len(attempts) >= ERRORS_THAT_STAND}
    return Settled(done | for_good, set(failed), done_twins)
