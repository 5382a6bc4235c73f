"""What a SER model heard, and the figures of it: sums that may be added up over batches and processes.

UA is the mean recall over the emotions that occur, WA the share that is right, macro-F1 their mean F1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
from torch import Tensor

from media.scoring import count_characters, count_words


class Heard:
    """What the heads said of a batch; None of a head that is not there."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch
        self.emotions: Tensor | None = None  # logits (utterances, emotions)
        self.log_probs: Tensor | None = None  # (frames, pieces)
        self.labels: list[list[int]] | None = None  # of the best path
        self.prominence: Tensor | None = None  # logits (words,) of the marked words

    def add_to(
        self, sums: dict[str, Any], decode: Callable[[list[int]], str], words: Sequence[tuple[str, ...]]
    ) -> None:
        """Add what was right and wrong to sums of `zeros`."""
        if self.emotions is not None:
            pairs = zip(self.batch.emotions.tolist(), self.emotions.argmax(1).tolist())
            for true, said in pairs:
                sums["confusion"][true, said] += 1
        for labels, reference in zip(self.labels or (), words):
            if any(reference):
                counts = [
                    count(" ".join(reference), decode(labels)) for count in (count_words, count_characters)
                ]
                sums["text"] += [number for one in counts for number in (one.errors, one.length)]
        if self.prominence is not None:
            said = (self.prominence > 0).cpu().numpy()
            true = np.concatenate([one.numpy() for one in self.batch.prosody if one is not None] or [[]]) > 0
            sums["prominence"] += [(said & true).sum(), (said & ~true).sum(), (~said & true).sum()]


def zeros(emotions: int) -> dict[str, Any]:
    """Return sums of nothing: loss [sum, count], confusion (true, said), errors and lengths of words and
    characters, prominence [found, false, missed].
    """
    return {"loss": np.zeros(2), "confusion": np.zeros((emotions, emotions)), "text": np.zeros(4),
            "prominence": np.zeros(3)}  # fmt: skip


def figures(sums: dict[str, Any], config: dict[str, Any]) -> dict[str, float | None]:
    """Return the figures of sums, of the heads that are there; None where there was nothing to judge."""
    found: dict[str, float | None] = {}
    if config["use_alpha_ser"]:
        scores = emotion_scores(np.array(sums["confusion"]))
        found.update(ua=scores["ua"], accuracy=scores["wa"], macro_f1=scores["macro_f1"])
    if config["use_alpha_asr"]:
        word_errors, word_count, errors, characters = sums["text"]
        found.update(wer=_share(word_errors, word_count), cer=_share(errors, characters))
    if config["use_alpha_prosody"]:
        right, false, missed = sums["prominence"]
        found["prosody_f1"] = _share(2 * right, 2 * right + false + missed)
    for name, value in sums.items():
        if name.startswith("part_"):  # each batch was scaled to be a mean over the whole set
            found[name.removeprefix("part_")] = value[0] / sums["loss"][1]
    return found


def emotion_scores(confusion: np.ndarray) -> dict[str, Any]:
    """Return ua, wa, macro_f1, and recall, precision and f1 of each emotion (None where there is none)."""
    right, true, said = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    recall = [_share(*pair) for pair in zip(right, true)]
    f1 = [_share(2 * one, of_true + of_said) for one, of_true, of_said in zip(right, true, said)]
    occur = true > 0
    return {
        "ua": _mean([value for value, there in zip(recall, occur) if there]),
        "wa": _share(right.sum(), true.sum()),
        "macro_f1": _mean([value for value, there in zip(f1, occur) if there]),
        "recall": recall,
        "precision": [_share(*pair) for pair in zip(right, said)],
        "f1": f1,
    }


def _share(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None


def _mean(values: list[Any]) -> float | None:
    return sum(values) / len(values) if values else None
