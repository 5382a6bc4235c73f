"""From probabilities to segments, their statistics and the points to cut at."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.segments import Rules, find_segments, silences, split_points, statistics

HOP = 256
PLAIN = Rules(offset_s=0.0, min_silence_s=0.0, min_speech_s=0.0)


def find(flags: str, rules: Rules = PLAIN, n_samples: int | None = None) -> list:
    """Segments of frames written as 0 and 1."""
    probabilities = np.array([float(flag) for flag in flags], np.float32)
    return find_segments(probabilities, HOP, len(flags) * HOP if n_samples is None else n_samples, rules)


def test_flags_become_times() -> None:
    assert find("0110") == [(0.016, 0.048)]
    assert find("1001") == [(0.0, 0.016), (0.048, 0.064)]
    assert find("0000") == []
    assert find("") == []


def test_the_threshold_counts_itself() -> None:
    probabilities = np.array([0.49, 0.5, 0.51, 0.0], np.float32)
    assert find_segments(probabilities, HOP, 4 * HOP, PLAIN) == [(0.016, 0.048)]


def test_a_padded_last_frame_ends_with_the_recording() -> None:
    assert find("0001", n_samples=3 * HOP + 100) == [(0.048, 0.054)]
    assert find("1", n_samples=48) == [(0.0, 0.003)]  # 3 ms
    assert find("1", n_samples=8) == []  # half a millisecond


def test_the_offset_moves_both_ends_but_not_the_end_of_the_recording() -> None:
    rules = PLAIN._replace(offset_s=0.032)
    assert find("0001110000", rules) == [(0.016, 0.064)]
    assert find("1110000000", rules) == [(0.0, 0.016)]
    assert find("0000000111", rules) == [(0.08, 0.16)]
    assert find("1000000000", rules) == []  # moved out of the recording


def test_short_silences_are_joined_before_short_speech_is_dropped() -> None:
    rules = PLAIN._replace(min_silence_s=0.033, min_speech_s=0.05)
    assert find("0101010000", rules) == [(0.016, 0.096)]  # three pieces of 16 ms, none long enough alone
    assert find("0100000000", rules) == []
    assert find("0110001100", PLAIN._replace(min_silence_s=0.048)) == [
        (0.016, 0.048),
        (0.096, 0.128),
    ]  # not shorter


def test_padding_stays_inside_and_joins_what_touches() -> None:
    assert find("0110001100", PLAIN._replace(pad_s=0.02)) == [(0.0, 0.068), (0.076, 0.148)]
    assert find("0110001100", PLAIN._replace(pad_s=0.03)) == [(0.0, 0.158)]


def test_the_adaptive_merge_forgives_less_the_longer_the_speech() -> None:
    rules = PLAIN._replace(min_silence_s=0.1, merge_max_s=0.3, merge_decay=0.1)
    gap = "0" * 13  # 208 ms
    assert len(find("1" * 31 + gap + "1" * 31, rules)) == 1  # after 0.5 s: less than 0.25 s is joined
    assert len(find("1" * 63 + gap + "1" * 31, rules)) == 2  # after 1 s: less than 0.2 s
    assert len(find("1" * 250 + "0" * 6 + "1" * 31, rules)) == 1  # after 4 s: never under 0.1 s


@given(
    probabilities=st.lists(st.floats(0, 1, width=32), max_size=300),
    cut=st.integers(0, HOP - 1),
    rules=st.builds(
        Rules,
        threshold=st.floats(0.1, 0.9), offset_s=st.floats(-0.1, 0.1), min_silence_s=st.floats(0, 0.3),
        min_speech_s=st.floats(0, 0.3), pad_s=st.floats(0, 0.2), merge_max_s=st.none() | st.floats(0, 0.5),
    ),
)  # fmt: skip
def test_segments_are_sorted_apart_and_inside(probabilities: list[float], cut: int, rules: Rules) -> None:
    n_samples = max(0, len(probabilities) * HOP - cut)
    found = find_segments(np.array(probabilities, np.float32), HOP, n_samples, rules)
    duration_s = n_samples / 16_000
    times = [time for segment in found for time in segment]
    assert times == sorted(times)
    assert all(start < end for start, end in found)
    assert all(0 <= time <= duration_s for time in times)
    assert json.loads(json.dumps(found)) == [list(segment) for segment in found]  # plain floats
    covered = sum(e - s for s, e in found) + sum(e - s for s, e in silences(found, duration_s))
    assert covered == pytest.approx(duration_s, abs=0.002 * (len(found) + 1))


def test_statistics() -> None:
    row = statistics([(1.0, 2.0), (3.0, 6.0)], 10.0)
    assert row == {
        "duration": 10.0, "max-spoken": 3.0, "min-spoken": 1.0, "avg-spoken": 2.0,
        "max-nospch": 4.0, "min-nospch": 1.0, "avg-nospch": 2.0, "spch-ratio": 0.4, "splits": [],
    }  # fmt: skip
    silent = statistics([], 2.0)
    assert (silent["max-spoken"], silent["max-nospch"], silent["spch-ratio"]) == (0.0, 2.0, 0.0)
    full = statistics([(0.0, 2.0)], 2.0)
    assert (full["max-spoken"], full["max-nospch"], full["spch-ratio"]) == (2.0, 0.0, 1.0)


def spoken_but(pauses: list[tuple[float, float]], duration_s: float) -> list[tuple[float, float]]:
    """Speech all through, but for the pauses."""
    return silences(pauses, duration_s)


def cuts_s(pauses: list[tuple[float, float]], duration_s: float) -> list[float]:
    """The cut points in seconds."""
    return [frame * 0.016 for frame in split_points(spoken_but(pauses, duration_s), duration_s)]


def test_short_files_are_not_split() -> None:
    assert cuts_s([(14.0, 16.0)], 29.9) == []


def test_splits_take_the_longest_silence_near_30_s() -> None:
    assert cuts_s([(20.0, 24.0), (26.0, 26.4), (31.0, 32.0), (34.0, 34.3)], 40.0) == [
        pytest.approx(31.5, abs=0.008)
    ]
    # the next target is 30 s after the cut
    assert cuts_s([(28.0, 29.0), (57.0, 57.4), (59.0, 60.0), (88.0, 89.0)], 95.0) == [
        pytest.approx(cut_s, abs=0.008) for cut_s in (28.5, 59.5, 88.5)
    ]


def test_splits_without_a_silence_near_take_the_next_one() -> None:
    assert cuts_s([(10.0, 11.0), (41.0, 41.2), (47.0, 48.0)], 70.0) == [pytest.approx(47.5, abs=0.008)]
    assert cuts_s([(10.0, 11.0)], 70.0) == []


@given(st.lists(st.floats(0.05, 20), max_size=60), st.lists(st.floats(0.05, 60), max_size=60))
def test_splits_are_in_silence_and_advance(pauses: list[float], speeches: list[float]) -> None:
    segments, at_s = [], 0.0
    for pause_s, speech_s in zip(pauses, speeches):
        segments.append((at_s + pause_s, at_s + pause_s + speech_s))
        at_s = segments[-1][1]
    points = split_points(segments, at_s)
    assert points == sorted(set(points))
    for point in points:
        assert not any(start_s + 0.01 < point * 0.016 < end_s - 0.01 for start_s, end_s in segments)
