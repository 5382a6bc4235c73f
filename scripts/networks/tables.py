"""Embedding tables of models' files: FILE, or FILE:NAME of a tensor in it, * for each level of a codec.

.npy (vocabulary, width) or (levels, vocabulary, width); .npz of fit_kmeans.py (`centers`); .safetensors; any
other as PyTorch's, running no code of it. Without NAME the codebooks of EnCodec and DAC are known by theirs.
"""

from __future__ import annotations

import fnmatch
import re
from typing import Any

import numpy as np
import torch

from networks.catalogue import split_name
from networks.weights import WeightsError, read_weights, some

CODEBOOKS = (  # names within: transformers' EnCodec, encodec's own, DAC's (both; before its projection)
    "*quantizer.layers.*.codebook.embed",
    "*quantizer.vq.layers.*._codebook.embed",
    "*quantizer.quantizers.*.codebook.weight",
)


def read_table(table: str) -> np.ndarray:
    """Return an embedding table (levels, vocabulary, width) float32; WeightsError where there is none."""
    path, name = split_name(table)
    is_numpy = path.endswith((".npy", ".npz"))
    found = _numpy(path, name or "centers") if is_numpy else _of_model(path, name)
    found = found[None] if found.ndim == 2 else found
    if found.ndim != 3 or not np.isfinite(found).all():
        raise WeightsError(f"{table}: found shape {found.shape}, wanted finite numbers (vocabulary, width)")
    return found.astype(np.float32)


def _numpy(path: str, name: str) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
        return found if isinstance(found, np.ndarray) else found[name]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise WeightsError(f"{path}: {error}; wanted an array of numbers, of an .npz `{name}`") from error


def _of_model(path: str, name: str | None) -> np.ndarray:
    tensors = _safetensors(path) if path.endswith(".safetensors") else _flat(read_weights(path))
    for pattern in [name] if name else CODEBOOKS:
        names = sorted(fnmatch.filter(tensors, pattern), key=_by_number)
        if names:
            levels = [tensors[one].float().numpy() for one in names]
            if len({level.shape for level in levels}) > 1:
                raise WeightsError(f"{path}: {some(names)} differ in shape; wanted one a level")
            return levels[0] if len(levels) == 1 else np.stack(levels)
    raise WeightsError(f"{path}: no tensor is named {name or 'as in EnCodec or DAC'}; wanted FILE:NAME, "
                       f"* for the levels of a codec; there are {some(tensors)}")  # fmt: skip


def _by_number(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _safetensors(path: str) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file

        return dict(load_file(path))
    except ImportError as error:
        raise WeightsError(f"{path}: {error}; run in the environment `features` or `units`") from error
    except Exception as error:  # a cut or foreign file raises whatever its bytes lead to
        raise WeightsError(f"{path}: {error}; wanted a .safetensors file") from error


def _flat(content: dict[Any, Any], before: str = "") -> dict[str, torch.Tensor]:
    """Return the tensors of dictionaries in dictionaries, names joined by dots."""
    found: dict[str, torch.Tensor] = {}
    for name, value in content.items():
        if isinstance(value, torch.Tensor):
            found[f"{before}{name}"] = value
        elif isinstance(value, dict):
            found.update(_flat(value, f"{before}{name}."))
    return found
