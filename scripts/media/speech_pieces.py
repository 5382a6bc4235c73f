"""The pieces of a record, 30 s at most, that Whisper is given: by WhisperX's own voice activity model, by
Silero, or by the speech that stands in the manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from media import cutting
from media.audio import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

FindPieces = Callable[[dict, "np.ndarray"], "list[cutting.Piece]"]

PIECE_S = 30.0  # what Whisper hears at once
ONSET, OFFSET = 0.5, 0.363  # thresholds of WhisperX 3.8
VADS = ("pyannote", "silero", "manifest")


def load(vad: str, piece_s: float, device: str) -> FindPieces:
    """Return a function: (record, its samples of shape (samples,) at 16 kHz) → its pieces, in order.

    `vad` is one of VADS, or "" for the field `speech` where a record has it, else the whole of it. Raises
    EngineError where the engine is not here.
    """
    if vad == "pyannote":
        return _by_pyannote(device)
    if vad == "silero":
        from media.any_vad import RULES
        from media.engines import find_speech, load_engine

        engine = load_engine("silero")
        return lambda _, samples: _cut(find_speech(engine, [samples], RULES)[0], samples, piece_s)
    return lambda record, samples: _cut(_told(record, samples, strict=vad != ""), samples, piece_s)


def _by_pyannote(device: str) -> FindPieces:
    """The model inside the wheel of whisperx and its merging: pieces as WhisperX makes them."""
    import torch
    from whisperx.vads import Pyannote

    vad = Pyannote(torch.device(device), vad_onset=ONSET, vad_offset=OFFSET, chunk_size=PIECE_S)

    def find(_: dict[str, Any], samples: np.ndarray) -> list[cutting.Piece]:
        scores = vad({"waveform": vad.preprocess_audio(samples), "sample_rate": SAMPLE_RATE})
        chunks = vad.merge_chunks(scores, PIECE_S, onset=ONSET, offset=OFFSET)
        ends = [(float(chunk["start"]), float(chunk["end"])) for chunk in chunks]
        return [cutting.Piece(start_s, end_s, start_s, end_s) for start_s, end_s in ends if end_s > start_s]

    return find


def _told(record: dict[str, Any], samples: np.ndarray, strict: bool) -> list[dict[str, float]]:
    speech = record.get("speech")
    if speech is None and strict:
        raise ValueError("no field `speech` in the record; wanted vad.py before, or --vad pyannote or silero")
    return [{"start_s": 0.0, "end_s": len(samples) / SAMPLE_RATE}] if speech is None else speech


def _cut(speech: list[dict[str, float]], samples: np.ndarray, piece_s: float) -> list[cutting.Piece]:
    def quietest(start_s: float, end_s: float) -> float:
        part = samples[round(start_s * SAMPLE_RATE) : round(end_s * SAMPLE_RATE)]
        return start_s + cutting.quietest_s(part, SAMPLE_RATE)

    return cutting.cut(speech, len(samples) / SAMPLE_RATE, piece_s, quietest)
