"""NeMo's audio codecs (finite scalar quantisation) over audio of any length, by nemo_toolkit's
AudioCodecModel.

Their networks are convolutions, so pieces with their surroundings give the codes of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from networks.pieces import cut_array, cut_stream
from networks.weights import WeightsError

PIECE_S = 10
REACH = 64  # frames on each side of a piece that its convolutions may look at
FEWEST = 2, 4  # frames that encoder and decoder are given: their padding by reflection needs some to reflect


def load_nemo(path: str, device: torch.device) -> Any:
    """Return the model of a .nemo file; WeightsError where it is none."""
    from nemo.collections.tts.models import AudioCodecModel

    try:
        model = AudioCodecModel.restore_from(path, map_location=device)
    except Exception as error:  # NeMo raises whatever the archive's content leads to
        raise WeightsError(
            f"{path}: {type(error).__name__}: {str(error)[:300]}; wanted an audio codec"
        ) from error
    return model.eval().requires_grad_(False)


class NemoCodec:
    """The codec; the attributes are those of every codec (networks.codecs)."""

    channels = 1
    segment = stride = None

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model, self.device = model, device
        self.sample_rate_hz, self.hop = int(model.sample_rate), int(model.samples_per_frame)
        if int(model.output_sample_rate) != self.sample_rate_hz:
            raise WeightsError(
                f"it speaks at {model.output_sample_rate} Hz and hears at {self.sample_rate_hz}"
            )
        self.codebooks = self.most_codebooks = int(model.num_codebooks)
        quantizer = model.vector_quantizer
        self.codebook_size = int(getattr(quantizer, "codebook_size_per_group", quantizer.codebook_size))

    @torch.inference_mode()
    def encode(self, blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, None, int]:
        """Return codes (frames, codebooks) of blocks (1, samples), no scales, and the number of samples.

        Frames are those that NeMo calls valid: of models on mel spectrograms one fewer than begin.
        """
        found, samples = [], 0
        size, around = self._piece() * self.hop, REACH * self.hop
        for piece, left, length in cut_stream(blocks, size, around, around):
            samples += length
            given = max(piece.shape[-1], FEWEST[0] * self.hop)
            full = np.pad(piece, ((0, 0), (0, given - piece.shape[-1])))
            signal = torch.from_numpy(full).to(self.device)
            lengths = torch.tensor([given], device=self.device)
            tokens, valid = self.model.encode(audio=signal, audio_len=lengths)
            first, last = left // self.hop, min(int(valid[0]), -(-(left + length) // self.hop))
            found.append(tokens[0].T[first:last].cpu().numpy().astype(np.int16))
        return np.concatenate(found), None, samples

    @torch.inference_mode()
    def decode(self, codes: np.ndarray, _scales: Any, _samples: int | None) -> Iterator[np.ndarray]:
        """Yield blocks (1, samples) of codes (frames, codebooks), `hop` samples a frame."""
        for piece, left, length in cut_array(codes, self._piece(), REACH):
            full = np.pad(piece, ((0, max(0, FEWEST[1] - len(piece))), (0, 0)), mode="edge")
            tokens = torch.from_numpy(full.T.astype(np.int64)).to(self.device)[None]
            wave, _ = self.model.decode(
                tokens=tokens, tokens_len=torch.tensor([len(full)], device=self.device)
            )
            yield wave[:, left * self.hop : (left + length) * self.hop].cpu().numpy()

    def _piece(self) -> int:
        return PIECE_S * self.sample_rate_hz // self.hop
