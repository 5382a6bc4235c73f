"""Forced alignment by CTC: the best of all paths, and how the frames between its labels are shared out."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from ctc_paths import draw, paths
from networks.ctc_align import align, align_batch

BLANK = 2


def runs(path: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Return (class, first frame, frame behind) of each run of a path."""
    found, at = [], 0
    for label, same in itertools.groupby(path):
        size = len(list(same))
        found.append((label, at, at + size))
        at += size
    return found


def shared(path: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the spans of the labels of a path by the rule: blanks between two are halved, the odd one goes
    to the earlier label, those at the edges to nobody.
    """
    spoken = [run for run in runs(path) if run[0] != BLANK]
    starts, ends = [run[1] for run in spoken], [run[2] for run in spoken]
    for place in range(len(spoken) - 1):
        between = starts[place + 1] - ends[place]
        ends[place] += between - between // 2
        starts[place + 1] -= between // 2
    return list(zip(starts, ends))


def sure_of(path: list[int], classes: int = 5) -> Tensor:
    logits = draw(len(path), classes, 0)
    logits[torch.arange(len(path)), torch.tensor(path)] += 12
    return logits


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("labels", [[0], [0, 1], [1, 1], [3, 1, 3], [0, 0, 1], [0, 0, 0, 0], []])
def test_the_alignment_is_the_best_of_all_paths(labels: list[int], seed: int) -> None:
    log_probs = draw(7, 4, seed, spread=2.0)
    best = max(
        (path for path in paths(log_probs, BLANK) if path[1] == tuple(labels)), key=lambda path: path[2]
    )
    assert align(log_probs, labels, BLANK) == shared(best[0])


def test_blanks_between_labels_are_halved_and_edges_are_silence() -> None:
    path = [2, 2, 0, 0, 2, 2, 2, 1, 2, 1, 3, 2]
    assert align(sure_of(path), [0, 1, 1, 3], BLANK) == [(2, 6), (6, 9), (9, 10), (10, 11)]


def test_as_many_frames_as_labels_need() -> None:
    assert align(draw(3, 4, 0), [1, 0, 3], BLANK) == [(0, 1), (1, 2), (2, 3)]
    assert align(draw(3, 4, 0), [1, 1], BLANK) == [(0, 2), (2, 3)]
    assert align(draw(2, 4, 0), [], BLANK) == []
    with pytest.raises(ValueError, match="found 2 frames, too few for 2 labels"):
        align(draw(2, 4, 0), [1, 1], BLANK)
    with pytest.raises(ValueError, match="found 0 frames"):
        align(torch.zeros(0, 4), [1], BLANK)


@pytest.mark.parametrize("seed", range(8))
def test_a_batch_gives_what_each_utterance_gives_alone(seed: int) -> None:
    """Logits do as well as log-probabilities; an utterance with too few frames has no alignment."""
    rows = [
        (30, [0, 1, 1, 3]),
        (2, [1, 1]),
        (0, []),
        (9, []),
        (4, [3]),
        (0, [1]),
        (17, [1, 0, 1, 0, 1, 0, 1]),
    ]
    lengths = torch.tensor([frames for frames, _ in rows])
    target_lengths = torch.tensor([len(labels) for _, labels in rows])
    targets = torch.full((len(rows), 7), -100)
    for row, (_, labels) in enumerate(rows):
        targets[row, : len(labels)] = torch.tensor(labels, dtype=torch.int64)
    logits = draw(int(lengths.sum()), 5, seed) * 3 + 10
    found = align_batch(logits, lengths, targets, target_lengths, BLANK)
    for (_, labels), part, spans in zip(rows, logits.split(lengths.tolist()), found):
        if spans is None:
            assert labels in ([1, 1], [1])
            continue
        assert spans == align(part.log_softmax(1), labels, BLANK)
        assert all(start < end for start, end in spans)
        assert all(end == start for (_, end), (start, _) in itertools.pairwise(spans))
    assert sum(spans is None for spans in found) == 2
