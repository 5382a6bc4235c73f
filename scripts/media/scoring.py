"""Word and character error rates, a file and over all, with bootstrap intervals.

Rates over all are sums of errors over sums of reference lengths. Intervals draw whole recordings again
(percentile bootstrap); two systems are compared on the same draws, which is far sharper than comparing their
intervals. Source: Bisani & Ney, Bootstrap estimates for confidence intervals in ASR performance evaluation,
ICASSP 2004.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, NamedTuple

if TYPE_CHECKING:
    import numpy as np

NORMALIZERS = ("english", "basic", "none")


class Count(NamedTuple):
    """Errors of one hypothesis; `length` is that of the reference, in words or characters."""

    substitutions: int
    deletions: int
    insertions: int
    length: int

    @property
    def errors(self) -> int:
        """All of them."""
        return self.substitutions + self.deletions + self.insertions


def normalizer(name: str) -> Callable[[str], str]:
    """Return Whisper's normaliser (`english` spells numbers and contractions out, `basic` is for any
    language).
    """
    if name == "none":
        return lambda text: " ".join(text.split())
    if name == "english":
        from whisper_normalizer.english import EnglishTextNormalizer

        normalize = EnglishTextNormalizer()
    else:
        from whisper_normalizer.basic import BasicTextNormalizer

        normalize = BasicTextNormalizer()
    return lambda text: " ".join(normalize(text).split())


def count_words(reference: str, hypothesis: str) -> Count:
    """Return the word errors. An empty reference has no deletions: every word heard is an insertion."""
    import jiwer

    return _count(jiwer.process_words(reference, hypothesis))


def count_characters(reference: str, hypothesis: str) -> Count:
    """Return the character errors, spaces counted, as jiwer's CER."""
    import jiwer

    return _count(jiwer.process_characters(reference, hypothesis))


def _count(found: Any) -> Count:
    length = found.hits + found.substitutions + found.deletions
    return Count(found.substitutions, found.deletions, found.insertions, length)


def rate(counts: list[Count]) -> float:
    """Return errors over reference length, all recordings together; NaN without any reference word."""
    length = sum(count.length for count in counts)
    return sum(count.errors for count in counts) / length if length else float("nan")


def bootstrap(systems: list[list[Count]], resamples: int, seed: int) -> np.ndarray:
    """Return rates of each system on the same draws of recordings: float64, shape (systems, resamples).

    A draw without a single reference word is NaN.
    """
    import numpy as np

    errors = np.array([[count.errors for count in counts] for counts in systems], np.float64)
    lengths = np.array([[count.length for count in counts] for counts in systems], np.float64)
    recordings = errors.shape[1]
    generator = np.random.default_rng(seed)
    rates = np.empty((len(systems), resamples))
    for index in range(resamples):
        drawn = np.bincount(generator.integers(recordings, size=recordings), minlength=recordings)
        with np.errstate(invalid="ignore", divide="ignore"):
            rates[:, index] = (errors @ drawn) / (lengths @ drawn)
    return rates


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the middle `level` of the values, NaN left out; (NaN, NaN) where all are."""
    import numpy as np

    kept = values[np.isfinite(values)]
    if not len(kept):
        return float("nan"), float("nan")
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
