"""A new recording made into the frames that a trained model has heard: by the same encoder, the same way."""

from __future__ import annotations

from typing import Any

import numpy as np

from media.audio import AudioError, record_window, stream_mono
from networks.device import choose
from networks.embedding import Embedder
from networks.extraction import Extractor
from networks.frame_features import Settings

MEL = "mel"
EMBEDDED = {"layer": None, "dtype": "float32", "chunk_s": 30.0, "pool": "none"}  # where nobody knows
PITCH_HZ = (60.0, 600.0)  # asked for by Settings; no pitch is looked for


class HearingError(ValueError):
    """A recording that a model cannot listen to; the message says what was found and what was wanted."""


def hear(path: str, made_with: dict[str, Any], encoder: str, device: str) -> np.ndarray:
    """Return the frames (frames, width) float16 of a recording, as `made_with` in a run's config says.

    `encoder` is the folder or file of the encoder of embeddings. Raises HearingError for a recording that
    is none, has no sound or is too short; WeightsError and DeviceError as the encoder does.
    """
    record = {"audio_filepath": path}
    try:
        loudest = max(
            (float(abs(block).max(initial=0)) for block in stream_mono(**record_window(record))), default=0
        )
    except AudioError as error:
        raise HearingError(str(error)) from error
    if not loudest:
        raise HearingError(f"{path}: there is no sound in it; wanted speech")
    make = _mel if made_with["from"] == MEL else _embed
    found = make(record, made_with, encoder, device)
    if isinstance(found, Exception):
        raise HearingError(f"{path}: {found}") from found
    return np.atleast_2d(found).astype(np.float16)


def _mel(record: dict[str, Any], made_with: dict[str, Any], _encoder: str, device: str) -> Any:
    if "hop_ms" not in made_with:
        raise HearingError("the run's config.json does not say how its mel spectra were made")
    shape = made_with["hop_ms"], made_with["n_fft"], made_with["n_mels"]
    settings = Settings(frozenset({MEL}), *shape, 1, *PITCH_HZ, None)
    (found,) = Extractor(settings, made_with["sample_rate"], choose(device)).extract([record])
    return found if isinstance(found, Exception) else found.arrays[MEL]


def _embed(record: dict[str, Any], made_with: dict[str, Any], encoder: str, device: str) -> Any:
    known = {**EMBEDDED, **made_with}
    layer, dtype, chunk_s, pool = (known[name] for name in EMBEDDED)
    return Embedder(encoder, layer, device, dtype, chunk_s, pool, np.float16).of_record(record)
