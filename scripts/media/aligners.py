"""Words with times and scores by forced alignment (whisperx.alignment); an aligner a language, kept."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable

from media import sentences
from media.errors import EngineError
from media.transcribing import is_device_broken, is_out_of_memory
from media.word_transcriber import is_number

if TYPE_CHECKING:
    import numpy as np

KEPT = 4  # aligners in memory at once: those of large wav2vec 2.0 models take 1.3 GB each
Segment = dict  # text, start and end (s in the record); words once aligned; aligned: False where that failed


class Aligner:
    """Aligns segments of any language that has a model.

    source: a folder of one model, used for every language; a folder of folders named by language code; a hub
    id; or "" for the models that WhisperX chooses itself, by language.
    """

    def __init__(self, source: str, device: str, offline: bool, log: Callable[[str], None] = print) -> None:
        self.source, self.device, self.offline, self.log = source, device, offline, log
        self._said: set[str] = set()
        self._failed: dict[str, EngineError] = {}  # by language, as each try may take minutes
        self._model = lru_cache(maxsize=KEPT)(self._load)
        _split_sentences_offline(log)

    def align(self, segments: list[Segment], samples: np.ndarray, lang: str) -> list[Segment]:
        """Return the segments as sentences with `words`; one that cannot be aligned stays, `aligned` False.

        samples: those of the whole record, float32, 16 kHz, shape (samples,). Raises EngineError where the
        model of the language cannot be loaded.
        """
        model = self._model(lang)
        found: list[Segment] = []
        for segment in segments:
            aligned = self._align(segment, samples, model) if model else []
            found += aligned or [{**segment, "words": [], "aligned": False}]
        return found

    def _align(self, segment: Segment, samples: np.ndarray, model: tuple[Any, dict]) -> list[Segment]:
        """The sentences of a segment, none where it cannot be aligned."""
        from whisperx import alignment

        try:
            said = alignment.align([segment], *model, samples, self.device)["segments"]
        except Exception as error:
            if is_out_of_memory(error) or is_device_broken(error):
                raise
            self._say_once(f"a segment was not aligned: {type(error).__name__}: {error}")
            return []
        is_placed = all(one["words"] and is_number(one["start"]) and is_number(one["end"]) for one in said)
        is_whole = _letters(one["text"] for one in said) == _letters([segment["text"]])
        return said if is_placed and is_whole else []

    def _load(self, lang: str) -> tuple[Any, dict] | None:
        """The model of a language and its metadata; None where there is none for it."""
        from whisperx import alignment

        if lang in self._failed:
            raise self._failed[lang]
        name = self._name_of(lang)
        known = {**alignment.DEFAULT_ALIGN_MODELS_TORCH, **alignment.DEFAULT_ALIGN_MODELS_HF}
        if name is None or (not name and lang not in known):
            self._say_once(
                f"no aligner for language {lang}: its segments stay without words (aligned: false)"
            )
            return None
        try:
            return alignment.load_align_model(
                lang, self.device, model_name=name or None, model_cache_only=self.offline
            )
        except Exception as error:
            if is_out_of_memory(error) or is_device_broken(error):
                raise
            self._failed[lang] = EngineError(
                f"the aligner of language {lang} ({name or known.get(lang)}) cannot be loaded: "
                f"{type(error).__name__}: {error}; wanted --align-model DIR (one model, or a folder with a "
                "folder a language, as aligners/en), or --no-align"
            )
            raise self._failed[lang] from error

    def _name_of(self, lang: str) -> str | None:
        """What to load for a language: a folder or hub id, "" for WhisperX's choice, None for nothing."""
        if not os.path.isdir(self.source) or os.path.exists(os.path.join(self.source, "config.json")):
            return self.source
        folder = os.path.join(self.source, lang)
        return folder if os.path.isdir(folder) else None

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self.log(message)


def _letters(texts: Iterable[str]) -> list[str]:
    """All that is no blank, sorted: texts with the same of it lost nothing on the way."""
    return sorted("".join("".join(text.split()) for text in texts))


class _Sentences:
    """What whisperx asks of a splitter."""

    @staticmethod
    def span_tokenize(text: str) -> list[tuple[int, int]]:
        return sentences.spans(text)


def _split_sentences_offline(log: Callable[[str], None]) -> None:
    """Let whisperx split sentences by nltk's trained data where it is on this machine, else by ours.

    By itself it would fetch that data, and load it anew for each segment.
    """
    import nltk
    from whisperx import alignment

    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
        alignment.nltk_load = lru_cache(maxsize=None)(nltk.data.load)
    except LookupError:
        log("no nltk data punkt_tab here: sentences are split by punctuation alone (media/sentences.py)")
        alignment.nltk_load = lambda *_, **__: _Sentences
