"""fairseq 0.12.2 learns the batch-norm positional convolution, which mHuBERT Mix1 has and it has not.

The block is that of fairseq main (wav2vec2.py, make_conv_pos, 2023-08): batch norm, convolution, trim, GELU.
Without it the convolution's weights find no place, and every process fills it with other random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def positions_of(state: dict[str, Any]) -> Iterator[None]:
    """Let fairseq build encoders inside this block with the positional convolution that `state` holds."""
    if "encoder.pos_conv.0.running_mean" not in state:
        yield
        return
    from fairseq.models.wav2vec import wav2vec2
    from torch import nn

    def make_conv_pos(e: int, k: int, g: int, *_: Any, **__: Any) -> nn.Sequential:
        conv = nn.Conv1d(e, e, kernel_size=k, padding=k // 2, groups=g)
        return nn.Sequential(nn.BatchNorm1d(e), conv, wav2vec2.SamePad(k), nn.GELU())

    before = wav2vec2.make_conv_pos
    wav2vec2.make_conv_pos = make_conv_pos
    try:
        yield
    finally:
        wav2vec2.make_conv_pos = before
