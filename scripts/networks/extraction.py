"""Features of a batch of recordings: arrays a frame, and figures a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from media.audio import AudioError, probe, record_window, stream_mono
from media.prosody import level_db, pitch_figures
from media.speech_rate import rates
from networks.frame_features import Analyser, Settings
from networks.functionals import functionals
from networks.mel import AMIN
from networks.pitch import Peaks, best_pitches
from networks.spectral_shape import NAMES

Record = dict[str, Any]
GROUP_S = 600.0  # of sound whose pitch is decided at once, and that is kept until then


class Blocks:
    """The samples of a record in blocks, any number of times: up to GROUP_S are kept, more are read again."""

    def __init__(self, window: dict[str, Any], rate_hz: int) -> None:
        self.window, self.rate_hz = window, rate_hz
        self.kept: list[np.ndarray] | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        if self.kept is not None:
            yield from self.kept
            return
        kept, left = [], GROUP_S * self.rate_hz
        for block in stream_mono(sample_rate_hz=self.rate_hz, **self.window):
            left -= len(block)
            if left >= 0:
                kept.append(block)
            yield block
        self.kept = kept if left >= 0 else None


@dataclasses.dataclass
class Found:
    """Of a record: `arrays` and `notes` for its file, `figures` for its manifest line; and what they are made
    of, until they are.
    """

    arrays: dict[str, np.ndarray]
    notes: dict[str, Any]
    figures: dict[str, Any]
    peaks: Peaks | None
    analyser: Analyser
    blocks: Blocks
    contours: dict[str, np.ndarray]


class Extractor:
    """What extracts; `sample_rate_hz` 0 is the rate that each recording has."""

    def __init__(self, settings: Settings, sample_rate_hz: int, device: torch.device) -> None:
        self.settings, self.sample_rate_hz, self.device = settings, sample_rate_hz, device
        self.analyser = lru_cache(lambda rate_hz: Analyser(settings, rate_hz, device))

    def extract(self, batch: Sequence[Record]) -> list[Any]:
        """Return what was found of each record, or the exception of its audio."""
        found: list[Any] = []
        waiting, waiting_s = [], 0.0
        for record in batch:
            one = self._hear(record)
            found.append(one)
            if isinstance(one, Found):
                waiting.append((record, one))
                waiting_s += len(one.contours["power"]) * one.notes["hop_s"]
            if waiting_s > GROUP_S:
                self._finish(waiting)
                waiting, waiting_s = [], 0.0
        self._finish(waiting)
        return found

    def _hear(self, record: Record) -> Any:
        """Return what one pass over the audio gives."""
        try:
            window = record_window(record)
        except KeyError as error:
            return ValueError(f"no {error} in the record; wanted audio")
        try:
            rate_hz = self.sample_rate_hz or self._stored_rate(window["path"])
            analyser, blocks = self.analyser(rate_hz), Blocks(window, rate_hz)
            frames = analyser.frames(blocks)
        except AudioError as error:
            return error
        arrays = analyser.mel_and_mfcc(frames) if frames.mel_db.count else {}
        notes = {"hop_s": analyser.hop_s, "sample_rate_hz": rate_hz}
        contours = frames.contours
        contours["energy_db"] = 10 * np.log10(np.maximum(contours["power"], AMIN))
        figures: dict[str, Any] = {}
        if "energy" in self.settings.features:
            arrays["energy_db"] = contours["energy_db"].astype(np.float16)
            figures["energy_db"] = level_db(frames.mean_square)
        return Found(arrays, notes, figures, frames.peaks, analyser, blocks, contours)

    def _stored_rate(self, path: str) -> int:
        rate_hz, wanted_hz = probe(path).sample_rate_hz, 4 * self.settings.high_hz
        if rate_hz < wanted_hz:
            raise AudioError(
                f"{path}: found {rate_hz} Hz, wanted at least 4 times --f0-max-hz, {wanted_hz:g} Hz"
            )
        return rate_hz

    def _finish(self, waiting: Sequence[tuple[Record, Found]]) -> None:
        """Find the pitch of several records at once, as one by one takes longer, and add what needs it."""
        by_hop: dict[float, list[Found]] = {}
        for _, one in waiting:
            if one.peaks:
                by_hop.setdefault(one.notes["hop_s"], []).append(one)
        for hop_s, alike in by_hop.items():
            pitches = best_pitches([one.peaks for one in alike if one.peaks], hop_s, self.settings.low_hz)
            for one, pitch in zip(alike, pitches):
                one.contours.update(f0_hz=pitch.f0_hz.numpy(), voicing=pitch.voicing.numpy())
                one.peaks = None
        for record, one in waiting:
            self._describe(record, one)

    def _describe(self, record: Record, one: Found) -> None:
        """Add what needs the pitch, or the manifest's line."""
        features, contours, mfcc = self.settings.features, one.contours, one.arrays.pop("mfcc", None)
        if "mfcc" in features and mfcc is not None:
            one.arrays["mfcc"] = mfcc[:, : self.settings.n_mfcc]
        if "pitch" in features:
            one.arrays.update(f0_hz=contours["f0_hz"], voicing=contours["voicing"].astype(np.float16))
            one.figures.update(pitch_figures(contours["f0_hz"]))
        if "rate" in features:
            one.figures.update(rates(record, contours["band"], one.notes["hop_s"]))
        if "functionals" in features:
            found = functionals(
                *(contours[name] for name in ("f0_hz", "voicing", "energy_db")),
                one.notes["hop_s"],
                loudness=contours["loudness"],
                shape={name: contours[name] for name in NAMES},
                mfcc=mfcc,
                cycles=one.analyser.cycles(one.blocks, contours["f0_hz"]),
            )
            one.figures["functionals"] = {
                name: None if value is None else float(f"{value:.6g}") for name, value in found.items()
            }
        one.contours, one.blocks.kept = {}, None
