"""All units of a list of sources one after the other, memory-mapped, and what is known of each source."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Any, Callable, NamedTuple

from media.units import ROW, UnitsError, read, some


class Counts(NamedTuple):
    """What is known of each source: (sources,) int64 arrays; smallest and largest are 0 where it is empty."""

    counts: Any
    smallest: Any
    largest: Any


def pack(sources: Sequence[str], cache: str, write_aside: Callable[..., Any]) -> tuple[Any, Counts]:
    """Return (all units one after the other, counts), the units memory-mapped from a file in the folder
    `cache`.

    The file is made once for these sources (by name, size and time) and found again by the next run: a run on
    100,000 files then starts in seconds. UnitsError names what cannot be read.
    """
    import numpy as np

    mark = hashlib.sha256()
    for source in sources:
        path = source.partition(ROW)[0]
        try:
            known = os.stat(path)
        except OSError as error:
            raise UnitsError(f"{path}: {error.strerror}; wanted the units that the run began with") from error
        mark.update(f"{source}\n{known.st_size} {known.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    name = os.path.join(cache, f"units-{mark.hexdigest()[:16]}")
    if not os.path.exists(f"{name}.npy"):
        arrays, problems = [], []
        for source in sources:
            try:
                arrays.append(read(source))
            except UnitsError as error:
                problems.append(str(error))
        if problems:
            raise UnitsError(some(problems))
        known = counts_of(arrays)
        wide = max(known.largest.max(), -known.smallest.min()) > np.iinfo(np.int16).max
        with write_aside(f"{name}-counts.npy", "wb") as file:
            np.save(file, np.stack(known))
        with write_aside(f"{name}.npy", "wb") as file:  # last: where it stands, all of it stands
            np.save(file, np.concatenate(arrays).astype(np.int32 if wide else np.int16))
    return np.load(f"{name}.npy", mmap_mode="r"), Counts(*np.load(f"{name}-counts.npy"))


def counts_of(arrays: Iterable[Any]) -> Counts:
    """Return length, smallest and largest unit of each array."""
    import numpy as np

    found = [(len(units), units.min(initial=0), units.max(initial=0)) if not len(units) else
             (len(units), units.min(), units.max()) for units in arrays]  # fmt: skip
    return Counts(*np.array(found, np.int64).reshape(-1, 3).T)


def check_range(name: str, smallest: int, largest: int, vocab_size: int) -> None:
    """Raise UnitsError where the units of a source are not all of the vocabulary."""
    if not 0 <= smallest <= largest < vocab_size:
        raise UnitsError(
            f"{name}: found units {smallest} to {largest}, wanted 0 to {vocab_size - 1}, as the model's "
            "--vocab-size says: give units of one vocabulary, and their size when a run begins"
        )
