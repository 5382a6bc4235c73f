"""Emotions of texts: the names of the 28 of GoEmotions, and a lexicon of sentiment.

The list ships with the code, so that whoever reads `scores` needs no model. Source: Demszky et al. 2020,
arXiv 2005.00547 (27 emotions and neutral; a text may have several).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

LABELS = (
    "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire",
    "disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief",
    "joy", "love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness",
    "surprise", "neutral",
)  # fmt: skip
BARE_NAMES = {"roberta-base-go_emotions": "SamLowe/roberta-base-go_emotions"}
LEXICON = "vaderSentiment"
LEXICON_WORDS = (
    100  # a longer text is read in parts: VADER's sum saturates, and its time grows with the square
)
LEAST_COMPOUND = 0.05  # from here on positive, from its negative on negative: the thresholds of its authors


class EmotionError(ValueError):
    """A model of other emotions, or a text it makes nothing of; the message says what was found."""


def hub_id(model: str) -> str:
    """Return the hub id of a bare name; a path or another id as it is."""
    return model if os.path.exists(model) else BARE_NAMES.get(model, model)


def order_of(names: Sequence[str], model: str) -> list[int]:
    """Return where each of LABELS stands among a model's own; EmotionError unless they are the same 28."""
    places = {str(name).strip().lower(): place for place, name in enumerate(names)}
    missing = [label for label in LABELS if label not in places]
    unknown = [name for name in places if name not in LABELS]
    if missing or unknown or len(names) != len(LABELS):
        found = f"{len(names)} labels, without {_some(missing)}, with {_some(unknown)}"
        raise EmotionError(
            f"{model}: found {found}; wanted a model of the 28 of GoEmotions, named in its config"
        )
    return [places[label] for label in LABELS]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "") if names else "none"


class Lexicon:
    """Sentiment by VADER (Hutto & Gilbert 2014): a lexicon and rules for English; no download."""

    def __init__(self) -> None:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        self._polarity = SentimentIntensityAnalyzer().polarity_scores

    def sentiment(self, text: str) -> dict[str, Any]:
        """Return `label` and `score` (-1 to 1: VADER's compound), and the shares `positive`, `neutral` and
        `negative` of the words; null where there is no word. A text beyond LEXICON_WORDS is read in parts,
        whose mean, weighted by words, it has: the authors' advice for more than a sentence.
        """
        words = text.split()
        if not words:
            return dict.fromkeys(("label", "score", "positive", "neutral", "negative"))
        whole = len(words) <= LEXICON_WORDS
        parts = [text] if whole else list(_parts(words))
        weights = [len(part.split()) / len(words) for part in parts]
        found = [self._polarity(part) for part in parts]
        mean = {
            name: round(sum(weight * one[short] for weight, one in zip(weights, found)), 4)
            for name, short in (
                ("score", "compound"),
                ("positive", "pos"),
                ("neutral", "neu"),
                ("negative", "neg"),
            )
        }
        return {"label": _label(mean["score"]), **mean}


def _parts(words: list[str]) -> Iterator[str]:
    for start in range(0, len(words), LEXICON_WORDS):
        yield " ".join(words[start : start + LEXICON_WORDS])


def _label(compound: float) -> str:
    if compound >= LEAST_COMPOUND:
        return "positive"
    return "negative" if compound <= -LEAST_COMPOUND else "neutral"


def labels_of(scores: Sequence[Sequence[float]], names: Sequence[str]) -> list[str]:
    """Return the emotion named first by each vector of scores; of a lexicon's (its first is `score`), the
    sentiment.
    """
    if names[0] == "score":
        return [_label(one[0]) for one in scores]
    return [names[max(range(len(names)), key=one.__getitem__)] for one in scores]
