"""The speech encoders below the heads of train_ser.py: audio → frames of every layer, real frames only.

A backbone has
    width, layers        of its frames; `layers` counts the input of the first too
    shortest             samples at 16 kHz that make a frame
    frames_of(samples)   frames of so many samples
    computed(frames)     frames that it computes for a batch of utterances of so many, padding among them
    prepare(waves)       what `forward` takes, made where data are loaded, without the model
    forward(inputs)      (layers, frames of all utterances, width): no padding, one utterance after another
Whisper hears windows of 30 s; longer utterances are several. What is shorter is filled with silence, as it
was trained, unless `trim`: then the encoder sees only the frames that are there, which is faster and not
what it was trained on. wav2vec 2.0 with a group norm (the base models) lets padding into its statistics,
mask or not, so its utterances go through one by one. SpecAugment and layer drop, which transformers draws
from numpy's global state, are off: a resumed run would not be the same.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from networks.hf_encoder import KINDS, UNUSED
from networks.hf_folder import load_model, read_json
from networks.weights import WeightsError
from networks.whisper import HOP

MODELS = {
    "whisper": "openai/whisper-large-v3",
    "xlsr": "facebook/wav2vec2-xls-r-300m",
    "mms": "facebook/mms-300m",
    "wav2vec2-bert": "facebook/w2v-bert-2.0",
}
BERT = "wav2vec2-bert"
RATE_HZ = 16_000
FBANK_WINDOW, FBANK_HOP, STACKED = 400, 160, 2  # of w2v-BERT: two mel frames are one
STILL = {"layerdrop": 0.0, "apply_spec_augment": False}


class Inputs(NamedTuple):
    """A batch for a backbone: rows with padding, and how many frames of each are real."""

    values: Tensor  # (rows, …)
    mask: Tensor | None  # (rows, length of values), 1 where real
    frames: list[int]

    def to(self, device: torch.device) -> Inputs:
        """Return it on a device."""
        mask = None if self.mask is None else self.mask.to(device, non_blocking=True)
        return Inputs(self.values.to(device, non_blocking=True), mask, self.frames)

    def pin_memory(self) -> Inputs:
        """Return it in memory that a GPU reads faster."""
        mask = None if self.mask is None else self.mask.pin_memory()
        return Inputs(self.values.pin_memory(), mask, self.frames)


class Whisper(nn.Module):
    """The encoder of Whisper."""

    shortest = 1

    def __init__(self, encoder: Any, extractor: Any, trim: bool) -> None:
        super().__init__()
        self.encoder, self.trim = encoder, trim
        self.width, self.layers = encoder.config.d_model, len(encoder.layers) + 1
        self.extractor, self.window = extractor, encoder.config.max_source_positions * HOP

    def frames_of(self, samples: int) -> int:
        """Return the frames that begin within so many samples."""
        return -(-samples // HOP)

    def computed(self, frames: list[int]) -> int:
        """Return the frames of a batch with padding: whole windows, or windows as long as the longest."""
        window = self.window // HOP
        windows = sum(-(-one // window) for one in frames)
        return windows * (min(window, 1 + max(frames)) if self.trim else window)

    def prepare(self, waves: list[np.ndarray]) -> Inputs:
        """Return log-mel spectra (windows, mels, mel frames) of waves at 16 kHz."""
        windows = [wave[at : at + self.window] for wave in waves for at in range(0, len(wave), self.window)]
        longest = self.window
        if self.trim:  # a frame of silence behind the longest: none then depends on the others of the batch
            longest = min(longest, HOP * (1 + max(self.frames_of(len(one)) for one in windows)))
        # the extractor computes by torch, and validation comes under --precision
        with torch.autocast("cpu", enabled=False):
            heard = self.extractor(
                windows, sampling_rate=RATE_HZ, padding="max_length", max_length=longest, return_tensors="pt"
            )
        return Inputs(heard["input_features"], None, [self.frames_of(len(one)) for one in windows])

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the frames of every layer; the last one normalised, as the encoder gives it."""
        encoder = self.encoder
        hidden = nn.functional.gelu(encoder.conv2(nn.functional.gelu(encoder.conv1(inputs.values))))
        hidden = hidden.transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        hidden = nn.functional.dropout(hidden, encoder.dropout, self.training)
        real = _real(inputs.frames, hidden)
        hides = None if not self.trim or real.all() else _hides(real, hidden)
        found = [hidden[real]]
        for layer in encoder.layers:
            hidden = layer(hidden, hides)
            found.append(hidden[real])
        found[-1] = encoder.layer_norm(found[-1])
        return torch.stack(found)


