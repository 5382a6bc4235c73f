"""Recordings and transcripts in two folders, paired by the stem of their names: a.wav and a.txt."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable

from amela.errors import CallError
from amela.log import log

Record = dict[str, Any]
SHOWN = 10  # names in a warning


def find_pairs(audio_dir: str, transcripts_dir: str, scan: Callable[[str], Iterable[str]]) -> list[Record]:
    """Return a record a pair (id, the stem; audio_filepath; text), sorted; folders below are searched too.

    Warns of what has no partner, and leaves out transcripts without a word with a warning. CallError where
    there is no pair at all, or two files of a folder have one stem. `scan` lists the audio of a folder.
    """
    for folder in (audio_dir, transcripts_dir):
        if not os.path.isdir(folder):
            raise CallError(f"{folder}: no such folder; wanted one of recordings and one of transcripts")
    audio = _by_stem(audio_dir, scan(audio_dir))
    transcripts = _transcripts(transcripts_dir)
    both = sorted(set(audio) & set(transcripts))
    texts = {stem: _read_text(transcripts[stem]) for stem in both}
    empty = [stem for stem in both if not texts[stem]]
    _warn("recordings without a transcript", transcripts_dir, sorted(set(audio) - set(transcripts)))
    _warn("transcripts without a recording", audio_dir, sorted(set(transcripts) - set(audio)))
    _warn("transcripts without a word, left out", transcripts_dir, empty)
    pairs = [{"id": stem, "audio_filepath": audio[stem], "text": texts[stem]} for stem in both if texts[stem]]
    log(f"{len(pairs)} pairs of {len(audio)} recordings and {len(transcripts)} transcripts")
    if not pairs:
        raise CallError(
            f"{audio_dir}, {transcripts_dir}: found no pair, wanted a.wav in one, a.txt in the other"
        )
    return pairs


def read_transcripts(folder: str) -> dict[str, str]:
    """Return the text of each .txt file in and below a folder by its stem; a text may be empty."""
    if not os.path.isdir(folder):
        raise CallError(f"{folder}: no such folder; wanted one of transcripts")
    return {stem: _read_text(path) for stem, path in _transcripts(folder).items()}


def _transcripts(folder: str) -> dict[str, str]:
    return _by_stem(folder, map(str, sorted(Path(folder).rglob("*.txt"))))


def _by_stem(folder: str, paths: Iterable[str]) -> dict[str, str]:
    """Return paths by their stem; CallError where two files have the same, as one would hide the other."""
    found: dict[str, str] = {}
    for path in paths:
        stem = os.path.splitext(os.path.basename(path))[0]
        if stem in found:
            raise CallError(f"{folder}: found {found[stem]} and {path}, wanted one file a stem: rename one")
        found[stem] = path
    return found


def _read_text(path: str) -> str:
    """Return the words of a transcript, a blank between two; CallError where it is no UTF-8."""
    try:
        return " ".join(Path(path).read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as exc:
        raise CallError(f"{path}: byte {exc.start} is not UTF-8; convert it with `iconv`") from exc


def _warn(what: str, where: str, stems: list[str]) -> None:
    if stems:
        names = ", ".join(stems[:SHOWN]) + (" …" if len(stems) > SHOWN else "")
        log(f"warning: {len(stems)} {what} ({where}): {names}")
