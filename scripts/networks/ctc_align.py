"""Which frames of an utterance its labels take: the best of all CTC paths that give them (Viterbi).

The path gives each label its own run of frames, often one or two, and blanks between. A span is that run and
half of the blanks to the next label on either side; of an odd number the earlier label takes the middle one.
Blanks before the first label and behind the last one are nobody's: silence. Where two paths are equally good,
the one that stays longer in the later state is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Spans = list  # of (first frame, frame behind the last one), one a label


def align(log_probs: Tensor, labels: Sequence[int], blank: int) -> list[tuple[int, int]]:
    """Return (first frame, frame behind the last one) of each label in (T, V) log-probabilities or logits.

    ValueError where there are fewer frames than labels and blanks between equal neighbours.
    """
    wanted = torch.as_tensor(labels, dtype=torch.int64).reshape(1, -1)
    sizes = torch.tensor([len(log_probs)]), torch.tensor([wanted.shape[1]])
    (spans,) = align_batch(log_probs, sizes[0], wanted, sizes[1], blank)
    if spans is None:
        raise ValueError(f"found {len(log_probs)} frames, too few for {wanted.shape[1]} labels")
    return spans


def align_batch(
    logits: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, blank: int
) -> list[list[tuple[int, int]] | None]:
    """Return the spans of each utterance, None where it has too few frames.

    logits: (F, V), the real frames one utterance after the other, normalised or not; lengths: (B,) frames;
    targets: (B, U) labels, padded with anything; target_lengths: (B,).
    """
    frames, counts = lengths.tolist(), target_lengths.tolist()
    states = np.full((len(frames), 2 * targets.shape[1] + 1), blank)
    states[:, 1::2] = targets.cpu().numpy()
    scores = np.full((max(frames, default=0) + 1, *states.shape), -np.inf)
    for row, (part, count) in enumerate(zip(logits.detach().split(frames), counts)):
        columns = torch.from_numpy(states[row, : 2 * count + 1]).to(logits.device)
        scores[: len(part), row, : 2 * count + 1] = part.index_select(1, columns).double().cpu().numpy()
        scores[len(part) :, row, 2 * count] = 0.0  # waits in the last blank for the longest utterance
    skips = np.zeros(states.shape, bool)  # into a label from the one before, unless they are equal
    skips[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
    path = _best_path(scores, skips, np.array(counts) * 2)
    return [_spans(path[:length, row], count) for row, (length, count) in enumerate(zip(frames, counts))]


def _best_path(scores: np.ndarray, skips: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return the states of the best path that ends in `last` (B,), (T, B); all `last` where there is none.

    scores: (T, B, S), of each state in each frame; skips: (B, S), where two states back is allowed.
    """
    length, rows, size = scores.shape
    back = np.zeros(scores.shape, np.int8)  # how many states back the best path came from
    best = np.full((rows, size + 2), -np.inf)  # two states that cannot be stand before the first one
    best[:, 2:4] = scores[0, :, :2]
    for frame in range(1, length):
        stay, step, skip = best[:, 2:], best[:, 1:-1], np.where(skips, best[:, :-2], -np.inf)
        before = np.maximum(stay, step)
        back[frame] = step > stay
        back[frame][skip > before] = 2
        best[:, 2:] = np.maximum(before, skip) + scores[frame]
    row, state = np.arange(rows), last
    path = np.empty((length, rows), np.int64)
    for frame in range(length - 1, -1, -1):
        path[frame] = state
        state = state - back[frame, row, state]
    return path


def _spans(path: np.ndarray, count: int) -> list[tuple[int, int]] | None:
    """Return the spans of the labels, the odd states of a path (T,); None where one has no frame."""
    first = np.searchsorted(path, np.arange(count) * 2 + 1)
    behind = np.searchsorted(path, np.arange(count) * 2 + 1, side="right")
    if (first == behind).any():
        return None
    middle = -(-(behind[:-1] + first[1:]) // 2)
    return list(zip([*first[:1].tolist(), *middle.tolist()], [*middle.tolist(), *behind[-1:].tolist()]))
