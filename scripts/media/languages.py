"""Codes of languages as people and programs write them, and the codes of espeak-ng's voices."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

MANDARIN, JAPANESE = "cmn", "ja"
VOICES = {  # where espeak-ng's own code is another
    "en": "en-us", "fr": "fr-fr", "zh": MANDARIN, "no": "nb", "nn": "nb", "iw": "he", "in": "id", "jp": "ja",
    "cmn-latn-pinyin": MANDARIN, "zh-yue": "yue", "zh-hk": "yue", "es-mx": "es-419", "en-uk": "en-gb",
    "ara": "ar", "ces": "cs", "chi": MANDARIN, "deu": "de", "dut": "nl", "ell": "el", "eng": "en-us",
    "fin": "fi", "fra": "fr-fr", "fre": "fr-fr", "ger": "de", "hin": "hi", "hun": "hu", "ita": "it",
    "jpn": "ja", "kor": "ko", "nld": "nl", "nor": "nb", "pol": "pl", "por": "pt", "ron": "ro", "rus": "ru",
    "spa": "es", "swe": "sv", "tur": "tr", "ukr": "uk", "vie": "vi", "zho": MANDARIN,
}  # fmt: skip
SCRIPTS = (  # langdetect takes short texts in hanzi for Korean
    (re.compile("[\u3040-\u30ff]"), JAPANESE),  # kana
    (re.compile("[\uac00-\ud7a3]"), "ko"),  # hangul
    (re.compile("[\u3400-\u4dbf\u4e00-\u9fff]"), MANDARIN),
)
SEED = 0  # langdetect draws at random otherwise, and answers differently each time


class LanguageError(ValueError):
    """A language that is not known or has no voice; the message says what was found and wanted."""


def voice_of(code: str, voices: Collection[str]) -> str:
    """Return the voice for a language code (en, eng, en-GB, zh_CN, fr-CA …): its own, else that of the
    language without its region; LanguageError where there is none.
    """
    wanted = code.strip().lower().replace("_", "-")
    for name in (wanted, wanted.split("-")[0]):
        voice = VOICES.get(name, name)
        if voice in voices:
            return voice
    raise LanguageError(f"found the language {code!r}, for which there is no voice; wanted one such as en-us")


def detect(text: str) -> str | None:
    """Return the language of a text by its script, else as langdetect names it, the same each time; None
    where the text has no letters to tell it by (digits, emoji).
    """
    for letters, language in SCRIPTS:
        if letters.search(text):
            return language
    langdetect = _langdetect()
    try:
        return str(langdetect.detect(text))
    except langdetect.LangDetectException:
        return None


@lru_cache(maxsize=1)
def _langdetect() -> Any:
    import langdetect

    langdetect.DetectorFactory.seed = SEED
    return langdetect
