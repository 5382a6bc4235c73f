"""Stretches of speech: from probabilities a frame to segments, their statistics, and points to cut at.

A segment is (start_s, end_s), seconds from the start of the recording; lists are sorted and do not overlap.
The order of the rules is fixed: threshold → shift by the engine's delay → merge over short silences → drop
short speech → pad.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16_000  # Hz
FRAME_S = 0.016  # the unit of the `splits` column: frames of 256 samples, as in AMELA
SPLIT_EVERY_S = 30.0  # a cut is wanted every so often …
SPLIT_WINDOW_S = 5.0  # … give or take this
SPLIT_SILENCE_S = 0.3  # only silences at least this long are cut

Segment = tuple  # (start_s, end_s)


class Rules(NamedTuple):
    """What turns probabilities into segments. Seconds, but for `threshold` (0 to 1) and `merge_decay` (a
    ratio).
    """

    threshold: float = 0.5
    offset_s: float = 0.032  # how much earlier than the engine says speech starts and ends
    min_silence_s: float = 0.1  # shorter silences are speech
    min_speech_s: float = 0.1  # shorter speech is silence
    pad_s: float = 0.0  # added on both sides of every segment
    merge_max_s: float | None = None  # adaptive merge: silences up to this after very short speech …
    merge_decay: float = (
        0.1  # … and less by this much a second of the speech before; never under min_silence_s
    )


def find_segments(probabilities: np.ndarray, hop: int, n_samples: int, rules: Rules) -> list[Segment]:
    """Segments of speech in a recording of `n_samples` at 16 kHz, from probabilities (frames,) of `hop`
    samples each.

    Times are rounded to milliseconds and lie within the recording.
    """
    import numpy as np

    duration_s = n_samples / SAMPLE_RATE
    flags = np.concatenate(([False], probabilities >= rules.threshold, [False]))
    borders_s = np.flatnonzero(flags[1:] != flags[:-1]) * (hop / SAMPLE_RATE)
    raw = [(float(start), float(end)) for start, end in zip(borders_s[::2], borders_s[1::2])]
    # Speech that lasts to the last frame lasts to the end: the shift must not open a gap there.
    last_s = len(probabilities) * hop / SAMPLE_RATE
    shifted = [(s - rules.offset_s, duration_s if e >= last_s else e - rules.offset_s) for s, e in raw]
    merged = merge_short_silences(_within(shifted, duration_s), rules)
    long_enough = [(s, e) for s, e in merged if e - s >= rules.min_speech_s]
    padded = _within([(s - rules.pad_s, e + rules.pad_s) for s, e in long_enough], duration_s)
    joined = merge_short_silences(padded, Rules(min_silence_s=0.0))  # padding can make neighbours overlap
    return [
        (round(s, 3), min(round(e, 3), int(duration_s * 1000) / 1000)) for s, e in joined if e - s >= 0.001
    ]


def merge_short_silences(segments: list[Segment], rules: Rules) -> list[Segment]:
    """Join segments with too little silence between them (also those that touch or overlap).

    Too little is less than `min_silence_s`; with the adaptive rule (`merge_max_s`), less than
    max(min_silence_s, merge_max_s - merge_decay * seconds of the speech before). Source: AMELA's later
    vad.py.
    """
    merged: list[Segment] = []
    for start, end in segments:
        if merged:
            before_start, before_end = merged[-1]
            least_s = rules.min_silence_s
            if rules.merge_max_s is not None:
                least_s = max(least_s, rules.merge_max_s - rules.merge_decay * (before_end - before_start))
            silence_s = start - before_end
            if silence_s <= 0 or silence_s < least_s - 1e-9:
                merged[-1] = (before_start, max(before_end, end))
                continue
        merged.append((start, end))
    return merged


def _within(segments: list[Segment], duration_s: float) -> list[Segment]:
    """Segments clipped to the recording; what lies outside of it is gone."""
    clipped = [(max(0.0, s), min(e, duration_s)) for s, e in segments]
    return [(s, e) for s, e in clipped if e > s]


def silences(segments: list[Segment], duration_s: float) -> list[Segment]:
    """The stretches between the segments, before the first and after the last; those of no length are left
    out.
    """
    borders = [0.0, *(time for segment in segments for time in segment), duration_s]
    return [(s, e) for s, e in zip(borders[::2], borders[1::2]) if e - s >= 0.001]


def split_points(segments: list[Segment], duration_s: float) -> list[int]:
    """Where a long recording can be cut, as indices of 16 ms frames; empty under 30 s. Source: AMELA's later
    rule.

    Every 30 s after the last cut: the middle of the longest silence of at least 0.3 s within 5 s of there,
    else the middle of the next such silence. Silence before the first and after the last speech does not
    count.
    """
    if duration_s < SPLIT_EVERY_S:
        return []
    pauses = [(s, e) for (_, s), (e, _) in zip(segments, segments[1:]) if e - s >= SPLIT_SILENCE_S - 1e-9]
    cuts_s: list[float] = []
    target_s = SPLIT_EVERY_S
    while target_s < duration_s:
        low_s, high_s = target_s - SPLIT_WINDOW_S, target_s + SPLIT_WINDOW_S
        near = [(max(s, low_s), min(e, high_s)) for s, e in pauses if s < high_s and e > low_s]
        near = [(s, e) for s, e in near if e - s >= SPLIT_SILENCE_S - 1e-9]
        later = [
            (s, e) for s, e in pauses if s >= high_s - SPLIT_SILENCE_S and (not cuts_s or s > cuts_s[-1])
        ]
        if near:
            start_s, end_s = max(near, key=lambda pause: pause[1] - pause[0])
        elif later:
            start_s, end_s = later[0]
        else:
            break
        cuts_s.append((start_s + end_s) / 2)
        target_s = cuts_s[-1] + SPLIT_EVERY_S
    return [round(cut_s / FRAME_S) for cut_s in cuts_s]


def statistics(segments: list[Segment], duration_s: float) -> dict[str, object]:
    """The columns of the VAD table for one recording: seconds, `spch-ratio` from 0 to 1, `splits` as a list.

    Names and order are AMELA's. A recording without speech (or silence) has 0 in those columns.
    """
    row: dict[str, object] = {"duration": round(duration_s, 6)}
    for name, stretches in (("spoken", segments), ("nospch", silences(segments, duration_s))):
        lengths = [end - start for start, end in stretches] or [0.0]
        row[f"max-{name}"] = round(max(lengths), 3)
        row[f"min-{name}"] = round(min(lengths), 3)
        row[f"avg-{name}"] = round(sum(lengths) / len(lengths), 3)
    spoken_s = sum(end - start for start, end in segments)
    row["spch-ratio"] = round(spoken_s / duration_s, 4) if duration_s else 0.0
    row["splits"] = split_points(segments, duration_s)
    return row
