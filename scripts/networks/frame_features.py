"""What every frame of a recording says: mel bands, cepstra, energy, peaks of pitch, from one spectrum.

Frames stand at t · hop, 1 + n // hop of them; spectra are those of Hann windows of `n_fft` samples (networks/
mel.py). A recording of any length goes through in pieces; what is kept of it are numbers a frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch

from media.errors import AudioError
from networks.functionals import N_MFCC
from networks.mel import TOP_DB, centred_frames, cosines, mean_squares, slaney_bank, to_db
from networks.pitch import PIECE as PITCH_FRAMES
from networks.pitch import Finder, Peaks, Pitch
from networks.spectral_shape import loudness, spectral_shape
from networks.streaming import Piece, Rows, pieces
from networks.voice_cycles import Cycles, find_cycles, joined

FRAMES = 2 * PITCH_FRAMES  # of a piece
WINDOW_S = 0.025  # of the spectrum, where nothing else is asked for
SYLLABLE_HZ = (250.0, 2500.0)  # where vowels are strong and hisses weak
CONTEXT_S = 1.0  # of sound on each side of a piece
AT_ONCE = 512  # frames of one Fourier transform: they fit into a CPU's cache
Track = Callable[[torch.Tensor, int, int, float, float], Pitch]


class Settings(NamedTuple):
    """What is wanted, and how; `track` finds pitch where ours does not."""

    features: frozenset[str]
    hop_ms: float
    n_fft: int | None  # samples; None: WINDOW_S
    n_mels: int
    n_mfcc: int
    low_hz: float
    high_hz: float
    track: Track | None


class Frames(NamedTuple):
    """Contours (frames,) float32 by name; log-mels, and the highest of them; what pitch is decided from; the
    mean square of all samples.
    """

    contours: dict[str, np.ndarray]
    mel_db: Rows
    loudest_db: float
    peaks: Peaks | None
    mean_square: float


class Analyser:
    """Turns recordings of one sample rate into frames."""

    def __init__(self, settings: Settings, rate_hz: int, device: torch.device) -> None:
        self.settings, self.rate_hz, self.device = settings, rate_hz, device
        self.hop = max(1, round(settings.hop_ms * rate_hz / 1000))
        self.n_fft = n_fft = settings.n_fft or 2 * round(WINDOW_S * rate_hz / 2)
        self.hop_s = self.hop / rate_hz
        self.window = torch.hann_window(n_fft, device=device)
        self.bank = slaney_bank(settings.n_mels, n_fft, rate_hz).float().T.contiguous().to(device)
        n_mfcc = max(settings.n_mfcc, 1 + N_MFCC if self._wants() else 0)
        self.cosines = cosines(n_mfcc, settings.n_mels).float().to(device)
        bins_hz = torch.arange(n_fft // 2 + 1) * rate_hz / n_fft
        low_hz, high_hz = SYLLABLE_HZ
        self.band = slice(int((bins_hz < low_hz).sum()), int((bins_hz <= high_hz).sum()))
        self.context = math.ceil(max(CONTEXT_S * rate_hz, n_fft / 2) / self.hop)
        self.finder = Finder(rate_hz, self.hop, settings.low_hz, settings.high_hz)

    @torch.inference_mode()
    def frames(self, blocks: Iterable[np.ndarray]) -> Frames:
        """Return the frames of a recording given as float32 blocks at the analyser's rate.

        Raises AudioError for one without a sample, and what the blocks raise.
        """
        contours, peaks, mel_db = Rows(), Rows(), Rows()
        names: list[str] = []
        before: torch.Tensor | None = None
        loudest_db, squares, samples = -math.inf, 0.0, 0
        for piece in pieces(blocks, self.hop, FRAMES, self.context):
            own = piece.samples[piece.before * self.hop :][: piece.count * self.hop]
            squares += float(np.square(own, dtype=np.float64).sum())
            samples += len(own)
            found, before = self._spectra(piece, before)
            mel = found.pop("mel", None)
            if mel is not None:
                mel_db.add(mel)
                loudest_db = max(loudest_db, float(mel.max()))
            if self._wants("pitch") and self.settings.track:
                found["f0_hz"], found["voicing"] = self._track(piece)
            elif self._wants("pitch"):
                one = self._peaks(piece)
                peaks.add(np.concatenate([one.hz, one.height, one.power[:, None]], 1))
            names = list(found)
            contours.add(np.stack(list(found.values()), 1))
        if not samples:
            raise AudioError("no samples; wanted sound")
        table, candidates = contours.whole(), peaks.whole()
        half = candidates.shape[1] // 2
        return Frames(
            {name: np.ascontiguousarray(table[:, column]) for column, name in enumerate(names)},
            mel_db,
            loudest_db,
            Peaks(candidates[:, :half], candidates[:, half:-1], candidates[:, -1]) if half else None,
            squares / samples,
        )

    def _wants(self, *names: str) -> bool:
        return not self.settings.features.isdisjoint((*names, "functionals"))

    def _spectra(
        self, piece: Piece, before: torch.Tensor | None
    ) -> tuple[dict[str, np.ndarray], torch.Tensor | None]:
        """Return contours and log-mels of a piece's own frames, and the power (bins,) of the last one;
        `before` is that of the piece before.
        """
        samples = torch.from_numpy(piece.samples).to(self.device)
        own = slice(piece.before, piece.before + piece.count)
        found: list[dict[str, np.ndarray]] = []
        for some in centred_frames(samples, self.n_fft, self.hop)[own].split(AT_ONCE):
            spectrum = torch.fft.rfft(some * self.window)
            power = spectrum.real.square() + spectrum.imag.square()
            contours = {"band": power[:, self.band].sum(1)}
            if self._wants("mel", "mfcc"):
                mel = power @ self.bank
                contours["mel"] = to_db(mel)
            if self._wants():
                contours |= {"loudness": loudness(mel), **spectral_shape(power, self.rate_hz, before)}
            before = power[-1]
            found.append({name: values.cpu().numpy() for name, values in contours.items()})
        whole = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
        whole["power"] = mean_squares(samples, self.n_fft, self.hop)[own].cpu().numpy()
        return whole, before

    def _peaks(self, piece: Piece) -> Peaks:
        samples = torch.from_numpy(piece.samples).to(self.device)
        windows = centred_frames(samples, self.finder.window, self.hop)
        windows = windows[piece.before : piece.before + piece.count]
        start = self.finder.window // 2 - piece.before * self.hop  # context keeps frames off other ends
        found = self.finder.peaks(windows, start, start + len(samples))
        return Peaks(*map(np.concatenate, zip(*found)))

    def _track(self, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
        """Return f0 and voicing of a piece's own frames by another tracker; its context goes along."""
        settings = self.settings
        assert settings.track
        samples = torch.from_numpy(piece.samples)
        pitch = settings.track(samples, self.rate_hz, self.hop, settings.low_hz, settings.high_hz)
        own = slice(piece.before, piece.before + piece.count)
        return pitch.f0_hz[own].numpy(), pitch.voicing[own].numpy()

    @torch.inference_mode()
    def mel_and_mfcc(self, frames: Frames) -> dict[str, np.ndarray]:
        """Return `mel` (frames, n_mels) and `mfcc` (frames, n_mfcc or more), float16, those that are wanted,
        of a record's log-mels, which are gone then; nothing in them lies more than 80 dB below the loudest.
        """
        widths = {"mel": self.settings.n_mels * ("mel" in self.settings.features)}
        widths["mfcc"] = self.cosines.shape[1] * self._wants("mfcc")
        count, floor = frames.mel_db.count, np.float32(frames.loudest_db - TOP_DB)
        found = {name: np.empty((count, width), np.float16) for name, width in widths.items() if width}
        start = 0
        for some in frames.mel_db.take(FRAMES):
            raised = np.maximum(some, floor)
            if "mel" in found:
                found["mel"][start : start + len(some)] = raised
            if "mfcc" in found:
                cepstra = torch.from_numpy(raised).to(self.device) @ self.cosines
                found["mfcc"][start : start + len(some)] = cepstra.cpu().numpy()
            start += len(some)
        return found

    def cycles(self, blocks: Iterable[np.ndarray], f0_hz: np.ndarray) -> Cycles:
        """Return the cycles of the voice, whose pitch (frames,) is known: a second pass over the blocks."""
        found, start = [], 0
        for piece in pieces(blocks, self.hop, FRAMES, 0):
            found.append(
                find_cycles(piece.samples, self.rate_hz, f0_hz[start : start + piece.count], self.hop)
            )
            start += piece.count
        return joined(found)
