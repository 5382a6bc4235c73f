"""Units → speech with no trained vocoder: the mean log-mels of a codebook of fit_kmeans.py, made audible.

Mean spectra say how loud each frequency is, and neither pitch nor phase. So each frame's spectrum shapes an
excitation: pulses at one pitch where the spectrum falls off as that of a voice, noise where it does not and
in the upper bands. Its phases are where Griffin and Lim's iterations begin, which make overlapping frames
agree. Spectra change from the centre of a unit to that of the next and are not smoothed any further: that
costs words (TECHNICAL.md, 16).

Everything is a function of absolute time (pulses, noise by the second) and reaches no further than
`CONTEXT_S`, so pieces of a long sequence are those of the whole. Sources: Griffin & Lim 1984.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from networks.codebook import read_codebook
from networks.encoder import prepare_device
from networks.hifigan import index_of
from networks.spectra import MEL_FFT, N_MELS, SAMPLE_RATE, WINDOW, mel_bank
from networks.vocoder import spelt_out
from networks.weights import WeightsError

HOP = 80  # samples from one frame of the synthesis to the next
FFT = 512
ITERATIONS = 4
CONTEXT = 40  # frames on each side of a piece: more than the iterations reach, 2 · 400 / 80 each way a time
PIECE = 4000  # frames, 20 s
PITCH_HZ = 120.0
VOICED_HZ = 4000.0  # above, even voices are noise
TILT, TILT_WIDTH = 1.5, 0.7  # nats: a voice has so much more power below 1 kHz than above 3 kHz
LOUDEST = 0.99
NOISE_SEED = 7
RESOLUTION_HZ = SAMPLE_RATE / WINDOW  # a triangle so wide at half its height averages one independent value


class GriffinLim:
    """Speaks the units of one codebook; `vocabulary` units."""

    predicts_durations = False

    def __init__(self, path: str, speaker: str | None, style: str | None, device: str) -> None:
        index_of(speaker, [], "speaker")
        index_of(style, [], "style")
        book = read_codebook(path)
        if book is None:
            raise WeightsError(f"{path}: no log_mels in it; griffinlim wants a codebook of fit_kmeans.py")
        hop = float(book.settings.get("hop_s") or 0) * SAMPLE_RATE
        if book.log_mels.shape[1] != N_MELS or not np.isfinite(book.log_mels).all() or hop % HOP or not hop:
            raise WeightsError(
                f"{path}: log_mels of shape {book.log_mels.shape}, {hop / SAMPLE_RATE:g} s apart; wanted "
                f"finite ones in {N_MELS} bands, a multiple of {HOP / SAMPLE_RATE:g} s apart"
            )
        self.device = prepare_device(device)
        self.hop, self.vocabulary = round(hop), len(book.log_mels)
        bank = mel_bank(N_MELS, MEL_FFT, 0, SAMPLE_RATE / 2)
        centres_hz = bank @ bins_of(MEL_FFT) / bank.sum(1)
        bins_hz = bins_of(FFT)
        levels = torch.from_numpy(book.log_mels).double()
        low, high = (centres_hz > 100) & (centres_hz < 1000), centres_hz > 3000
        tilt = levels[:, low].mean(1) - levels[:, high].mean(1)
        independent = (bank.sum(1) * SAMPLE_RATE / MEL_FFT / RESOLUTION_HZ).clamp(min=1)
        missing = (
            independent.log() - independent.digamma()
        )  # the mean of a logarithm lies below that of noise
        spectra = (levels + missing - bank.sum(1).log()) @ between(centres_hz, bins_hz)  # log power a bin
        self.window = torch.hann_window(WINDOW).to(self.device)
        self.spectra = spectra.float().to(self.device)
        self.voices = torch.sigmoid((tilt - TILT) / TILT_WIDTH).float().to(self.device)
        noisy = torch.sigmoid((bins_hz - VOICED_HZ) / 300)  # share of noise
        self.noisy = noisy[:, None].float().to(self.device)

    @torch.inference_mode()
    def speak(self, units: np.ndarray, durations: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Yield float32 samples at 16 kHz of units (frames,), a hop each. UnitsError as other vocoders."""
        units = spelt_out(units, durations, self.vocabulary)
        frames = len(units) * self.hop // HOP
        for start in range(0, frames, PIECE):
            first, end = max(0, start - CONTEXT), min(start + PIECE, frames)
            samples = self._piece(units, first, min(frames, end + CONTEXT))
            wanted = samples[(start - first) * HOP : (end - first) * HOP]
            yield wanted.clamp(-LOUDEST, LOUDEST).cpu().numpy()

    def _piece(self, units: np.ndarray, first: int, last: int) -> torch.Tensor:
        """Return the samples (float32) of the synthesis frames first … last."""
        length = (last - first) * HOP
        spectra, voice = self._at_frames(units, first, last)
        found = self._excitation(voice, first * HOP, length)
        target = (spectra / 2).exp() * found.abs() / self.window.square().sum().sqrt()
        for _ in range(ITERATIONS):
            found = self._analyse(self._overlap(with_level(found, target), length))
        return self._overlap(with_level(found, target), length)

    def _at_frames(self, units: np.ndarray, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log power (bins, frames) and voice (frames,) from 0 to 1, between the centres of units."""
        at = torch.arange(first, last + 1, dtype=torch.float64) * HOP / self.hop - 0.5
        at = at.clamp(0, len(units) - 1).to(self.device)
        share, before = at.frac().float(), at.long()
        after = (before + 1).clamp(max=len(units) - 1)
        known = torch.from_numpy(units.astype(np.int64)).to(self.device)
        left, right = known[before], known[after]
        spectra = self.spectra[left] * (1 - share[:, None]) + self.spectra[right] * share[:, None]
        return spectra.T, self.voices[left] * (1 - share) + self.voices[right] * share

    def _excitation(self, voice: torch.Tensor, start: int, length: int) -> torch.Tensor:
        """Return the spectra (bins, frames) of pulses and noise, of power 1 a sample: as much of pulses below
        VOICED_HZ as the frames (frames,) are voice.
        """
        later = torch.arange(HOP, device=self.device) / HOP
        share = (voice[:-1, None] * (1 - later) + voice[1:, None] * later).flatten()
        pulses = torch.from_numpy(pulses_at(start, length)).float().to(self.device)
        noise = torch.from_numpy(noise_at(start, length)).float().to(self.device)
        voiced = self._analyse(pulses * share.sqrt()) * (1 - self.noisy).sqrt()
        return voiced + self._analyse(noise) * (1 - voice * (1 - self.noisy)).sqrt()

    def _analyse(self, samples: torch.Tensor) -> torch.Tensor:
        shape = {"hop_length": HOP, "win_length": WINDOW, "window": self.window}
        return torch.stft(samples, FFT, **shape, pad_mode="constant", return_complex=True)

    def _overlap(self, spectra: torch.Tensor, length: int) -> torch.Tensor:
        return torch.istft(spectra, FFT, HOP, WINDOW, self.window, length=length)


def bins_of(fft: int) -> torch.Tensor:
    """Return the frequencies (fft // 2 + 1,) in Hz of a transform's bins."""
    return torch.arange(fft // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / fft


def with_level(spectra: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Return complex spectra with their phases and another level, of the same shape."""
    return spectra * (level / spectra.abs().clamp(min=1e-20))


def between(known: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return weights (known, wanted) that interpolate linearly between points (known,) in rising order, and
    keep the ends' values beyond them.
    """
    right = torch.searchsorted(known, wanted).clamp(1, len(known) - 1)
    share = ((wanted - known[right - 1]) / (known[right] - known[right - 1])).clamp(0, 1)
    weights = torch.zeros(len(known), len(wanted), dtype=torch.float64)
    column = torch.arange(len(wanted))
    weights[right - 1, column] = 1 - share
    weights[right, column] = share
    return weights


def pulses_at(start: int, length: int) -> np.ndarray:
    """Return pulses at PITCH_HZ, of power 1 a sample (length,), from a sample on; each lies between two."""
    period = SAMPLE_RATE / PITCH_HZ
    times = np.arange(np.ceil((start - 1) / period), np.ceil((start + length) / period)) * period - start
    before = np.floor(times).astype(int)
    found = np.zeros(length + 2)
    for shift, share in ((0, before + 1 - times), (1, times - before)):
        at = before + shift
        inside = (at >= 0) & (at < length)
        found[at[inside]] += share[inside] * np.sqrt(period)
    return found[:length]


def noise_at(start: int, length: int) -> np.ndarray:
    """Return white noise of power 1 (length,) from a sample on: always the same, drawn second by second."""
    first, last = start // SAMPLE_RATE, (start + length) // SAMPLE_RATE
    seconds = [np.random.default_rng((NOISE_SEED, second)).standard_normal(SAMPLE_RATE)
               for second in range(first, last + 1)]  # fmt: skip
    return np.concatenate(seconds)[start - first * SAMPLE_RATE :][:length]
