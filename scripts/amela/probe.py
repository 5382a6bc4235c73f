"""What the file system of a folder does when two processes meet on it: names, links, renames, locks, appends.

Two processes of one host are what is tried here. Locks between hosts may still differ (NFS, Lustre with
`localflock`), which is why no result of this suite rests on a lock.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import statistics
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Callable

ROUNDS = 200  # names that two processes race for
LINE_BYTES = 200


@dataclass(frozen=True)
class Probe:
    """One finding: whether it holds, what was seen, and whether a run is unsafe without it."""

    name: str
    holds: bool
    found: str
    needed: bool = False


def probe_folder(folder: Path) -> list[Probe]:
    """Try everything in a scratch folder in `folder`; return the findings. OSError where none can be made."""
    scratch = folder / f".amela-doctor-{os.getpid()}"
    scratch.mkdir()
    try:
        return [
            _exclusive(scratch),
            _links(scratch),
            _renames(scratch),
            *_locks(scratch),
            _appends(scratch),
            _speed(scratch),
            _clock(scratch),
        ]
    finally:
        for path in scratch.iterdir():
            path.unlink(missing_ok=True)
        scratch.rmdir()


def mount_of(path: Path) -> tuple[str, str, str]:
    """Return (mount point, type, options) of the file system of `path`; type `unknown` without /proc."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return str(path), "unknown", ""
    inside = os.path.join(os.path.realpath(path), "")
    best = ("/", "unknown", "")
    for line in lines:
        _, point, kind, options, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if inside.startswith(os.path.join(point, "")) and len(point) >= len(best[0]):
            best = (point, kind, options)
    return best


def _beside(work: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """Run `work(*args)` in this process and in a second one at the same moment; return what both returned."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_answer, args=(theirs, work, args))
    child.start()
    ours.recv()
    ours.send("go")
    mine = work(*args)
    other = ours.recv() if ours.poll(30) else None
    child.join(10)
    return mine, other


def _answer(pipe: Connection, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    pipe.send("ready")
    pipe.recv()
    pipe.send(work(*args))


def _race(work: Callable[[Path, int], int], scratch: Path, name: str, what: str) -> Probe:
    """Let two processes race for ROUNDS names; each must have exactly one winner."""
    try:
        mine, other = _beside(lambda: [work(scratch, i) for i in range(ROUNDS)])
    except OSError as exc:
        return Probe(name, holds=False, found=f"{what}: {exc.strerror}", needed=True)
    if other is None:
        return Probe(
            name, holds=False, found=f"{what}: the second process did not answer in 30 s", needed=True
        )
    wrong = sum(a + b != 1 for a, b in zip(mine, other))
    return Probe(name, wrong == 0, f"{what}: {ROUNDS - wrong} of {ROUNDS} races had one winner", needed=True)


def _exclusive(scratch: Path) -> Probe:
    def take(folder: Path, i: int) -> int:
        try:
            os.close(os.open(folder / f"exclusive-{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return 0
        return 1

    return _race(take, scratch, "exclusive names", "O_EXCL")


def _links(scratch: Path) -> Probe:
    def take(folder: Path, i: int) -> int:
        own = folder / f"link-own-{os.getpid()}"
        own.touch()
        try:
            os.link(own, folder / f"link-{i}")
        except FileExistsError:
            return 0
        finally:
            own.unlink()
        return 1

    try:
        probe = scratch / "link-probe"
        probe.touch()
        os.link(probe, scratch / "link-probe-2")
    except OSError as exc:
        return Probe("hard links", holds=False, found=f"{exc.strerror}; O_EXCL is used in their place")
    return _race(take, scratch, "hard links", "link, which never replaces")


def _renames(scratch: Path) -> Probe:
    """One process replaces a file without pause, the other reads it: always there, always whole."""
    target, size = scratch / "renamed", 1 << 16
    target.write_bytes(b"0" * size)
    parent, end = os.getpid(), time.monotonic() + 0.4

    def work() -> tuple[int, int]:
        seen = bad = 0
        while time.monotonic() < end:
            seen += 1
            if os.getpid() == parent:
                aside = scratch / "aside"
                aside.write_bytes(str(seen % 10).encode() * size)
                os.replace(aside, target)
            else:
                try:
                    data = target.read_bytes()
                    bad += len(data) != size or len(set(data)) != 1
                except OSError:
                    bad += 1
        return seen, bad

    (written, _), other = _beside(work)
    read, bad = other or (0, 1)
    return Probe(
        "renames",
        bad == 0,
        f"{written} while another process read {read} times: {bad} reads not whole",
        needed=True,
    )


def _locks(scratch: Path) -> list[Probe]:
    return [_lock(scratch, "flock", fcntl.flock), _lock(scratch, "lockf", fcntl.lockf)]


def _lock(scratch: Path, name: str, lock: Callable[[int, int], Any]) -> Probe:
    """A second process is kept out while the first holds the lock, and gets it when that is killed."""
    path = scratch / name
    path.touch()
    ours, theirs = multiprocessing.Pipe()

    def hold() -> None:
        fd = os.open(path, os.O_RDWR)
        try:
            lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            theirs.send("")
        except OSError as exc:
            theirs.send(exc.strerror)
        signal.pause()

    holder = multiprocessing.get_context("fork").Process(target=hold, daemon=True)
    holder.start()
    refused = ours.recv() if ours.poll(10) else "no answer in 10 s"
    fd = os.open(path, os.O_RDWR)
    try:
        if refused:
            return Probe(name, holds=False, found=f"refused: {refused}")
        kept_out = not _try(lock, fd)
        holder.kill()
        holder.join(5)
        freed = _try(lock, fd)
    finally:
        holder.kill()
        os.close(fd)
    found = f"{'keeps' if kept_out else 'does not keep'} a second process out, "
    found += "is free when its holder is killed" if freed else "stays when its holder is killed"
    return Probe(name, kept_out and freed, found)


def _try(lock: Callable[[int, int], Any], fd: int) -> bool:
    try:
        lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _appends(scratch: Path) -> Probe:
    path = scratch / "appended"

    def append() -> None:
        fd = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        for _ in range(ROUNDS):
            os.write(fd, str(os.getpid() % 10).encode() * (LINE_BYTES - 1) + b"\n")
        os.close(fd)

    _beside(append)
    lines = path.read_bytes().splitlines()
    whole = sum(len(line) == LINE_BYTES - 1 and len(set(line)) == 1 for line in lines)
    return Probe("appends", whole == 2 * ROUNDS, f"{whole} of {2 * ROUNDS} lines of two writers are whole")


def _speed(scratch: Path) -> Probe:
    times = []
    for i in range(20):
        start = time.perf_counter()
        with open(scratch / f"synced-{i}", "wb") as file:
            file.write(b"0" * 4096)
            file.flush()
            os.fsync(file.fileno())
        times.append(time.perf_counter() - start)
    each_ms = 1000 * statistics.median(times)
    return Probe(
        "new files", each_ms < 1000, f"{each_ms:.1f} ms to create, write and sync one (median of 20)"
    )


def _clock(scratch: Path) -> Probe:
    path = scratch / "clock"
    path.touch()
    skew_s = path.stat().st_mtime - time.time()
    return Probe("clock", abs(skew_s) < 5, f"file times are {skew_s:+.2f} s from this host's")