class Wav2Vec2(nn.Module):
    """wav2vec 2.0, XLS-R, MMS, HuBERT, WavLM: they take samples."""

    def __init__(self, model: Any, normalise: bool) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise
        self.width, self.layers = model.config.hidden_size, model.config.num_hidden_layers + 1
        self.masked = model.config.feat_extract_norm == "layer"
        self.shortest = 1
        for kernel, stride in reversed(self._convolutions()):
            self.shortest = (self.shortest - 1) * stride + kernel

    def _convolutions(self) -> list[tuple[int, int]]:
        return list(zip(self.model.config.conv_kernel, self.model.config.conv_stride))

    def frames_of(self, samples: int) -> int:
        """Return the frames that the convolutions make of so many samples."""
        for kernel, stride in self._convolutions():
            samples = (samples - kernel) // stride + 1
        return samples

    def computed(self, frames: list[int]) -> int:
        """Return the frames of a batch with padding."""
        return len(frames) * max(frames) if self.masked else sum(frames)

    def prepare(self, waves: list[np.ndarray]) -> Inputs:
        """Return samples (utterances, longest), each of zero mean and unit variance where wanted."""
        if self.normalise:
            waves = [(wave - wave.mean()) / np.sqrt(wave.var() + 1e-7) for wave in waves]
        values = torch.zeros(len(waves), max(map(len, waves)))
        mask = torch.zeros(values.shape, dtype=torch.long)
        for row, wave in enumerate(waves):
            values[row, : len(wave)], mask[row, : len(wave)] = torch.from_numpy(wave), 1
        return Inputs(values, mask, [self.frames_of(len(wave)) for wave in waves])

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the frames of every layer."""
        if self.masked:
            return _layers(self.model, inputs.values, inputs.mask, inputs.frames)
        rows = zip(inputs.values, inputs.mask.sum(1).tolist(), inputs.frames)
        return torch.cat([_layers(self.model, row[None, :n], None, [frames]) for row, n, frames in rows], 1)


class Wav2Vec2Bert(nn.Module):
    """w2v-BERT 2.0: it takes log-mel spectra, two frames of 80 bands each."""

    shortest = FBANK_WINDOW + (2 * STACKED - 1) * FBANK_HOP  # two frames: of one there is no variance

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__()
        self.model, self.extractor = model, extractor
        self.width, self.layers = model.config.hidden_size, model.config.num_hidden_layers + 1

    def frames_of(self, samples: int) -> int:
        """Return the whole pairs of mel frames in so many samples."""
        return (1 + (samples - FBANK_WINDOW) // FBANK_HOP) // STACKED

    def computed(self, frames: list[int]) -> int:
        """Return the frames of a batch with padding."""
        return len(frames) * max(frames)

    def prepare(self, waves: list[np.ndarray]) -> Inputs:
        """Return stacked log-mel spectra (utterances, frames, 160)."""
        heard = self.extractor(waves, sampling_rate=RATE_HZ, return_tensors="pt", padding=True)
        frames = [self.frames_of(len(wave)) for wave in waves]
        values = heard["input_features"][:, : max(frames)]
        mask = torch.arange(values.shape[1]) < torch.tensor(frames)[:, None]
        return Inputs(values, mask.long(), frames)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the frames of every layer."""
        return _layers(self.model, inputs.values, inputs.mask, inputs.frames)


