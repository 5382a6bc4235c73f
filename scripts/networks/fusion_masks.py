"""What the model is not shown of an utterance: whole modalities, spans of time, tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SPAN_STEPS = 5  # mean length of a hidden span of audio, in steps
TWINS = {
    "mfcc": "mel"
}  # nearly a function of each other: hidden together, else one would give the other away

Hidden = dict[str, np.ndarray]


def draw(
    random: np.random.Generator, modalities: Sequence[str], steps: int, tokens: int, rate: float
) -> Hidden:
    """Return which parts are hidden by modality: text (tokens,), arrays (steps,), others (1,); true is
    hidden.

    A modality is hidden as a whole with probability `rate`, but never all; with probability `rate` / 2 all
    but one are, so that each learns to stand for the others. Of what is not, `rate` of the text's tokens are
    hidden, and spans of time that cover about `rate` of the steps: all arrays together, so that one does not
    give another away. A text's first token, <bos>, is shown.
    """
    names = [name for name in modalities if name not in TWINS or TWINS[name] not in modalities]
    chances = {name: random.random() < rate for name in names}
    telling = [name for name in names if name != "speaker"] or names
    keeps, alone = telling[int(random.integers(len(telling)))], random.random() < rate / 2
    spans = _spans(random, steps, rate)
    single = random.random(tokens) < rate
    if alone or all(chances.values()):
        chances = {name: name != keeps for name in names}
    whole = {name: chances[name if name in chances else TWINS[name]] for name in modalities}
    found = {}
    for name in modalities:
        if name == "text":
            found[name] = single | whole[name]
            found[name][:1] = False
        elif name in ("prosody", "emotion", "speaker"):
            found[name] = np.array([whole[name]])
        else:
            found[name] = spans | whole[name]
    return found


def _spans(random: np.random.Generator, steps: int, rate: float) -> np.ndarray:
    """Return steps of which about `rate` are hidden, in spans of geometric length."""
    hidden = np.zeros(steps, bool)
    if not 0 < rate < 1:
        return hidden | (rate >= 1)
    hides, at = random.random() < rate, 0
    shown_mean = SPAN_STEPS * (1 - rate) / rate
    while at < steps:
        length = int(random.geometric(1 / (SPAN_STEPS if hides else max(1.0, shown_mean))))
        hidden[at : at + length] = hides
        hides, at = not hides, at + length
    return hidden
