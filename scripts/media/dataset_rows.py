"""A record of a manifest as a row of the multimodal data set, and what its fields say of feelings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from media.dataset import ARRAYS, LEXICON, PROSODY
from media.emotions import LABELS
from media.frames import read_frames
from media.texts import TEXT_FIELDS, text_of
from media.units import parquet_id

if TYPE_CHECKING:
    from media.tokens import Tokenizer

Record = dict[str, Any]
FEATURES = {"mel": ("mel",), "mfcc": ("mfcc",), "pitch": ("f0_hz", "voicing"), "energy": ("energy_db",)}
MODEL, WORDS = "emotion", "sentiment"  # fields with the 28 emotions, and with the words of a lexicon
NOTES = ("hop_s", "sample_rate_hz")


class RowError(ValueError):
    """A record that makes no row; the message says what was found. Others are not touched by it."""


class MixedError(ValueError):
    """Records that cannot stand in one data set: mel of 80 and of 40 bands, say."""


class Kind(NamedTuple):
    """What the arrays of a data set are, as the first record with features has them."""

    arrays: dict[str, dict[str, Any]]  # by name: {"width", "dtype"}
    hop_s: float | None
    sample_rate_hz: int | None


def kind_of(found: dict[str, Any], names: tuple[str, ...]) -> Kind:
    """Return the kind of a record's arrays and notes (read_frames), as far as they are among `names`."""
    arrays = {
        name: {
            "width": found[name].shape[1] if found[name].ndim > 1 else 1,
            "dtype": found[name].dtype.newbyteorder("<").str,
        }
        for name in ARRAYS
        if name in names and name in found
    }
    return Kind(arrays, *(found.get(name) for name in NOTES))


def feeling_of(record: Record) -> str | None:
    """Return which field says what a record feels like: MODEL, else WORDS, None where neither does."""
    emotion, sentiment = record.get(MODEL), record.get(WORDS)
    if isinstance(emotion, str) or (
        isinstance(emotion, dict) and (emotion.get("scores") or emotion.get("label"))
    ):
        return MODEL
    return WORDS if isinstance(sentiment, dict) and sentiment.get("score") is not None else None


