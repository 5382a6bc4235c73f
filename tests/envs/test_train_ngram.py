"""N-gram models: discounts and probabilities counted by hand, sums of 1, ARPA, kenlm's own numbers."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from networks import arpa, ngram

DATA = Path(__file__).resolve().parents[1] / "data" / "ngram"


def some_sequences(seed: int, vocab_size: int, files: int = 40) -> list[np.ndarray]:
    """Return sequences of different lengths, empty and 1-unit ones too, in which few units are frequent."""
    random = np.random.default_rng(seed)
    chances = random.dirichlet(np.full(vocab_size, 0.5))
    lengths = [0, 1, 2, *random.integers(1, 60, files)]
    return [np.repeat(random.choice(vocab_size, size, p=chances), 2)[:size] for size in lengths]


class Definition:
    """Interpolated modified Kneser-Ney as it is written down, slowly."""

    def __init__(self, sequences: list[np.ndarray], vocab_size: int, order: int) -> None:
        self.vocab_size = vocab_size
        occurrences: list[Counter] = [Counter() for _ in range(order + 1)]
        before: dict[tuple, set] = defaultdict(set)
        for units in sequences:
            line = ("<s>", *map(int, units))
            for end in range(1, len(line)):
                for n in range(1, min(order, end + 1) + 1):
                    gram = line[end - n + 1 : end + 1]
                    occurrences[n][gram] += 1
                    if end - n >= 0:
                        before[gram].add(line[end - n])
        self.counts: list[dict] = [{}]
        for n in range(1, order + 1):
            whole = n == order
            self.counts.append({gram: count if whole or gram[0] == "<s>" else len(before[gram])
                                for gram, count in occurrences[n].items()})  # fmt: skip
        self.discounts = [ngram.discounts_of(np.array([*counts.values()])) for counts in self.counts]
        self.after: list[dict] = [defaultdict(list) for _ in range(order + 1)]
        for n in range(1, order + 1):
            for gram, count in self.counts[n].items():
                self.after[n][gram[:-1]].append(count)

    def chance(self, n: int, history: tuple, unit: int) -> float:
        if n == 0:
            return 1 / self.vocab_size
        history = history[-(n - 1) :] if n > 1 else ()
        if len(history) < n - 1:
            return self.chance(n - 1, history, unit)
        lower = self.chance(n - 1, history, unit)
        counts = self.after[n].get(history)
        if not counts:
            return lower
        taken = [self.discounts[n][min(count, 3) - 1] for count in counts]
        own = self.counts[n].get((*history, unit), 0)
        kept = own - self.discounts[n][min(own, 3) - 1] if own else 0.0
        return kept / sum(counts) + sum(taken) / sum(counts) * lower


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("vocab_size", [1, 2, 7, 40])
def test_probabilities_are_those_of_the_definition(order: int, vocab_size: int) -> None:
    train, test = some_sequences(order, vocab_size), some_sequences(order + 50, vocab_size, 6)
    model, definition = ngram.fit(train, vocab_size, order), Definition(train, vocab_size, order)
    assert model.discounts == [pytest.approx(amounts) for amounts in definition.discounts[1:]]
    for units in [*test, *train[:5]]:
        line = ("<s>", *map(int, units))
        wanted = [definition.chance(order, line[:end], line[end]) for end in range(1, len(line))]
        assert model.score(units) == pytest.approx(np.log(wanted), abs=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_the_probabilities_of_each_context_sum_to_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    vocab_size, order = int(random.integers(1, 30)), int(random.integers(1, 7))
    model = ngram.fit(some_sequences(seed, vocab_size, int(random.integers(1, 50))), vocab_size, order)
    for units in some_sequences(seed + 1000, vocab_size, 4):
        each = [model.score(units, np.full(len(units), unit)) for unit in range(vocab_size)]
        assert np.exp(each).sum(0) == pytest.approx(np.ones(len(units)), abs=1e-9)
        assert np.isfinite(each).all()


def test_discounts_by_hand() -> None:
    """n1 = 4, n2 = 3, n3 = 2, n4 = 1: Y = 0.4, D1 = 0.4, D2 = 2 - 1.2 · 2/3, D3 = 3 - 1.6 · 1/2."""
    counts = np.array([1] * 4 + [2] * 3 + [3] * 2 + [4] + [9])
    assert ngram.discounts_of(counts) == pytest.approx((0.4, 1.2, 2.2))


@pytest.mark.parametrize(
    "counts", [[5, 6], [1, 1, 2, 5], [2, 2, 3, 3], [1, 2, 3, 3, 3], []],
    ids=["no singletons", "no threes", "no ones", "below 0", "nothing"],
)  # fmt: skip
def test_discounts_that_break_fall_back(counts: list[int]) -> None:
    assert ngram.discounts_of(np.array(counts, np.int64)) == (0.5, 1.0, 1.5)


def test_a_bigram_by_hand() -> None:
    """<s> 0 1, <s> 0 1, <s> 1 0; discounts fall back to 0.5, 1, 1.5.

    Units before 0: <s>, 1; before 1: 0, <s>. So p(0) = p(1) = (2 - 1) / 4 + 2/4 · 1/2 = 1/2.
    After <s>: 0 twice, 1 once: p(0 | <s>) = (2 - 1) / 3 + (1 + 0.5)/3 · 1/2; after 0: 1 twice.
    """
    model = ngram.fit([np.array([0, 1]), np.array([0, 1]), np.array([1, 0])], 2, order=2)
    assert np.exp(model.score(np.array([0, 1]))) == pytest.approx([1 / 3 + 0.25, 1 / 2 + 1 / 2 * 1 / 2])


def test_units_outside_the_vocabulary_and_nothing_to_count_are_refused() -> None:
    with pytest.raises(ValueError, match="found units 0 to 3, wanted 0 to 2"):
        ngram.fit([np.array([0, 3])], 3)
    with pytest.raises(ValueError, match="no units to count"):
        ngram.fit([np.array([], np.int64)], 3)
    model = ngram.fit([np.array([0, 1])], 3)
    with pytest.raises(ValueError, match="-1 to 1"):
        model.score(np.array([1, -1]))


def test_an_arpa_file_gives_the_model_back(tmp_path: Path) -> None:
    model = ngram.fit(some_sequences(3, 20), 20, 4)
    path = tmp_path / "units.arpa"
    with open(path, "w") as file:
        arpa.write(file, model)
    again = arpa.read(str(path))
    for units in some_sequences(4, 20, 10):
        assert again.score(units) == pytest.approx(model.score(units), abs=1e-7)


def lines_of(name: str) -> list[np.ndarray]:
    """Return the sequences of a file of data/ngram."""
    return [np.array(line.split(), np.int64) for line in (DATA / name).read_text().splitlines()]


def test_the_estimates_are_those_of_lmplz() -> None:
    """With an end symbol and <unk> as two more units, the tables are those of kenlm's own estimation."""
    end, unknown, start = 24, 25, 26
    model = ngram.fit([np.append(units, end) for units in lines_of("train.txt")], unknown + 1, 3)
    numbers = {"</s>": end, "<unk>": unknown, "<s>": start}
    compared = 0
    for line in (DATA / "lmplz.arpa").read_text().splitlines():
        chance, *rest = line.split("\t")
        if not rest or rest[0] == "<s>":
            continue
        units = [numbers[word] if word in numbers else int(word) for word in rest[0].split()]
        at = np.array([units[0]])
        for n, unit in enumerate(units[1:], start=2):
            at = ngram.places(model.tables[n - 1].keys, at, np.array([unit]), model.vocab_size)
        table = model.tables[len(units) - 1]
        assert at[0] >= 0
        assert table.log_probability[at[0]] / math.log(10) == pytest.approx(float(chance), abs=1e-6)
        if len(rest) > 1 and units[-1] not in (end, unknown):
            assert table.log_backoff[at[0]] / math.log(10) == pytest.approx(float(rest[1]), abs=1e-6)
        compared += 1
    assert compared == 551 == sum(len(table.keys) for table in model.tables) - 1


