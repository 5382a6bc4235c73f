"""CMU PocketSphinx: US English on a CPU, its model inside the wheel. For demos and tests, not for papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    import numpy as np

FRAMES_PER_S = 100
MODEL = "en-us"  # the acoustic and language model of the wheel
NO_WORDS = ("<s>", "</s>", "<sil>")


def load(timestamps: bool) -> Callable[[list[np.ndarray]], list[dict[str, Any]]]:
    """Return a function from clips (float32, 16 kHz) to `[{"text", "words"?}]`."""

    def recognise(clips: list[np.ndarray]) -> list[dict[str, Any]]:
        return [_recognise(samples, timestamps) for samples in clips]

    return recognise


class Recogniser:
    """The same for media.word_transcriber: one segment a clip, its words with the decoder's times."""

    def detect(self, _: np.ndarray) -> str:
        """Return its only language."""
        return "en"

    def recognise(self, clips: list[np.ndarray], _: str) -> list[list[dict[str, Any]]]:
        """Return the segments of each clip, none where no word was understood."""
        found = []
        for clip in clips:
            heard = _recognise(clip, timestamps=True)
            words = [
                {"word": word["word"], "start": word["start_s"], "end": word["end_s"]}
                for word in heard["words"]
            ]
            found.append([{"text": heard["text"], "words": words}] if words else [])
        return found


def revision() -> str:
    """Return the version of the package: the model comes with it."""
    from importlib.metadata import version

    return version("pocketsphinx")


def _recognise(samples: np.ndarray, timestamps: bool) -> dict[str, Any]:
    """One clip in one piece (`full_utt`: feeding it in blocks gives another text).

    A fresh decoder each time (0.3 s): a used one keeps the cepstral mean of what it heard and answers
    differently.
    """
    import numpy as np
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=16_000, loglevel="FATAL")
    pcm = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), full_utt=True)
    decoder.end_utt()
    best = decoder.hyp()
    heard: dict[str, Any] = {"text": best.hypstr if best else ""}
    if timestamps:
        heard["words"] = (
            [_word(part) for part in (decoder.seg() or []) if _is_word(part.word)] if best else []
        )
    return heard


def _is_word(word: str) -> bool:
    return word not in NO_WORDS and not word.startswith(("[", "++"))


def _word(part: Any) -> dict[str, Any]:
    """`a(2)` is the second pronunciation of `a`; frames count from 0, the last one included."""
    return {
        "start_s": part.start_frame / FRAMES_PER_S,
        "end_s": (part.end_frame + 1) / FRAMES_PER_S,
        "word": part.word.split("(")[0],
    }
