"""Models in a Hugging Face folder: read without running code of it, none of its weights left random."""

from __future__ import annotations

import json
from typing import Any, Callable

import torch

from networks.weights import WeightsError, some


def read_json(path: str) -> dict[str, Any]:
    """Return the object in a file of such a folder; WeightsError where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: {error}; wanted a Hugging Face folder") from error


def load_tokenizer(path: str) -> Any:
    """Return the tokenizer of a folder; WeightsError where there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise WeightsError(f"{path}: no tokenizer: {type(error).__name__}: {str(error)[:300]}") from error


def load_model(
    kind: Any, path: str, unused: tuple[str, ...] = (), spare: Callable[[str], bool] = bool, **options: Any
) -> Any:
    """Return the model of a folder by `kind` (a class of transformers), float32, for inference.

    WeightsError where a weight is missing (but for those `unused` here), which transformers would leave
    random, is of another shape, or is unknown and not `spare` (by default all unknown ones are).
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what it would report of the weights is judged here
    try:
        model, said = kind.from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype=torch.float32,
            **options,
        )
    except Exception as error:
        raise WeightsError(f"{path}: {type(error).__name__}: {str(error)[:300]}") from error
    problems = [f"missing {key}" for key in sorted(said["missing_keys"]) if key not in unused]
    problems += [f"mismatched {key}" for key in sorted(map(str, said["mismatched_keys"]))]
    problems += [f"unknown {key}" for key in sorted(said["unexpected_keys"]) if not spare(key)]
    if problems:
        raise WeightsError(f"{path}: not every weight fits, and none is left random: {some(problems)}")
    return model.eval().requires_grad_(False)
