"""HuBERT, wav2vec 2.0, WavLM and the encoder of Whisper from a Hugging Face folder; needs transformers."""

from __future__ import annotations

import os
from typing import Any

import torch

from networks.hf_folder import load_model, read_json
from networks.weights import WeightsError

KINDS = ("hubert", "wav2vec2", "wavlm")
WHISPER = "whisper"
UNUSED = ("masked_spec_embed",)  # only used in training; some files lack it


class UpTo(torch.nn.Module):
    """The features of one layer, before any norm that follows the last one, or with `layer` None what the
    whole model gives, after it: (batch, samples) → (batch, frames, width).
    """

    def __init__(self, model: Any, layer: int | None) -> None:
        super().__init__()
        self.model, self.width = model, model.config.hidden_size
        self.last: torch.Tensor | None = None
        keep_layer(self, model, layer)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the features of the last layer kept."""
        whole = self.model(samples).last_hidden_state
        return whole if self.last is None else self.last


def keep_layer(owner: Any, encoder: Any, layer: int | None) -> None:
    """Cut an encoder's layers after `layer` (from 1), and have its output put into `owner.last`; nothing for
    None.
    """
    if layer is None:
        return
    layers = getattr(encoder, "encoder", encoder).layers
    del layers[layer:]

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        owner.last = output[0] if isinstance(output, tuple) else output

    layers[-1].register_forward_hook(keep)


def load_folder(path: str, layer: int | None) -> tuple[Any, int, int, float | None]:
    """Return the encoder, its hop and shortest input in samples, and the epsilon it normalises with, if so.

    `layer` counts from 1; None takes what the whole encoder gives. WeightsError where a weight is missing or
    unknown, which transformers would leave random.
    """
    config = read_json(os.path.join(path, "config.json"))
    kind = config.get("model_type")
    if kind == WHISPER:
        from networks.whisper import load_whisper

        return load_whisper(path, layer)
    if kind not in KINDS:
        raise WeightsError(f"{path}: model_type {kind!r}; wanted {', '.join(KINDS)} or {WHISPER}")
    from transformers import AutoModel

    model = load_model(AutoModel, path, UNUSED, _of_a_head)
    check_layer(path, layer, len(model.encoder.layers))
    hop = shortest = 1
    for kernel, stride in reversed(list(zip(model.config.conv_kernel, model.config.conv_stride))):
        shortest, hop = (shortest - 1) * stride + kernel, hop * stride
    front = os.path.join(path, "preprocessor_config.json")
    normalise = os.path.exists(front) and read_json(front).get("do_normalize", True)
    return UpTo(model, layer), hop, shortest, 1e-7 if normalise else None


def check_layer(path: str, layer: int | None, layers: int) -> None:
    """Raise WeightsError for a layer that an encoder does not have."""
    if layer is not None and not 1 <= layer <= layers:
        raise WeightsError(f"{path}: --layer {layer}: it has layers 1 to {layers}")


def _of_a_head(key: str) -> bool:
    """Tell the weights of what stands on the encoder: CTC, quantizer, projections of pretraining."""
    return key.startswith(("lm_head", "quantizer", "project_q", "project_hid", "classifier", "projector"))
