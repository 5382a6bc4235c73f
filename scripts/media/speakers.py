"""Who speaks when, by a pyannote pipeline through whisperx.diarize; names hold within a record only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from media.errors import EngineError
from media.transcribing import is_device_broken, is_out_of_memory

if TYPE_CHECKING:
    import numpy as np

MODEL = "pyannote/speaker-diarization-community-1"  # gated: its terms are accepted on its page
Assign = Callable[["list[dict[str, Any]]", "np.ndarray"], None]


def load(folder: str, device: str, min_speakers: int | None, max_speakers: int | None) -> Assign:
    """Return a function that adds `speaker` to segments and words (with `start` and `end` in s) of a record.

    It is given the record's samples too (float32, 16 kHz, shape (samples,)). What no speaker's turn overlaps
    gets none. `folder` holds a pipeline's config.yaml. Raises EngineError for one that cannot be loaded.
    """
    from whisperx.diarize import DiarizationPipeline, assign_word_speakers

    try:
        pipeline = DiarizationPipeline(folder, device=device)
    except Exception as error:
        if is_out_of_memory(error) or is_device_broken(error):
            raise
        raise EngineError(
            f"{folder}: cannot be loaded for diarization: {type(error).__name__}: {error}; wanted a "
            f"folder with config.yaml and its models, such as a clone of {MODEL}, or --no-diarize"
        ) from error

    def assign(segments: list[dict[str, Any]], samples: np.ndarray) -> None:
        turns = pipeline(samples, min_speakers=min_speakers, max_speakers=max_speakers)
        assign_word_speakers(turns, {"segments": segments})

    return assign
