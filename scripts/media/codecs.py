"""Audio codecs by name, and what is checked of codes before a model sees them. Imports nothing heavy.

Codes are (frames T, codebooks K) integers. EnCodec's and DAC's are residual: each codebook adds to those
before it, so the first k of them decode alone. NeMo's are not: each codes a band of its own, and all are
needed.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

ENCODEC, ENCODEC_48KHZ, MULAW, NEMO = "encodec_24khz", "encodec_48khz", "mulaw", "nemo"
MODELS = {  # by name, where the weights are published
    ENCODEC: "facebook/encodec_24khz",
    ENCODEC_48KHZ: "facebook/encodec_48khz",
    "dac_16khz": "descript/dac_16khz",
    "dac_24khz": "descript/dac_24khz",
    "dac_44khz": "descript/dac_44khz",
    NEMO: "nvidia/audio-codec-44khz",
    MULAW: None,
}
MULAW_REVISION = "mulaw-1"  # to be counted up when what it makes changes
MODEL_HELP = (
    "Hugging Face folder or hub id, or the original package's .th or .pth file, or a .nemo file (default: "
    "the codec's published model)"
)


class CodecError(ValueError):
    """Codes or a choice that a codec cannot work with; the message says what was wanted."""


def find_model(codec: str, model: str | None) -> tuple[str | None, str]:
    """Return the path of a codec's model, fetched where that is needed and allowed, and what pins it.

    ModelError (media.hub) where it is not to be had.
    """
    from media import hub

    if codec == MULAW:
        if model is not None:
            raise CodecError(f"--model {model}: {MULAW} has no model; leave it out")
        return None, MULAW_REVISION
    name = model or str(MODELS[codec])
    revision = hub.revision_of(name)
    return (hub.nemo_file_of if codec == NEMO else hub.folder_of)(name, revision), revision


def name_of(codec: str, model: str | None) -> str:
    """Return what results call the model: its hub id, or the last part of its path."""
    from media import hub

    return hub.name_of(model or MODELS[codec] or MULAW)


def bandwidth_kbps(codec: Any, codebooks: int) -> float:
    """Return what the codes of an open codec take, in kilobits a second: frame rate × codebooks × bits a
    code.
    """
    return round(codec.sample_rate_hz / codec.hop * codebooks * math.log2(codec.codebook_size) / 1000, 3)


def check_codes(codes: np.ndarray, codec: Any, source: str) -> None:
    """Raise CodecError where an open codec cannot decode codes: wanted (frames, codebooks), known ones."""
    if codes.ndim != 2 or not len(codes) or codes.dtype.kind not in "iu":
        what = f"{codes.dtype} {codes.shape}"
        raise CodecError(f"{source}: found {what}, wanted integers (frames, codebooks), at least one frame")
    if not 1 <= codes.shape[1] <= codec.most_codebooks:
        raise CodecError(
            f"{source}: found {codes.shape[1]} codebooks, wanted 1 to {codec.most_codebooks}: another "
            "codec's, or (codebooks, frames) turned the wrong way?"
        )
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= codec.codebook_size:
        bad = low if low < 0 else high
        raise CodecError(
            f"{source}: found code {bad}, wanted 0 to {codec.codebook_size - 1}: another codec's?"
        )


def short_name(path: str) -> str:
    """Return the last part of a model's path without its ending, for folder names."""
    return os.path.splitext(os.path.basename(os.path.normpath(path)))[0]
