"""Utterances with words, prominence and emotion: JSON lines as Prosody-SER has them, or our manifests.

Prosody-SER's: audio_filepath (relative to a folder), words (a list), prosody_annotations (0 or 1 a word),
emotion (a number). Ours: `words` or `text`; emotion a number, a name, or {label, …} as tag_emotion.py writes;
speaker, offset, duration, channel, id where known.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from media.audio import AudioError, AudioInfo, check_window, probe, record_window

PROSODY_SER = (
    "Neutral", "Confusion", "Anger", "Disgust", "Frustration", "Sadness", "Surprise", "Joy", "Fear",
)  # fmt: skip
SHOWN = 5
THREADS = 16  # headers are waited for


class SerDataError(ValueError):
    """Data that cannot be trained on; the message names the file and line, and says what was wanted."""


class Utterance(NamedTuple):
    """One utterance; `emotion` counts from 0 in the list of names."""

    key: str
    window: dict[str, Any]  # path, channel, offset_s, duration_s: for media.audio.load_mono
    duration_s: float
    words: tuple[str, ...]
    prosody: tuple[int, ...] | None  # of each word, None where nobody marked them
    emotion: int
    speaker: str | None


def read_splits(
    paths: Sequence[str], base: str, emotions: Sequence[str] | None = None
) -> tuple[list[list[Utterance]], list[str]]:
    """Return the utterances of each file and the names of the emotions.

    Where `emotions` does not name them, numbers are those of Prosody-SER, and names are those of the first
    file, sorted. SerDataError names up to five lines that cannot be used.
    """
    problems: list[str] = []
    rows = [list(_rows(path, problems)) for path in paths]
    names = list(emotions or _names([record for _, record in rows[0]]))
    _check_names(names)
    numbered = bool(emotions) or names == list(PROSODY_SER)  # else a number would be that of an alphabet
    found = [
        [one for one in (_read(*row, base, names, numbered, problems) for row in of_file) if one]
        for of_file in rows
    ]
    if not problems:
        wheres = [[where for where, _ in of_file] for of_file in rows]
        found = [_with_durations(*pair, problems) for pair in zip(wheres, found)]
    _refuse(problems)
    for path, split in zip(paths, found):
        if not split:
            raise SerDataError(f"{path}: no utterance in it; wanted JSON lines")
    return found, names


def read_words(path: str) -> list[tuple[str, ...]]:
    """Return the words of each utterance of a file; SerDataError names lines that cannot be used."""
    problems: list[str] = []
    found = []
    for where, record in _rows(path, problems):
        words = _words(record)
        if words is None:
            problems.append(f"{where}: words {record['words']!r}, wanted a list of words")
        else:
            found.append(words)
    _refuse(problems)
    if not any(any(words) for words in found):
        raise SerDataError(f"{path}: no words in it; wanted JSON lines with words or text")
    return found


def _words(record: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the words of a record, its text's where it has no list; None where they are no such list."""
    words = record.get("words")
    if words is None:
        words = str(record.get("text") or "").split()
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return tuple(word.strip() for word in words)


def _refuse(problems: list[str]) -> None:
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise SerDataError("; ".join(problems[:SHOWN]) + more)


