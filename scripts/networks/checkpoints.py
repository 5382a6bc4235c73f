"""Checkpoints: written aside and renamed, the one before kept, read without arbitrary unpickling."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Sequence
from typing import Any, Callable

import torch

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says which and why."""


def write(path: str, content: dict[str, Any], write_aside: Callable[..., Any], previous: str = "") -> None:
    """Write a checkpoint by rename; the file that stood there is kept as `previous` where that is given.

    Serialised in memory first: a full disk then shows as the OSError that it is, and nothing is lost.
    """
    memory = io.BytesIO()
    torch.save(content, memory)
    with write_aside(path, "wb") as file:
        file.write(memory.getbuffer())
        file.flush()
        os.fsync(file.fileno())
        if previous and os.path.exists(path):
            os.replace(path, previous)


def keep(folder: str, epoch: int) -> None:
    """Keep last.pt as checkpoint_epoch_N.pth: linked, as last.pt is only ever replaced."""
    path = os.path.join(folder, f"checkpoint_epoch_{epoch}.pth")
    last = os.path.join(folder, LAST)
    if os.path.exists(path):
        return
    try:
        os.link(last, path)
    except OSError:  # a file system without links
        shutil.copyfile(last, f"{path}.part")
        os.replace(f"{path}.part", path)


def read(path: str, device: Any = "cpu") -> dict[str, Any]:
    """Return what a checkpoint holds; CheckpointError where it is not there, cut, altered, or more than
    tensors and values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken:
            raise CheckpointError(f"{path}: {broken} in it is damaged (checksum)")
        return torch.load(path, map_location=device, weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise CheckpointError(f"{path}: {error.strerror}; wanted a checkpoint") from error
    except (zipfile.BadZipFile, pickle.UnpicklingError, EOFError, RuntimeError, KeyError) as error:
        what = str(error).split("\n", 1)[0][:200]
        raise CheckpointError(f"{path}: found no whole checkpoint ({what}); wanted one of ours") from error


def take_weights(model: Any, path: str, config: dict[str, Any], shape: Sequence[str]) -> None:
    """Load the weights of a checkpoint of another run; CheckpointError where that differs in a setting of
    `shape`.
    """
    saved = read(path)
    found = saved["config"]
    differences = [
        f"{name} {found.get(name)}, wanted {config[name]}"
        for name in shape
        if found.get(name) != config[name]
    ]
    if differences:
        raise CheckpointError(f"{path}: found {'; '.join(differences)}: give the model's settings as there")
    model.load_state_dict(saved["model"])


def read_last(folder: str, device: Any, log: Callable[[str], None]) -> dict[str, Any] | None:
    """Return the newest whole checkpoint of a run, None where it has none; CheckpointError where all are
    broken.
    """
    problems = []
    for name in (LAST, PREVIOUS):
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            continue
        try:
            found = read(path, device)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            log(f"warning: {problem}; going on from {name}")
        return found
    if problems:
        raise CheckpointError(
            "; ".join(problems)
            + f"; the run cannot go on: remove {folder} to begin anew (best.pt is kept till then)"
        )
    return None
