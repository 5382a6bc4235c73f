"""The text of a record: which field it stands in, which language, and when its words were said."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from media.tiers import segments_field

TEXT_FIELDS = ("whisperx_text", "text")  # the first that a record has
SEGMENTS = {"whisperx_text": "whisperx"}  # of transcribe.py; those of asr.py are named after the text's field
ENGLISH = ("en", "eng", "english")
UNKNOWN = ("", "und", "unknown", "none")


class TextError(ValueError):
    """A record without the text that was wanted; the message says what was found."""


class Word(NamedTuple):
    """A word and when it was said, in seconds from the record's start."""

    start_s: float
    end_s: float
    text: str


def text_of(record: dict[str, Any], field: str | None) -> tuple[str, str]:
    """Return the text of a record and the field it stands in: `field`, else the first of TEXT_FIELDS.

    Characters that are no Unicode become `?`. TextError where there is no text; a text may be empty.
    """
    fields = (field,) if field else TEXT_FIELDS
    for name in fields:
        text = record.get(name)
        if text is None:
            continue
        if not isinstance(text, str):
            raise TextError(f"found {name} {str(text)[:40]!r}, wanted a string")
        return text.encode("utf-8", "replace").decode("utf-8"), name
    raise TextError(f"found no {' and no '.join(fields)} in the record, wanted a text: transcribe it before")


def is_english(lang: Any) -> bool:
    """Tell whether `lang` (en, en-GB, eng, English) says so, or says nothing."""
    name = str(lang if lang is not None else "").strip().lower().replace("_", "-")
    return name in UNKNOWN or name.split("-")[0] in ENGLISH


def timed_words(record: dict[str, Any], field: str) -> tuple[list[Word], bool]:
    """Return the words of a record's text field with their times, and whether all of these were measured.

    By the words of its segments (`whisperx`, `asr_segments`). The words of a segment without, and of a text
    without segments, are spread over its time (that of `speech`, where it is known) by their letters.
    TextError for times that are no numbers.
    """
    segments = record.get(SEGMENTS.get(field) or segments_field(field))
    try:
        if not segments:
            spans = [(part["start_s"], part["end_s"]) for part in record.get("speech") or []]
            return list(spread(record[field].split(), spans or [(0.0, float(record["duration"]))])), False
        words: list[Word] = []
        measured = True
        for segment in segments:
            found, known = _of_segment(segment)
            words += found
            measured &= known
        return words, measured
    except (KeyError, TypeError, ValueError) as error:
        raise TextError(
            f"{type(error).__name__}: {error}; wanted segments and words with times in s"
        ) from error


def _of_segment(segment: dict[str, Any]) -> tuple[list[Word], bool]:
    """Return the words of a segment; one without a time of its own stands where the one before ends."""
    words = segment.get("words") or []
    if not any(word.get("start_s") is not None for word in words):
        span = (float(segment["start_s"]), float(segment["end_s"]))
        return list(spread(str(segment.get("text") or "").split(), [span])), not segment.get("text")
    found: list[Word] = []
    last_s = float(segment["start_s"])
    for word in words:
        start_s, end_s = word.get("start_s"), word.get("end_s")
        start_s = last_s if start_s is None else float(start_s)
        last_s = start_s if end_s is None else float(end_s)
        found.append(Word(start_s, last_s, str(word["word"]).strip()))
    return found, True


def spread(words: list[str], spans: Iterable[tuple[float, float]]) -> Iterator[Word]:
    """Yield words said one after another over the spans (start_s, end_s), each as long as it has letters; a
    word stands within the span of its middle.
    """
    spans = sorted(spans)
    letter_s = sum(end_s - start_s for start_s, end_s in spans) / max(1, sum(map(len, words)))
    said, span, before_s = 0, 0, 0.0  # letters so far; where they are, and the seconds of spans before it
    for word in words:
        first_s, last_s = letter_s * said, letter_s * (said + len(word))
        said += len(word)
        start_s, end_s = spans[span]
        while span < len(spans) - 1 and (first_s + last_s) / 2 >= before_s + end_s - start_s:
            before_s += end_s - start_s
            span += 1
            start_s, end_s = spans[span]
        yield Word(start_s + max(0.0, first_s - before_s), min(end_s, start_s + last_s - before_s), word)


def cut_text(words: Iterable[Word], windows: Sequence[tuple[float, float]]) -> list[str]:
    """Return the text of each window (start_s, end_s), in order and of like length: the words whose middle
    lies in it, end excluded.
    """
    texts: list[list[str]] = [[] for _ in windows]
    starts = [start_s for start_s, _ in windows]
    for word in words:
        middle_s = (word.start_s + word.end_s) / 2
        window = bisect_right(starts, middle_s) - 1
        while window >= 0 and middle_s < windows[window][1]:
            texts[window].append(word.text)
            window -= 1
    return [" ".join(text) for text in texts]
