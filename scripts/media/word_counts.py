"""How often each word of a corpus occurs, in bounded memory: all that training a tokenizer asks of its text,
since neither kind of BPE crosses a blank.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator

MAX_CHARACTERS = 8_000_000  # of the different words in memory: a million words of eight
LONGEST = 1000  # characters; a longer word (text without blanks) is counted in parts


class WordCounts:
    """Counts of the words of texts.

    They are exact while the different words have no more than `limit` characters together. Beyond, the rarest
    are forgotten, those first that came first, until half of it is left; new words are counted as before. The
    same texts in the same order give the same counts.
    """

    def __init__(self, limit: int = MAX_CHARACTERS) -> None:
        self.counts: Counter[str] = Counter()
        self.first: Counter[str] = Counter()  # of these the ones that begin a text: no blank before
        self.limit = limit
        self.forgotten = 0  # times that a word in memory was given up
        self._lost: Counter[str] = Counter()  # characters of the forgotten
        self._look_at = limit // 16  # different words at which their characters are counted again

    def add(self, texts: Iterable[str]) -> None:
        """Count the words of some texts."""
        for text in texts:
            words = text.split()
            if len(text) > LONGEST:
                words = [word[at : at + LONGEST] for word in words for at in range(0, len(word), LONGEST)]
            self.counts.update(words)
            self.first.update(words[:1])
        if len(self.counts) > self._look_at:
            self._forget()

    def _forget(self) -> None:
        held = sum(map(len, self.counts))
        if held > self.limit:
            for word in sorted(self.counts, key=self.counts.__getitem__):
                held -= len(word)
                count = self.counts.pop(word)
                self.first.pop(word, None)
                self.forgotten += 1
                for character in word:
                    self._lost[character] += count
                if held <= self.limit // 2:
                    break
        self._look_at = len(self.counts) + self.limit // 64

    def characters(self) -> dict[str, int]:
        """Return how often each character occurs, white space left out; of forgotten words too."""
        found = Counter(self._lost)
        for word, count in self.counts.items():
            for character in word:
                found[character] += count
        return dict(found)

    def total(self) -> int:
        """Return the number of words that were counted and not forgotten."""
        return sum(self.counts.values())

    def texts(self, most: int) -> Iterator[list[str]]:
        """Yield texts that hold the words about as often as they occur, in order, in lists; all of them where
        there are no more than `most`, else each in proportion, of rare ones a part that their letters choose.

        A word that began a text is a text of its own; the others have a blank before them.
        """
        total = max(self.total(), most)
        for word in sorted(self.counts):
            first = _share(self.first[word], most, total, word)
            inside = _share(self.counts[word], most, total, word) - first
            if first > 0:
                yield from _lists(word, first, 1)
            if inside > 0:
                yield from _lists(" " + word, inside, 100)


def _share(count: int, most: int, total: int, word: str) -> int:
    """Return count * most / total, rounded up for as large a part of the words as there is remainder."""
    whole, rest = divmod(count * most, total)
    return whole + (zlib.crc32(word.encode()) * total >> 32 < rest)


def _lists(text: str, count: int, together: int) -> Iterator[list[str]]:
    whole = [text * together] * 100
    for _ in range(count // together // 100):
        yield whole
    rest = count % (100 * together)
    yield [text * together] * (rest // together) + [text] * (rest % together)
