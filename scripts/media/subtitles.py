"""Subtitles (SRT, WebVTT), written by pysubs2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from media.tiers import Interval, clean, segments, text_field

# What broadcasters hold to: two lines of 42 characters, at most seven seconds.
MAX_CUE_CHARS = 84
MAX_CUE_S = 7.0


def cues(records: Iterable[dict[str, Any]], field: str | None = "text") -> list[Interval]:
    """Return the text of a recording in pieces one can read; long segments are split where words have times.

    Speakers are named when there are several. `field` None: see `text_field`.
    """
    rows = [
        (float(record.get("offset") or 0.0), segment.get("speaker") or record.get("speaker") or "", segment)
        for record in records
        for segment in segments(record, field or text_field(record))
    ]
    several = len({speaker for _, speaker, _ in rows}) > 1
    return sorted(
        Interval(
            offset_s + start_s,
            offset_s + end_s,
            (f"{clean(speaker)}: " if several and speaker else "") + text,
        )
        for offset_s, speaker, segment in rows
        for start_s, end_s, text in _pieces(segment)
    )


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
    line: list[Interval] = []
    for word in _filled(words, start_s):
        chars = sum(len(one.label) + 1 for one in line) + len(word.label)
        if line and (chars > MAX_CUE_CHARS or word.end_s - line[0].start_s > MAX_CUE_S):
            yield _joined(line)
            line = []
        line.append(word)
    yield _joined(line)


def _filled(words: list[dict[str, Any]], start_s: float) -> Iterator[Interval]:
    """Yield the words; one without times (digits have none) follows the one before at once."""
    for word in words:
        first_s = start_s if word.get("start_s") is None else float(word["start_s"])
        start_s = first_s if word.get("end_s") is None else float(word["end_s"])
        yield Interval(first_s, start_s, str(word.get("word")))


def _joined(words: list[Interval]) -> Interval:
    return Interval(words[0].start_s, words[-1].end_s, clean(" ".join(word.label for word in words)))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
