"""Who speaks where, of many utterances: what tells a pair that must not be compared, as one holds the other.

Some 200 bytes of memory an utterance, and its key in a nameless file, so a million fit into any machine.
"""

from __future__ import annotations

import os
from array import array
from typing import IO, Any, Callable

import numpy as np

EVERYWHERE = (-np.inf, np.inf)  # s
NOWHERE = (-1.0, -1.0)  # s: overlaps what is everywhere, and nothing else
ANY_CHANNEL, MANY = -1, 2**15
DEPTH = 8  # parents of parents that are looked for


class Utterances:
    """Rows of utterances in the order they were added; `finish` before anything is asked.

    A row lies in places: a stretch of its recording (audio_filepath, offset, duration, channel), itself as
    a whole, and a stretch of its `parent` (start_s, end_s, where it says them). Two rows that share a place
    overlap.
    """

    def __init__(self, keys: IO[bytes], hash_key: Callable[[str], int]) -> None:
        self._keys, self._hash = keys, hash_key
        self._ends = array("q", [0])
        self._columns = [array("q"), array("q"), array("d"), array("d"), array("h")]
        self._own, self._parents, self._speakers = array("q"), array("q"), array("q")
        self.count = 0

    def add(self, key: str, record: dict[str, Any]) -> None:
        """Add a record, known by its key."""
        row, self.count = self.count, self.count + 1
        self._ends.append(self._ends[-1] + self._keys.write(key.encode("utf-8", "surrogateescape")))
        self._own.append(self._hash(key))
        speaker, parent = record.get("speaker"), record.get("parent")
        self._speakers.append(0 if speaker in (None, "") else self._hash(str(speaker)))
        self._parents.append(0 if parent in (None, "") else self._hash(str(parent)))
        self._place(row, self._own[-1], EVERYWHERE)
        if record.get("audio_filepath") is not None:
            channel = record.get("channel")
            known = isinstance(channel, int) and 0 <= channel < MANY
            where = self._hash(f"file {record['audio_filepath']}")
            self._place(row, where, _stretch(record), channel if known else ANY_CHANNEL)
        if self._parents[-1]:
            start_s, end_s = record.get("start_s"), record.get("end_s")
            known = isinstance(start_s, (int, float)) and isinstance(end_s, (int, float))
            self._place(row, self._parents[-1], (start_s, end_s) if known else NOWHERE)

    def _place(self, row: int, where: int, span: tuple[float, float], channel: int = ANY_CHANNEL) -> None:
        for column, value in zip(self._columns, (row, where, *span, channel)):
            column.append(value)

    def finish(self) -> None:
        """Sort what was added."""
        own, parents = np.array(self._own), np.array(self._parents)
        self._by_key = np.argsort(own, kind="stable")
        self._sorted_keys = own[self._by_key]
        self._add_ancestors(parents)
        self._row, self._where, self._start_s, self._end_s, self._channel = map(np.array, self._columns)
        self.speakers = np.array(self._speakers)
        del self._columns, self._own, self._parents, self._speakers  # what grew, and has its copy
        order = np.argsort(self._where, kind="stable")
        self._sorted_places, self._at_place = self._where[order], order
        self._by_row = np.argsort(self._row, kind="stable")
        self._row_ends = np.searchsorted(self._row[self._by_row], np.arange(self.count + 1))
        self._by_speaker = np.argsort(self.speakers, kind="stable")
        self._sorted_speakers = self.speakers[self._by_speaker]
        self._keys.flush()

    def _add_ancestors(self, parents: np.ndarray) -> None:
        """Place each row within the parents of its parent too."""
        above = self._rows_of(parents)
        for _ in range(DEPTH):
            further = np.where(above >= 0, parents[above], 0)
            if not further.any():
                return
            for row in np.flatnonzero(further):
                self._place(int(row), int(further[row]), NOWHERE)
            above = self._rows_of(further)

    def _rows_of(self, hashes: np.ndarray) -> np.ndarray:
        """Return the first row of each key, -1 where there is none."""
        if not len(self._sorted_keys):
            return np.full(len(hashes), -1)
        at = np.minimum(np.searchsorted(self._sorted_keys, hashes), len(self._sorted_keys) - 1)
        return np.where((self._sorted_keys[at] == hashes) & (hashes != 0), self._by_key[at], -1)

    def rows(self, keys: list[str]) -> np.ndarray:
        """Return the row of each key, -1 where there is none."""
        return self._rows_of(np.array([self._hash(key) for key in keys], np.int64))

    def of_speaker(self, speaker: int) -> np.ndarray:
        """Return the rows of a speaker (a value of `speakers`), ascending."""
        return self._by_speaker[_run(self._sorted_speakers, speaker)]

    def overlapping(self, row: int) -> np.ndarray:
        """Return the rows that hold a part of this one, itself among them; unsorted, some twice."""
        found = []
        for mine in self._by_row[self._row_ends[row] : self._row_ends[row + 1]]:
            there = self._at_place[_run(self._sorted_places, self._where[mine])]
            meet = (self._start_s[there] < self._end_s[mine]) & (self._end_s[there] > self._start_s[mine])
            channel, theirs = self._channel[mine], self._channel[there]
            same = (channel == ANY_CHANNEL) | (theirs == ANY_CHANNEL) | (theirs == channel)
            found.append(self._row[there[meet & same]])
        return np.concatenate([[row], *found])

    def key(self, row: int) -> str:
        """Return the key of a row."""
        first, last = self._ends[row], self._ends[row + 1]
        return os.pread(self._keys.fileno(), last - first, first).decode("utf-8", "surrogateescape")


def _run(ascending: np.ndarray, value: int) -> slice:
    """Return where a value stands among ascending ones."""
    return slice(np.searchsorted(ascending, value), np.searchsorted(ascending, value, "right"))


def _stretch(record: dict[str, Any]) -> tuple[float, float]:
    """Return the seconds of its file that a record is; without an offset it is all of it."""
    if record.get("offset") is None:
        return EVERYWHERE
    return float(record["offset"]), float(record["offset"]) + float(record["duration"])
