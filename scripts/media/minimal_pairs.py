"""Minimal pairs in the layouts of ZeroSpeech 2021 (sWUGGY, sBLIMP) and BabySLM: a word and a non-word, a
sentence and one that is none.

A gold.csv has a row a recording: id, filename, voice and correct (1 or 0); of words also word, frequency,
length, phones, of sentences type, subtype, transcription. The two members of a pair share id and voice (and
type and subtype). A pair counts 1 where the right one is likelier, 0.5 on a tie; an item is the mean of its
pairs, a score the mean of its items. Sources: zerospeech/benchmarks (tasks/lm), MarvinLvn/BabySLM (metrics).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

Row = dict[str, str]
LEXICAL, SYNTACTIC = "lexical", "syntactic"
FORMATS = {"swuggy": LEXICAL, "sblimp": SYNTACTIC, "babyslm-lexical": LEXICAL, "babyslm-syntactic": SYNTACTIC}
COLUMNS = {
    LEXICAL: ("id", "filename", "voice", "frequency", "word", "phones", "length", "correct"),
    SYNTACTIC: ("id", "filename", "voice", "type", "subtype", "transcription", "correct"),
}
BANDS = ((1, "0 (not in training)"), (5, "1-4"), (20, "5-19"), (100, "20-99"), (math.inf, "100 and more"))


class PairsError(ValueError):
    """A table of pairs that cannot be used; the message says what was found and what was wanted."""


class Pair(NamedTuple):
    """The row of the right recording and that of the wrong one."""

    right: Row
    wrong: Row


class Item(NamedTuple):
    """A word, or a sentence with its error, over its pairs and voices."""

    name: str
    group: Row
    score: float


def format_of(rows: Sequence[Row], asked: str | None) -> str:
    """Return the format: what was asked for, else what the columns say; PairsError where one is missing.

    Words that stand in pairs of several ids are BabySLM's, where a word has several non-words.
    """
    if not rows:
        raise PairsError("no rows below the header, wanted a row a recording")
    kind = FORMATS[asked] if asked else SYNTACTIC if "type" in rows[0] else LEXICAL
    missing = [name for name in COLUMNS[kind] if name not in rows[0]]
    if missing:
        raise PairsError(f"found the columns {', '.join(rows[0])}; {kind} pairs want {', '.join(missing)}")
    if asked or kind == SYNTACTIC:
        return asked or "sblimp"
    ids: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if _is_right(row):
            ids.setdefault((row["voice"], row["word"]), set()).add(row["id"])
    return "babyslm-lexical" if any(len(found) > 1 for found in ids.values()) else "swuggy"


def pair_up(rows: Iterable[Row], kind: str) -> tuple[list[Pair], list[str]]:
    """Return the pairs, in the order of the rows, and a sentence on each id that is no pair."""
    groups: dict[tuple[str, ...], tuple[list[Row], list[Row]]] = {}
    keys = ("type", "subtype", "id", "voice") if kind == SYNTACTIC else ("id", "voice")
    for row in rows:
        wrong, right = groups.setdefault(tuple(row[key] for key in keys), ([], []))
        (right if _is_right(row) else wrong).append(row)
    pairs, problems = [], []
    for key, (wrong, right) in groups.items():
        if len(wrong) == len(right) == 1:
            pairs.append(Pair(right[0], wrong[0]))
        else:
            problems.append(f"{' '.join(key)}: found {len(right)} correct and {len(wrong)} incorrect")
    return pairs, problems


def _is_right(row: Row) -> bool:
    if row["correct"] not in ("0", "1"):
        raise PairsError(f"{row['filename']}: found correct {row['correct']!r}, wanted 1 or 0")
    return row["correct"] == "1"


def outcome(right: float, wrong: float) -> float:
    """Return 1 where the right one is likelier, 0 where the wrong one is, 0.5 where they are equal."""
    return 0.5 if right == wrong else float(right > wrong)


def items_of(pairs: Sequence[Pair], outcomes: Sequence[float], form: str) -> list[Item]:
    """Return an item a word or sentence.

    An id's pairs are averaged over voices; BabySLM's words first over the non-words of a voice, then over
    voices. Where no non-word is spelt, words go by their phones, as there.
    """
    name = "transcription" if FORMATS[form] == SYNTACTIC else "word"
    if name == "word" and not any(pair.wrong["word"] for pair in pairs):
        name = "phones"
    keys = {"swuggy": ("id",), "babyslm-lexical": (name,)}.get(form, ("type", "subtype", "id"))
    voices: dict[tuple[str, ...], dict[str, list[float]]] = {}
    first: dict[tuple[str, ...], Row] = {}
    for pair, found in zip(pairs, outcomes):
        key = tuple(pair.right[part] for part in keys)
        first.setdefault(key, pair.right)
        voices.setdefault(key, {}).setdefault(pair.right["voice"], []).append(found)
    return [
        Item(first[key][name], first[key], _mean([_mean(scores) for scores in of_voices.values()]))
        for key, of_voices in voices.items()
    ]


def tables(items: Sequence[Item], form: str) -> list[dict[str, Any]]:
    """Return rows of {by, value, n, score, std}: over all, of known words, by frequency and length, or type.

    Bands of frequency are those of ZeroSpeech's evaluation (which labels them 1-5, 6-20 …).
    """
    found = [("all", "", items)]
    if FORMATS[form] == SYNTACTIC:
        found += _grouped(items, "type", lambda row: row["type"])
        found += _grouped(items, "subtype", lambda row: f"{row['type']} {row['subtype']}")
        return [_row(*one) for one in found]
    known = [item for item in items if (_number(item.group["frequency"]) or 0) >= 1]
    found += [("in vocabulary", "", known)] if known else []
    found += _grouped(items, "frequency", lambda row: _band(row["frequency"]))
    found += _grouped(items, "length", lambda row: row["length"])
    return [_row(*one) for one in found]


def _grouped(items: Sequence[Item], by: str, value_of: Any) -> list[tuple[str, str, list[Item]]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(value_of(item.group), []).append(item)
    order = [label for _, label in BANDS]
    return [(by, value, groups[value]) for value in sorted(groups, key=lambda value: (
        order.index(value) if value in order else _number(value) or 0, value))]  # fmt: skip


def _row(by: str, value: str, items: Sequence[Item]) -> dict[str, Any]:
    from statistics import stdev

    scores = [item.score for item in items]
    spread = stdev(scores) if len(scores) > 1 else math.nan
    return {"by": by, "value": value, "n": len(scores), "score": _mean(scores), "std": spread}


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)


def _band(frequency: str) -> str:
    number = _number(frequency)
    return "unknown" if number is None else next(label for limit, label in BANDS if number < limit)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
