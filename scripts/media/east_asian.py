"""Mandarin and Japanese text in what espeak-ng can read, and Mandarin's tones, which its IPA does not tell.

espeak-ng writes tones 1 and 4 alike. So hanzi become pinyin with digits (pypinyin, by phrases: 银行 is yín
háng), each syllable is spoken in tone 1, and the tone's letters come after it: ma˥ ma˧˥ ma˨˩˦ ma˥˩, and none
for the neutral tone. They are the tones of the dictionary, without sandhi but for those of pypinyin's own
phrases. Its ASCII stand-ins for IPA (s. for ʂ, th for tʰ) are replaced.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

TONES = {"1": "˥", "2": "˧˥", "3": "˨˩˦", "4": "˥˩", "5": ""}
PLAIN = "5"  # how espeak-ng writes tone 1, within the syllable: ma5n
RESPELT = {"jiong": "jong", "qiong": "qong", "xiong": "xong"}  # which it spells out as English letters
INTERJECTIONS = {"m": "m̩", "n": "n̩", "ng": "ŋ̍", "hm": "xm̩", "hng": "xŋ̍", "ê": "ɛ"}
IPA = (
    ("ts.h", "tʂʰ"), ("ts.", "tʂ"), ("s.", "ʂ"), ("i.", "ɻ̩"), ("i̪", "ɹ̩"), ("tsh", "tsʰ"), ("tɕh", "tɕʰ"),
    ("ph", "pʰ"), ("th", "tʰ"), ("kh", "kʰ"), ("wuə", "uə"), ("onɡ", "ʊŋ"), ("χ", "x"),
)  # fmt: skip
SYLLABLE = re.compile(r"([a-zêü]+)([1-5])")
PARTS = re.compile(r"([^\W\d_]+(?:['’-][^\W\d_]+)*)|([^\w\s])")  # word, mark
DIGITS, UNITS, GROUPS = "零一二三四五六七八九", ("", "十", "百", "千"), ("", "万", "亿", "万亿")
PARTICLES = {"は": "わ", "へ": "え"}  # said otherwise than written where they stand alone


def syllables(text: str) -> Iterator[tuple[str, str]]:
    """Yield (what, value) of a Mandarin text in order: a `syllable` of pinyin with its digit, a `word` in
    other letters, a `mark`; numbers are read out, emoji and the like left out.
    """
    for token in _pinyin(re.sub(r"\d+(?:\.\d+)?", lambda found: number(found[0]), text)):
        if SYLLABLE.fullmatch(token):
            yield "syllable", token
            continue
        for word, mark in PARTS.findall(token[1:]):
            if word:
                yield "word", word
            elif unicodedata.category(mark).startswith("P"):
                yield "mark", mark


def _pinyin(text: str) -> list[str]:
    """Return syllables, and what is no hanzi behind a space each."""
    import pypinyin

    style = pypinyin.Style.TONE3
    found: list[str] = pypinyin.lazy_pinyin(
        text, style=style, neutral_tone_with_five=True, v_to_u=True, errors=lambda rest: [f" {rest}"]
    )
    return found


def with_tone(syllable: str, spoken: str) -> str:
    """Return IPA of a syllable, given what espeak-ng makes of it in tone 1."""
    found = SYLLABLE.fullmatch(syllable)
    assert found
    if found[1] in INTERJECTIONS:
        spoken = INTERJECTIONS[found[1]]
    for old, new in (*IPA, (PLAIN, "")):
        spoken = spoken.replace(old, new)
    return spoken + TONES[found[2]]


def spelling(syllable: str) -> str:
    """Return how espeak-ng's voice for pinyin is given a syllable: in tone 1."""
    base = syllable[:-1]
    return RESPELT.get(base, base).replace("ü", "v") + "1"


def number(digits: str) -> str:
    """Return a number (12, 3.5) in hanzi; what has more than 16 digits, or begins with 0, digit by digit."""
    whole, point, rest = digits.partition(".")
    by_digit = "".join(DIGITS[int(one)] for one in whole)
    said = by_digit if len(whole) > 16 or (whole[0] == "0" and len(whole) > 1) else _cardinal(int(whole))
    return said + ("点" + "".join(DIGITS[int(one)] for one in rest) if point else "")


def _cardinal(value: int) -> str:
    """Return a whole number below 10 ** 16: 10 is 十, 105 is 一百零五, 20,003 is 二万零三."""
    if value == 0:
        return DIGITS[0]
    said, gap = "", False
    for place in range(3, -1, -1):
        group = value // 10000**place % 10000
        gap = gap or bool(said and group < 1000)
        if group:
            said += (DIGITS[0] if said and gap else "") + _below_10000(group) + GROUPS[place]
            gap = group % 10 == 0 and place > 0
    return said[1:] if said.startswith("一十") else said


def _below_10000(value: int) -> str:
    said, gap = "", False
    for place in range(3, -1, -1):
        digit = value // 10**place % 10
        if digit:
            said += (DIGITS[0] if gap and said else "") + DIGITS[digit] + UNITS[place]
        gap = not digit
    return said


def hiragana(text: str) -> str:
    """Return a Japanese text in hiragana, words by spaces: espeak-ng calls kanji `Chinese letter`."""
    parts = re.split(r"(?<=[。、！？!?,])", text)  # its time grows with the square of the length
    found = [item for part in parts for item in _kakasi().convert(part)]
    items = [(item["orig"].strip(), item["hira"].strip()) for item in found]
    words = " ".join(PARTICLES.get(orig, hira) for orig, hira in items if hira)
    return re.sub(r" +(?=[^\w\s])", "", words)  # no space before a mark


@lru_cache(maxsize=1)
def _kakasi() -> Any:
    import pykakasi

    return pykakasi.kakasi()
