"""The units of a folder one a frame, and when each is spoken."""

from __future__ import annotations

from typing import Any, NamedTuple

from media.units import UnitFolder, UnitsError, read

HOP_S = 0.02  # of HuBERT, where no settings.json says another
MOST_UNITS = 32_767  # as encode.py stores them


class UnitTimes(NamedTuple):
    """One unit a hop, but for what an encoder loses where it cuts a long recording: `chunk_frames` units a
    chunk of `chunk_s`.
    """

    hop_s: float
    chunk_s: float | None = None
    chunk_frames: int | None = None

    def centres_s(self, frames: int) -> Any:
        """Return the centre of each unit (frames,), in seconds from the start of the record."""
        import numpy as np

        index = np.arange(frames)
        if not (self.chunk_s and self.chunk_frames):
            return (index + 0.5) * self.hop_s
        return index // self.chunk_frames * self.chunk_s + (index % self.chunk_frames + 0.5) * self.hop_s

    def even(self, units: Any) -> Any:
        """Return units (frames,) one a hop throughout: the last unit of a chunk stands for what it lost."""
        import numpy as np

        repeats = np.ones(len(units), np.int64)
        if self.chunk_s and self.chunk_frames:
            lost = round(self.chunk_s / self.hop_s) - self.chunk_frames
            repeats[self.chunk_frames - 1 :: self.chunk_frames] += max(0, lost)
        return np.repeat(units, repeats)


class UnitFrames:
    """A folder of units under a label; `is_given` where another one may stand in the records."""

    def __init__(
        self, path: str, label: str, vocabulary: int | None, hop_s: float | None, is_given: bool
    ) -> None:
        self.folder, self.label, self.is_given = UnitFolder(path), label, is_given
        settings = self.folder.settings()
        self.dedup = bool(settings.get("dedup"))
        hop_s = hop_s or settings.get("hop_s") or HOP_S
        self.times = UnitTimes(hop_s, settings.get("chunk_s"), settings.get("chunk_frames"))
        self.vocabulary = vocabulary or settings.get("vocabulary")

    def read(self, record: dict[str, Any], key: str) -> Any:
        """Return the units of a record, one a frame (frames,); UnitsError where there are none."""
        import numpy as np

        given = record.get("units_filepath")
        if self.is_given and given and not self.folder.is_below(given):
            record = {name: value for name, value in record.items() if name != "units_filepath"}
        source = self.folder.find(record, key)
        if source is None:
            raise UnitsError(f"{key}: no units in {self.folder.folder}")
        units = read(source)
        most = (self.vocabulary or MOST_UNITS) - 1
        if not len(units):
            raise UnitsError(f"{source}: empty; wanted at least one unit")
        if units.min() < 0 or units.max() > most:
            raise UnitsError(
                f"{source}: found units {units.min()} to {units.max()}, wanted 0 to {most}: are they another "
                "codebook's? (--vocab-size)"
            )
        if not self.dedup:
            return units
        durations = self.folder.durations(source)
        if len(durations) != len(units) or (durations < 1).any():
            raise UnitsError(f"{source}: {len(durations)} durations for {len(units)} units; wanted one each")
        return np.repeat(units, durations)
