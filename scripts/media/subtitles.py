"""Subtitles (SRT, WebVTT), written by pysubs2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from media.tiers import Interval, clean, segments

# What broadcasters hold to: two lines of 42 characters, at most seven seconds.
MAX_CUE_CHARS = 84
MAX_CUE_S = 7.0


def cues(records: Iterable[dict[str, Any]], field: str = "text") -> list[Interval]:
    """Return the text of a recording in pieces one can read; long segments are split where words have times.

    Speakers are named when there are several.
    """
    records = list(records)
    several = len({record.get("speaker") or "" for record in records}) > 1
    found: list[Interval] = []
    for record in records:
        offset_s = float(record.get("offset") or 0.0)
        prefix = f"{clean(record['speaker'])}: " if several and record.get("speaker") else ""
        for segment in segments(record, field):
            for start_s, end_s, text in _pieces(segment):
                found.append(Interval(offset_s + start_s, offset_s + end_s, prefix + text))
    return sorted(found)


def subtitles(pieces: Iterable[Interval], kind: str) -> str:
    """Return the cues as a file of `kind` "srt" or "vtt"."""
    import pysubs2

    document = pysubs2.SSAFile()
    for start_s, end_s, text in pieces:
        shown = _escaped(text) if kind == "vtt" else text.replace("-->", "->")
        document.append(pysubs2.SSAEvent(start=round(start_s * 1000), end=round(end_s * 1000), text=shown))
    # Tags kept means: text goes out as it is, and {laughs} is not taken for formatting and dropped.
    return str(document.to_string(kind, keep_ssa_tags=True))


def _pieces(segment: dict[str, Any]) -> Iterator[Interval]:
    text = clean(segment.get("text") or "")
    start_s, end_s = float(segment["start_s"]), float(segment["end_s"])
    words = segment.get("words") or []
    if not text:
        return
    if not words or (len(text) <= MAX_CUE_CHARS and end_s - start_s <= MAX_CUE_S):
        yield Interval(start_s, end_s, text)
        return
    line: list[dict[str, Any]] = []
    for word in words:
        chars = sum(len(str(one.get("word"))) + 1 for one in line) + len(str(word.get("word")))
        if line and (chars > MAX_CUE_CHARS or word["end_s"] - line[0]["start_s"] > MAX_CUE_S):
            yield _joined(line)
            line = []
        line.append(word)
    yield _joined(line)


def _joined(words: list[dict[str, Any]]) -> Interval:
    text = clean(" ".join(str(word.get("word")) for word in words))
    return Interval(float(words[0]["start_s"]), float(words[-1]["end_s"]), text)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
