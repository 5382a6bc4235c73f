"""A small language spoken in units at 50 Hz: its exact entropy, corpora of it, and minimal pairs.

Determiner, noun, any number of adverbs, verb: the determiner says the number (singular or plural), and the
verb agrees over all that stands between. Words are 3 to 6 phones; a phone is one unit, repeated for 3 units
on average; a pause stands between sentences. It is a hidden Markov model, so the probability of a sequence
is that of the forward algorithm, over all ways of cutting it into words.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import torch

PHONES, PAUSE = 24, 0  # units 1..23 are phones
STAY, STAY_PAUSE, MORE_ADVERBS = 2 / 3, 4 / 5, 0.4
WORDS = {"noun": 24, "adverb": 8, "verb": 24}
NUMBERS = ("singular", "plural")
FILES = 1500  # a corpus that RECIPE learns from in less than a minute on one core
RECIPE = [
    *["--vocab-size", str(PHONES), "--embedding-dim", "32", "--hidden-size", "128", "--num-layers", "1"],
    *["--dropout", "0", "--batch-size", "16", "--learning-rate", "0.01", "--schedule", "cosine"],
    *["--num-epochs", "10", "--save-steps", "500", "--log-steps", "50"],
]


class Language:
    """The lexicon of a seed; `step` holds the probability of each state after each."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng([seed, 0])
        self.words: dict[str, list[tuple[int, ...]]] = {}
        for kind, count in WORDS.items():
            self.words[kind] = self._new_words(count, 4, 6)
        for number in NUMBERS:
            self.words[number] = self._new_words(3, 3, 3)
        self.suffix = tuple(int(phone) for phone in self.random.choice(np.arange(1, PHONES), 1))
        self.unit, self.edges = [PAUSE], [(0, 0, STAY_PAUSE)]
        for number in NUMBERS:
            self._add_sentence(number)
        self.step = np.zeros((len(self.unit), len(self.unit)))
        for start, stop, chance in self.edges:
            self.step[start, stop] += chance
        assert np.allclose(self.step.sum(1), 1)

    def _new_words(self, count: int, shortest: int, longest: int) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        while len(found) < count:
            phones = self.random.permutation(np.arange(1, PHONES))
            found.append(tuple(int(phone) for phone in phones[: self.random.integers(shortest, longest + 1)]))
        return found

    def _add_sentence(self, number: str) -> None:
        suffix = self.suffix if number == "singular" else ()
        kinds = {kind: self._add(self.words[kind], suffix if kind == "verb" else ())
                 for kind in (number, "noun", "adverb", "verb")}  # fmt: skip
        follow = {number: [("noun", 1.0)], "verb": []}
        follow["noun"] = follow["adverb"] = [("adverb", MORE_ADVERBS), ("verb", 1 - MORE_ADVERBS)]
        for entry, chance in kinds[number][0]:
            self.edges.append((0, entry, (1 - STAY_PAUSE) / 2 * chance))
        for kind, (_, exits) in kinds.items():
            for state in exits:
                if kind == "verb":
                    self.edges.append((state, 0, 1 - STAY))
                for after, weight in follow[kind]:
                    self.edges += [(state, entry, (1 - STAY) * weight * chance)
                                   for entry, chance in kinds[after][0]]  # fmt: skip

    def _add(self, words: list[tuple[int, ...]], suffix: tuple[int, ...]) -> tuple[list, list[int]]:
        """Add the states of some words; return ([(first state, probability)], last states)."""
        chances = 1 / np.arange(1, len(words) + 1)  # Zipf
        entries, exits = [], []
        for phones, chance in zip(words, chances / chances.sum()):
            entries.append((len(self.unit), float(chance)))
            for phone in (*phones, *suffix):
                state = len(self.unit)
                self.unit.append(phone)
                self.edges += [(state, state, STAY), (state, state + 1, 1 - STAY)]
            exits.append(self.edges.pop()[0])
        return entries, exits

    def sequences(self, lengths: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
        """Return sequences of these lengths; each begins in a pause, and ends anywhere."""
        cumulative = self.step.cumsum(1)
        state = np.zeros(len(lengths), np.int64)
        found = []
        for _ in range(int(lengths.max())):
            found.append(np.array(self.unit)[state])
            drawn = random.random(len(lengths)) * cumulative[state, -1]
            state = (cumulative[state] <= drawn[:, None]).sum(1)
        together = np.stack(found, 1)
        return [row[:length] for row, length in zip(together, lengths)]

    def log_probability(self, units: np.ndarray) -> float:
        """Return ln P(units) by the forward algorithm."""
        emits = np.array(self.unit)[:, None] == np.arange(PHONES)
        state = (np.arange(len(self.unit)) == 0) * emits[:, units[0]].astype(float)
        total = 0.0
        for unit in units[1:]:
            state = (state @ self.step) * emits[:, unit]
            total += np.log(state.sum())
            state /= state.sum()
        return total

    def is_word(self, phones: tuple[int, ...]) -> bool:
        return any(phones in words for words in self.words.values())


def write_corpus(folder: Path, files: int, seed: int, mean: float = 100) -> Language:
    """Write units/*.pt and corpus.json of the language of a seed; return the language."""
    language, random = Language(seed), np.random.default_rng([seed, 1])
    lengths = np.clip(random.lognormal(np.log(mean), 0.5, files), 20, 400).astype(int)
    (folder / "units").mkdir(parents=True)
    (folder / "units" / "settings.json").write_text(json.dumps({"vocabulary": PHONES, "hop_s": 0.02}))
    with open(folder / "corpus.json", "w") as manifest:
        for number, units in enumerate(language.sequences(lengths, random)):
            torch.save(torch.from_numpy(units.astype(np.int16)), folder / "units" / f"talk{number}.pt")
            print(json.dumps({"audio_filepath": f"/data/talk{number}.wav"}), file=manifest)
    return language


def true_nats(run: Path, language: Language) -> float:
    """Return the language's own nats a unit on the held-out files of a run."""
    lines = map(json.loads, (run / "files.json").read_text().splitlines())
    held_out = [torch.load(file["units_filepath"]).numpy() for file in lines if file["split"] == "valid"]
    return -sum(map(language.log_probability, held_out)) / sum(map(len, held_out))


def write_word_pairs(folder: Path, language: Language, seed: int, wrong: int = 2) -> None:
    """Write dev/gold.csv and unit files of nouns and verbs, each beside non-words with one phone changed."""
    random = np.random.default_rng([seed, 2])
    rows: list[list] = []
    for kind in ("noun", "verb"):
        for rank, phones in enumerate(language.words[kind], start=1):
            for _ in range(wrong):
                other = list(phones)
                while language.is_word(tuple(other)):
                    other[random.integers(1, len(phones))] = int(random.integers(1, PHONES))
                _add_pair(folder, rows, [phones, tuple(other)], [str(rank), len(phones)], random)
    _write_gold(folder, ["id", "filename", "voice", "frequency", "word", "phones", "length", "correct"], rows)


def write_sentence_pairs(folder: Path, language: Language, seed: int, count: int = 40) -> None:
    """Write dev/gold.csv and unit files of sentences, each beside one out of order, or without agreement."""
    random = np.random.default_rng([seed, 3])
    rows: list[list] = []
    for number in range(2 * count):
        plural = int(random.integers(2))
        pick = {kind: words[random.integers(len(words))] for kind, words in language.words.items()}
        adverbs = [pick["adverb"]] * int(random.integers(2))
        sentence = [pick[NUMBERS[plural]], pick["noun"], *adverbs, pick["verb"]]
        ending = [language.suffix, ()]
        right = [*sentence, ending[plural]]
        if number % 2:
            bad, kind = [*sentence, ending[1 - plural]], "agreement"
        else:
            bad, kind = [sentence[1], sentence[0], *sentence[2:], ending[plural]], "order"
        both = [sum(words, ()) for words in (right, bad)]
        _add_pair(folder, rows, both, [kind, "simple"], random)
    _write_gold(folder, ["id", "filename", "voice", "type", "subtype", "transcription", "correct"], rows)


def _add_pair(
    folder: Path, rows: list[list], both: list[tuple[int, ...]], group: list, random: np.random.Generator
) -> None:
    """Speak both twice, with the same durations, and add their rows."""
    number = len(rows) // 4
    (folder / "units").mkdir(parents=True, exist_ok=True)
    for voice in ("v1", "v2"):
        lasts = random.geometric(1 - STAY, max(map(len, both)) + 2)
        for correct, phones in zip((1, 0), both):
            spoken = (PAUSE, *phones, PAUSE)
            units = np.repeat(spoken, lasts[: len(spoken)]).astype(np.int16)
            name = f"p{number}-{correct}-{voice}"
            torch.save(torch.from_numpy(units), folder / "units" / f"{name}.pt")
            text = " ".join(map(str, phones))
            rows.append([number, name, voice, *([group[0], text, text, group[1]] if isinstance(group[1], int)
                                                else [*group, text]), correct])  # fmt: skip


def _write_gold(folder: Path, columns: list[str], rows: list[list]) -> None:
    (folder / "dev").mkdir()
    with open(folder / "dev" / "gold.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
