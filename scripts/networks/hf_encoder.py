"""HuBERT, wav2vec 2.0 and WavLM from a Hugging Face folder, up to one layer; needs transformers."""

from __future__ import annotations

import json
import os
from typing import Any

import torch

from networks.weights import WeightsError, some

KINDS = ("hubert", "wav2vec2", "wavlm")
UNUSED = ("masked_spec_embed",)  # only used in training; some files lack it


class UpTo(torch.nn.Module):
    """The features of one layer, before any norm that follows the last one: (batch, samples) → (batch,
    frames, width).
    """

    def __init__(self, model: Any, layer: int) -> None:
        super().__init__()
        del model.encoder.layers[layer:]
        self.model, self.width = model, model.config.hidden_size
        self.last: torch.Tensor | None = None
        model.encoder.layers[-1].register_forward_hook(self._keep)

    def _keep(self, _module: Any, _inputs: Any, output: Any) -> None:
        self.last = output[0] if isinstance(output, tuple) else output

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the features of the last layer kept."""
        self.model(samples)
        assert self.last is not None
        return self.last


def load_folder(path: str, layer: int) -> tuple[UpTo, int, int, float | None]:
    """Return the encoder, its hop and shortest input in samples, and the epsilon it normalises with, if so.

    WeightsError where a weight is missing or unknown, which transformers would leave random.
    """
    config = _read(os.path.join(path, "config.json"))
    if config.get("model_type") not in KINDS:
        raise WeightsError(f"{path}: model_type {config.get('model_type')!r}; wanted {', '.join(KINDS)}")
    from transformers import AutoModel

    try:
        model, said = AutoModel.from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except Exception as error:
        raise WeightsError(f"{path}: {type(error).__name__}: {str(error)[:300]}") from error
    problems = [f"missing {key}" for key in sorted(said["missing_keys"]) if key not in UNUSED]
    problems += [f"mismatched {key}" for key in sorted(map(str, said["mismatched_keys"]))]
    problems += [f"unknown {key}" for key in sorted(said["unexpected_keys"]) if not _of_a_head(key)]
    if problems:
        raise WeightsError(f"{path}: not every weight fits, and none is left random: {some(problems)}")
    if not 1 <= layer <= len(model.encoder.layers):
        raise WeightsError(f"{path}: --layer {layer}: it has layers 1 to {len(model.encoder.layers)}")
    hop = shortest = 1
    for kernel, stride in reversed(list(zip(model.config.conv_kernel, model.config.conv_stride))):
        shortest, hop = (shortest - 1) * stride + kernel, hop * stride
    front = os.path.join(path, "preprocessor_config.json")
    normalise = os.path.exists(front) and _read(front).get("do_normalize", True)
    return UpTo(model.eval().requires_grad_(False), layer), hop, shortest, 1e-7 if normalise else None


def _of_a_head(key: str) -> bool:
    """Tell the weights of what stands on the encoder: CTC, quantizer, projections of pretraining."""
    return key.startswith(("lm_head", "quantizer", "project_q", "project_hid", "classifier", "projector"))


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: {error}; wanted a Hugging Face folder") from error
