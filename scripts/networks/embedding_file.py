"""The arrays of recordings that a model listens to: of a manifest's sources, or one file {stem: tensor}."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from media.frames import FramesError, read_array
from media.units import ROW


def stems_of(path: str) -> dict[str, str]:
    """Return the sources in a file {stem: tensor} by stem; FramesError where it is none."""
    return {stem: f"{path}{ROW}{stem}" for stem in _tensors(path)}


def read_audio(source: str, name: str) -> Any:
    """Return the array of a source, that called `name` where there are several; FramesError for none."""
    path, _, stem = source.partition(ROW)
    if not path.endswith(".pt"):
        return read_array(source, name)
    tensors = _tensors(path)
    if stem not in tensors:
        raise FramesError(f"{path}: lacks {stem}; wanted the file that the run began with")
    return tensors[stem].detach().float().numpy()


@lru_cache(maxsize=1)
def _tensors(path: str) -> dict[str, torch.Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        raise FramesError(f"{path}: {error.strerror or error}; wanted a file of embed_pairs.py") from error
    except Exception as error:  # a cut file raises whatever its bytes lead to
        what = " ".join(str(error).split())[:200]
        raise FramesError(
            f"{path}: damaged, or no tensors: {what}; wanted a file of embed_pairs.py"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(one, torch.Tensor) for one in found.values()):
        raise FramesError(f"{path}: found {type(found).__name__}, wanted {{stem: tensor}} of embed_pairs.py")
    return {str(stem): tensor for stem, tensor in found.items()}
