"""What records say about a recording, as tiers of labelled intervals: what annotation formats are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

# Words of one recogniser may overlap by a rounded frame; real overlap (two speakers, two windows) is longer.
OVERLAP_SLACK_S = 0.02
KINDS = ("speech", "text", "words")
_NOT_TEXT = re.compile("[\x00-\x1f\x7f\u2028\u2029\ufffe\uffff\\s]+")


class Interval(NamedTuple):
    """A label from `start_s` to `end_s`, in seconds from the start of the recording."""

    start_s: float
    end_s: float
    label: str


class Tier(NamedTuple):
    """The intervals of one kind ("speech", "text", "words"), speaker ("": unknown), channel (None: mixed)."""

    kind: str
    speaker: str
    channel: int | None
    intervals: list[Interval]

    @property
    def name(self) -> str:
        """Return `kind@speaker`, as language acquisition research names its tiers; channels from 0."""
        owner = [self.speaker] if self.speaker else []
        owner += [f"channel{self.channel}"] if self.channel is not None else []
        return "@".join([self.kind, *owner])


def clean(text: object) -> str:
    """Return `text` as one line that every format can hold: no control characters, no broken Unicode."""
    whole = str(text).encode("utf-8", "replace").decode("utf-8")
    return _NOT_TEXT.sub(" ", whole).strip()


def segments_field(field: str) -> str:
    """Return the field that holds the timed segments of a text field."""
    return "asr_segments" if field == "text" else f"{field}_asr_segments"


def segments(record: dict[str, Any], field: str = "text") -> list[dict[str, Any]]:
    """Return the timed segments of a record; where it has only a text, one segment as long as the record."""
    found = record.get(segments_field(field))
    if found is not None:
        return list(found)
    text = record.get(field)
    if not text or not record.get("duration"):
        return []
    return [{"start_s": 0.0, "end_s": float(record["duration"]), "text": text}]


def recording_tiers(records: Iterable[dict[str, Any]], field: str = "text") -> list[Tier]:
    """Return the tiers of one recording, sorted, with times in the recording (a record's offset is added).

    Speech of overlapping windows is united; overlapping text is kept, see `layers`. Raises ValueError for
    times that are not numbers, are negative or backwards.
    """
    found: dict[tuple[str, int | None, int], list[Interval]] = {}
    for record in records:
        owner = (clean(record.get("speaker") or ""), record.get("channel"))
        offset_s = float(record.get("offset") or 0.0)
        texts = segments(record, field)
        parts = (
            [_interval(part, offset_s, "speech") for part in record.get("speech") or []],
            [_interval(part, offset_s, part.get("text")) for part in texts],
            [
                _interval(word, offset_s, word.get("word"))
                for part in texts
                for word in part.get("words") or []
            ],
        )
        wanted = (record.get("speech") is not None, bool(texts), bool(parts[2]))
        for kind, intervals in enumerate(parts):
            if wanted[kind]:  # a tier without an interval says: looked for, and nothing found
                found.setdefault((*owner, kind), []).extend(
                    interval for interval in intervals if interval.label
                )
    tiers = []
    for (speaker, channel, kind), intervals in sorted(
        found.items(), key=lambda item: (item[0][2], str(item[0]))
    ):
        intervals.sort()
        tiers.append(Tier(KINDS[kind], speaker, channel, _united(intervals) if kind == 0 else intervals))
    return tiers


def layers(intervals: Iterable[Interval]) -> list[list[Interval]]:
    """Return sorted intervals as layers in which nothing overlaps (Praat, ELAN); empty ones are left out."""
    rows: list[list[Interval]] = []
    for interval in intervals:
        for row in rows:
            last_end_s = row[-1].end_s
            if interval.start_s >= last_end_s - OVERLAP_SLACK_S:
                fitted = interval._replace(start_s=max(interval.start_s, last_end_s))
                if fitted.end_s > fitted.start_s:
                    row.append(fitted)
                break
        else:
            if interval.end_s > interval.start_s:
                rows.append([interval])
    return rows


def _interval(part: dict[str, Any], offset_s: float, label: object) -> Interval:
    try:
        start_s, end_s = float(part["start_s"]), float(part["end_s"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"found {part!r}, wanted start_s and end_s in seconds") from None
    if not 0 <= start_s <= end_s < float("inf"):
        raise ValueError(f"found {start_s} to {end_s} s, wanted 0 <= start_s <= end_s")
    return Interval(
        round(offset_s + start_s, 3), round(offset_s + end_s, 3), clean("" if label is None else label)
    )


def _united(intervals: list[Interval]) -> list[Interval]:
    whole: list[Interval] = []
    for interval in intervals:
        if whole and interval.start_s <= whole[-1].end_s:
            whole[-1] = whole[-1]._replace(end_s=max(whole[-1].end_s, interval.end_s))
        else:
            whole.append(interval)
    return whole
