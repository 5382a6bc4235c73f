"""Minimal pairs: pairing, ties and averages as ZeroSpeech's and BabySLM's own evaluations do them."""

from __future__ import annotations

import pytest

from media import minimal_pairs

WORDS = minimal_pairs.COLUMNS["lexical"]
SENTENCES = minimal_pairs.COLUMNS["syntactic"]


def rows_of(columns: tuple[str, ...], text: str) -> list[dict[str, str]]:
    """Return rows of a table written with | between cells."""
    return [
        dict(zip(columns, map(str.strip, line.split("|")), strict=True)) for line in text.strip().splitlines()
    ]


BABY = rows_of(WORDS, """
    1 | hello-a | a | 7 | hello |       | 4 | 1
    1 | lello-a | a |   | lello |       | 4 | 0
    2 | hello-a | a | 7 | hello |       | 4 | 1
    2 | sello-a | a |   | sello |       | 4 | 0
    1 | hello-b | b | 7 | hello |       | 4 | 1
    1 | lello-b | b |   | lello |       | 4 | 0
    3 | cat-a   | a | 0 | cat   | k a t | 3 | 1
    3 | kat-a   | a |   | kat   |       | 3 | 0
""")  # fmt: skip


def test_a_tie_is_half_right() -> None:
    assert [minimal_pairs.outcome(*both) for both in [(-1, -2), (-2, -1), (-1, -1)]] == [1, 0, 0.5]


def scores(
    outcomes: list[float], form: str, rows: list[dict[str, str]] = BABY
) -> dict[tuple[str, str], float]:
    pairs, problems = minimal_pairs.pair_up(rows, minimal_pairs.FORMATS[form])
    assert not problems
    found = minimal_pairs.tables(minimal_pairs.items_of(pairs, outcomes, form), form)
    return {(row["by"], row["value"]): row["score"] for row in found}


def test_babyslm_averages_over_non_words_then_voices_then_words() -> None:
    """hello: voice a (1 + 0) / 2, voice b 1: 0.75; cat 0."""
    assert minimal_pairs.format_of(BABY, None) == "babyslm-lexical"
    assert scores([1, 0, 1, 0], "babyslm-lexical") == {
        ("all", ""): 0.375,
        ("in vocabulary", ""): 0.75,
        ("frequency", "0 (not in training)"): 0,
        ("frequency", "5-19"): 0.75,
        ("length", "3"): 0,
        ("length", "4"): 0.75,
    }


def test_bands_of_frequency_begin_where_zerospeechs_do() -> None:
    """[0, 1), [1, 5), [5, 20), [20, 100) and above."""
    edges = ["0", "1", "4", "5", "19", "20", "99", "100", "oov"]
    items = [minimal_pairs.Item(text, {"frequency": text, "length": "1"}, 1.0) for text in edges]
    rows = minimal_pairs.tables(items, "swuggy")
    found = {row["value"]: row["n"] for row in rows if row["by"] == "frequency"}
    assert found == {
        "0 (not in training)": 1,
        "1-4": 2,
        "5-19": 2,
        "20-99": 2,
        "100 and more": 1,
        "unknown": 1,
    }


def test_zerospeech_averages_over_voices_then_ids() -> None:
    """id 1: (1 + 1) / 2, id 2: 0, id 3: 0."""
    assert minimal_pairs.format_of(BABY[:2] + BABY[4:], None) == "swuggy"
    assert scores([1, 0, 1, 0], "swuggy")["all", ""] == pytest.approx(1 / 3)


def test_words_go_by_their_phones_where_no_non_word_is_spelt() -> None:
    rows = rows_of(WORDS, """
        1 | a1 | a | 1 | two | t u | 2 | 1
        1 | a2 | a |   |     | t o | 2 | 0
        2 | b1 | a | 1 | too | t u | 2 | 1
        2 | b2 | a |   |     | p u | 2 | 0
    """)  # fmt: skip
    pairs, _ = minimal_pairs.pair_up(rows, "lexical")
    (item,) = minimal_pairs.items_of(pairs, [1, 0], "babyslm-lexical")
    assert (item.name, item.score) == ("t u", 0.5)


def test_sentences_are_told_apart_by_type_and_subtype() -> None:
    rows = rows_of(SENTENCES, """
        1 | s1 | a | agreement | noun | the dog runs | 1
        1 | s2 | a | agreement | noun | the dog run  | 0
        1 | s3 | b | agreement | noun | the dog runs | 1
        1 | s4 | b | agreement | noun | the dog run  | 0
        1 | s5 | a | agreement | verb | dogs run     | 1
        1 | s6 | a | agreement | verb | dogs runs    | 0
        1 | s7 | a | order     | noun | the dog      | 1
        1 | s8 | a | order     | noun | dog the      | 0
    """)  # fmt: skip
    assert minimal_pairs.format_of(rows, None) == "sblimp"
    assert scores([1, 0, 1, 0], "babyslm-syntactic", rows) == {
        ("all", ""): 0.5,
        ("type", "agreement"): 0.75,
        ("type", "order"): 0,
        ("subtype", "agreement noun"): 0.5,
        ("subtype", "agreement verb"): 1,
        ("subtype", "order noun"): 0,
    }


def test_what_is_no_pair_is_named() -> None:
    pairs, problems = minimal_pairs.pair_up([*BABY, BABY[0]], "lexical")
    assert len(pairs) == 3
    assert problems == ["1 a: found 2 correct and 1 incorrect"]
    assert minimal_pairs.pair_up(BABY[:3], "lexical")[1] == ["2 a: found 1 correct and 0 incorrect"]


def test_columns_and_marks_that_are_not_as_they_should_be_are_named() -> None:
    rows = [{name: cell for name, cell in row.items() if name != "voice"} for row in BABY]
    with pytest.raises(minimal_pairs.PairsError, match="lexical pairs want voice"):
        minimal_pairs.format_of(rows, None)
    with pytest.raises(minimal_pairs.PairsError, match="want type, subtype, transcription"):
        minimal_pairs.format_of(BABY, "sblimp")
    with pytest.raises(minimal_pairs.PairsError, match="found correct 'yes', wanted 1 or 0"):
        minimal_pairs.pair_up([{**BABY[0], "correct": "yes"}], "lexical")
    with pytest.raises(minimal_pairs.PairsError, match="no rows"):
        minimal_pairs.format_of([], None)