def kenlm_scores(path: Path) -> list[list[float]]:
    """Return kenlm's log10 of each unit of test.txt: from kenlm where it is installed, else as stored."""
    try:
        import kenlm
    except ImportError:
        return json.loads((DATA / "kenlm_scores.json").read_text())
    reader = kenlm.Model(str(path))
    return [
        [chance for chance, *_ in reader.full_scores(line, bos=True, eos=False)]
        for line in (DATA / "test.txt").read_text().splitlines()
    ]


def test_kenlm_reads_our_arpa_files_as_we_do(tmp_path: Path) -> None:
    model = ngram.fit(lines_of("train.txt"), 24, 3)
    path = tmp_path / "units.arpa"
    with open(path, "w") as file:
        arpa.write(file, model)
    texts = [name.read_text().splitlines() for name in (path, DATA / "ours.arpa")]
    for ours, stored in zip(*texts, strict=True):  # what kenlm read is what is written today
        ours, stored = ours.split("\t"), stored.split("\t")  # noqa: PLW2901
        assert ours[1:2] == stored[1:2]
        if len(stored) > 1:
            assert [*map(float, ours[::2])] == pytest.approx([*map(float, stored[::2])], abs=1e-8)
    for units, chances in zip(lines_of("test.txt"), kenlm_scores(path), strict=True):
        found = model.score(units) / math.log(10)
        assert found == pytest.approx(chances, abs=2e-6)
        assert found.sum() == pytest.approx(sum(chances), abs=1e-5)


def test_bad_arpa_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.arpa"
    whole = (DATA / "ours.arpa").read_text()
    for text, said in [
        (whole[: whole.index("\\3-grams")], "no .end., wanted a whole ARPA file"),
        (whole[: len(whole) - 20], "found 0 words; wanted a 3-gram"),
        ((DATA / "lmplz.arpa").read_text(), "<unk> has a probability"),
        (whole.replace("\t0 0\t", "\tx 0\t", 1), "wanted a 2-gram of units"),
        (whole.replace("\t0 0 ", "\t0 1 ", 1), "no 2-gram of its first words"),
        ("\\end\\\n", "found no n-gram"),
    ]:
        assert text != whole
        path.write_text(text)
        with pytest.raises(arpa.ArpaError, match=said):
            arpa.read(str(path))