def _layers(model: Any, values: Tensor, mask: Tensor | None, frames: list[int]) -> Tensor:
    said = model(values, attention_mask=mask, output_hidden_states=True)
    last = said.hidden_states[-1] if getattr(model.config, "add_adapter", False) else said.last_hidden_state
    found = [*said.hidden_states[:-1], last]  # normalised, where the encoder ends with a norm
    real = _real(frames, found[0])
    return torch.stack([hidden[real] for hidden in found])


def _real(frames: list[int], hidden: Tensor) -> Tensor:
    """Return which frames (rows, frames) are none of padding."""
    places = torch.arange(hidden.shape[1], device=hidden.device)
    return places < torch.tensor(frames, device=hidden.device)[:, None]


def _hides(real: Tensor, hidden: Tensor) -> Tensor:
    """Return a mask to be added to attention scores: the least number at frames of padding."""
    hides = torch.zeros(real.shape, dtype=hidden.dtype, device=hidden.device)
    hides = hides.masked_fill(~real, torch.finfo(hidden.dtype).min)
    return hides[:, None, None, :].expand(-1, 1, hidden.shape[1], -1)


def load_backbone(path: str, trim: bool = False, checkpointing: bool = False) -> nn.Module:
    """Return the backbone of a Hugging Face folder, all of it trainable but Whisper's fixed positions.

    WeightsError for a folder of another kind, or one whose weights do not all fit.
    """
    about = described(path)
    kind = about["config"]["model_type"]
    if kind == "whisper":
        model = load_model(
            _whisper_encoder(), path, spare=lambda key: "decoder." in key or key.startswith("proj_out"),
            key_mapping={r"^(model\.)?encoder\.": ""}, encoder_layerdrop=0.0,
        )  # fmt: skip
    else:
        from transformers import AutoModel

        model = load_model(AutoModel, path, UNUSED, _of_a_head, **STILL)
    return trainable(_wrap(kind, model, about["normalise"], trim), checkpointing)


def trainable(backbone: Any, checkpointing: bool) -> Any:
    """Return a backbone whose weights learn, all but Whisper's fixed positions."""
    backbone.requires_grad_(True)
    model = backbone.encoder if isinstance(backbone, Whisper) else backbone.model
    if isinstance(backbone, Whisper):
        model.embed_positions.requires_grad_(False)  # sinusoids
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return backbone


def described(path: str) -> dict[str, Any]:
    """Return what tells a backbone but for its weights: its config and whether its input is normalised.

    WeightsError for a model of another kind.
    """
    config = read_json(os.path.join(path, "config.json"))
    if config.get("model_type") not in ("whisper", BERT, *KINDS):
        wanted = f"whisper, {BERT}, {', '.join(KINDS)}"
        raise WeightsError(f"{path}: model_type {config.get('model_type')!r}; wanted {wanted}")
    front = os.path.join(path, "preprocessor_config.json")
    normalise = read_json(front).get("do_normalize", True) if os.path.exists(front) else True
    return {"config": config, "normalise": normalise}


def empty_backbone(about: dict[str, Any], trim: bool) -> nn.Module:
    """Return the backbone that `described` tells of, with random weights."""
    from transformers import AutoConfig, AutoModel

    settings = dict(about["config"])
    kind = settings.pop("model_type")
    config = AutoConfig.for_model(kind, **settings)
    for name, value in {**STILL, "encoder_layerdrop": 0.0}.items():
        setattr(config, name, value)
    model = _whisper_encoder()(config) if kind == "whisper" else AutoModel.from_config(config)
    return _wrap(kind, model.float(), about["normalise"], trim)


def _wrap(kind: str, model: Any, normalise: bool, trim: bool) -> nn.Module:
    from transformers import SeamlessM4TFeatureExtractor, WhisperFeatureExtractor

    if kind == "whisper":
        return Whisper(model, WhisperFeatureExtractor(feature_size=model.config.num_mel_bins), trim)
    return Wav2Vec2Bert(model, SeamlessM4TFeatureExtractor()) if kind == BERT else Wav2Vec2(model, normalise)


def _whisper_encoder() -> Any:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    return WhisperEncoder


def _of_a_head(key: str) -> bool:
    return key.startswith(("lm_head", "quantizer", "project_q", "project_hid", "classifier", "projector"))
