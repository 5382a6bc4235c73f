"""Which phone is spoken when, as forced aligners and corpora write it down.

Read are CTM (file, channel, start, duration, phone; NIST SCTK), tables of file, start, end and phone with or
without a header (ZeroSpeech's `.item`, `.phn`, `.align`), a folder of TextGrids (Praat, Montreal Forced
Aligner), and a field of the record, a list of {start_s, end_s, phone}. All times are seconds.
"""

from __future__ import annotations

import os
import sys
from array import array
from typing import Any, NamedTuple

# Aligners round to 10 ms, so that two phones may share that much; the later one then begins where it says.
SLACK_S = 0.011
LONGER_S = 0.1  # how far labels may go on behind the last unit, which is up to two hops short
SILENCE = frozenset(("", "#", "<eps>", "<p:>", "h#", "nsn", "pau", "sil", "silence", "sp", "spn"))
SHOWN = 5


class PhonesError(ValueError):
    """Labels that cannot be used; the message says which, what was found and what was wanted."""


class Phones(NamedTuple):
    """The phones of a recording, sorted: starts and ends (phones,) in seconds, and their names."""

    starts_s: Any
    ends_s: Any
    names: list[str]

    def at(self, times_s: Any) -> Any:
        """Return the index of the phone at each time (frames,), -1 where there is none."""
        import numpy as np

        index = np.searchsorted(self.starts_s, times_s, side="right") - 1
        inside = (index >= 0) & (times_s < self.ends_s[index])
        return np.where(inside, index, -1)


class PhoneLabels:
    """The labels of `source`: a field of the records, a table, or a folder of TextGrids with a tier."""

    def __init__(self, source: str, tier: str = "phones") -> None:
        self.source, self.tier = source, tier
        self.is_field = os.sep not in source and "." not in source and not os.path.exists(source)
        self._tables: dict[str, Any] = {}
        self._files: dict[str, list[str]] = {}
        self._used: set[str] = set()
        if os.path.isdir(source):
            self._list_folder()
        elif not self.is_field:
            self._tables = _read_table(source)

    def _list_folder(self) -> None:
        for root, _, files in sorted(os.walk(self.source)):
            for file in sorted(files):
                stem, ending = os.path.splitext(file)
                if ending.lower() == ".textgrid" and not file.startswith("."):
                    path = os.path.join(root, file)
                    relative = os.path.splitext(os.path.relpath(path, self.source))[0]
                    for name in {relative, stem}:
                        self._files.setdefault(name, []).append(path)
        if not self._files:
            raise PhonesError(f"{self.source}: no TextGrid in it; wanted one a recording")

    def of(self, record: dict[str, Any], key: str) -> Phones | None:
        """Return the phones of a record in its own time, None where it has none.

        Labels known by `id` or `file_id` are in the record's time, as those of a field; labels known by the
        path or stem of the recording are in the recording's, and `offset` is taken off.
        """
        if self.is_field:
            return _from_field(record.get(self.source), key)
        path = os.path.splitext(str(record.get("audio_filepath") or ""))[0]
        stem = os.path.basename(path)
        ids = [str(record[name]) for name in ("id", "file_id") if record.get(name) not in (None, "")]
        for name in [*ids, path, stem]:
            found = self._find(name, path)
            if found is None:
                continue
            offset_s = 0.0 if name in ids and name not in (path, stem) else float(record.get("offset") or 0)
            return _checked(found, name, self.source, offset_s)
        return None

    def _find(self, name: str, path: str) -> list[tuple[float, float, str]] | None:
        if name in self._tables:
            self._used.add(name)
            starts, ends, phones = self._tables[name]
            return list(zip(starts, ends, phones))
        files = self._files.get(name, [])
        mirrored = [file for file in files if f"{path}.".endswith(self._relative(file) + ".")]
        files = mirrored if len(files) > 1 and len(mirrored) == 1 else files
        if len(files) > 1:
            raise PhonesError(f"{name}: found {', '.join(files[:SHOWN])}; wanted one TextGrid of that name")
        if not files:
            return None
        self._used.add(self._relative(files[0]))
        return _read_textgrid(files[0], self.tier)

    def _relative(self, file: str) -> str:
        return os.path.splitext(os.path.relpath(file, self.source))[0]

    def unused(self) -> list[str]:
        """Return the names that no record asked for."""
        files = {self._relative(file) for paths in self._files.values() for file in paths}
        return sorted({*self._tables, *files} - self._used)


