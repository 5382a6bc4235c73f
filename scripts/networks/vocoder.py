"""Units → WAV: a vocoder with its speaker and style, and the file it writes, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import torch

from networks.catalogue import GRIFFINLIM
from networks.encoder import prepare_device
from networks.hifigan import index_of, load_hifigan
from networks.weights import WeightsError

SAMPLE_RATE = 16_000  # Hz


class UnitsError(ValueError):
    """Units that this vocoder cannot speak."""


def open_vocoder(path: str, kmeans: str, speaker: str | None, style: str | None, device: str) -> Any:
    """Return the vocoder in a file, or `griffinlim`, which speaks the mean spectra in the codebook's."""
    if path == GRIFFINLIM:
        from networks.griffinlim import GriffinLim

        return GriffinLim(kmeans, speaker, style, device)
    return Vocoder(path, speaker, style, device)


def spelt_out(units: np.ndarray, durations: np.ndarray | None, vocabulary: int) -> np.ndarray:
    """Return units (frames,), each repeated as long as it lasts. UnitsError for none, for unknown ones, or
    durations that are not theirs.
    """
    if not len(units):
        raise UnitsError("no units; wanted at least one")
    bad = units[(units < 0) | (units >= vocabulary)]
    if len(bad):
        raise UnitsError(f"found unit {bad[0]}, wanted 0 to {vocabulary - 1}: is it another codebook's?")
    if durations is None:
        return units
    if len(durations) != len(units) or (durations < 1).any():
        raise UnitsError(f"{len(durations)} durations for {len(units)} units; wanted one each, above 0")
    return np.repeat(units, durations)


class Vocoder:
    """A unit HiFi-GAN that speaks with one voice; `vocabulary` units."""

    def __init__(self, path: str, speaker: str | None, style: str | None, device: str) -> None:
        model, speakers, styles = load_hifigan(path)
        if model.sample_rate_hz != SAMPLE_RATE:
            raise WeightsError(f"{path}: speaks at {model.sample_rate_hz} Hz; wanted {SAMPLE_RATE}")
        self.speaker = index_of(speaker, speakers, "speaker")
        self.style = index_of(style, styles, "style")
        self.device = prepare_device(device)
        self.model = model.to(self.device)
        self.vocabulary = model.dict.num_embeddings
        self.predicts_durations = model.dur_predictor is not None

    @torch.inference_mode()
    def speak(self, units: np.ndarray, durations: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Yield float32 samples at 16 kHz of units (frames,): 320 a unit where the vocoder predicts no
        durations. `durations` spell deduplicated units out again. UnitsError for none, or unknown ones.
        """
        units = spelt_out(units, None if self.predicts_durations else durations, self.vocabulary)
        known = torch.from_numpy(units.astype(np.int64)).to(self.device)
        if self.predicts_durations:
            known = self.model.spell_out(known)
        for samples in self.model.chunks(known, self.speaker, self.style):
            yield samples.float().cpu().numpy()


def write_wav(file: IO[bytes], chunks: Iterator[np.ndarray], comment: str) -> int:
    """Write a 16-bit mono WAV with a comment in it and return its samples; equal sound gives equal bytes."""
    import soundfile

    with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, "PCM_16", format="WAV") as sound:
        sound.comment = comment
        for chunk in chunks:
            sound.write(chunk)
        return int(sound.frames)


def samples_of(path: str, comment: str) -> int | None:
    """Return the samples of a WAV that carries this comment, None where there is none, or another."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as sound:
            return int(sound.frames) if sound.comment == comment else None
    except (soundfile.LibsndfileError, OSError):
        return None


def same_codebook(vocoder: Any, vocabulary: int) -> None:
    """Raise WeightsError where a vocoder was made for another number of units."""
    if vocoder.vocabulary != vocabulary:
        raise WeightsError(
            f"the vocoder knows {vocoder.vocabulary} units, the codebook has {vocabulary}: they do not "
            "belong together"
        )
