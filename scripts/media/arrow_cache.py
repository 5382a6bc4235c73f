"""Parquet parts, decoded once: Arrow IPC files in a folder that the processes of a node share, mapped into
memory, so that any row is at hand without reading its group. What has no room is read from Parquet.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable

from media.parquet_part import Part, check_bytes, decode, open_decoded

FREE_SHARE = 0.05  # of the disk stays free
IN_USE_S = 6 * 3600.0  # what was touched within this time is not removed: readers touch their files each hour
TOUCH_S = 3600.0
OLD_S = 14 * 86400.0


def default_folder(dataset: Path) -> Path:
    """Return where decoded parts go: the job's own disk, else the node's, else beside the data set."""
    for name in ("SLURM_TMPDIR", "TMPDIR"):
        if os.environ.get(name) and os.path.isdir(os.environ[name]):
            return Path(os.environ[name]) / f"amela-arrow-{os.getuid()}"
    return dataset / ".arrow"


class Cache:
    """Decoded parts in `folder`, at most `limit_bytes` (None: what the disk has room for), named by their
    hash.
    """

    def __init__(self, folder: Path, limit_bytes: int | None, log: Callable[[str], None]) -> None:
        self.folder = folder
        self._limit, self._log = limit_bytes, log
        self._touched: dict[Path, float] = {}

    def open(self, parts: list[Part]) -> list[Any]:
        """Return a reader of each part's decoded file, which is made where there is none; None where there is
        no room, which is said. One process decodes, others of the node wait for it.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.folder.stat().st_uid != os.getuid():
                raise PermissionError(f"{self.folder} is another user's; wanted --cache DIR")
            with self._alone():
                self._remove_left_overs()
                readers = [self._reader(part, parts) for part in parts]
        except OSError as error:
            self._log(f"{self.folder}: {error}: rows are read from Parquet itself, which is slower")
            return [None] * len(parts)
        self._say_what_is_left(parts, readers)
        return readers

    def touch(self, part: Part) -> None:
        """Note that a part is in use, at most once an hour."""
        file = self._file(part)
        if time.time() - self._touched.get(file, 0.0) > TOUCH_S:
            self._touched[file] = time.time()
            with suppress(OSError):
                os.utime(file)

    def _file(self, part: Part) -> Path:
        return self.folder / f"{part.sha256[:40]}.arrow"

    def _reader(self, part: Part, together: list[Part]) -> Any:
        file = self._file(part)
        reader = open_decoded(file, part)
        if reader is None and self._make_room(part.decoded_bytes, {self._file(other) for other in together}):
            check_bytes(part)
            handle, aside = tempfile.mkstemp(suffix=".tmp", dir=self.folder)
            os.close(handle)
            try:
                decode(part, aside)
                os.replace(aside, file)
                reader = open_decoded(file, part)
            except OSError as error:
                self._log(f"{aside}: {error}")
            finally:
                Path(aside).unlink(missing_ok=True)
        self.touch(part)
        return reader

    def _say_what_is_left(self, parts: list[Part], readers: list[Any]) -> None:
        left = [part.decoded_bytes for part, reader in zip(parts, readers) if reader is None]
        if left:
            room = max(0.0, self._room()) / 1e9
            self._log(
                f"{self.folder}: {len(left)} of {len(parts)} parts would need {sum(left) / 1e9:.3g} GB "
                f"decoded and found room for {room:.3g} GB: they are read from Parquet itself, slower; "
                "wanted --cache DIR on a larger disk, or a larger --cache-gb"
            )

    def _room(self) -> float:
        disk = shutil.disk_usage(self.folder)
        room = disk.free - FREE_SHARE * disk.total
        if self._limit is not None:
            room = min(room, self._limit - sum(file.stat().st_size for file in self.folder.glob("*.arrow")))
        return room

    def _make_room(self, wanted: int, keep: set[Path]) -> bool:
        """Remove what nobody used for hours until there is room, the oldest first; tell whether there is."""
        others = [(file.stat().st_mtime, file) for file in self.folder.glob("*.arrow") if file not in keep]
        for used, file in sorted(others):
            if self._room() >= wanted or time.time() - used < IN_USE_S:
                break
            file.unlink(missing_ok=True)
        return self._room() >= wanted

    def _remove_left_overs(self) -> None:
        """Remove what killed writers left (nobody writes now), and what nobody used for two weeks."""
        for file in self.folder.glob("*.tmp"):
            file.unlink(missing_ok=True)
        for file in self.folder.glob("*.arrow"):
            if time.time() - file.stat().st_mtime > OLD_S:
                file.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        import fcntl

        with open(self.folder / "lock", "w", encoding="ascii") as file:
            with suppress(OSError):  # a file system without locks: at worst two processes do the same work
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
