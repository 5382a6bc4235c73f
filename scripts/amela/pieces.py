"""Making many records of one: windows over long recordings, and the items of a list field."""

from __future__ import annotations

import math
import os
import zlib
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from amela.errors import CallError
from amela.manifest import record_key

Record = dict[str, Any]


class _Talk:
    """The speech of a recording, sorted, and the silences between it; looked up by bisection."""

    def __init__(self, speech: list[Any], duration_s: float) -> None:
        self.duration_s = duration_s
        self.speech = sorted(speech, key=lambda part: float(part["start_s"]))
        self._starts = [float(part["start_s"]) for part in self.speech]
        self._ends = list(accumulate((float(part["end_s"]) for part in self.speech), max))
        gaps = zip([0.0, *self._ends], [*self._starts, duration_s])
        self._gaps = [(start_s, end_s) for start_s, end_s in gaps if end_s > start_s]
        self._gap_starts = [start_s for start_s, _ in self._gaps]
        self._gap_ends = [end_s for _, end_s in self._gaps]

    def speech_between(self, start_s: float, end_s: float) -> list[Any]:
        """The parts of speech that touch start..end (s)."""
        return self.speech[bisect_right(self._ends, start_s) : bisect_left(self._starts, end_s)]

    def cut(self, after_s: float, limit_s: float) -> float | None:
        """Where to cut between `after_s` and `limit_s` (s), None where nobody is silent there."""
        late, early = [], None
        for start_s, end_s in self._gaps[
            bisect_right(self._gap_ends, after_s) : bisect_left(self._gap_starts, limit_s)
        ]:
            first_s, last_s = max(start_s, after_s), min(end_s, limit_s)
            cut_s = limit_s if end_s > limit_s else (first_s + last_s) / 2
            if cut_s >= (after_s + limit_s) / 2:
                late.append((last_s - first_s, cut_s))
            elif cut_s > (3 * after_s + limit_s) / 4:  # pieces of a few words help nobody
                early = cut_s
        return max(late)[1] if late else early


def check_window(window_s: float, overlap_s: float) -> None:
    """Raise CallError for windows that would not get on."""
    if not 0 <= overlap_s <= window_s / 2 or window_s <= 0:
        raise CallError(
            f"found --window-s {window_s:g} --overlap-s {overlap_s:g}, wanted a window above 0 and an "
            "overlap of at most half of it"
        )


