"""From manifest records to texts: read, cut at silences, batch by length, recognise, join with times.

The recogniser is any function from a list of samples (float32, 16 kHz, shape (samples,)) to a list of dicts
with `text` and, where it knows them, `words` (`start_s`, `end_s`, `word`; from the start of the samples) and
`truncated`.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

from media import audio, cutting, padding

if TYPE_CHECKING:
    import numpy as np

Record = dict  # a line of the manifest
Heard = dict  # what the recogniser says of one clip

LONG_S = 600.0  # longer records are read as a stream of pieces, shorter ones whole and ahead of time
WINDOW_S = 3600.0  # seconds of audio held in memory and sorted into batches at once (230 MB)
AHEAD_S = 1800.0  # seconds of audio read ahead while the recogniser works
REPORT_EVERY_S = 30.0


@dataclass
class Clip:
    """One piece of one record of a batch, with its samples: float32, 16 kHz, shape (samples,)."""

    record: int
    piece: cutting.Piece
    samples: np.ndarray

    @property
    def length_s(self) -> float:
        """Seconds of audio."""
        return len(self.samples) / audio.SAMPLE_RATE


@dataclass
class Outcome:
    """What is known of one record: its segments so far, or the error that ended it."""

    segments: list[dict[str, Any]] = field(default_factory=list)
    vad: str = ""
    empty: bool = False
    truncated: bool = False
    pieces: int = 0
    error: Exception | None = None

    def result(self) -> dict[str, Any] | Exception:
        """`text`, `segments`, `vad` and `flags` of the record, or its error."""
        if self.error is not None:
            return self.error
        found = {"no_speech": self.pieces == 0, "empty": self.empty, "truncated": self.truncated}
        segments = sorted(self.segments, key=lambda segment: segment["start_s"])
        return {
            "text": " ".join(segment["text"] for segment in segments),
            "segments": segments,
            "vad": self.vad,
            "flags": [flag for flag, is_so in found.items() if is_so],
        }


@dataclass
class Transcriber:
    """A recogniser with all that it needs to take whole manifest records.

    find_speech: from blocks of samples to `[{start_s, end_s}]`, for records without the field `speech`; named
    `vad`. batch_s: padded seconds a batch; halved for good whenever memory runs out.
    """

    recognise: Callable[[list[np.ndarray]], list[Heard]]
    find_speech: Callable[[Iterable[np.ndarray]], list[dict[str, float]]]
    vad: str
    batch_s: float
    max_duration_s: float
    threads: int = 1
    log: Callable[[str], None] = print
    audio_s: float = 0.0
    cost_s: float = 0.0
    _reported: float = 0.0

    def records(self, records: list[Record]) -> list[dict[str, Any] | Exception]:
        """Return, in order, a dict (`text`, `segments`, `vad`, `flags`) or the Exception of each record."""
        outcomes = [Outcome() for _ in records]
        for window in _windows(self._clips(records, outcomes)):
            lengths_s = [clip.length_s for clip in window]
            for batch in padding.cut_batches(lengths_s, self.batch_s):
                clips = [window[i] for i in batch if outcomes[window[i].record].error is None]
                for clip, heard in zip(clips, self._hear(clips)):
                    _note(outcomes[clip.record], clip, heard)
        self._report()
        return [outcome.result() for outcome in outcomes]

    def _clips(self, records: list[Record], outcomes: list[Outcome]) -> Iterator[Clip]:
        """All clips of the records, in their order; short records are read ahead by threads."""
        with ThreadPoolExecutor(self.threads) as pool:
            for index, clips in _ahead(pool, self._read, records):
                outcome = outcomes[index]
                try:
                    outcome.vad, pieces = clips() if callable(clips) else clips
                    for piece, samples in pieces:
                        outcome.pieces += 1
                        yield Clip(index, piece, samples)
                except Exception as error:
                    outcome.error = error

    def _read(self, record: Record) -> tuple[str, Iterable[tuple[cutting.Piece, np.ndarray]]]:
        """The name of the VAD and the pieces of one record with their samples."""
        speech, vad = record.get("speech"), "speech"
        if speech is not None and not speech:
            return vad, []
        if _seconds(record) > LONG_S:
            return self._stream(record)
        samples = audio.load_record(record)
        if speech is None:
            speech, vad = self.find_speech([samples]), self.vad
        duration_s = len(samples) / audio.SAMPLE_RATE
        pieces = cutting.cut(speech, duration_s, self.max_duration_s, _quietest_in(samples))
        return vad, list(zip(pieces, cutting.read_pieces([samples], pieces, audio.SAMPLE_RATE)))

    def _stream(self, record: Record) -> tuple[str, Iterable[tuple[cutting.Piece, np.ndarray]]]:
        """The same for a long record, read twice as a stream where it must be searched for speech first."""
        window = audio.record_window(record)
        speech, vad = record.get("speech"), "speech"
        if speech is None:
            speech, vad = self.find_speech(audio.stream_mono(**window)), self.vad
        pieces = cutting.cut(speech, _seconds(record), self.max_duration_s, _quietest_of(record))
        return vad, zip(pieces, cutting.read_pieces(audio.stream_mono(**window), pieces, audio.SAMPLE_RATE))

    def _hear(self, clips: list[Clip]) -> list[Heard | Exception]:
        """What the recogniser says of each clip. A batch that fails is tried in halves, down to the clip at
        fault.
        """
        if not clips:
            return []
        lengths_s = [clip.length_s for clip in clips]
        try:
            heard = self.recognise([clip.samples for clip in clips])
        except Exception as error:
            if is_device_broken(error):
                raise
            if len(clips) == 1:
                return [error]
            if is_out_of_memory(error):
                cost_s = padding.padded_s(lengths_s, [range(len(clips))])
                self.batch_s = max(min(self.batch_s, cost_s / 2), self.max_duration_s)
                self.log(f"out of memory: batches of {self.batch_s:.0f} padded seconds from here on")
                _free_gpu_memory()
            middle = len(clips) // 2
            return self._hear(clips[:middle]) + self._hear(clips[middle:])
        self.audio_s += sum(lengths_s)
        self.cost_s += padding.padded_s(lengths_s, [range(len(clips))])
        return list(heard)

    def _report(self) -> None:
        """Say every 30 s how much of the work is padding, where clips are batched at all."""
        if not self.batch_s or (self._reported and time.monotonic() - self._reported < REPORT_EVERY_S):
            return
        self._reported = time.monotonic()
        share = padding.waste(self.audio_s, self.cost_s)
        self.log(
            f"{self.audio_s / 3600:.2f} h heard, padding {share:.1%}, "
            f"batches of {self.batch_s:.0f} padded seconds"
        )


def _note(outcome: Outcome, clip: Clip, heard: Heard | Exception) -> None:
    """Add to a record what was heard in one of its clips; times become seconds from the start of the
    record.
    """
    if isinstance(heard, Exception):
        outcome.error = heard
        return
    text = " ".join(heard["text"].split())
    outcome.truncated |= bool(heard.get("truncated"))
    outcome.empty |= not text
    if not text:
        return
    piece = clip.piece
    segment = {"start_s": round(piece.speech_start_s, 3), "end_s": round(piece.speech_end_s, 3), "text": text}
    if "words" in heard:
        words = segment["words"] = [_word_in_record(word, piece) for word in heard["words"]]
        segment["start_s"] = min([segment["start_s"], *(word["start_s"] for word in words)])
        segment["end_s"] = max([segment["end_s"], *(word["end_s"] for word in words)])
    outcome.segments.append(segment)


def _word_in_record(word: dict[str, Any], piece: cutting.Piece) -> dict[str, Any]:
    start_s, end_s = piece.start_s + word["start_s"], piece.start_s + word["end_s"]
    return {"start_s": round(start_s, 3), "end_s": round(min(end_s, piece.end_s), 3), "word": word["word"]}


def _windows(clips: Iterator[Clip]) -> Iterator[list[Clip]]:
    """Clips in lists of at most about an hour of audio, so that memory stays bounded."""
    while True:
        window, held_s = [], 0.0
        for clip in clips:
            window.append(clip)
            held_s += clip.length_s
            if held_s >= WINDOW_S:
                break
        if not window:
            return
        yield window


def _ahead(
    pool: ThreadPoolExecutor, read: Callable[[Record], Any], records: list[Record]
) -> Iterator[tuple[int, Callable[[], Any]]]:
    """Each record's index and a function that returns (or raises) what `read` makes of it.

    Short records are read by the pool, up to half an hour of audio ahead; long ones when their turn comes.
    """
    waiting: deque[tuple[int, Callable[[], Any], float]] = deque()
    ahead_s = 0.0
    for index, record in enumerate(records):
        length_s = seconds_or_0(record)
        if length_s > LONG_S:
            waiting.append((index, lambda record=record: read(record), 0.0))
        else:
            waiting.append((index, pool.submit(read, record).result, length_s))
            ahead_s += length_s
        while ahead_s > AHEAD_S:
            first, result, first_s = waiting.popleft()
            ahead_s -= first_s
            yield first, result
    for index, result, _ in waiting:
        yield index, result


def _seconds(record: Record) -> float:
    """The record's length, from the manifest or else from the file's header."""
    if record.get("duration") is not None:
        return float(record["duration"])
    return audio.probe(record["audio_filepath"]).duration_s - float(record.get("offset") or 0.0)


def seconds_or_0(record: Record) -> float:
    """The same, and 0 for a file that cannot be opened: reading it will say why."""
    try:
        return _seconds(record)
    except (audio.AudioError, KeyError):
        return 0.0


def _quietest_in(samples: np.ndarray) -> cutting.Quietest:
    rate = audio.SAMPLE_RATE

    def quietest(start_s: float, end_s: float) -> float:
        return start_s + cutting.quietest_s(samples[round(start_s * rate) : round(end_s * rate)], rate)

    return quietest


def _quietest_of(record: Record) -> cutting.Quietest:
    offset_s = float(record.get("offset") or 0.0)

    def quietest(start_s: float, end_s: float) -> float:
        part = dict(record, offset=offset_s + start_s, duration=end_s - start_s)
        return start_s + cutting.quietest_s(audio.load_record(part), audio.SAMPLE_RATE)

    return quietest


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a smaller batch may help."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()


def is_device_broken(error: BaseException) -> bool:
    """Tell whether every later call on this GPU fails too: the process must end, not the record."""
    broken = (
        type(error).__name__ == "AcceleratorError"
        or "CUDA error" in str(error)
        or "CUDA failed" in str(error)
    )
    return broken and not is_out_of_memory(error)


def _free_gpu_memory() -> None:
    torch = sys.modules.get("torch")  # where it was never imported, no GPU memory is held
    gc.collect()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
