"""WhisperX's recogniser: Whisper by CTranslate2, batches of pieces (whisperx 3.8, faster-whisper 1.2)."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

from media.errors import EngineError
from media.transcribing import is_out_of_memory

if TYPE_CHECKING:
    import numpy as np


class Recogniser:
    """A loaded model; `recognise` takes pieces of one language, of any number of records."""

    def __init__(self, folder: str, device: str, compute_type: str, batch_size: int, threads: int) -> None:
        """Load a folder that CTranslate2's converter made. Raises EngineError for one that it cannot load."""
        import whisperx

        kind, _, index = device.partition(":")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # pieces are found before: it need load no VAD
                self._pipeline = whisperx.load_model(
                    folder,
                    kind,
                    device_index=int(index or 0),
                    compute_type=compute_type,
                    vad_model=object(),
                    threads=threads,
                    local_files_only=True,
                )
        except (ValueError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            raise EngineError(
                f"{folder}: cannot be loaded on {device} as {compute_type}: {error}; wanted a model of "
                "CTranslate2 (model.bin, config.json, tokenizer.json) and a --compute-type of this device"
            ) from error
        self.batch_size = batch_size
        self.is_multilingual: bool = self._pipeline.model.model.is_multilingual

    def detect(self, samples: np.ndarray) -> str:
        """Return the code of the language spoken in the first 30 s of samples (float32, 16 kHz)."""
        return str(self._pipeline.detect_language(samples)) if self.is_multilingual else "en"

    def recognise(self, clips: list[np.ndarray], lang: str) -> list[list[dict[str, Any]]]:
        """Return the segments of each clip: one, of the whole of it (`text`), none where it is empty."""
        from faster_whisper.tokenizer import Tokenizer

        model = self._pipeline.model
        self._pipeline.tokenizer = Tokenizer(
            model.hf_tokenizer, self.is_multilingual, task="transcribe", language=lang
        )
        return [[{"text": text}] if text else [] for text in self._texts(clips)]

    def _texts(self, clips: list[np.ndarray]) -> list[str]:
        """Decode; where memory runs out, in batches half as large from there on."""
        while True:
            size = self.batch_size
            try:
                heard = self._pipeline(({"inputs": clip} for clip in clips), batch_size=size, num_workers=0)
                return [_text(one) for one in heard]
            except RuntimeError as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
                self.batch_size = size // 2


def _text(heard: dict[str, Any]) -> str:
    """The text of one piece; with batches of one it is still a list of one."""
    text = heard["text"]
    return " ".join((text if isinstance(text, str) else text[0]).split())