class Cutter:
    """Makes pieces of records; `counts` what it did, and names of fields it `left` behind, for the report.

    A piece has its own `id` (`<parent's id or file stem>_<start>-<end>`, ms in the file), `parent` (the
    parent's key), `offset` and `duration` (s), and those fields of its parent that hold for a part of it too:
    single values, but no text and no files made from the whole. `speech` is cut and shifted; all times in a
    piece count from its own start.
    """

    def __init__(self, manifest: str) -> None:
        self.manifest = manifest
        self.counts: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self._moved = "speech"  # the field that goes to the pieces, cut

    def windows(
        self,
        records: Iterable[tuple[int, Record]],
        window_s: float,
        overlap_s: float = 0.0,
        at_silence: bool = False,
    ) -> Iterator[Record]:
        """Yield records no longer than `window_s` (s); shorter ones pass unchanged.

        With `at_silence` a cut lies in the longest silence of the window's second half, else in the last one
        of its second quarter, else (counted as `hard`) at its end. Raises CallError for a record without
        `duration` or `speech`.
        """
        for line, record in records:
            duration_s = self._number(line, record, "duration")
            if duration_s <= window_s:
                self.counts["whole"] += 1
                yield record
                continue
            speech = record.get("speech", None if at_silence else [])
            if not isinstance(speech, list):
                raise CallError(
                    f"{self.manifest}:{line + 1}: the record has no field `speech`; wanted a manifest with "
                    "speech times: run scripts/vad.py on it first, or leave --at-silence out"
                )
            try:
                talk = _Talk(speech, duration_s)
            except (KeyError, TypeError, ValueError) as exc:
                raise self._bad_times(line, "speech", exc) from exc
            names: set[str] = set()
            for start_s, end_s in self._spans(talk, window_s, overlap_s, at_silence):
                self.counts["pieces"] += 1
                piece = self._piece(record, start_s, end_s, names)
                if "speech" in record:
                    piece["speech"] = _shift(talk.speech_between(start_s, end_s), start_s, end_s)
                yield piece

    def _spans(
        self, talk: _Talk, window_s: float, overlap_s: float, at_silence: bool
    ) -> Iterator[tuple[float, float]]:
        start_s = 0.0
        while talk.duration_s - start_s > window_s + 0.001:
            cut_s = talk.cut(start_s + overlap_s, start_s + window_s) if at_silence else None
            if cut_s is None:
                self.counts["hard"] += at_silence
                cut_s = start_s + window_s
            cut_s = _to_ms(cut_s)
            yield start_s, cut_s
            start_s = _to_ms(cut_s - overlap_s)
        yield start_s, talk.duration_s

    def explode(self, records: Iterable[tuple[int, Record]], field: str) -> Iterator[Record]:
        """Yield a record for each item of a list field (`speech`, `asr_segments`, `whisperx.segments`).

        An item's `start_s`/`end_s` (or `start`/`end`) become offset and duration, its other keys fields; an
        item that is no object becomes the field itself. Records without the field are counted as `without`,
        items of no length as `empty`. Raises CallError where the field is not a list.
        """
        self._moved = field.split(".", 1)[0]
        for line, record in records:
            items: Any = record
            name = field
            for name in field.split("."):
                items = items.get(name) if isinstance(items, dict) else None
            if items is None:
                self.counts["without"] += 1
                continue
            if not isinstance(items, list):
                raise CallError(
                    f"{self.manifest}:{line + 1}: field {field} is {type(items).__name__}, wanted a list"
                )
            names: set[str] = set()
            for number, item in enumerate(items):
                values = item if isinstance(item, dict) else {name: item}
                try:
                    piece = self._explode_item(record, values, number, names)
                except (KeyError, TypeError, ValueError) as exc:
                    raise self._bad_times(line, field, exc) from exc
                self.counts["empty" if piece is None else "pieces"] += 1
                if piece is not None:
                    yield piece

    def _explode_item(self, record: Record, item: Record, number: int, names: set[str]) -> Record | None:
        values = dict(item)
        start_s = values.pop("start_s", values.pop("start", None))
        end_s = values.pop("end_s", values.pop("end", None))
        if start_s is None or end_s is None:
            piece = self._piece(record, None, None, names, f"{number:04d}")
        else:
            start_s, end_s = max(0.0, start_s), min(end_s, record.get("duration") or end_s)
            if end_s - start_s < 0.001:
                return None
            piece = self._piece(record, start_s, end_s, names)
            values = {name: _shift(value, start_s, end_s) for name, value in values.items()}
        for name, value in values.items():
            piece["label" if name in ("id", "parent") else name] = value
        return piece

    def _piece(
        self, record: Record, start_s: float | None, end_s: float | None, names: set[str], mark: str = ""
    ) -> Record:
        """A new record for start..end (s from the record's start), or for all of it, named by `mark`."""
        piece: Record = {}
        for name, value in record.items():
            if name == "audio_filepath":
                piece[name] = value
            elif isinstance(value, (list, dict)) or name.endswith(("text", "_filepath")):
                if name != self._moved:
                    self.left[name] += 1
            else:
                piece[name] = value
        if start_s is not None and end_s is not None:
            offset_s = record.get("offset") or 0.0
            piece["offset"] = round(offset_s + start_s, 3)
            piece["duration"] = _to_ms(end_s - start_s)
            mark = f"{round((offset_s + start_s) * 1000):07d}-{round((offset_s + end_s) * 1000):07d}"
        piece["id"], piece["parent"] = _piece_id(record, mark, names), record_key(record)
        return piece

    def _bad_times(self, line: int, field: str, exc: Exception) -> CallError:
        return CallError(
            f"{self.manifest}:{line + 1}: found `{field}` of another form ({type(exc).__name__}: {exc}), "
            "wanted [{start_s, end_s, …}] with times in seconds"
        )

    def _number(self, line: int, record: Record, field: str) -> float:
        value = record.get(field)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise CallError(
                f"{self.manifest}:{line + 1}: {field} is {value!r}, wanted a number of seconds: "
                "scripts/vad.py writes it, `manifest_tools.py convert` measures it"
            )
        return float(value)


def _to_ms(seconds: float) -> float:
    """Seconds cut off at the millisecond, so that no piece reaches beyond the end of its file."""
    return math.floor(seconds * 1000 + 1e-3) / 1000


def _piece_id(record: Record, mark: str, names: set[str]) -> str:
    """`<base>_<mark>`; the base tells files of one name apart, `names` two items of one time."""
    base = record.get("id")
    if base is None:
        stem = os.path.splitext(os.path.basename(record["audio_filepath"]))[0]
        base = f"{stem}-{zlib.crc32(record_key(record).encode('utf-8', 'surrogatepass')):08x}"
    name = first = f"{base}_{mark}"
    serial = 1
    while name in names:  # two speakers at once
        serial += 1
        name = f"{first}_{serial}"
    names.add(name)
    return name


def _shift(value: Any, start_s: float, end_s: float) -> Any:
    """A list of things with times, cut to start..end (s) and counted from start; anything else unchanged.

    Things without times among them (words that could not be aligned) stay.
    """
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return value
    moved = []
    for item in value:
        if "start_s" not in item:
            moved.append(item)
            continue
        first_s, last_s = max(item["start_s"], start_s), min(item["end_s"], end_s)
        if last_s > first_s:
            times = {"start_s": round(first_s - start_s, 3), "end_s": round(last_s - start_s, 3)}
            moved.append({**item, **times})
    return moved