def _rows(path: str, problems: list[str]) -> list[tuple[str, dict[str, Any]]]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [(f"{path}:{number}", line) for number, line in enumerate(file, 1) if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SerDataError(f"{path}: {error}; wanted JSON lines, one an utterance") from error
    rows = []
    for where, line in lines:
        try:
            record = json.loads(line)
        except ValueError as error:
            problems.append(f"{where}: {error}; wanted a JSON object")
            continue
        if isinstance(record, dict):
            rows.append((where, record))
        else:
            problems.append(f"{where}: found {line.strip()[:40]}, wanted a JSON object")
    return rows


def _names(records: list[dict[str, Any]]) -> list[str]:
    labels = [label for record in records if (label := label_of(record.get("emotion"))) is not None]
    if all(not isinstance(label, str) for label in labels[:1]):  # the first says what all are
        return list(PROSODY_SER)
    return sorted({label for label in labels if isinstance(label, str)})


def _check_names(names: list[str]) -> None:
    """Raise SerDataError for two names that are one, capitals aside."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.strip().casefold(), name)
        if other != name or names.count(name) > 1:
            raise SerDataError(f"emotions {other!r} and {name!r}: wanted one spelling of each, and each once")


def label_of(emotion: Any) -> Any:
    """Return the label in a field `emotion`: a number or a name, None where it says nothing."""
    if isinstance(emotion, dict):
        emotion = emotion.get("label")
    if isinstance(emotion, float) and emotion.is_integer():  # as pandas writes numbers
        emotion = int(emotion)
    is_label = isinstance(emotion, (int, str)) and not isinstance(emotion, bool)
    return emotion if is_label else None


def _read(where: str, record: dict[str, Any], base: str, names: list[str],
          numbered: bool, problems: list[str]) -> Utterance | None:  # fmt: skip
    label, words = label_of(record.get("emotion")), _words(record)
    marks = record.get("prosody_annotations")
    is_number = numbered and isinstance(label, int)
    index = label if is_number else names.index(label) if label in names else -1
    path = record.get("audio_filepath")
    what = ""
    if not isinstance(path, str):
        what = "no audio_filepath"
    elif not 0 <= index < len(names):
        wanted = f"wanted one of {len(names)}: {', '.join(names)}"
        wanted += f"; or its number, 0 to {len(names) - 1}" if numbered else ""
        what = f"emotion {record.get('emotion')!r}, {wanted}"
    elif words is None:
        what = f"words {record['words']!r}, wanted a list of words"
    elif marks is not None and not _are_marks(marks, len(words)):
        what = f"{len(words)} words and prosody_annotations {marks!r}, wanted 0 or 1 a word"
    else:
        record = {**record, "audio_filepath": os.path.join(base, path)}
        what = _wrong_times(record)
        if not os.path.exists(record["audio_filepath"]):
            what = f"no file {record['audio_filepath']}; check --audio_base_path"
    if what:
        problems.append(f"{where}: {what}")
        return None
    return Utterance(
        str(record.get("id") or record["audio_filepath"]),
        record_window(record),
        float(record.get("duration") or 0.0) if record.get("offset") is not None else 0.0,
        words,
        None if marks is None else tuple(int(mark) for mark in marks),
        index,
        None if record.get("speaker") is None else str(record["speaker"]),
    )


def _are_marks(marks: Any, words: int) -> bool:
    return isinstance(marks, list) and len(marks) == words and all(mark in (0, 1) for mark in marks)


def _wrong_times(record: dict[str, Any]) -> str:
    """Return what is wrong with offset, duration and channel, nothing where they are such numbers."""
    for name in ("offset", "duration"):
        value = record.get(name)
        good = value is None or (isinstance(value, (int, float)) and 0 <= value < float("inf"))
        if not good:
            return f"{name} {value!r}, wanted seconds"
    if record.get("offset") is not None and record.get("duration") == 0:
        return "duration 0, wanted more"
    channel = record.get("channel")
    if channel is not None and type(channel) is not int:
        return f"channel {channel!r}, wanted its number, from 0"
    return ""


def _with_durations(wheres: list[str], split: list[Utterance], problems: list[str]) -> list[Utterance]:
    """Return the utterances with the durations of those that go to the end of their file, by its header."""
    paths = list(dict.fromkeys(one.window["path"] for one in split))
    with ThreadPoolExecutor(THREADS) as pool:
        headers = dict(zip(paths, pool.map(_header, paths)))
    found = []
    for where, one in zip(wheres, split):
        try:
            found.append(one._replace(duration_s=_duration_s(one, headers[one.window["path"]])))
        except AudioError as error:
            problems.append(f"{where}: {error}")
    return found


def _header(path: str) -> AudioInfo | AudioError:
    try:
        return probe(path)
    except AudioError as error:
        return error


def _duration_s(one: Utterance, header: AudioInfo | AudioError) -> float:
    """Return the seconds of sound; AudioError where the file has no such window or channel."""
    if isinstance(header, AudioError):
        raise header
    window: dict[str, Any] = {"offset_s": 0.0, "duration_s": None, **one.window}
    check_window(info=header, **window)
    duration_s = one.duration_s or header.duration_s - window["offset_s"]
    if duration_s <= 0:
        raise AudioError(f"{window['path']}: ends at {header.duration_s:g} s, wanted sound behind that")
    return duration_s
