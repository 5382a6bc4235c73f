"""The transcribers with words: which settings each backend has, and how it is loaded."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any, Callable

from media import hub, speech_pieces, whisper_names
from media.errors import EngineError
from media.word_transcriber import AUTO, TOLD, WordTranscriber

PACKAGES = {"whisperx": "whisperx", "transformers": "whisperx", "pocketsphinx": "pocketsphinx"}
ENVIRONMENTS = {"whisperx": "whisperx", "transformers": "whisperx", "pocketsphinx": "local"}
DTYPES = ("float32", "float16", "bfloat16")  # of transformers
POCKETSPHINX_PIECE_S = 15.0  # a whole piece is decoded before any of its words is known
WHISPER = "large-v3"


@dataclass
class Choice:
    """What was asked for, as the command line says it."""

    backend: str
    model: str
    language: str
    compute_type: str
    vad: str | None
    align: bool
    align_model: str
    diarize: bool
    diarize_model: str
    min_speakers: int | None
    max_speakers: int | None

    def settings(self) -> dict[str, Any]:
        """Check it, and return what changes results, revisions of the models pinned.

        Raises ValueError for what the backend has not, hub.ModelError for a model that is not there.
        """
        if self.language not in (AUTO, TOLD):
            self.language = whisper_names.language_of(self.language)
        if self.backend == "pocketsphinx":
            return self._pocketsphinx()
        if self.backend == "transformers" and self.compute_type not in ("default", *DTYPES):
            raise ValueError(
                f"--compute-type {self.compute_type}: transformers knows {', '.join(DTYPES)}; "
                "--backend whisperx knows int8 too"
            )
        if not hub.is_local(self.model):
            self.model = whisper_names.repo_of(self.model, self.backend)
        values = {
            "backend": self.backend,
            "model": hub.name_of(self.model),
            "revision": hub.revision_of(self.model),
            "language": self.language,
            "compute_type": self.compute_type,
            "vad": self.vad or "pyannote",
            "align": None,
            "diarize": None,
        }
        if self.align:
            values["align"] = hub.name_of(self.align_model) if self.align_model else "by whisperx"
            values["align_revision"] = hub.revision_of(self.align_model) if self.align_model else None
        if self.diarize:
            values["diarize"] = hub.name_of(self.diarize_model)
            values["diarize_revision"] = hub.revision_of(self.diarize_model)
            values.update(min_speakers=self.min_speakers, max_speakers=self.max_speakers)
        return values

    def _pocketsphinx(self) -> dict[str, Any]:
        from media import pocketsphinx_asr

        wrong = [f"--model {self.model}"] if self.model != WHISPER else []
        wrong += [f"--language {self.language}"] if self.language not in (AUTO, "en") else []
        wrong += ["--vad pyannote"] if self.vad == "pyannote" else []
        if wrong:
            raise ValueError(
                f"{wrong[0]}: pocketsphinx has the English model of its package only, and no pyannote; leave "
                "it out, or take --backend whisperx"
            )
        model, revision = pocketsphinx_asr.MODEL, pocketsphinx_asr.revision()
        return {
            "backend": self.backend,
            "model": model,
            "revision": revision,
            "vad": self.vad or "speech, else all",
        }


def load(
    choice: Choice,
    revisions: dict[str, Any],
    device: str,
    batch_size: int,
    threads: int,
    log: Callable[[str], None],
) -> WordTranscriber:
    """Return the transcriber of a choice whose `settings()` are `revisions`. Raises EngineError.

    device: cpu, cuda, cuda:1 or auto; batch_size: pieces of 30 s decoded at once; threads: of CPUs.
    """
    if choice.backend == "pocketsphinx":
        from media.pocketsphinx_asr import Recogniser as Embedded

        pieces = speech_pieces.load(choice.vad or "", POCKETSPHINX_PIECE_S, "cpu")
        return WordTranscriber(pieces, Embedded(), threads=threads)
    _quieten()
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    log(f"loading {choice.model} at {revisions['revision']} on {device}")
    find_pieces = speech_pieces.load(revisions["vad"], speech_pieces.PIECE_S, device)
    recogniser = _whisper(choice, _folder(choice.model, revisions["revision"]), device, batch_size, threads)
    transcriber = WordTranscriber(find_pieces, recogniser, choice.language, threads=threads)
    if choice.align:
        from media.aligners import Aligner

        source = _folder(choice.align_model, revisions["align_revision"]) if choice.align_model else ""
        offline = os.environ.get("HF_HUB_OFFLINE") == "1"
        transcriber.align = Aligner(source, device, offline, log).align
        if choice.language not in (AUTO, TOLD):
            transcriber.align([], None, choice.language)  # better to fail here than at each record
    if choice.diarize:
        from media import speakers

        folder = _folder(choice.diarize_model, revisions["diarize_revision"])
        transcriber.assign_speakers = speakers.load(folder, device, choice.min_speakers, choice.max_speakers)
    return transcriber


def _folder(model: str, revision: str) -> str:
    """The local folder of a model. Raises EngineError where the hub will not give it."""
    try:
        return hub.folder_of(model, revision)
    except Exception as error:
        raise EngineError(
            f"{model}: not in the cache, and the hub does not give it ({type(error).__name__}); wanted `hf "
            f"auth login` after its terms were accepted at huggingface.co/{model}, or a local folder"
        ) from error


def _quieten() -> None:
    """Keep libraries from warning of what is as it should be, some of them once a record."""
    import warnings

    import transformers

    transformers.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchcodec, which is for files: samples are given here
        from whisperx import asr, diarize  # noqa: F401
    for name in ("whisperx", "lightning.pytorch.utilities.migration.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _whisper(choice: Choice, folder: str, device: str, batch_size: int, threads: int) -> Any:
    if choice.backend == "whisperx":
        from media.whisper_ct2 import Recogniser as Ct2

        return Ct2(folder, device, choice.compute_type, batch_size, threads)
    from media.whisper_pipeline import Recogniser as Pipeline

    usual = "float16" if device.startswith("cuda") else "float32"
    return Pipeline(
        folder, device, usual if choice.compute_type == "default" else choice.compute_type, batch_size
    )
