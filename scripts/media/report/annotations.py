"""What the stages of annotation found in a record, as the page draws it: words, speakers, curves, emotion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from media.report.page import shown
from media.tiers import clean, segments, timed_words

CURVE_POINTS = 1500  # of one curve; more cannot be seen
EMOTIONS_SHOWN = 6  # of the 28
SIMILAR_SHOWN = 8
MAX_IPA = 4_000  # characters
SHARES = ("positive", "neutral", "negative")  # of the words of a text, by a lexicon


def spoken_parts(record: dict[str, Any], field: str, start_s: float, end_s: float) -> dict[str, Any]:
    """Return segments, words, speakers and their turns from `start_s` to `end_s` of a record, times in ms.

    A part is [start, end, text], and the number of its speaker where one is known. `heard` has the words of
    transcribe.py where `field` is another's text.
    """
    speakers: dict[str, int] = {}

    def numbered(rows: Iterable[tuple[dict[str, Any], object, Any]]) -> list[list[Any]]:
        found = []
        for part, text, speaker in rows:
            if not (part["start_s"] < end_s and part["end_s"] > start_s and clean(text or "")):
                continue
            number = [speakers.setdefault(clean(speaker), len(speakers))] if speaker else []
            edges = [round(1000 * part["start_s"]), round(1000 * part["end_s"])]
            found.append([*edges, clean(text or ""), *number])
        return found

    own = segments(record, field)
    parts = {
        "segments": numbered((part, part.get("text"), part.get("speaker")) for part in own),
        "words": numbered(_words(own)),
    }
    words_by = record.get("whisperx") or []
    if field != "whisperx_text":
        parts["heard"] = numbered(_words(words_by))
    talks = words_by or own
    turns = numbered((part, "turn", part.get("speaker")) for part in talks if part.get("speaker"))
    parts["turns"] = [[start, end, number] for start, end, _, number in turns]
    return {**parts, "speakers": list(speakers)}


def _words(parts: list[dict[str, Any]]) -> Iterable[tuple[dict[str, Any], object, Any]]:
    for part in parts:
        for word in timed_words(part):
            yield word, word.get("word"), word.get("speaker") or part.get("speaker")


def curves_of(record: dict[str, Any], start_s: float, end_s: float) -> dict[str, Any]:
    """Return pitch (`f0`, Hz, 0: unvoiced) and `energy` (dB) from `start_s` to `end_s` of a record, thinned:
    point i is at `start_s` + i · `hop_s` (s). Nothing without features; ValueError where they cannot be read.
    """
    import numpy as np

    from media.frames import read_frames

    if not record.get("features_filepath"):
        return {}
    found = read_frames(record["features_filepath"], ("f0_hz", "energy_db"))
    arrays = {"f0": found.get("f0_hz"), "energy": found.get("energy_db")}
    hop_s = float(found.get("hop_s") or 0.01)
    first, last = int(np.ceil(start_s / hop_s - 1e-6)), int(end_s / hop_s + 1e-6) + 1
    step = max(1, -(-(last - first) // CURVE_POINTS))
    curves = {
        name: thin(np.asarray(array[first:last], np.float64), step, voiced=name == "f0")
        for name, array in arrays.items()
        if array is not None and len(array[first:last])
    }
    start_s = (first + (step - 1) / 2) * hop_s
    return {"start_s": round(start_s, 5), "hop_s": round(step * hop_s, 6), **curves} if curves else {}


def thin(values: Any, step: int, voiced: bool) -> list[float | None]:
    """Return one value for each `step` of (frames,): of energy the mean, of pitch the median of the voiced
    frames, 0 where fewer than half are.
    """
    import numpy as np

    padded = np.pad(values, (0, -len(values) % step), constant_values=np.nan).reshape(-1, step)
    thinned: list[float | None] = []
    for group in padded:
        here = group[np.isfinite(group)]
        if voiced:
            pitch = here[here > 0]
            thinned.append(
                round(float(np.median(pitch)), 1) if len(pitch) and 2 * len(pitch) >= len(here) else 0
            )
        else:
            thinned.append(round(float(here.mean()), 1) if len(here) else None)
    return thinned


def findings_of(record: dict[str, Any], places: dict[str, int]) -> dict[str, Any]:
    """Return ipa, codes, tags and similar ones of a record; `places` has the table's rows by key."""
    found: dict[str, Any] = {}
    if record.get("ipa"):
        text = clean(record["ipa"])
        found["ipa"] = {
            "text": text[:MAX_IPA] + ("" if len(text) <= MAX_IPA else " …"),
            "lang": record.get("ipa_lang"),
        }
    for name, bars in (("emotion", _emotion_bars), ("sentiment", _sentiment_bars)):
        tag = record.get(name)
        if isinstance(tag, dict) and tag.get("label"):
            by = tag.get("model") or tag.get("engine") or ""
            found[name] = {"label": clean(tag["label"]), "by": clean(by), "bars": bars(tag)}
    codes = record.get("codes")
    if isinstance(codes, dict) and codes.get("codec"):
        found["codes"] = _codes(codes)
    similar = record.get("similar") or []
    if similar:
        found["similar"] = [
            [_name(one["key"]), one["score"], places.get(one["key"])] for one in similar[:SIMILAR_SHOWN]
        ]
    return found


def _codes(codes: dict[str, Any]) -> str:
    parts = [clean(codes["codec"])]
    if codes.get("bandwidth_kbps"):
        parts.append(f"{codes['bandwidth_kbps']:g} kbit/s")
    if codes.get("frame_rate_hz") and codes.get("codebooks"):
        rate_hz, books = codes["frame_rate_hz"], codes["codebooks"]
        rate = f"{rate_hz:,.0f}" if rate_hz >= 1000 else f"{rate_hz:.4g}"
        parts.append(f"{rate} frames a second of {books} " + ("code" if books == 1 else "codes"))
    return ", ".join(parts)


def _emotion_bars(tag: dict[str, Any]) -> list[list[Any]]:
    from media.emotions import LABELS

    scores = tag.get("scores") or []
    rows = (
        zip(LABELS, scores) if len(scores) == len(LABELS) else [(clean(tag["label"]), tag.get("score") or 0)]
    )
    return [[name, round(score, 4)] for name, score in sorted(rows, key=lambda row: -row[1])[:EMOTIONS_SHOWN]]


def _sentiment_bars(tag: dict[str, Any]) -> list[list[Any]]:
    return [[f"{name} words", tag[name]] for name in SHARES if tag.get(name) is not None]


def _name(key: str) -> str:
    """Return the key as one reads it: a path without its folders."""
    return clean(shown(key.rsplit("/", 1)[-1]))
