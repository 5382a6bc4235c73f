"""Cut long recordings at silences into pieces that a recogniser takes, and read the samples of each piece.

All times are seconds from the start of the record. Pieces never overlap and together hold all speech.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

if TYPE_CHECKING:
    import numpy as np

PAD_S = 0.2  # silence kept on each side of speech: VAD clips soft onsets and final consonants
MAX_SILENCE_S = 3.0  # a silence longer than this always cuts and is left out: recognisers invent words in it
QUIET_WINDOW_S = 0.05  # speech without any silence is cut in the middle of the quietest such window


class Piece(NamedTuple):
    """What the recogniser hears, `start_s` to `end_s`, and where the speech in it begins and ends."""

    start_s: float
    end_s: float
    speech_start_s: float
    speech_end_s: float


Quietest = Callable[
    [float, float], float
]  # (start_s, end_s) → the best second in between to cut continuous speech


def cut(
    speech: Iterable[dict[str, float]],
    duration_s: float,
    max_duration_s: float,
    quietest: Quietest | None = None,
) -> list[Piece]:
    """Return the pieces of a record, in order, none longer than `max_duration_s`; without speech, none at
    all.

    speech: `[{"start_s", "end_s"}, …]`, as the stage `vad` writes it. A record that fits is one piece, whole.
    A longer one is cut at its longest silences: the longest in the second half of each stretch of
    `max_duration_s`, so that pieces are neither tiny nor cut in a word. Where speech goes on without silence,
    `quietest` says where to cut.
    """
    spoken = _tidy(speech, duration_s)
    if not spoken:
        return []
    if duration_s <= max_duration_s:
        return [Piece(0.0, duration_s, spoken[0][0], spoken[-1][1])]
    spoken = list(_without_overlong(spoken, max_duration_s, quietest))
    pieces = []
    for first, last in _groups(spoken, max_duration_s):
        before_s = spoken[first - 1][1] if first else 0.0
        after_s = spoken[last + 1][0] if last + 1 < len(spoken) else duration_s
        start_s, end_s = spoken[first][0], spoken[last][1]
        pad_s = min(PAD_S, (max_duration_s - (end_s - start_s)) / 2)
        left_s = min(pad_s, (start_s - before_s) / (2 if first else 1))
        right_s = min(pad_s, (after_s - end_s) / (2 if last + 1 < len(spoken) else 1))
        pieces.append(Piece(start_s - left_s, end_s + right_s, start_s, end_s))
    return pieces


def _tidy(speech: Iterable[dict[str, float]], duration_s: float) -> list[tuple[float, float]]:
    """Sorted, clipped to the record, overlaps merged, empty ones dropped."""
    spoken: list[tuple[float, float]] = []
    for part in sorted(speech, key=lambda part: part["start_s"]):
        start_s, end_s = max(0.0, float(part["start_s"])), min(float(part["end_s"]), duration_s)
        if end_s <= start_s:
            continue
        if spoken and start_s <= spoken[-1][1]:
            spoken[-1] = (spoken[-1][0], max(spoken[-1][1], end_s))
        else:
            spoken.append((start_s, end_s))
    return spoken


def _without_overlong(
    spoken: list[tuple[float, float]], max_duration_s: float, quietest: Quietest | None
) -> Iterator[tuple[float, float]]:
    """Speech that goes on for more than `max_duration_s` in parts that do not."""
    for first_s, end_s in spoken:
        start_s = first_s
        while end_s - start_s > max_duration_s:
            limit_s = start_s + max_duration_s
            cut_s = quietest(start_s + max_duration_s / 2, limit_s) if quietest else limit_s
            yield start_s, cut_s
            start_s = cut_s
        yield start_s, end_s


def _groups(spoken: list[tuple[float, float]], max_duration_s: float) -> Iterator[tuple[int, int]]:
    """Index of the first and of the last speech of each piece."""
    first = 0
    while first < len(spoken):
        start_s = spoken[first][0]
        last = first
        while (
            last + 1 < len(spoken)
            and spoken[last + 1][1] - start_s <= max_duration_s
            and spoken[last + 1][0] - spoken[last][1] <= MAX_SILENCE_S
        ):
            last += 1
        full = last + 1 < len(spoken) and spoken[last + 1][0] - spoken[last][1] <= MAX_SILENCE_S
        if full:  # more speech follows at once: end at the longest silence of the second half
            late = [k for k in range(first, last + 1) if spoken[k][1] - start_s >= max_duration_s / 2]
            last = max(late or [last], key=lambda k: (spoken[k + 1][0] - spoken[k][1], k))
        yield first, last
        first = last + 1


def quietest_s(samples: np.ndarray, sample_rate_hz: int) -> float:
    """Return the middle (s) of the window of 50 ms with the least energy; samples: float32, shape
    (samples,).
    """
    import numpy as np

    window = round(QUIET_WINDOW_S * sample_rate_hz)
    if len(samples) <= window:
        return len(samples) / sample_rate_hz
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    return (int(np.argmin(energy[window:] - energy[:-window])) + window / 2) / sample_rate_hz


def read_pieces(
    blocks: Iterable[np.ndarray], pieces: Iterable[Any], sample_rate_hz: int
) -> Iterator[np.ndarray]:
    """Yield the samples of each piece, shape (samples,), from a stream of blocks; holds one piece in memory.

    pieces: in the order of their starts, each with `start_s` and `end_s`; they may overlap.
    """
    import numpy as np

    stream = iter(blocks)
    held = np.zeros(0, np.float32)
    held_from = 0  # index of held[0] in the record
    for piece in pieces:
        start, end = round(piece.start_s * sample_rate_hz), round(piece.end_s * sample_rate_hz)
        passed = min(max(0, start - held_from), len(held))
        held, held_from = held[passed:], held_from + passed
        parts = [held]
        length = len(held)
        while held_from + length < end:
            block = next(stream, None)
            if block is None:
                break
            if held_from + length + len(block) <= start:  # silence between two pieces
                parts, held_from, length = [], held_from + length + len(block), 0
                continue
            parts.append(block)
            length += len(block)
        held = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        yield np.ascontiguousarray(held[max(0, start - held_from) : max(0, end - held_from)])
