"""DAC, the Descript Audio Codec (Kumar et al. 2023), over audio of any length, by transformers' DacModel.

The network is convolutions alone, so pieces with their surroundings give the codes of the whole. Codes are
those of the original package's `preprocess` and `encode`; its `compress` first brings the recording to -16
dB LUFS, which this does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from media.codecs import CodecError
from networks.pieces import cut_array, cut_stream

PIECE_S = 10
REACH = 32  # frames on each side of a piece that its convolutions may look at


class Dac:
    """The codec; the attributes are those of every codec (networks.codecs)."""

    channels = 1
    segment = stride = None

    def __init__(self, model: Any, codebooks: int | None) -> None:
        self.model, config = model, model.config
        self.hop = int(np.prod(config.downsampling_ratios))  # the 24 kHz model's config states another, wrong
        self.sample_rate_hz, self.codebook_size = config.sampling_rate, config.codebook_size
        self.most_codebooks = config.n_codebooks
        self.codebooks = codebooks or self.most_codebooks
        if self.codebooks > self.most_codebooks:
            raise CodecError(f"--codebooks {codebooks}: this model has {self.most_codebooks}")
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def encode(self, blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, None, int]:
        """Return codes (frames, codebooks) of blocks (1, samples), no scales, and the number of samples;
        the last frame is filled up with silence.
        """
        found, samples = [], 0
        size, around = self._piece() * self.hop, REACH * self.hop
        for piece, left, length in cut_stream(blocks, size, around, around):
            samples += length
            signal = torch.from_numpy(np.pad(piece, ((0, 0), (0, -piece.shape[-1] % self.hop)))).to(
                self.device
            )
            first, count = left // self.hop, -(-length // self.hop)
            features = self.model.encoder(signal[None])[..., first : first + count]
            codes = self.model.quantizer(features, self.codebooks)[1]
            found.append(codes[0].T.cpu().numpy().astype(np.int16))
        return np.concatenate(found), None, samples

    @torch.inference_mode()
    def decode(self, codes: np.ndarray, _scales: Any, _samples: int | None) -> Iterator[np.ndarray]:
        """Yield blocks (1, samples) of codes (frames, codebooks): `hop` samples a frame, a few less at the
        very end where a ratio is odd.
        """
        for piece, left, length in cut_array(codes, self._piece(), REACH):
            known = torch.from_numpy(piece.T.astype(np.int64)).to(self.device)[None]
            wave = self.model.decoder(self.model.quantizer.from_codes(known)[0])[0]
            yield wave[:, left * self.hop : (left + length) * self.hop].cpu().numpy()

    def _piece(self) -> int:
        return PIECE_S * self.sample_rate_hz // self.hop
