"""Recordings → embeddings: the frames of an encoder, or their mean, one recording at a time.

Nothing is padded, so an embedding depends on its recording alone (models with a group norm let padding into
their statistics, mask or not). Long recordings go through in chunks that lose no frame: frame t begins at t ·
hop_s. Where an encoder wants its input normalised, mean and variance are those of the whole recording.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable

import numpy as np

from media.audio import AudioError, record_window, stream_mono
from networks.encoder import Counted, Features, TooShortError, moments_of


class EmbeddingError(ValueError):
    """An embedding that cannot be kept; the message says what was found and what was wanted."""


class Embedder:
    """Turns recordings into embeddings; `width` numbers a frame, `hop_s` from one frame to the next."""

    def __init__(
        self, path: str, layer: int | None, device: str, dtype: str, chunk_s: float, pool: str, keep: Any
    ) -> None:
        self.features = Features(path, layer, device, dtype, chunk_s, gapless=True)
        self.width, self.hop_s = self.features.width, self.features.hop_s
        self.pool, self.keep = pool, keep

    def of_record(self, record: dict[str, Any]) -> np.ndarray | Exception:
        """Return the embedding of a record's audio, or what is wrong with it."""
        if record.get("audio_filepath") is None:
            return EmbeddingError("no 'audio_filepath' in the record; wanted audio")
        window = record_window(record)
        try:
            return self.embed(lambda: stream_mono(**window))
        except (AudioError, TooShortError, EmbeddingError) as error:
            return error

    def embed(self, blocks: Callable[[], Iterable[np.ndarray]]) -> np.ndarray:
        """Return the frames (frames, width) as numbers of type `keep`, or their mean (width,) float32.

        `blocks()` streams float32 samples at 16 kHz; where the encoder normalises it is called twice. Raises
        TooShortError for less than one frame, EmbeddingError for numbers that are not finite in that type.
        """
        moments = moments_of(blocks()) if self.features.epsilon is not None else None
        heard = Counted(blocks())
        frames, total, kept = 0, np.zeros(self.width), []
        for _, features in self.features.pieces(heard, moments):
            values = features.float().cpu().numpy()
            frames += len(values)
            if self.pool == "mean":
                total += values.sum(0, dtype=np.float64)
            else:
                kept.append(self._kept(values))
        if not frames:
            raise self.features.too_short(heard.samples)
        if self.pool == "none":
            return np.concatenate(kept)
        return self._finite((total / frames).astype(np.float32))

    def _kept(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return self._finite(values.astype(self.keep))

    def _finite(self, values: np.ndarray) -> np.ndarray:
        if not np.isfinite(values).all():
            raise EmbeddingError(
                f"the encoder gives numbers that are not finite as {values.dtype}; wanted another --layer, "
                "--dtype float32, or --pool mean, which is kept as float32"
            )
        return values
