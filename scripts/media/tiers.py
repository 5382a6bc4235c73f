"""What records say about a recording, as tiers of labelled intervals: what annotation formats are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

# Words of one recogniser may overlap by a rounded frame; real overlap (two speakers, two windows) is longer.
OVERLAP_SLACK_S = 0.02
KINDS = ("speech", "text", "words", "ipa")
_NOT_TEXT = re.compile("[\x00-\x1f\x7f\u2028\u2029\ufffe\uffff\\s]+")


class Interval(NamedTuple):
    """A label from `start_s` to `end_s`, in seconds from the start of the recording."""

    start_s: float
    end_s: float
    label: str


class Tier(NamedTuple):
    """The intervals of one of KINDS, speaker ("": unknown), channel (None: mixed)."""

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


def text_field(record: dict[str, Any]) -> str:
    """Return the field with a record's text where nobody names one: what has words, else `text`."""
    return "whisperx_text" if "whisperx" in record else "text"


def segments_field(field: str) -> str:
    """Return the field that holds what asr.py found at which time, of a text field of its."""
    return "asr_segments" if field == "text" else f"{field}_asr_segments"


def timed_segments(record: dict[str, Any], field: str) -> list[dict[str, Any]] | None:
    """Return the segments of a text field, None where the record has at most the text.

    Those of `text` are `asr_segments`, of `whisperx_text` `whisperx`. A record that was a segment itself
    (`manifest_tools.py explode`) has its `words`.
    """
    found = record.get(segments_field(field))
    if found is None and field.endswith("_text"):
        found = record.get(field[: -len("_text")])
    if found is None and field == "text" and record.get("words") and record.get("duration"):
        return [_whole(record, record.get("text"), words=record["words"])]
    return None if found is None else list(found)


def segments(record: dict[str, Any], field: str = "text") -> list[dict[str, Any]]:
    """Return the timed segments of a record; where it has only a text, one segment as long as the record."""
    found = timed_segments(record, field)
    if found is not None:
        return found
    text = record.get(field)
    return [_whole(record, text)] if text and record.get("duration") else []


def timed_words(part: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the words of a segment that have times: aligners find none for digits and the like."""
    words = part.get("words") or []
    return [word for word in words if word.get("start_s") is not None and word.get("end_s") is not None]


def recording_tiers(records: Iterable[dict[str, Any]], field: str | None = "text") -> list[Tier]:
    """Return the tiers of one recording, sorted, with times in the recording (a record's offset is added).

    `field` None: see `text_field`. Speech of overlapping windows is united; overlapping text is kept, see
    `layers`. Raises ValueError for times that are not numbers, are negative or backwards.
    """
    found: dict[tuple[str, int | None, int], list[Interval]] = {}
    for record in records:
        offset_s = float(record.get("offset") or 0.0)
        for kind, speaker, part, label in _labelled(record, field or text_field(record)):
            owner = (clean(speaker or ""), record.get("channel"), KINDS.index(kind))
            intervals = found.setdefault(owner, [])
            if part is not None:
                interval = _interval(part, offset_s, label)
                intervals += [interval] if interval.label else []
    tiers = []
    for (speaker, channel, kind), intervals in sorted(
        found.items(), key=lambda item: (item[0][2], str(item[0]))
    ):
        intervals.sort()
        tiers.append(Tier(KINDS[kind], speaker, channel, _united(intervals) if kind == 0 else intervals))
    return tiers


def _labelled(record: dict[str, Any], field: str) -> Iterator[tuple[str, Any, dict[str, Any] | None, object]]:
    """Yield (kind, speaker, part with times, label) of all that a record says.

    The part is None where speech was looked for and none was found: a tier without an interval says so.
    """
    own = record.get("speaker")
    if record.get("speech") is not None:
        yield "speech", own, None, ""
        for part in record["speech"]:
            yield "speech", own, part, "speech"
    for part in segments(record, field):
        speaker = part.get("speaker") or own
        yield "text", speaker, part, part.get("text")
        for word in timed_words(part):
            yield "words", word.get("speaker") or speaker, word, word.get("word")
        if part.get("ipa"):
            yield "ipa", speaker, part, part["ipa"]
    if record.get("ipa") and record.get("duration"):
        yield "ipa", own, _whole(record, None), record["ipa"]


def _whole(record: dict[str, Any], text: object, **more: object) -> dict[str, Any]:
    return {"start_s": 0.0, "end_s": float(record["duration"]), "text": text, **more}


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
