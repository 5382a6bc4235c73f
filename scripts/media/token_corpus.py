"""One pass over the records that a tokenizer is trained on: its words, prosody, emotions, and a sample."""

from __future__ import annotations

import hashlib
import random
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from media.contexts import windows
from media.prosody_bins import FIELDS, edges_of, value_of
from media.texts import TEXT_FIELDS, TextError, text_of
from media.token_settings import TokenizerError, emotion_of
from media.word_counts import WordCounts

SAMPLE = 10_000  # texts that the report looks at
LONGEST = 2000  # characters of a text, or a sentence around it, that are kept for it
TEXT = "text to train on"  # added to a record once it is read

Record = dict[str, Any]


class Text(NamedTuple):
    """A text and the sentences around it."""

    text: str
    previous: list[str]
    following: list[str]


class Corpus:
    """What read() found. In memory: the different words (WordCounts), 24 bytes a record, two samples."""

    def __init__(self, field: str | None, window: int) -> None:
        self.field, self.window = field, window
        self.words = WordCounts()
        self.texts = 0  # that are trained on
        self.left_out: Counter[str] = Counter()  # records of other splits, by its name
        self.without_text = 0
        self.values = {name: array("d") for name in FIELDS}
        self.emotions: Counter[str] = Counter()  # tokens
        self.train, self.held_out = Sample(), Sample()
        self._digest = hashlib.sha256()

    def read(self, records: Iterable[tuple[int, Record]], where: str) -> None:
        """Take records, numbered by line from 0. One whose `split` is not train (train, training …) is held
        out; without `split` a record is trained on. TokenizerError for a text that is none.
        """
        found = windows(self._with_text(records, where), self.window, lambda record: record[TEXT])
        training = self._training(found)
        for text in training:
            self.words.add([text])
            self._digest.update(text.encode() + b"\0")
        if not self.texts:
            raise TokenizerError(f"{where}: {self._nothing()}")

    def text(self, record: Record) -> str | None:
        """Return the text of a record, by the rule of media.texts; None where it has none, or a blank one."""
        for name in (self.field,) if self.field else TEXT_FIELDS:
            if record.get(name) is not None:
                text, _ = text_of(record, name)
                return text if text.strip() else None
        return None

    def _with_text(self, records: Iterable[tuple[int, Record]], where: str) -> Iterator[Record]:
        for index, record in records:
            try:
                record[TEXT] = self.text(record)
            except TextError as error:
                raise TokenizerError(f"{where}:{index + 1}: {error}") from error
            yield record

    def _nothing(self) -> str:
        wanted = self.field or " or ".join(TEXT_FIELDS)
        if self.left_out:
            return f"found only records of the split {', '.join(self.left_out)}, wanted some of train"
        return (
            f"none of its {self.without_text} records has a text in {wanted}: transcribe it before, or name "
            "the field by --text-field"
        )

    def _training(self, found: Iterable[tuple[Record, list[str], list[str]]]) -> Iterator[str]:
        for record, previous, following in found:
            text, split = record[TEXT], record.get("split")
            if text is None:
                self.without_text += 1
                continue
            if split is not None and not str(split).lower().startswith("train"):
                self.left_out[str(split)] += 1
                self.held_out.add(Text(text, previous, following))
                continue
            self.texts += 1
            self.train.add(Text(text, previous, following))
            self._take_fields(record)
            yield text

    def _take_fields(self, record: Record) -> None:
        for name, field in FIELDS.items():
            value = value_of(record, field)
            if value is not None:
                self.values[name].append(value)
        emotion = emotion_of(record)
        if emotion is not None:
            self.emotions[emotion] += 1

    def prosody_bins(self) -> dict[str, Any]:
        """Return {"PITCH": {"field": …, "edges": [7 numbers]}, …} of the prosody that any record has."""
        return {
            name: {"field": FIELDS[name], "edges": edges_of(values)}
            for name, values in self.values.items()
            if values
        }

    def described(self) -> dict[str, Any]:
        """Return what was read, for the tokenizer's config."""
        return {
            "text_field": self.field or ", else ".join(TEXT_FIELDS),
            "texts": self.texts,
            "texts_sha256": self._digest.hexdigest(),
            "left_out": dict(sorted(self.left_out.items())),
            "without_text": self.without_text,
            "words": self.words.total(),
            "different_words": len(self.words.counts),
            "words_forgotten": self.words.forgotten,
            "prosody_values": {name: len(values) for name, values in self.values.items()},
        }


class Sample:
    """SAMPLE texts of all that are added, each as likely as another; the same of the same (reservoir)."""

    def __init__(self) -> None:
        self.texts: list[Text] = []
        self._added = 0
        self._chance = random.Random(0)

    def add(self, text: Text) -> None:
        """Take or leave a text."""
        self._added += 1
        place = int(self._chance.random() * self._added) if self._added > SAMPLE else self._added - 1
        if place < SAMPLE:
            text = Text(text.text[:LONGEST], _cut(text.previous), _cut(text.following))
            self.texts[place : place + 1] = [text]


def _cut(sentences: list[str]) -> list[str]:
    return [sentence[:LONGEST] for sentence in sentences]
