"""Features of a batch of recordings: arrays a frame, and figures a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from media.audio import AudioError, probe, record_window, stream_mono
from media.prosody import level_db, pitch_figures
from media.speech_rate import rates
from networks.frame_features import Analyser, Settings
from networks.mel import AMIN
from networks.pitch import Peaks, best_pitches

Record = dict[str, Any]


@dataclasses.dataclass
class Found:
    """Of a record: `arrays` and `notes` for its file, `figures` for its manifest line; contours and peaks of
    pitch until they are used.
    """

    arrays: dict[str, np.ndarray]
    notes: dict[str, Any]
    figures: dict[str, Any]
    contours: dict[str, np.ndarray]
    peaks: Peaks | None


class Extractor:
    """What extracts; `sample_rate_hz` 0 is the rate that each recording has."""

    def __init__(self, settings: Settings, sample_rate_hz: int, device: torch.device) -> None:
        self.settings, self.sample_rate_hz, self.device = settings, sample_rate_hz, device
        self.analyser = lru_cache(lambda rate_hz: Analyser(settings, rate_hz, device))

    def extract(self, batch: Sequence[Record]) -> list[Any]:
        """Return what was found of each record, or the exception of its audio."""
        found = [self._hear(record) for record in batch]
        self._decide_pitch([one for one in found if isinstance(one, Found) and one.peaks])
        for record, one in zip(batch, found):
            if isinstance(one, Found):
                self._describe(record, one)
        return found

    def _hear(self, record: Record) -> Any:
        """Return what one pass over the audio gives."""
        try:
            window = record_window(record)
            rate_hz = self.sample_rate_hz or probe(window["path"]).sample_rate_hz
            analyser = self.analyser(rate_hz)
            frames = analyser.frames(stream_mono(sample_rate_hz=rate_hz, **window))
        except (AudioError, ValueError) as error:
            return error
        except KeyError as error:
            return ValueError(f"no {error} in the record; wanted audio")
        arrays = analyser.mel_and_mfcc(frames) if frames.mel_db.count else {}
        notes = {"hop_s": analyser.hop_s, "sample_rate_hz": rate_hz}
        figures: dict[str, Any] = {}
        if "energy" in self.settings.features:
            power = np.maximum(frames.contours["power"], AMIN)
            arrays["energy_db"] = (10 * np.log10(power)).astype(np.float16)
            figures["energy_db"] = level_db(frames.mean_square)
        return Found(arrays, notes, figures, frames.contours, frames.peaks)

    def _decide_pitch(self, found: Sequence[Found]) -> None:
        """Find the pitch of several records at once: one by one takes longer."""
        for one, pitch in zip(found, best_pitches([one.peaks for one in found if one.peaks]) if found else ()):
            one.contours.update(f0_hz=pitch.f0_hz.numpy(), voicing=pitch.voicing.numpy())
            one.peaks = None

    def _describe(self, record: Record, one: Found) -> None:
        """Add what needs the pitch, or the manifest's line."""
        features, contours = self.settings.features, one.contours
        if "pitch" in features:
            one.arrays.update(f0_hz=contours["f0_hz"], voicing=contours["voicing"].astype(np.float16))
            one.figures.update(pitch_figures(contours["f0_hz"]))
        if "rate" in features:
            one.figures.update(rates(record, contours["band"], one.notes["hop_s"]))
        one.contours = {}
