"""Writing files so that nobody ever reads half of one: aside, synced, then renamed or linked."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any, Union

from amela.errors import DISK_TROUBLE, CallError, StoppedError

STALE_S = 3600.0
StrPath = Union[str, "os.PathLike[str]"]
_serial = count()


def attempt_name() -> str:
    """Return `<host>-<pid>`, which no two living processes of a cluster share."""
    return f"{socket.gethostname().split('.')[0]}-{os.getpid()}"


def aside_name(path: StrPath) -> Path:
    """Return a hidden name beside `path` that nobody else uses; cleaned by no one but its writer."""
    path = Path(path)
    name = os.fsdecode(os.fsencode(path.name)[:100])  # names are limited in bytes
    return path.with_name(f".{name}.{attempt_name()}-{next(_serial)}.tmp")


def is_left_over(aside: Path) -> bool:
    """Tell whether a file named by `aside_name` has lost its writer: its process is gone, or, on another
    host, it did not grow for STALE_S.
    """
    head, pid, _ = aside.name.rsplit("-", 2)
    try:
        if head.rpartition(".")[2] == attempt_name().rpartition("-")[0]:
            os.kill(int(pid), 0)
        return time.time() - aside.stat().st_mtime > STALE_S
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's process, or the file is gone
        return False


def discard(path: Path) -> None:
    """Remove a file of ours if that can be; a left-over harms nobody, and what went wrong before counts."""
    with suppress(OSError):
        path.unlink()


def explain(exc: OSError, path: StrPath, doing: str = "writing") -> Exception:
    """Return the error that says what an OSError means to the user: disk trouble is 75, the rest a bad
    call.
    """
    what = exc.strerror or str(exc)
    if exc.errno in DISK_TROUBLE:
        return StoppedError(
            f"{path}: {doing}: {what}; nothing done before is lost: free space or quota there, "
            "then give the same command again"
        )
    if exc.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return CallError(
            f"{path}: {doing}: {what}; wanted a folder this user may write to: "
            "check with `ls -ld`, or copy the manifest to a folder of yours"
        )
    return CallError(f"{path}: {doing}: {what}")


def make_folder(path: StrPath) -> Path:
    """Make a folder with its parents and return it; CallError where that is not allowed."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise explain(exc, path, "making the folder") from exc
    return Path(path)


def sync_folder(path: StrPath) -> None:
    """Ask the file system to keep the names in a folder; best effort, as some file systems refuse."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)


@contextmanager
def write_aside(path: StrPath, mode: str = "w") -> Iterator[IO[Any]]:
    """Yield a file open beside `path`; on success it is synced and renamed to `path`, on error removed.

    Symbolic links are followed and the mode of an existing file is kept. Text is UTF-8 with `\\n`.
    """
    target = Path(os.path.realpath(path))
    aside = aside_name(target)
    text: dict[str, Any] = {}
    if "b" not in mode:
        text = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}
    try:
        with open(aside, mode, **text) as file:
            if target.exists():
                os.chmod(aside, target.stat().st_mode & 0o7777)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    except BaseException as exc:
        discard(aside)
        if isinstance(exc, OSError) and str(exc.filename) in ("None", str(aside), str(target)):
            raise explain(exc, path) from exc
        raise
    sync_folder(target.parent)


def link_first(path: StrPath, data: bytes) -> bool:
    """Write `data` to `path` unless the name is taken; True for the one caller who was first.

    A hard link is atomic and never replaces, also on NFS, where the answer can be lost: the link count
    decides. Where links are not supported, an exclusive rename is imitated by O_EXCL on the final name.
    """
    path = Path(path)
    aside = aside_name(path)
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, path)
        except FileExistsError:
            return os.stat(aside).st_nlink == 2
        except OSError as exc:
            if exc.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            return _create_first(path, data)
        sync_folder(path.parent)
        return True
    except OSError as exc:
        raise explain(exc, path) from exc
    finally:
        discard(aside)


def _create_first(path: Path, data: bytes) -> bool:
    try:
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def read_when_whole(path: StrPath, whole: bytes = b"\n", patience_s: float = 5.0) -> bytes:
    """Return the bytes of a small file that ends in `whole`, waiting for a writer that cannot link (see
    link_first).
    """
    deadline = time.monotonic() + patience_s
    while True:
        data = Path(path).read_bytes()
        if data.endswith(whole):
            return data
        if time.monotonic() > deadline:
            raise CallError(f"{path}: the file ends in the middle; remove it if no task is running")
        time.sleep(0.05)
