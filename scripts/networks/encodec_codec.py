"""EnCodec (Défossez et al. 2022) over audio of any length, by transformers' EncodecModel.

24 kHz: causal convolutions around an LSTM. They run piece by piece with the LSTM's state handed on, so a
recording of hours gives the codes that it would give as a whole, in the memory of a piece. 48 kHz: stereo
segments of 1 s, one every 0.99 s, each with a loudness of its own (its scale); they are cut as Meta's
package cuts them (transformers' own `encode` fails where the last but one is short), and go through in
batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from media.codecs import CodecError
from networks.pieces import cut_segments, cut_stream
from networks.weights import WeightsError

PIECE_S = 10
REACH = 16  # frames before a piece that its convolutions may look at; they look at 2
SEGMENTS = 16  # of 48 kHz audio in a batch on a GPU; a CPU's caches hold one, so one by one is faster there


def open_encodec(model: Any, path: str, bandwidth_kbps: float | None) -> Any:
    """Return the codec of an EncodecModel; WeightsError for one of neither published form, CodecError for a
    bandwidth that it does not have.
    """
    config = model.config
    known = [float(one) for one in config.target_bandwidths]
    bandwidth = bandwidth_kbps or (6.0 if 6.0 in known else known[-1])
    if bandwidth not in known:
        raise CodecError(
            f"--bandwidth-kbps {bandwidth:g}: this model has {', '.join(f'{one:g}' for one in known)}"
        )
    if config.chunk_length is not None:
        return SegmentedEncodec(model, bandwidth)
    if config.use_causal_conv and not config.normalize and config.num_residual_layers == 1:
        return CausalEncodec(model, bandwidth)
    raise WeightsError(f"{path}: neither causal nor in segments; wanted the form of EnCodec 24 kHz or 48 kHz")


class _Encodec:
    """What both forms share; the attributes are those of every codec (networks.codecs)."""

    def __init__(self, model: Any, bandwidth_kbps: float) -> None:
        self.model, self.bandwidth = model, bandwidth_kbps
        config, quantizer = model.config, model.quantizer
        self.sample_rate_hz, self.hop, self.channels = (
            config.sampling_rate,
            config.hop_length,
            config.audio_channels,
        )
        self.codebooks = quantizer.get_num_quantizers_for_bandwidth(bandwidth_kbps)
        self.most_codebooks, self.codebook_size = quantizer.num_quantizers, quantizer.codebook_size
        self.device = next(model.parameters()).device

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _codes(self, features: torch.Tensor) -> np.ndarray:
        """Return codes (batch, frames, codebooks) of features (batch, width, frames)."""
        codes = self.model.quantizer.encode(features, self.bandwidth)
        return codes.permute(1, 2, 0).cpu().numpy().astype(np.int16)

    def _features(self, codes: np.ndarray) -> torch.Tensor:
        """Return features (batch, width, frames) of codes (batch, frames, codebooks)."""
        return self.model.quantizer.decode(self._tensor(codes.astype(np.int64)).permute(2, 0, 1))


class CausalEncodec(_Encodec):
    """The 24 kHz form."""

    segment = stride = None

    @torch.inference_mode()
    def encode(self, blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, None, int]:
        """Return codes (frames, codebooks) of blocks (1, samples), no scales, and the number of samples."""
        samples = 0

        def pieces() -> Iterator[tuple[torch.Tensor, int]]:
            nonlocal samples
            size = PIECE_S * self.sample_rate_hz // self.hop * self.hop
            for piece, left, length in cut_stream(blocks, size, REACH * self.hop, 0):
                samples += length
                yield self._tensor(piece)[None], left // self.hop

        found = [self._codes(part)[0] for part in _stream(self.model.encoder.layers, pieces(), 1)]
        return np.concatenate(found), None, samples

    @torch.inference_mode()
    def decode(self, codes: np.ndarray, _scales: Any, _samples: int | None) -> Iterator[np.ndarray]:
        """Yield blocks (1, samples) of codes (frames, codebooks), `hop` samples a frame."""

        def pieces() -> Iterator[tuple[torch.Tensor, int]]:
            size = PIECE_S * self.sample_rate_hz // self.hop
            for start in range(0, len(codes), size):
                first = max(0, start - REACH)
                yield self._features(codes[None, first : start + size]), start - first

        for part in _stream(self.model.decoder.layers, pieces(), self.hop):
            yield part[0].cpu().numpy()


def _stream(layers: Any, pieces: Iterator[tuple[torch.Tensor, int]], hop: int) -> Iterator[torch.Tensor]:
    """Yield what layers give of (piece, frames of it that belong to the piece before): convolutions up to
    an LSTM, the LSTM, whose state goes from piece to piece, and convolutions that make `hop` of each frame.
    """
    at = next(index for index, layer in enumerate(layers) if hasattr(layer, "lstm"))
    state = None
    kept: torch.Tensor | None = None  # what the LSTM gave last
    for piece, left in pieces:
        now = piece
        for layer in layers[:at]:
            now = layer(now)
        given = now[..., left:].permute(2, 0, 1)
        output, state = layers[at].lstm(given, state)
        now = (output + given).permute(1, 2, 0)
        before = 0 if kept is None else kept.shape[-1]
        now = now if kept is None else torch.cat([kept, now], dim=-1)
        kept = now[..., -REACH:]
        for layer in layers[at + 1 :]:
            now = layer(now)
        yield now[..., before * hop :]


class SegmentedEncodec(_Encodec):
    """The 48 kHz form: `segment` and `stride` in samples."""

    def __init__(self, model: Any, bandwidth_kbps: float) -> None:
        super().__init__(model, bandwidth_kbps)
        self.segment, self.stride = model.config.chunk_length, model.config.chunk_stride
        self.at_once = 1 if self.device.type == "cpu" else SEGMENTS

    @torch.inference_mode()
    def encode(self, blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
        """Return codes (frames, codebooks), those of a segment after those of the one before, a scale a
        segment, and the number of samples of blocks (channels, samples).
        """
        codes, scales, samples = [], [], 0
        for length, batch in _of_equal_length(self.at_once, cut_segments(blocks, self.segment, self.stride)):
            samples = self.stride * len(scales) + self.stride * (len(batch) - 1) + length
            signal = self._tensor(np.stack(batch))
            if self.model.config.normalize:
                scale = signal.mean(dim=1, keepdim=True).pow(2).mean(dim=2, keepdim=True).sqrt() + 1e-8
            else:
                scale = torch.ones(len(batch), 1, 1, device=self.device)
            codes += list(self._codes(self.model.encoder(signal / scale)))
            scales += scale.flatten().tolist()
        return np.concatenate(codes), np.array(scales, np.float32), samples

    @torch.inference_mode()
    def decode(
        self, codes: np.ndarray, scales: np.ndarray | None, samples: int | None
    ) -> Iterator[np.ndarray]:
        """Yield blocks (channels, samples) of codes (frames, codebooks); neighbours fade into each other.

        CodecError where scales or samples are not those of the codes.
        """
        counts = self._frames_of_segments(codes, scales, samples)
        parts = np.split(codes, np.cumsum(counts)[:-1])
        decoded = (
            wave
            for number, batch in _of_equal_length(self.at_once, iter(parts), axis=0)
            for wave in self.model.decoder(self._features(np.stack(batch))).cpu().numpy()
        )
        assert scales is not None
        return _faded((wave * scale for wave, scale in zip(decoded, scales)), self.stride)

    def _frames_of_segments(self, codes: np.ndarray, scales: Any, samples: int | None) -> list[int]:
        """Return the frames of each segment of so many samples; without that, all segments are full."""
        if scales is None:
            raise CodecError("no scales beside the codes, without which 48 kHz EnCodec cannot decode")
        if samples is None:
            samples = (len(scales) - 1) * self.stride + self.segment
        starts = range(0, samples, self.stride)
        counts = [-(-min(self.segment, samples - start) // self.hop) for start in starts]
        if sum(counts) != len(codes) or len(counts) != len(scales):
            raise CodecError(
                f"{len(codes)} frames and {len(scales)} scales, wanted {sum(counts)} and {len(counts)} for "
                f"{samples} samples"
            )
        return counts


def _of_equal_length(
    at_once: int, segments: Iterator[np.ndarray], axis: int = -1
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Yield (length, at most `at_once` neighbours of that length)."""
    for length, run in itertools.groupby(segments, lambda segment: segment.shape[axis]):
        while batch := list(itertools.islice(run, at_once)):
            yield length, batch


def _faded(waves: Iterator[np.ndarray], stride: int) -> Iterator[np.ndarray]:
    """Yield the sum of waves (channels, n) that begin every `stride` samples, each weighted by a triangle,
    over the sum of the weights (encodec's linear overlap-add).
    """
    weight: np.ndarray | None = None
    summed = weights = np.zeros((1, 0), np.float32)
    for wave in waves:
        if weight is None:
            time = np.linspace(0, 1, wave.shape[-1] + 2, dtype=np.float32)[1:-1]
            weight = 0.5 - np.abs(time - 0.5)
            summed = np.zeros((len(wave), 0), np.float32)
        elif summed.shape[-1]:
            yield summed[:, :stride] / weights[:, :stride]
            summed, weights = summed[:, stride:], weights[:, stride:]
        more = max(0, wave.shape[-1] - summed.shape[-1])
        summed, weights = (np.pad(array, ((0, 0), (0, more))) for array in (summed, weights))
        summed[:, : wave.shape[-1]] += weight[: wave.shape[-1]] * wave
        weights[:, : wave.shape[-1]] += weight[: wave.shape[-1]]
    yield summed / weights
