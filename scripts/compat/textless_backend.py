"""Speech → units → speech by textlesslib itself: fairseq's encoder, scikit-learn's codebook, its own vocoder.

A reference to compare with. These programs unpickle files as they are, which runs whatever is in them: give
them only files that you trust. Source: textlesslib ba33d66 (SpeechEncoder, CodeHiFiGANVocoder).
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from compat.batch_norm import positions_of

SAMPLE_RATE = 16_000  # Hz
CHUNK_S = 100.0  # textlesslib cuts recordings here


class BackendError(RuntimeError):
    """The reference cannot run, or would run with weights that are not the file's."""


class TooShortError(ValueError):
    """A recording with less sound than one unit needs."""


def check_weights(model: Any, state: dict[str, Any], path: str) -> None:
    """Raise BackendError unless each weight of the model is, bit by bit, one of the file's, all used."""
    own = model.state_dict()
    problems = [f"random {name}" for name in own if name not in state]
    problems += [f"unused {name}" for name in state if name not in own]
    problems += [f"different {name}" for name, value in own.items()
                 if name in state and not torch.equal(value.cpu(), state[name].to(value.dtype))]  # fmt: skip
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise BackendError(f"{path}: not the file's weights: {', '.join(problems[:8])}{more}")


def _find_textlesslib() -> None:
    """Put the checkout that AMELA_TEXTLESSLIB names on Python's path; BackendError where there is none."""
    folder = os.environ.get("AMELA_TEXTLESSLIB")
    if folder and folder not in sys.path:
        sys.path.append(folder)
    try:
        importlib.import_module("textless.vocoders.hifigan.vocoder")
    except ImportError as error:
        raise BackendError(
            f"--backend textless: {error}; textlesslib is on no package index: "
            "`git clone https://github.com/facebookresearch/textlesslib`, then `git -C textlesslib checkout "
            "ba33d66`; set AMELA_TEXTLESSLIB to that folder, and run in the environment `sts`"
        ) from error


class Encoder:
    """textlesslib's SpeechEncoder; `units` as that of the native backend."""

    def __init__(self, path: str, layer: int, kmeans: str, device: str) -> None:
        _find_textlesslib()
        from textless.data.hubert_feature_reader import HubertFeatureReader
        from textless.data.kmeans_quantizer import KMeansQuantizer
        from textless.data.speech_encoder import SpeechEncoder

        state = torch.load(path, map_location="cpu")["model"]
        with positions_of(state):
            try:
                reader = HubertFeatureReader(path, layer=layer)
            except (RuntimeError, KeyError) as error:  # fairseq is strict too
                raise BackendError(f"{path}: {str(error)[:500]}") from error
        check_weights(reader.model, state, path)
        quantizer = KMeansQuantizer(kmeans)
        encoder = SpeechEncoder(reader, quantizer, deduplicate=False, need_f0=False)
        self.encoder = encoder.to(_device(device))
        self.hop_s = _hop(reader.model) / SAMPLE_RATE
        self.kmeans = types.SimpleNamespace(vocabulary=encoder.vocab_size)

    def units(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """Return the units (frames,) int16 of a recording given as float32 blocks at 16 kHz."""
        samples = np.concatenate([np.zeros(0, np.float32), *blocks])
        tail = len(samples) % round(CHUNK_S * SAMPLE_RATE)
        if tail < 400:  # where textlesslib would fail
            samples = samples[: len(samples) - tail]
        if not len(samples):
            raise TooShortError(f"{tail} samples at 16 kHz give no unit; wanted at least 400 (25 ms)")
        found = self.encoder(torch.from_numpy(samples))["units"]
        return found.cpu().numpy().astype(np.int16)


class Vocoder:
    """textlesslib's CodeHiFiGANVocoder; `speak` as that of the native backend, in one piece."""

    def __init__(self, path: str, speaker: int, style: int, device: str) -> None:
        from textless.vocoders.hifigan.vocoder import CodeHiFiGANVocoder

        folder, file = os.path.split(path)
        end = "generator.pt"
        prefix = file[: -len(end)] if file.endswith(end) else file.rsplit(".", 1)[0] + "_"
        model = CodeHiFiGANVocoder(path, os.path.join(folder, prefix + "config.json"))
        self.model, self.speaker, self.style = model.to(_device(device)), speaker, style
        self.vocabulary = model.model.dict.num_embeddings
        self.predicts_durations = model.model.dur_predictor is not None

    def speak(self, units: np.ndarray, durations: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Yield all samples, float32 at 16 kHz; with `durations`, none are predicted."""
        if durations is not None:
            units = np.repeat(units, durations)
        code = torch.from_numpy(units.astype(np.int64)).view(1, -1).to(self.model.device)
        with torch.no_grad():
            predict = self.predicts_durations and durations is None
            samples = self.model(code, self.speaker, self.style, dur_prediction=predict)
        yield samples.float().cpu().numpy()


def _device(name: str) -> str:
    torch.set_num_threads(1)
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _hop(model: Any) -> int:
    """Samples from one feature to the next."""
    hop = 1
    for layer in model.feature_extractor.conv_layers:
        hop *= layer[0].stride[0]
    return hop
