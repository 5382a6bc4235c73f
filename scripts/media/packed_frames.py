"""Frames of many recordings one after the other, memory-mapped: any one of them is read at once.

A part in Parquet is read a group of rows at a time, so recordings in random order would cost a group each.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

from media.frames import FramesError
from media.units import ROW, some


class Packed(NamedTuple):
    """`values` (frames of all, width) float16, memory-mapped; `ends` (recordings + 1,) where each begins."""

    values: Any
    ends: Any

    def recording(self, index: int) -> Any:
        """Return the frames of a recording (frames, width)."""
        return self.values[self.ends[index] : self.ends[index + 1]]


def pack(
    sources: Sequence[str], read: Callable[[str], Any], cache: str, write_aside: Callable[..., Any]
) -> Packed:
    """Return the frames of all sources; `read(source)` gives those of one, (frames, width) or (width,).

    The files in the folder `cache` are made once for these sources (by name, size and time) and found again
    by the next run. FramesError names what cannot be read, has no frame, no finite numbers, or another width.
    """
    import numpy as np

    name = os.path.join(cache, f"frames-{_mark(sources)}")
    if not os.path.exists(f"{name}.npy"):
        ends, problems, width = [0], [], None
        with write_aside(f"{name}.f16", "wb") as file:
            for source in sources:
                try:
                    frames, width = _checked(read(source), source, width)
                except FramesError as error:
                    problems.append(str(error))
                    continue
                file.write(frames.tobytes())
                ends.append(ends[-1] + len(frames))
            if problems:
                raise FramesError(some(problems))
        with write_aside(f"{name}.npy", "wb") as file:  # last: where it stands, all of it stands
            np.save(file, np.array(ends, np.int64))
    ends = np.load(f"{name}.npy")
    values = np.memmap(f"{name}.f16", np.float16, "r")
    return Packed(values.reshape(int(ends[-1]), -1), ends)


def _checked(frames: Any, source: str, width: int | None) -> tuple[Any, int]:
    """Return frames as float16 (frames, width) and their width, which must be `width` where that is known."""
    import numpy as np

    frames = np.atleast_2d(np.asarray(frames))
    if frames.ndim != 2 or not frames.size:
        raise FramesError(f"{source}: found an array {frames.shape}, wanted (frames, width) with a frame")
    if width is not None and frames.shape[1] != width:
        raise FramesError(
            f"{source}: found frames of {frames.shape[1]} numbers, wanted {width} as in the first recording: "
            "audio of one encoder"
        )
    with np.errstate(over="ignore"):
        half = frames.astype(np.float16)
    if not np.isfinite(half).all():
        raise FramesError(f"{source}: found numbers that are not finite as float16; wanted finite ones")
    return half, frames.shape[1]


def _mark(sources: Sequence[str]) -> str:
    mark, known = hashlib.sha256(), {}
    for source in sources:
        path = source.partition(ROW)[0]
        if path not in known:
            try:
                found = os.stat(path)
            except OSError as error:
                raise FramesError(
                    f"{path}: {error.strerror}; wanted the audio that the run began with"
                ) from error
            known[path] = f"{found.st_size} {found.st_mtime_ns}"
        mark.update(f"{source}\n{known[path]}\n".encode("utf-8", "surrogateescape"))
    return mark.hexdigest()[:16]
