"""Who speaks when, by a pyannote pipeline through whisperx.diarize; speakers are named within a record only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable

from media.errors import EngineError
from media.transcribing import is_device_broken, is_out_of_memory

if TYPE_CHECKING:
    import numpy as np

MODEL = "pyannote/speaker-diarization-community-1"  # gated: its terms are accepted on its page
Assign = Callable[["list[dict[str, Any]]", "np.ndarray"], None]


def load(model: str, device: str, min_speakers: int | None, max_speakers: int | None) -> Assign:
    """Return a function that adds `speaker` to segments and words (with `start` and `end` in s) of a record.

    It is given the record's samples too (float32, 16 kHz, shape (samples,)). What no speaker's turn overlaps
    gets none. `model` is a hub id or a local folder with config.yaml. Raises EngineError.
    """
    from whisperx.diarize import DiarizationPipeline, assign_word_speakers

    try:
        pipeline = DiarizationPipeline(os.path.expanduser(model), device=device)
    except Exception as error:  # a gated model without a token is an AttributeError of None there
        if is_out_of_memory(error) or is_device_broken(error):
            raise
        raise EngineError(
            f"diarization by {model} cannot be loaded: {type(error).__name__}: {error}; wanted its terms "
            f"accepted at huggingface.co/{MODEL} and `hf auth login`, or --diarize-model DIR (a clone with "
            "config.yaml), or --no-diarize"
        ) from error

    def assign(segments: list[dict[str, Any]], samples: np.ndarray) -> None:
        turns = pipeline(samples, min_speakers=min_speakers, max_speakers=max_speakers)
        assign_word_speakers(turns, {"segments": segments})

    return assign
