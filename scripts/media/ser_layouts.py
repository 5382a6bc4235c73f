"""Public corpora of emotional speech, as they are unpacked: where the sounds lie, and what their names say.

Each function yields records without duration: audio_filepath, id, speaker, emotion (a name), and text,
session where they are known. Sources: the corpora's own descriptions. IEMOCAP: Busso et al. 2008; as most
papers, the four classes of 5,531 utterances, excited counted as happy. RAVDESS: Livingstone & Russo 2018,
speech without song. CREMA-D: Cao et al. 2014, the emotion that was acted. EmoBox: Ma et al. 2024, its folds
and names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]
IEMOCAP = {"ang": "anger", "hap": "happiness", "exc": "happiness", "neu": "neutral", "sad": "sadness"}
RAVDESS = ("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise")
RAVDESS_TEXTS = ("Kids are talking by the door.", "Dogs are sitting by the door.")
CREMAD = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
CREMAD_TEXTS = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
_RATED = re.compile(r"^\[[\d. ]+-[\d. ]+\]\s+(\w+)\s+(\w+)\s+\[")
_SPEECH = re.compile(r"\d\d-01-0([1-8])-\d\d-0([12])-\d\d-(\d\d)")  # emotion, statement, actor
_ACTED = re.compile(r"(\d+)_([A-Z]{3})_([A-Z]{3})_[A-Z]*")
_SAID = re.compile(r"^(\w+) \[[\d.]+-[\d.]+\]:\s*(.*)$")


class LayoutError(ValueError):
    """A folder that is not the corpus; the message says what was looked for."""


def iemocap(root: Path) -> Iterator[Record]:
    """Read IEMOCAP_full_release: Session1 … Session5 with dialog/ and sentences/wav/."""
    sessions = _found(root, "Session[1-5]", "folders Session1 … Session5")
    for session in sessions:
        texts: dict[str, str] = {}
        for file in sorted((session / "dialog/transcriptions").glob("Ses*.txt")):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                if said := _SAID.match(line):
                    texts[said[1]] = said[2].strip()
        for file in sorted((session / "dialog/EmoEvaluation").glob("Ses*.txt")):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                rated = _RATED.match(line)
                if rated and rated[2] in IEMOCAP:
                    name = rated[1]
                    dialog = name.rpartition("_")[0]
                    yield {
                        "audio_filepath": str(session / "sentences/wav" / dialog / f"{name}.wav"),
                        "id": name,
                        "text": texts.get(name, ""),
                        "speaker": f"Ses{session.name[-1]}{name.rpartition('_')[2][0]}",
                        "session": session.name,
                        "emotion": IEMOCAP[rated[2]],
                    }


def ravdess(root: Path) -> Iterator[Record]:
    """Read Audio_Speech_Actors_01-24: Actor_01/03-01-06-01-02-01-12.wav …, song left out."""
    for path in _found(root, "**/*-*-*-*-*-*-*.wav", "files like Actor_01/03-01-06-01-02-01-12.wav"):
        if named := _SPEECH.fullmatch(path.stem):
            yield {
                "audio_filepath": str(path),
                "id": path.stem,
                "text": RAVDESS_TEXTS[int(named[2]) - 1],
                "speaker": f"actor_{named[3]}",
                "emotion": RAVDESS[int(named[1]) - 1],
            }


def cremad(root: Path) -> Iterator[Record]:
    """Read CREMA-D: AudioWAV/1001_DFA_ANG_XX.wav …"""
    for path in _found(root, "**/[0-9]*_???_???_*.wav", "files like AudioWAV/1001_DFA_ANG_XX.wav"):
        named = _ACTED.fullmatch(path.stem)
        if named and named[2] in CREMAD_TEXTS and named[3] in CREMAD:
            yield {
                "audio_filepath": str(path),
                "id": path.stem,
                "text": CREMAD_TEXTS[named[2]],
                "speaker": named[1],
                "emotion": CREMAD[named[3]],
            }


READERS = {"iemocap": iemocap, "ravdess": ravdess, "crema-d": cremad}


def emobox_folds(root: Path) -> list[tuple[str, dict[str, list[Record]]]]:
    """Return (name, records of train, test and, where it has one, valid) of each fold of a corpus in EmoBox.

    `root` has fold_1/CORPUS_train_fold_1.jsonl … and label_map.json; paths are relative to where EmoBox's
    downloads/ is. Its `length` is the duration, in seconds.
    """
    labels = json.loads((root / "label_map.json").read_text()) if (root / "label_map.json").exists() else {}
    folds = []
    for folder in _found(root, "fold_*", "folders fold_1 … as in EmoBox's data/CORPUS"):
        splits = {}
        for split in ("train", "valid", "test"):
            files = sorted(folder.glob(f"*_{split}_{folder.name}.jsonl"))
            if files:
                splits[split] = list(_emobox(files[0], labels))
        if not {"train", "test"} <= splits.keys():
            raise LayoutError(
                f"{folder}: wanted files *_train_{folder.name}.jsonl and *_test_{folder.name}.jsonl"
            )
        folds.append((folder.name, splits))
    return folds


def _emobox(path: Path, labels: dict[str, str]) -> Iterator[Record]:
    """Yield the records of a file; LayoutError names the line that is none of EmoBox's."""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield {
                "audio_filepath": row["wav"],
                "duration": row["length"],
                "id": row["key"],
                "emotion": labels.get(row["emo"], row["emo"]),
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LayoutError(
                f"{path}:{number}: {error!r}; wanted an object with key, wav, length, emo"
            ) from error


def _found(root: Path, pattern: str, wanted: str) -> list[Path]:
    found = sorted(root.glob(pattern))
    if not found:
        raise LayoutError(f"{root}: found no {wanted}")
    return found