class RowMaker:
    """Makes rows of the records of one data set."""

    def __init__(
        self,
        names: tuple[str, ...],
        kind: Kind,
        feeling: str | None,
        speakers: list[str],
        tokenizer: Tokenizer | None,
        text_field: str | None,
        first: str = "the first record",
    ) -> None:
        """names: arrays that are wanted; kind: of those that the record `first` (where it stands) has."""
        self._names, self._kind, self._first = names, kind, first
        self._feeling, self._tokenizer, self._text_field = feeling, tokenizer, text_field
        self._speakers = {name: place for place, name in enumerate(speakers)}

    def row(self, key: str, record: Record, previous: list[str], following: list[str]) -> dict[str, Any]:
        """Return the row of a record and the sentences around it.

        Raises RowError, FramesError or another ValueError for a bad record, MixedError where it is of another
        kind than the data set.
        """
        arrays = self._arrays(record)
        text = self.text(record)
        speaker = speaker_of(record)
        emotion, label = self._emotion(record)
        tokenizer = self._tokenizer
        return {
            "key": parquet_id(key),
            "audio_filepath": _string(record.get("audio_filepath")),
            "offset": record.get("offset"),
            "duration": record.get("duration"),
            "lang": _string(record.get("lang")),
            "speaker": speaker,
            "speaker_id": self._speakers.get(speaker or "", -1),
            "text": text,
            "tokens": None
            if tokenizer is None or text is None
            else [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id],
            "context_tokens": tokenizer and tokenizer.context(previous, following),
            "control_tokens": tokenizer and tokenizer.control(record),
            "frames": next((len(array) for array in arrays.values() if array is not None), 0),
            "prosody": [_number(record, name) for name in PROSODY],
            "emotion": emotion,
            "emotion_label": label,
            **arrays,
        }

    def text(self, record: Record) -> str | None:
        """Return the text of a record, None where it has none; TextError for what is no text."""
        fields = (self._text_field,) if self._text_field else TEXT_FIELDS
        if all(record.get(name) is None for name in fields):
            return None
        return text_of(record, self._text_field)[0]

    def _arrays(self, record: Record) -> dict[str, Any]:
        """Return an array or None by name, of one length, of the data set's kind, all of them numbers."""
        source = record.get("features_filepath")
        found = read_frames(source, self._names) if source else {}
        arrays = {name: found.get(name) for name in self._kind.arrays}
        if not source:
            return arrays
        self._check_kind(kind_of(found, self._names), str(source))
        lengths = {name: len(array) for name, array in arrays.items() if array is not None}
        if len(set(lengths.values())) > 1:
            raise RowError(f"{source}: found arrays of several lengths, {lengths}, wanted one")
        for name, array in arrays.items():
            bad = 0 if array is None else _not_finite(array)
            if bad:
                raise RowError(
                    f"{source}: found {bad} of {array.size} values of {name} NaN or infinite, wanted "
                    "numbers: extract_features.py --overwrite makes them anew"
                )
        return arrays

    def _check_kind(self, here: Kind, source: str) -> None:
        there = self._kind
        apart = [
            f"{name} of {_shown(array)} here and {_shown(there.arrays.get(name))} there"
            for name, array in here.arrays.items()
            if array != there.arrays.get(name)
        ]
        apart += [
            f"{name} {getattr(here, name)} here and {getattr(there, name)} there"
            for name in NOTES
            if getattr(here, name) != getattr(there, name)
        ]
        if apart:
            raise MixedError(
                f"{source}: found {'; '.join(apart)} ({self._first}); wanted one kind in a data set: make "
                "all features with the same settings (extract_features.py --fresh), or take some of them "
                "with --features; then --fresh"
            )

    def _emotion(self, record: Record) -> tuple[list[float] | None, str | None]:
        """Return the vector and the label of a record's feelings."""
        if feeling_of(record) != self._feeling or self._feeling is None:
            return None, None
        found = record[self._feeling]
        if self._feeling == WORDS:
            return [_finite(found.get(name), f"sentiment.{name}") for name in LEXICON], found.get("label")
        found = found if isinstance(found, dict) else {"label": found}
        scores, label = found.get("scores"), found.get("label")
        if scores:
            if not isinstance(scores, list) or len(scores) != len(LABELS):
                raise RowError(
                    f"found emotion.scores {str(scores)[:40]}, wanted {len(LABELS)} numbers in the order of "
                    "GoEmotions, as tag_emotion.py has them"
                )
            return [_finite(score, "emotion.scores") for score in scores], _string(label)
        if label not in LABELS:
            raise RowError(
                f"found emotion.label {label!r}, wanted one of the {len(LABELS)} of GoEmotions "
                f"({LABELS[0]} … {LABELS[-1]}), or emotion.scores"
            )
        return [float(label == name) for name in LABELS], label


def speaker_of(record: Record) -> str | None:
    """Return a record's speaker, None where it has none."""
    return _string(record.get("speaker")) or None


def _string(value: Any) -> str | None:
    return None if value is None else parquet_id(str(value))


def _number(record: Record, name: str) -> float | None:
    return None if record.get(name) is None else _finite(record[name], name)


def _finite(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e30:
        raise RowError(f"found {name} {str(value)[:40]!r}, wanted a number")
    return float(value)


def _not_finite(array: Any) -> int:
    """Return how many values are NaN or infinite; of float16 by their bits, as NumPy is slow at these."""
    import numpy as np

    if array.dtype == np.float16:
        bad = (np.ascontiguousarray(array).view(np.uint16) & 0x7C00) == 0x7C00
    else:
        bad = ~np.isfinite(array)
    return int(bad.sum())


def _shown(array: dict[str, Any] | None) -> str:
    return "none" if array is None else f"{array['width']} columns of {array['dtype']}"
