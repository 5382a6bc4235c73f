"""Figures of units, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from media.unit_figures import excerpt, figures, words_a_second


def test_by_hand():
    found = figures([[1, 1, 2, 2, 1, 2], [2, 3]])
    assert found["units"] == 8
    assert found["unit_entropy_bits"] == pytest.approx(
        -(3 * np.log2(3 / 8) + 4 * np.log2(4 / 8) - 3) / 8, abs=1e-4
    )
    assert found["repetition"] == round(2 / 6, 4)  # 1 1 and 2 2, of six steps
    assert found["distinct_1"] == round(3 / 6, 4)  # 1 2 1 2 and 2 3
    assert found["distinct_2"] == round(3 / 4, 4)  # 12 21 12 and 23
    assert found["distinct_3"] == 1.0


def test_what_goes_round_in_circles_shows():
    random = np.random.default_rng(0).integers(0, 50, 600)
    stuck, circling, fine = figures([np.full(600, 7)]), figures([np.tile([1, 2, 3], 200)]), figures([random])
    assert stuck["repetition"] == 1.0
    assert stuck["unit_entropy_bits"] == 0.0
    assert stuck["distinct_2"] is None
    assert circling["repetition"] == 0.0
    assert circling["distinct_3"] < 0.01
    assert fine["distinct_3"] > 0.9
    assert figures([[5]])["repetition"] == 0.0
    assert figures([[], []]) == {"units": 0}


def test_as_many_units_to_compare_with():
    assert [list(part) for part in excerpt([[1, 2, 3], [4, 5], [6]], 4)] == [[1, 2, 3], [4]]
    assert excerpt([[1, 2]], 9) == [[1, 2]]


def test_words_a_second_count_what_was_transcribed():
    records = [
        {"text": "two words", "duration": 2.0},
        {"text": "", "synthesis_duration": 2.0},
        {"duration": 9.0},
    ]
    assert words_a_second(records) == 0.5
    assert words_a_second([{"duration": 1.0}]) is None
