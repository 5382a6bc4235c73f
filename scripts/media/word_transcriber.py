"""From records to segments with words and speakers: read, find speech, recognise, align, tell who speaks.

Inside, segments are WhisperX's: `text`, `start`, `end` and `words` (`word`, `start`, `end`, `score`), times
in seconds from the start of the record. A recogniser has `detect(samples) → language code` and
`recognise(clips, language) →` a list of segments a clip, whose times, from the start of the clip, may be
missing where it is one segment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

from media import audio, cutting
from media.speech_pieces import PIECE_S, FindPieces
from media.transcribing import is_device_broken, is_out_of_memory, seconds_or_0
from media.whisper_names import language_of

if TYPE_CHECKING:
    import numpy as np

Record = dict  # a line of the manifest
Segment = dict
HELD_S = 3600.0  # seconds of audio in memory at once (230 MB an hour), unless one record is longer
AUTO, TOLD = "auto", "manifest"  # languages: heard in each record, or told by its field `lang`


@dataclass
class Heard:
    """What is known of one record so far, or the error that ended it."""

    samples: Any = None
    pieces: list[cutting.Piece] = field(default_factory=list)
    lang: str | None = None
    segments: list[Segment] = field(default_factory=list)
    error: Exception | None = None

    def result(self) -> dict[str, Any] | Exception:
        """`segments`, `text` and `lang` of the record, or its error."""
        if self.error is not None:
            return self.error
        duration_s = len(self.samples) / audio.SAMPLE_RATE
        segments = [_plain(segment, duration_s) for segment in self.segments]
        segments.sort(key=lambda segment: segment["start_s"])
        text = " ".join(segment["text"] for segment in segments)
        return {"segments": segments, "text": text, "lang": self.lang if segments else None}


@dataclass
class WordTranscriber:
    """A recogniser with all that it needs for whole records; `align`, `assign_speakers` may be None."""

    find_pieces: FindPieces
    recogniser: Any
    language: str = AUTO
    align: Callable[[list[Segment], Any, str], list[Segment]] | None = None
    assign_speakers: Callable[[list[Segment], Any], None] | None = None
    threads: int = 1

    def records(self, records: list[Record]) -> list[dict[str, Any] | Exception]:
        """Return, in order, a dict (`segments`, `text`, `lang`) or the Exception of each record."""
        results: list[dict[str, Any] | Exception] = []
        with ThreadPoolExecutor(self.threads) as pool:
            for group in _groups(records):
                heard = list(pool.map(_read, group))
                self._transcribe(group, heard)
                results += [one.result() for one in heard]
        return results

    def _transcribe(self, records: list[Record], heard: list[Heard]) -> None:
        for record, one in zip(records, heard):
            _guarded(one, self._prepare, record, one)
        for lang in sorted({one.lang for one in heard if one.pieces and one.lang and not one.error}):
            places = [
                (one, piece) for one in heard if one.lang == lang and not one.error for piece in one.pieces
            ]
            clips = [_clip(one.samples, piece) for one, piece in places]
            for (one, piece), segments in zip(places, self.recogniser.recognise(clips, lang)):
                one.segments += [_in_record(segment, piece) for segment in segments]
        for one in heard:
            _guarded(one, self._refine, one)

    def _prepare(self, record: Record, one: Heard) -> None:
        """Find the pieces and the language, which is heard in the first 30 s from where speech begins."""
        one.pieces = self.find_pieces(record, one.samples)
        if self.language == TOLD:
            if not record.get("lang"):
                raise ValueError("no field `lang` in the record; wanted one, or --language auto")
            one.lang = language_of(record["lang"])
        elif self.language != AUTO:
            one.lang = self.language
        elif one.pieces:
            first = round(one.pieces[0].start_s * audio.SAMPLE_RATE)
            one.lang = self.recogniser.detect(one.samples[first : first + round(PIECE_S * audio.SAMPLE_RATE)])

    def _refine(self, one: Heard) -> None:
        if one.segments and self.align and one.lang:
            one.segments = self.align(one.segments, one.samples, one.lang)
        if one.segments and self.assign_speakers:
            self.assign_speakers(one.segments, one.samples)


def _guarded(one: Heard, work: Callable[..., None], *arguments: Any) -> None:
    """Do a record's own work; what goes wrong is its error, unless the device or memory is to blame."""
    if one.error is not None:
        return
    try:
        work(*arguments)
    except Exception as error:
        if is_device_broken(error) or is_out_of_memory(error):
            raise
        one.error = error


