"""How well a tokenizer writes texts: whether they come back, what is lost, how many tokens they take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

MOST = 12  # tokens and characters that are listed

Encode = Callable[[str], "list[int]"]
Decode = Callable[["list[int]"], str]


def report(
    texts: Sequence[str], encode: Encode, decode: Decode, names: Sequence[str], unk_id: int
) -> dict[str, Any]:
    """Return figures of texts. `names` are the tokens in the order of their ids.

    `exact` is the share of texts that come back as they were; `words` are parted by white space;
    `never_used` counts the tokens that none of the texts needs.
    """
    used: Counter[int] = Counter()
    exact = words = characters = 0
    for text in texts:
        ids = encode(text)
        used.update(ids)
        exact += decode(ids) == text
        words += len(text.split())
        characters += len(text)
    tokens = sum(used.values())
    by_use = sorted(used, key=lambda one: (-used[one], one))
    return {
        "texts": len(texts),
        "exact": exact / len(texts),
        "words": words,
        "characters": characters,
        "tokens": tokens,
        "tokens_a_word": round(tokens / max(1, words), 4),
        "tokens_a_character": round(tokens / max(1, characters), 4),
        "unknown": used[unk_id],
        "never_used": len(names) - len(used),
        "most_used": [[names[one], used[one]] for one in by_use[:MOST]],
        "least_used": [[names[one], used[one]] for one in by_use[-MOST:]],
    }


def lost_characters(counts: Mapping[str, int], encode: Encode, decode: Decode) -> list[dict[str, Any]]:
    """Return the characters that do not come back, the most frequent first: character, code, count."""
    lost = [one for one in counts if decode(encode(one)) != one]
    lost.sort(key=lambda one: (-counts[one], one))
    return [{"character": one, "code": f"U+{ord(one):04X}", "count": counts[one]} for one in lost]


def lengths(values: Iterable[int]) -> dict[str, float]:
    """Return the mean and the largest of some lengths."""
    found = list(values)
    return {"mean": round(sum(found) / max(1, len(found)), 2), "max": max(found, default=0)}
