"""Whisper by the pipeline of transformers: segments as the model itself marks them with timestamps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from media.audio import SAMPLE_RATE
from media.errors import EngineError
from media.transcribing import is_out_of_memory

if TYPE_CHECKING:
    import numpy as np

DTYPES = ("float32", "float16", "bfloat16")


class Recogniser:
    """A loaded model; `recognise` takes pieces of one language, of any number of records."""

    def __init__(self, folder: str, device: str, dtype: str, batch_size: int) -> None:
        """Load a folder of transformers' Whisper. Raises EngineError for one that it cannot load."""
        import torch
        from transformers import pipeline
        from transformers.pipelines import automatic_speech_recognition

        # samples are given: no decoder of files is needed, and torchcodec's does not load beside every torch
        automatic_speech_recognition.is_torchcodec_available = lambda: False
        try:
            self._pipeline = pipeline(
                "automatic-speech-recognition", model=folder, device=device, dtype=getattr(torch, dtype)
            )
        except (OSError, ValueError, KeyError) as error:
            raise EngineError(
                f"{folder}: cannot be loaded: {error}; wanted a Whisper of transformers (config.json, "
                "model.safetensors, tokenizer and preprocessor)"
            ) from error
        self.batch_size = batch_size
        self.is_multilingual = bool(getattr(self._pipeline.model.generation_config, "is_multilingual", True))

    def detect(self, samples: np.ndarray) -> str:
        """Return the code of the language spoken in the first 30 s of samples (float32, 16 kHz)."""
        if not self.is_multilingual:
            return "en"
        model = self._pipeline.model
        heard = self._pipeline.feature_extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        features = heard.input_features.to(model.device, model.dtype)
        token = model.detect_language(input_features=features)[0]
        return str(self._pipeline.tokenizer.decode(token)).strip("<|>")

    def recognise(self, clips: list[np.ndarray], lang: str) -> list[list[dict[str, Any]]]:
        """Return the segments of each clip: `text`, `start` and `end` in s from its start."""
        words: dict[str, Any] = {"language": lang, "task": "transcribe"} if self.is_multilingual else {}
        inputs = [{"raw": clip, "sampling_rate": SAMPLE_RATE} for clip in clips]
        while True:
            try:
                heard = self._pipeline(
                    inputs, batch_size=self.batch_size, return_timestamps=True, generate_kwargs=words
                )
                break
            except RuntimeError as error:
                if self.batch_size == 1 or not is_out_of_memory(error):
                    raise
                self.batch_size //= 2
        return [_segments(one, len(clip) / SAMPLE_RATE) for one, clip in zip(heard, clips)]


def _segments(heard: dict[str, Any], duration_s: float) -> list[dict[str, Any]]:
    """Its chunks within the clip; a last one that the model did not close ends with the clip."""
    found = []
    for chunk in heard["chunks"]:
        start_s, end_s = chunk["timestamp"]
        text = " ".join(chunk["text"].split())
        start_s = min(start_s or 0.0, duration_s)
        end_s = duration_s if end_s is None else min(end_s, duration_s)
        if text:
            found.append({"text": text, "start": start_s, "end": max(start_s, end_s)})
    return found
