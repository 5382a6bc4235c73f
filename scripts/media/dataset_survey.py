"""One pass over a manifest before its data set is built: what is in it, and how it is cut into parts. Some 40
bytes of memory a record.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Callable

from media.contexts import recording_of
from media.dataset import SPLITS
from media.dataset_rows import MODEL, WORDS, Kind, feeling_of, kind_of, speaker_of
from media.frames import FramesError, read_frames

if TYPE_CHECKING:
    import numpy as np

Record = dict[str, Any]
NAMES = {"train": 0, "valid": 1, "validation": 1, "val": 1, "dev": 1, "test": 2}  # of a field `split`
BLANK = 255  # the split of a line without a record
PROBES = 20  # unreadable features before we say that none can be read
UNKNOWN_S = 10.0  # a record without a duration is counted as so long
PART_ROWS = 16_384


class SurveyError(ValueError):
    """A manifest that makes no data set; the message says which line."""


class Survey:
    """What `add` gathered of the records; arrays have an entry a line of the manifest, blank ones too."""

    def __init__(self, names: tuple[str, ...], by: str | None, draw: Callable[[object], int]) -> None:
        """names: arrays that are wanted; by: field that keeps records together, None where we choose;
        draw: 64 random bits of a value.
        """
        self._names, self._by, self._draw = names, None if by == "hash" else by, draw
        self._failed, self._trouble = 0, ""  # features that could not be read, and why the first could not
        self.recordings, self.speakers, self.values = array("Q"), array("Q"), array("Q")
        self.durations, self.sizes, self.given = array("f"), array("I"), bytearray()
        self.kind: Kind | None = None
        self.first: dict[str, int] = {}  # the first line of each kind of record
        self.names: dict[int, str] = {}  # of the speakers, by their hash
        self.records = 0

    def add(self, line: int, size: int, record: Record | None) -> None:
        """Take in a line of `size` bytes; None is a blank one."""
        self.sizes.append(size)
        if record is None:
            record, given = {}, BLANK
        else:
            self.records += 1
            given = self._look(line, record)
        self.given.append(given)
        self.recordings.append(self._draw(recording_of(record)) if given != BLANK else 0)
        speaker = speaker_of(record)
        self.speakers.append(self._draw(speaker) if speaker else 0)
        if speaker:
            self.names.setdefault(self.speakers[-1], speaker)
        if self._by:
            self.values.append(self._draw(record.get(self._by)) if given != BLANK else 0)
        duration = record.get("duration")
        self.durations.append(-1.0 if duration is None else duration)

    def _look(self, line: int, record: Record) -> int:
        """Note what a record has; return its own split, len(SPLITS) where it names none."""
        source = record.get("features_filepath")
        if source and self.kind is None:
            self._probe(line, source)
        for name, has in (
            ("features", bool(source)),
            ("speaker", speaker_of(record) is not None),
            ("duration", record.get("duration") is not None),
            ("split", record.get("split") is not None),
            (self._by or "speaker", record.get(self._by or "speaker") is not None),
            (feeling_of(record) or "neither", True),
        ):
            self.first.setdefault(name if has else f"no {name}", line)
        given = record.get("split")
        if given is None:
            return len(SPLITS)
        if given not in NAMES:
            raise SurveyError(f"{line + 1}: found split {given!r}, wanted train, valid or test")
        return NAMES[given]

    def _probe(self, line: int, source: str) -> None:
        try:
            self.kind = kind_of(read_frames(source, self._names), self._names)
            self.first["kind"] = line
        except FramesError as error:
            self._trouble = self._trouble or str(error)
            self._failed += 1
            if self._failed == PROBES:
                raise SurveyError(f"{line + 1}: {error}; nor could those of {PROBES - 1} before") from error

    def check(self, all_arrays: bool) -> None:
        """Raise SurveyError for records that do not go together, and where an array is not there at all."""
        first = self.first
        if MODEL in first and WORDS in first:
            raise SurveyError(
                f"{first[WORDS] + 1}: found only a lexicon's `sentiment`, while line "
                f"{first[MODEL] + 1} has `emotion`; wanted one of them on all: tag_emotion.py makes either"
            )
        if "split" in first and "no split" in first:
            raise SurveyError(
                f"{first['no split'] + 1}: found no `split`, while line {first['split'] + 1} has one; "
                "wanted it on all records or on none"
            )
        if "features" in first and self.kind is None:
            raise SurveyError(f"{first['features'] + 1}: {self._trouble}; nor can others be read")
        there = self.kind.arrays if self.kind else {}
        lacking = [name for name in self._names if name not in there]
        if all_arrays and lacking:
            raise SurveyError(
                f"{first.get('kind', 0) + 1}: found no {', '.join(lacking)} in its features; wanted what "
                "--features says: extract_features.py makes them"
            )

    @property
    def feeling(self) -> str | None:
        """Return which field says what the records feel like."""
        return next((name for name in (MODEL, WORDS) if name in self.first), None)


def cut_parts(survey: Survey, splits: np.ndarray, part_bytes: int, around: int) -> list[Record]:
    """Return the parts of the data set: {split, code, number, rows, line and byte of the first line to read,
    lead and trail (records of its split to read before and after, for a context of `around` sentences)}.

    A part has some `part_bytes` of arrays and text or PART_ROWS rows, and ends with a recording where it can.
    """
    import numpy as np

    sizes = np.frombuffer(survey.sizes, np.uint32)
    starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    durations = np.frombuffer(survey.durations, np.float32)
    weights = np.where(durations < 0, UNKNOWN_S, durations) * _bytes_a_second(survey.kind) + sizes
    recordings = np.frombuffer(survey.recordings, np.uint64)
    parts = []
    for split, name in enumerate(SPLITS):
        lines = np.flatnonzero(splits == split)
        ends = _cuts(np.cumsum(weights[lines]), recordings[lines], part_bytes)
        for number, (start, end) in enumerate(zip([0, *ends], ends)):
            lead, trail = min(around, start), min(around, len(lines) - end)
            line = int(lines[start - lead])
            parts.append({"split": name, "code": split, "number": number, "rows": int(end - start),
                          "line": line, "byte": int(starts[line]), "lead": lead, "trail": trail})  # fmt: skip
    return parts


def _bytes_a_second(kind: Kind | None) -> float:
    """Return the bytes of the arrays of a second of audio."""
    import numpy as np

    if kind is None or not kind.hop_s:
        return 0.0
    arrays = kind.arrays.values()
    return sum(array["width"] * np.dtype(array["dtype"]).itemsize for array in arrays) / kind.hop_s


def _cuts(weight: np.ndarray, recordings: np.ndarray, most: int) -> list[int]:
    """Return where the parts of a split end, by the cumulated weight of its records."""
    import numpy as np

    last = np.flatnonzero(recordings[1:] != recordings[:-1]) + 1  # a recording ends before these
    ends: list[int] = []
    start, count = 0, len(weight)
    while start < count:
        before = weight[start - 1] if start else 0.0
        end = int(np.searchsorted(weight, before + most, "right"))
        end = min(max(end, start + 1), start + PART_ROWS, count)
        at = int(np.searchsorted(last, end, "right")) - 1
        if end < count and at >= 0 and last[at] > start:
            end = int(last[at])
        ends.append(end)
        start = end
    return ends