def _from_field(given: Any, key: str) -> Phones | None:
    if given is None:
        return None
    try:
        rows = [(float(row["start_s"]), float(row["end_s"]), str(row["phone"])) for row in given]
    except (KeyError, TypeError, ValueError) as error:
        raise PhonesError(f"{key}: found {str(given)[:60]}, wanted [{{start_s, end_s, phone}}]") from error
    return _checked(rows, key, "the manifest", 0.0)


def _checked(rows: list[tuple[float, float, str]], name: str, source: str, offset_s: float) -> Phones:
    """Return the rows sorted and moved by the offset; PhonesError for times that cannot be."""
    import numpy as np

    rows = sorted(row for row in rows if row[0] != row[1] and row[2].strip())
    for start_s, end_s, phone in rows:
        if not 0 <= start_s < end_s < float("inf"):
            raise PhonesError(
                f"{source}: {name}: {phone!r} from {start_s} to {end_s} s; wanted 0 <= start < end"
            )
    for (start_s, end_s, phone), (then_s, _, following) in zip(rows, rows[1:]):
        if then_s < end_s - SLACK_S:
            raise PhonesError(
                f"{source}: {name}: {phone!r} ({start_s} to {end_s} s) overlaps {following!r} (from {then_s} "
                "s); wanted one phone at a time (items of triphones overlap, those of phonemes do not)"
            )
    times = np.array([row[:2] for row in rows], np.float64).reshape(-1, 2) - offset_s
    return Phones(times[:, 0], times[:, 1], [row[2] for row in rows])


def _read_table(path: str) -> dict[str, Any]:
    """Return (starts, ends, phones) by file of a CTM, or of a table of file, start, end, phone."""
    ctm = path.lower().endswith(".ctm")
    found: dict[str, Any] = {}
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                cells = line.split()
                if not cells or cells[0].startswith((";;", "#file")):
                    continue
                try:
                    name, start_s, end_s, phone = (
                        (cells[0], float(cells[2]), float(cells[2]) + float(cells[3]), cells[4])
                        if ctm
                        else (cells[0], float(cells[1]), float(cells[2]), cells[3])
                    )
                except (ValueError, IndexError):
                    if number == 1:  # a header
                        continue
                    wanted = "file, channel, start, duration, phone" if ctm else "file, start, end, phone"
                    raise PhonesError(f"{path}:{number}: found {line[:60]!r}, wanted {wanted}") from None
                starts, ends, phones = found.setdefault(name, (array("d"), array("d"), []))
                starts.append(start_s)
                ends.append(end_s)
                phones.append(sys.intern(phone))
    except (OSError, UnicodeDecodeError) as error:
        raise PhonesError(f"{path}: cannot be read: {error}") from error
    if not found:
        raise PhonesError(f"{path}: no line with a phone in it")
    return found


def _read_textgrid(path: str, tier: str) -> list[tuple[float, float, str]]:
    """Return the intervals of the tier named `tier`, or, of one speaker's, `SPEAKER - tier`."""
    from praatio import textgrid
    from praatio.utilities.errors import PraatioException

    try:
        grid = textgrid.openTextgrid(path, includeEmptyIntervals=False, duplicateNamesMode="rename")
    except (OSError, ValueError, IndexError, PraatioException) as error:
        raise PhonesError(f"{path}: no TextGrid can be read from it: {str(error)[:160]}") from error
    names = [name for name in grid.tierNames if name.lower().split(" - ")[-1] == tier.lower()]
    if len(names) != 1:
        there = ", ".join(grid.tierNames) or "none"
        raise PhonesError(f"{path}: its tiers are {there}; wanted one called {tier!r} (--tier)")
    return [(float(entry[0]), float(entry[1]), entry[2]) for entry in grid.getTier(names[0]).entries]
