"""Runs of the trainers, found again by what comes after them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from amela.errors import CallError
from amela.files import StrPath
from amela.log import log
from amela.run_folder import CONFIG, DONE

BEST = "best.pt"


class Run(NamedTuple):
    """A run and the checkpoint to use of it; `name` tells it from all other runs."""

    folder: Path
    checkpoint: str
    sha256: str  # of the checkpoint
    name: str
    config: dict[str, Any]


def find_run(path: str, trainer: str = "train_lstm.py") -> Run:
    """Return the run of a folder, or of a best.pt in it; CallError where it is none, or has no whole best.pt
    yet. `trainer` is the script whose run is wanted.
    """
    given = Path(path)
    folder = given if given.is_dir() else given.parent
    if not given.exists() or not (folder / CONFIG).exists():
        what = f"no {CONFIG} in {folder}" if given.exists() else "no such run"
        raise CallError(f"{path}: {what}; wanted a run folder of {trainer}, or its {BEST} in its place")
    checkpoint = folder / BEST if given.is_dir() else given
    if not checkpoint.exists():
        raise CallError(
            f"{checkpoint}: not there yet; wanted a run that was evaluated once: wait, or go on training"
        )
    sha256 = digest_of(checkpoint)
    if not (folder / DONE).exists():
        log(f"warning: {folder} is not finished; its best so far is used")
    config = json.loads((folder / CONFIG).read_text())
    return Run(folder, str(checkpoint), sha256, run_name(folder), config)


def run_name(folder: StrPath) -> str:
    """Return the name that tells a run from all others: data set and seed, then model and settings."""
    whole = Path(folder).resolve()
    return f"{whole.name}_{whole.parent.name}"


def digest_of(checkpoint: Path) -> str:
    """Return the sha256 of a checkpoint; CallError where it is damaged."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            broken = archive.testzip()
    except zipfile.BadZipFile as exc:
        broken = str(exc)
    except OSError as exc:
        raise CallError(f"{checkpoint}: {exc.strerror}; wanted a checkpoint of train_lstm.py") from exc
    if broken:
        raise CallError(f"{checkpoint}: damaged ({broken}); wanted a checkpoint of train_lstm.py")
    return hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def is_trained(folders: str, data: str, words: Sequence[str]) -> bool:
    """Tell whether one of the run folders (a pattern) is finished, on the data set of this dataset.json, with
    the settings that these words of a command line ask for.
    """
    try:
        sha256 = hashlib.sha256(Path(data).read_bytes()).hexdigest()
    except FileNotFoundError:
        return False
    asked = dict(_settings(words))
    for done in Path().glob(f"{folders}/{DONE}"):
        config = json.loads((done.parent / CONFIG).read_text())
        if config.get("dataset_sha256") == sha256 and all(
            _agree(config[name], word) for name, word in asked.items() if name in config
        ):
            return True
    return False


def _settings(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (name, word) of each flag; "" for one that stands alone, and `--no-x` is `x` as "False"."""
    for place, word in enumerate(words):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            following = words[place + 1 : place + 2]
            if not equals and following and not following[0].startswith("--"):
                value = following[0]
            if name.startswith("no-"):
                name, value = name[3:], "False"
            yield name.replace("-", "_"), value


def _agree(setting: Any, word: str) -> bool:
    """Tell whether a setting of config.json is what a word asks for, `1e-3` being 0.001."""
    if isinstance(setting, list):
        return ",".join(map(str, setting)) == word
    with suppress(TypeError, ValueError):
        return float(setting) == float(word)
    return str(setting) == word or (word == "" and setting is True)
