"""Text into sentences, by punctuation and line breaks, in any script; and text files, a paragraph at a time.

A rule of thumb, not a model: abbreviations and initials of the list below do not end a sentence, nor does a
stop before a small letter or inside a number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

TEXT_SUFFIXES = (".txt",)
ABBREVIATIONS = """
    mr mrs ms dr prof st jr sr vs etc e.g i.e cf fig no vol al approx capt col gen gov hon lt rev sgt a.m p.m
    u.s u.k dipl ing bzw ca d.h z.b u.a usw nr bd hrsg vgl m mme mlle mm sra sres ud p.ej
""".split()  # noqa: SIM905 (English, German, French, Spanish: what stands before a name or an example)
# a stop with what closes it, then blanks; or a full-width stop, after which no blank stands
_ENDS = re.compile(r"""([.!?…]+["'”’»)\]]*)\s+|([。！？]+["”’」』）]*)\s*""")
_LAST_WORD = re.compile(r"(\S+)$")


def spans(text: str) -> list[tuple[int, int]]:
    """Return where the sentences of a text begin and end, blanks around them left out."""
    found, start = [], 0
    for match in _ENDS.finditer(text):
        if match[2] or _ends_here(text[start : match.start()], match[1], text[match.end() :][:1]):
            found.append((start, match.end(1) if match[1] else match.end(2)))
            start = match.end()
    found.append((start, len(text.rstrip())))
    stripped = [(begin + len(text[begin:end]) - len(text[begin:end].lstrip()), end) for begin, end in found]
    return [(begin, end) for begin, end in stripped if end > begin]


def split(text: str) -> list[str]:
    """Return the sentences of a text, each on one line."""
    return [" ".join(text[start:end].split()) for start, end in spans(text)]


def _ends_here(before: str, stop: str, following: str) -> bool:
    """Tell whether a stop ends a sentence, by the word before it and the letter after it."""
    if following.islower():
        return False
    if not stop.startswith(".") or stop.startswith(".."):
        return True
    last = _LAST_WORD.search(before)
    word = last[1].lstrip("\"'“‘«([").lower() if last else ""
    is_initial = len(word) == 1 and word.isalpha() and word != "i"
    return not (word in ABBREVIATIONS or is_initial)


def sentences_of(path: str) -> Iterator[str]:
    """Yield the sentences of a UTF-8 text file, a paragraph in memory at a time; else UnicodeDecodeError.

    Blank lines part paragraphs. The lines of a paragraph are one running text where it has stops and a line
    that ends without one; else (lists of utterances) each line is split by itself.
    """
    with open(path, encoding="utf-8-sig") as file:
        lines: list[str] = []
        for line in file:
            if line.strip():
                lines.append(line.strip())
                continue
            yield from _paragraph(lines)
            lines = []
        yield from _paragraph(lines)


def _paragraph(lines: list[str]) -> Iterator[str]:
    has_stops = any(_ENDS.search(line + " ") for line in lines)
    is_running = has_stops and not all(_ENDS.search(line[-3:] + " ") for line in lines[:-1])
    for text in [" ".join(lines)] if is_running else lines:
        yield from split(text)


def is_text_file(path: str) -> bool:
    """Tell by its name whether a file holds text."""
    return os.path.splitext(path)[1].lower() in TEXT_SUFFIXES
