"""Long records are cut at silences: nothing spoken is lost, no piece is too long, words are not cut where
silence is.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import cutting, padding

RATE = 16_000


def speech_of(*segments):
    return [{"start_s": start, "end_s": end} for start, end in segments]


def test_a_record_that_fits_is_one_piece_whole():
    assert cutting.cut(speech_of((1.0, 2.0), (30.0, 31.0)), 40.0, 40.0) == [
        cutting.Piece(0.0, 40.0, 1.0, 31.0)
    ]


def test_without_speech_there_are_no_pieces():
    assert cutting.cut([], 100.0, 40.0) == []
    assert cutting.cut(speech_of((120.0, 130.0)), 100.0, 40.0) == []


def test_cuts_at_the_longest_silence_of_the_second_half():
    speech = speech_of((0.0, 10.0), (12.0, 25.0), (25.3, 34.0), (35.0, 39.0), (39.2, 60.0))
    pieces = cutting.cut(speech, 60.0, 40.0)
    assert [(p.speech_start_s, p.speech_end_s) for p in pieces] == [(0.0, 34.0), (35.0, 60.0)]
    assert pieces[0].end_s == pytest.approx(34.2)
    assert pieces[1].start_s == pytest.approx(34.8)


def test_long_silences_are_left_out():
    pieces = cutting.cut(speech_of((10.0, 12.0), (300.0, 301.0)), 3600.0, 40.0)
    spans = [(round(p.start_s, 3), round(p.end_s, 3)) for p in pieces]
    assert spans == [(9.8, 12.2), (299.8, 301.2)]


def test_speech_without_any_silence_is_cut_where_it_is_quietest():
    samples = np.full(60 * RATE, 0.5, np.float32)
    samples[33 * RATE : 33 * RATE + RATE // 10] = 0.0  # a tenth of a second at 33 s

    def quietest(start_s, end_s):
        return start_s + cutting.quietest_s(samples[round(start_s * RATE) : round(end_s * RATE)], RATE)

    pieces = cutting.cut(speech_of((0.0, 60.0)), 60.0, 40.0, quietest)
    assert len(pieces) == 2
    assert 33.0 <= pieces[0].end_s <= 33.1
    assert pieces[1].start_s == pieces[0].end_s


@st.composite
def recordings(draw):
    steps = draw(st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.01, 90.0)), min_size=1, max_size=30))
    at_s, segments = 0.0, []
    for silence_s, spoken_s in steps:
        segments.append((at_s + silence_s, at_s + silence_s + spoken_s))
        at_s = segments[-1][1]
    return segments, at_s + draw(st.floats(0.0, 10.0)), draw(st.floats(1.0, 60.0))


@given(recordings())
@settings(max_examples=300, deadline=None)
def test_pieces_hold_all_speech_in_order_and_fit(recording):
    segments, duration_s, max_s = recording
    pieces = cutting.cut(speech_of(*segments), duration_s, max_s, lambda start, end: (start + end) / 2)
    assert all(p.end_s - p.start_s <= max_s + 1e-6 for p in pieces)
    assert all(a.end_s <= b.start_s + 1e-6 for a, b in zip(pieces, pieces[1:]))
    assert all(
        0.0 <= p.start_s <= p.speech_start_s < p.speech_end_s <= p.end_s <= duration_s + 1e-6 for p in pieces
    )
    for start_s, end_s in segments:
        inside = sum(max(0.0, min(p.end_s, end_s) - max(p.start_s, start_s)) for p in pieces)
        assert inside == pytest.approx(end_s - start_s, abs=1e-6)


@given(st.lists(st.integers(1, 3 * RATE), min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_pieces_of_a_stream_are_those_of_the_whole(block_lengths, random):
    samples = np.arange(sum(block_lengths), dtype=np.float32)
    blocks = np.split(samples, np.cumsum(block_lengths)[:-1])
    borders = sorted(random.randrange(len(samples) + 1) for _ in range(10))
    pieces = [
        cutting.Piece(a / RATE, b / RATE, a / RATE, b / RATE) for a, b in zip(borders[::2], borders[1::2])
    ]
    found = list(cutting.read_pieces(blocks, pieces, RATE))
    for piece, part in zip(pieces, found):
        np.testing.assert_array_equal(part, samples[round(piece.start_s * RATE) : round(piece.end_s * RATE)])


@given(st.lists(st.floats(0.1, 40.0), max_size=200), st.floats(1.0, 600.0))
def test_batches_hold_every_clip_once_within_the_budget(lengths_s, batch_s):
    batches = padding.cut_batches(lengths_s, batch_s)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths_s)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths_s[i] for i in batch) * len(batch) <= batch_s
    assert padding.waste(sum(lengths_s), padding.padded_s(lengths_s, batches)) < 1
    longest = [lengths_s[batch[0]] for batch in batches]
    assert longest == sorted(longest, reverse=True)
