"""The encoder of Whisper: audio → frames of 20 ms. Of a file only the encoder is read, not the decoder.

Whisper hears 30 s at a time. Shorter pieces are filled up with silence, as it was trained, and of its 1500
frames those are kept that begin within the piece; so a frame never stands for silence that is not there.
"""

from __future__ import annotations

import os
from typing import Any

import torch

from networks.hf_encoder import check_layer, keep_layer
from networks.hf_folder import load_model, read_json

HOP = 320  # samples of 16 kHz a frame: mel frames of 10 ms, two of them a frame
WINDOW = 480_000  # samples: 30 s


class WhisperFrames(torch.nn.Module):
    """(1, samples up to WINDOW) → (1, frames, width); of one layer, or of the whole encoder for None."""

    longest = WINDOW
    hears = torch.float32  # whatever its weights are: the mel spectrum must not be one of rounded samples

    def __init__(self, encoder: Any, extractor: Any, layer: int | None) -> None:
        super().__init__()
        self.encoder, self.width = encoder, encoder.config.d_model
        self.extractor = extractor
        self.last: torch.Tensor | None = None
        keep_layer(self, encoder, layer)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the frames that begin within the samples."""
        heard = self.extractor(samples[0].cpu().numpy(), sampling_rate=16_000, return_tensors="pt")
        mel = heard["input_features"].to(samples.device, self.encoder.conv1.weight.dtype)
        whole = self.encoder(mel).last_hidden_state
        frames = whole if self.last is None else self.last
        return frames[:, : -(-samples.shape[1] // HOP)]


def load_whisper(path: str, layer: int | None) -> tuple[WhisperFrames, int, int, None]:
    """Return the encoder of a folder with its hop and shortest input in samples; it normalises nothing."""
    from transformers import WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    encoder = load_model(
        WhisperEncoder,
        path,
        spare=lambda key: "decoder." in key or key.startswith("proj_out"),
        key_mapping={r"^(model\.)?encoder\.": ""},
    )
    check_layer(path, layer, len(encoder.layers))
    front = os.path.join(path, "preprocessor_config.json")
    bands = int(read_json(front)["feature_size"]) if os.path.exists(front) else encoder.config.num_mel_bins
    extractor = WhisperFeatureExtractor(feature_size=bands)
    return WhisperFrames(encoder, extractor, layer), HOP, 1, None
