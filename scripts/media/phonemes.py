"""Text → phones by phonemizer, through espeak-ng, MBROLA's voices, Festival or a table of graphemes."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from functools import cache, lru_cache
from typing import Any, NamedTuple

from media.east_asian import hiragana, spelling, syllables, with_tone
from media.espeak import find_library, system_library
from media.languages import JAPANESE, MANDARIN, LanguageError, voice_of

ESPEAK, MBROLA, FESTIVAL, SEGMENTS = "espeak", "espeak-mbrola", "festival", "segments"
PINYIN, ENGLISH = "cmn-latn-pinyin", "en-us"  # voices of syllables, and of Latin words among them
MARKS = "。、，！？；：・「」『』（）《》〈〉؟،؛।॥"  # beside phonemizer's own
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a NUL would end the text for espeak-ng
MISSING = {
    MBROLA: "MBROLA with its voices, and an espeak-ng of the system: apt-get install mbrola mbrola-us1",
    FESTIVAL: "the program festival: apt-get install festival festvox-kallpc16k",
    SEGMENTS: "the package segments: envs/create.sh text",
}


class Options(NamedTuple):
    """What is kept of a text."""

    punctuation: bool = True
    stress: bool = True
    strip: bool = True


class BackendError(ValueError):
    """A backend that this machine lacks; the message says what to install."""


class Phonemizer:
    """Turns texts into phones; what speaks a language is made once and kept, as each costs some 5 MB."""

    def __init__(self, backend: str, options: Options) -> None:
        self.backend, self.options = backend, options
        self.voices = voices(backend)

    def voice(self, language: str) -> str:
        """Return the backend's own code for a language; LanguageError where it has none."""
        if self.backend in (ESPEAK, FESTIVAL):
            return voice_of(language, self.voices)
        if self.backend == MBROLA and language not in self.voices:
            raise LanguageError(f"found the voice {language!r}, wanted one of {', '.join(self.voices)}")
        return language  # of SEGMENTS: a name or a file, which it reads itself

    def phones(self, text: str, voice: str) -> str:
        """Return the phones of a text: IPA, or the backend's own signs with a space between; LanguageError
        where the environment lacks what the language takes.
        """
        text = " ".join(CONTROL.sub(" ", text).split())
        try:
            if self.backend == ESPEAK and voice == MANDARIN:
                return self._mandarin(text)
            if self.backend == ESPEAK and voice == JAPANESE:
                text = hiragana(text)
        except ImportError as error:
            raise LanguageError(f"{voice}: {error}; wanted the environment `text`") from error
        return self._speak(text, voice, self.options)

    def _speak(self, text: str, voice: str, options: Options) -> str:
        from phonemizer.separator import Separator, default_separator

        separator = default_separator if self.backend in (ESPEAK, SEGMENTS) else Separator(" | ", " . ", " ")
        speaker = speaker_of(self.backend, voice, options.punctuation, options.stress)
        return " ".join(speaker.phonemize([text], separator=separator, strip=options.strip)) if text else ""

    def _mandarin(self, text: str) -> str:
        said = ""
        for what, value in syllables(text):
            if what == "mark":
                said += value if self.options.punctuation else ""
                continue
            spoken = _syllable(value) if what == "syllable" else self._word(value)
            said += (" " if said else "") + spoken
        return said if self.options.strip or not said else said + " "

    def _word(self, word: str) -> str:
        return self._speak(word, ENGLISH, self.options._replace(strip=True))


@lru_cache(maxsize=4096)  # there are some 1,600 syllables
def _syllable(syllable: str) -> str:
    speaker = speaker_of(ESPEAK, PINYIN, punctuation=False, stress=False)
    return with_tone(syllable, "".join(speaker.phonemize([spelling(syllable)], strip=True)))


@cache
def voices(backend: str) -> Collection[str]:
    """Return the codes of a backend's languages; BackendError where this machine lacks it."""
    kind = _kind(backend)
    try:
        found = tuple(sorted(kind.supported_languages())) if kind.is_available() else ()
    except RuntimeError as error:
        raise BackendError(f"--backend {backend}: {error}; wanted {MISSING.get(backend)}") from error
    if not found:
        raise BackendError(f"--backend {backend} is not on this machine; wanted {MISSING.get(backend)}")
    return found


@cache
def speaker_of(backend: str, voice: str, punctuation: bool, stress: bool) -> Any:
    """Return phonemizer's backend for a voice, the same one for the same options; LanguageError where it
    refuses the voice.
    """
    from phonemizer.punctuation import Punctuation

    quiet = logging.getLogger("amela.phonemizer")
    quiet.disabled = True  # a line for each that switches languages
    options: dict[str, Any] = {"logger": quiet}
    if backend != MBROLA:
        options.update(preserve_punctuation=punctuation)
        options.update(punctuation_marks=Punctuation.default_marks() + MARKS)
    if backend == ESPEAK:
        options.update(with_stress=stress, language_switch="remove-flags")
    try:
        return _kind(backend)(voice, **options)
    except RuntimeError as error:
        raise LanguageError(f"{backend}: {error}") from error


@cache
def _kind(backend: str) -> Any:
    """Return the class of a backend, espeak-ng's library chosen."""
    from phonemizer import backend as kinds

    if backend in (ESPEAK, MBROLA):
        library, data = find_library() if backend == ESPEAK else (system_library(), None)
        kinds.EspeakBackend.set_library(library)
        kinds.espeak.wrapper.EspeakWrapper.set_data_path(data)
    try:
        return kinds.BACKENDS[backend]
    except ImportError as error:  # `segments` alone, which phonemizer only takes where it is there
        raise BackendError(f"--backend {backend}: wanted {MISSING.get(backend)}") from error
