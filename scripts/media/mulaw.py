"""μ-law companding as a codec: 8 bit a sample at 16 kHz, one codebook of 256. It is no neural codec: it
needs no model, compresses nothing that a model would, and lets the chain of encode_codec.py and
decode_codec.py run anywhere.

Source: ITU-T G.711's curve with μ = 255, quantised evenly as in van den Oord et al. 2016 (WaveNet).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MU = 255
BLOCK = 480_000  # samples decoded at a time


class Mulaw:
    """The codec; the attributes are those of every codec (networks.codecs)."""

    sample_rate_hz, hop, channels = 16_000, 1, 1
    codebooks = most_codebooks = 1
    codebook_size = MU + 1
    segment = stride = None

    def encode(self, blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, None, int]:
        """Return codes (samples, 1) of blocks (1, samples) in [-1, 1], no scales, and the number of
        samples; what is louder is clipped.
        """
        import numpy as np

        codes = [_companded(block[0]) for block in blocks]
        whole = np.concatenate(codes) if codes else np.zeros(0, np.int16)
        return whole[:, None], None, len(whole)

    def decode(self, codes: np.ndarray, _scales: Any, _samples: int | None) -> Iterator[np.ndarray]:
        """Yield blocks (1, samples) of codes (samples, 1)."""
        import numpy as np

        for start in range(0, len(codes), BLOCK):
            y = codes[start : start + BLOCK, 0].astype(np.float32) / MU * 2 - 1
            yield (np.sign(y) * np.expm1(np.abs(y) * np.log1p(np.float32(MU))) / MU)[None]


def _companded(samples: np.ndarray) -> np.ndarray:
    import numpy as np

    x = np.clip(samples, -1, 1)
    y = np.sign(x) * np.log1p(MU * np.abs(x)) / np.log1p(np.float32(MU))
    return np.floor((y + 1) / 2 * MU + 0.5).astype(np.int16)