def _read(record: Record) -> Heard:
    """The samples of a record, or the error of its file."""
    if not record.get("audio_filepath"):
        return Heard(error=ValueError("no audio_filepath in the record; wanted audio"))
    try:
        return Heard(samples=audio.load_record(record))
    except audio.AudioError as error:
        return Heard(error=error)


def _groups(records: list[Record]) -> Iterator[list[Record]]:
    """The records in lists of at most about an hour of audio."""
    group: list[Record] = []
    held_s = 0.0
    for record in records:
        length_s = seconds_or_0(record)
        if group and held_s + length_s > HELD_S:
            yield group
            group, held_s = [], 0.0
        group.append(record)
        held_s += length_s
    if group:
        yield group


def _clip(samples: np.ndarray, piece: cutting.Piece) -> np.ndarray:
    """The samples of a piece; rounded down, as WhisperX does."""
    return samples[int(piece.start_s * audio.SAMPLE_RATE) : int(piece.end_s * audio.SAMPLE_RATE)]


def _in_record(segment: Segment, piece: cutting.Piece) -> Segment:
    """A segment of a clip in the times of its record; without times of its own: its words', its piece's."""
    if segment.get("words"):
        start_s = piece.start_s + segment["words"][0]["start"]
        end_s = piece.start_s + segment["words"][-1]["end"]
    elif "start" not in segment:
        start_s = max(piece.start_s, piece.speech_start_s - cutting.PAD_S)
        end_s = min(piece.end_s, piece.speech_end_s + cutting.PAD_S)
    else:
        start_s = piece.start_s + segment["start"]
        end_s = min(piece.start_s + segment["end"], piece.end_s)
    found = {**segment, "start": round(start_s, 3), "end": round(end_s, 3)}
    if "words" in segment:
        found["words"] = [
            {**word, "start": piece.start_s + word["start"], "end": piece.start_s + word["end"]}
            for word in segment["words"]
        ]
    return found


def _plain(segment: Segment, duration_s: float) -> Segment:
    """A segment as it stands in the manifest: times within the record and to the ms, no NaN, no numpy."""
    found = {**_times(segment, duration_s), "text": segment["text"].strip()}
    if segment.get("speaker"):
        found["speaker"] = segment["speaker"]
    if segment.get("aligned") is False:
        found["aligned"] = False
    found["words"] = [_plain_word(word, duration_s) for word in segment.get("words", ())]
    return found


def _plain_word(word: dict[str, Any], duration_s: float) -> dict[str, Any]:
    found: dict[str, Any] = {"word": word["word"], **_times(word, duration_s)}
    if is_number(word.get("score")):
        found["score"] = round(float(word["score"]), 3)
    if word.get("speaker"):
        found["speaker"] = word["speaker"]
    return found


def _times(item: dict[str, Any], duration_s: float) -> dict[str, float]:
    """`start_s` and `end_s` of what has both; words that could not be placed have none."""
    if not (is_number(item.get("start")) and is_number(item.get("end"))):
        return {}
    start_s = min(max(0.0, float(item["start"])), duration_s)
    return {
        "start_s": round(start_s, 3),
        "end_s": round(max(start_s, min(float(item["end"]), duration_s)), 3),
    }


def is_number(value: Any) -> bool:
    """Tell whether a value is there and finite."""
    return value is not None and math.isfinite(value)
