"""Decoding CTC: the beam search against every path, with and without a language model; greedy beside it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ctc_paths import draw, labellings
from networks import ngram
from networks.ctc_decode import Fusion, greedy, prefix_beam

BLANK = 2
ALL = {"beam": 10**6, "top_k": 10**6, "least": -math.inf}  # nothing is left out


def frames_of(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def peaky(path: list[int], classes: int) -> Tensor:
    """Return log-probabilities that leave no doubt about a path."""
    logits = draw(len(path), classes, 7)
    logits[torch.arange(len(path)), torch.tensor(path)] += 12
    return logits.log_softmax(1)


def textbook(
    log_probs: Tensor, blank: int, beam: int, more: Callable[[tuple[int, ...]], float] = lambda _: 0.0
) -> dict[tuple[int, ...], float]:
    """Return {labels: log P} of the search as it is usually written: a dictionary, and every label.

    more: what is added to the log-probability of labels where they are ranked.
    """
    now = {(): (1.0, 0.0)}  # probability of the paths that end in a blank, and in the last label
    for frame in log_probs.exp().tolist():
        coming: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for prefix, (ends_blank, ends_label) in now.items():
            coming[prefix][0] += (ends_blank + ends_label) * frame[blank]
            if prefix:
                coming[prefix][1] += ends_label * frame[prefix[-1]]
            for label in set(range(len(frame))) - {blank}:
                again = prefix[-1:] == (label,)
                coming[(*prefix, label)][1] += (ends_blank + (0.0 if again else ends_label)) * frame[label]
        alive = [(prefix, tuple(ends)) for prefix, ends in coming.items() if sum(ends)]
        now = dict(sorted(alive, key=lambda found: -math.log(sum(found[1])) - more(found[0]))[:beam])
    return {prefix: math.log(sum(ends)) for prefix, ends in now.items()}


def fused_bonus(language: ngram.NGram, labels: Sequence[int]) -> float:
    """Return what Fusion(language, 0.8, 0.6) adds to labels."""
    return 0.8 * float(language.score(np.array(labels, np.int64)).sum()) + 0.6 * len(labels)


def model(order: int, vocab_size: int = 4) -> ngram.NGram:
    random = np.random.default_rng(3)
    return ngram.fit([random.choice([0, 1, 1, 3], 40) for _ in range(20)], vocab_size, order)


def test_greedy_merges_repetitions_and_keeps_double_letters() -> None:
    path = [0, 0, 2, 0, 1, 1, 2, 2, 3, 0, 1, 2]
    lengths = torch.tensor([7, 0, 4, 1])
    assert greedy(peaky(path, 4), lengths, BLANK) == [[0, 0, 1], [], [3, 0, 1], []]


@pytest.mark.parametrize("seed", range(6))
def test_an_unbounded_beam_gives_the_probability_of_every_labelling(seed: int) -> None:
    log_probs = draw(6, 4, seed, spread=2.0)
    wanted = labellings(log_probs, BLANK)
    found = prefix_beam(log_probs, BLANK, **ALL)
    assert {tuple(labels): score for labels, score in found} == pytest.approx(wanted, abs=1e-5)
    assert len(found) == len(wanted)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


@pytest.mark.parametrize("beam", [1, 2, 3, 16])
def test_a_narrow_beam_keeps_what_the_textbook_keeps(beam: int) -> None:
    """Also where a prefix leaves the beam, a longer one stays, and it comes back: they are one again."""
    for seed in range(40):
        log_probs = draw(12, 4, seed, spread=2.0)
        found = prefix_beam(log_probs, BLANK, **{**ALL, "beam": beam})
        wanted = textbook(log_probs, BLANK, beam)
        assert {tuple(labels): score for labels, score in found} == pytest.approx(wanted, abs=1e-5)
        assert len(found) == len(wanted)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_left_out_makes_no_probability_larger(seed: int) -> None:
    log_probs = draw(6, 5, seed, spread=2.0)
    exact = labellings(log_probs, BLANK)
    for beam, top_k in [(1, 1), (2, 4), (8, 2), (64, 4)]:
        found = prefix_beam(log_probs, BLANK, beam, top_k)
        assert len(found) <= beam
        assert all(score <= exact[tuple(labels)] + 1e-5 for labels, score in found)
    assert tuple(found[0][0]) == max(exact, key=exact.__getitem__)


def test_paths_that_give_the_same_labels_add_up() -> None:
    """The best path is two blanks (.36), yet three paths give the label (.64)."""
    log_probs = frames_of([[0.4, 1e-9, 0.6]] * 2)
    assert greedy(log_probs, torch.tensor([2]), BLANK) == [[]]
    found = prefix_beam(log_probs, BLANK)
    assert found[0][0] == [0]
    assert [math.exp(score) for _, score in found[:2]] == pytest.approx([0.64, 0.36], abs=1e-6)


def test_a_label_comes_twice_only_over_a_blank() -> None:
    """In three frames of one label and the blank, only «label blank label» gives it twice."""
    log_probs = frames_of([[0.5, 1e-9, 0.5], [0.3, 1e-9, 0.7], [0.8, 1e-9, 0.2]])
    found = {tuple(labels): math.exp(score) for labels, score in prefix_beam(log_probs, BLANK)}
    assert found[(0, 0)] == pytest.approx(0.5 * 0.7 * 0.8, abs=1e-6)
    assert (0, 0, 0) not in found
    doubled = peaky([0, 2, 0, 0, 2, 2, 0], 4)
    assert prefix_beam(doubled, BLANK)[0][0] == [0, 0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_greedy_and_the_beam_agree_where_there_is_no_doubt(seed: int) -> None:
    random = np.random.default_rng(seed)
    path = random.choice([0, 1, BLANK, BLANK, 3, 250], 80).tolist()
    log_probs = peaky(path, 300)
    (labels, score), *_ = prefix_beam(log_probs, BLANK)
    assert [labels] == greedy(log_probs, torch.tensor([80]), BLANK)
    assert score == pytest.approx(float(log_probs[torch.arange(80), torch.tensor(path)].sum()), abs=0.1)


def test_only_likely_labels_make_a_prefix_longer() -> None:
    log_probs = frames_of([[0.3, 0.1, 0.2, 0.4], [0.3, 0.1, 0.2, 0.4]])
    few = {label for labels, _ in prefix_beam(log_probs, BLANK, **{**ALL, "top_k": 2}) for label in labels}
    some = {label for labels, _ in prefix_beam(log_probs, BLANK, **{**ALL, "least": math.log(0.35)})
            for label in labels}  # fmt: skip
    assert few == {0, 3}
    assert some == {3}


def test_a_blank_made_unlikely_leaves_more_labels() -> None:
    log_probs = frames_of([[0.3, 1e-9, 0.7]] * 2)
    assert prefix_beam(log_probs, BLANK, blank_offset=2.0)[0][0] == []
    labels, score = prefix_beam(log_probs, BLANK, blank_offset=-2.0)[0]
    assert labels == [0]
    assert math.exp(score) == pytest.approx(0.3 * 0.3 + 2 * 0.3 * 0.7 * math.exp(-2), abs=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_language_model_counts_once_for_each_label(order: int) -> None:
    """The order is that of log P + weight · log P of the model + bonus · labels; log P stays as it was."""
    language = model(order)
    log_probs = draw(5, 4, 11)
    exact = labellings(log_probs, BLANK)
    found = prefix_beam(log_probs, BLANK, **ALL, fusion=Fusion(language, 0.8, 0.6))
    assert {tuple(labels): score for labels, score in found} == pytest.approx(exact, abs=1e-5)
    fused = [score + fused_bonus(language, labels) for labels, score in found]
    assert fused == sorted(fused, reverse=True)
    assert [labels for labels, _ in found] != [labels for labels, _ in prefix_beam(log_probs, BLANK, **ALL)]


@pytest.mark.parametrize("order", [2, 4])
def test_a_language_model_decides_what_stays_in_the_beam(order: int) -> None:
    language = model(order)
    for seed in range(20):
        log_probs = draw(9, 4, seed)
        wanted = textbook(log_probs, BLANK, 3, lambda labels: fused_bonus(language, labels))
        found = prefix_beam(log_probs, BLANK, **{**ALL, "beam": 3}, fusion=Fusion(language, 0.8, 0.6))
        assert {tuple(labels): score for labels, score in found} == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_a_language_model_read_label_by_label_scores_as_it_does_at_once(order: int) -> None:
    language = model(order)
    units = np.random.default_rng(0).integers(0, 4, 60)
    contexts, found = language.start()[None], []
    for unit in units:
        chance, contexts = language.extend(contexts, np.array([unit]))
        found.append(chance[0])
    assert found == pytest.approx(language.score(units), abs=1e-12)


def test_nothing_heard() -> None:
    assert prefix_beam(torch.zeros(0, 4), BLANK) == [([], 0.0)]
    assert greedy(torch.zeros(0, 4), torch.tensor([0, 0]), BLANK) == [[], []]
