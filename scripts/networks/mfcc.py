"""MFCC with their first and second differences: the features that HuBERT's first iteration was clustered on.

13 cepstra by Kaldi's definitions (frames of 25 ms every 10 ms that lie whole within the signal, mean removed,
pre-emphasis 0.97, Povey's window, 23 mel bands from 20 Hz to 8 kHz, power, orthonormal cosine transform,
lifter 22; C0 and no energy; no dither), then regression over two frames on each side, ends repeated, twice.
Samples are in [-1, 1], as fairseq gives them: Kaldi's are 32768 times as large, which moves C0 alone, but for
sounds near Kaldi's floor. The second differences are those of the first (torchaudio's way, so fairseq's);
Kaldi differs in the first and last four frames. Sources: Kaldi feat/feature-mfcc.cc, feature-functions.cc;
fairseq examples/hubert/simple_kmeans/dump_mfcc_feature.py; Hsu et al. 2021.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 (its usual name)

from networks.spectra import FLOOR, SAMPLE_RATE, WINDOW, frames_in, mel_bank

HOP = 160  # samples, 10 ms
FFT, N_MELS, LOW_HZ = 512, 23, 20.0
N_CEPSTRA, LIFTER, PRE_EMPHASIS = 13, 22, 0.97
WIDTH = 3 * N_CEPSTRA
REACH = 2  # frames on each side that a difference is taken over
CONTEXT = 2 * REACH  # frames on each side that reach a feature
PIECE = 3000  # frames at a time: bounded memory


class Mfcc(torch.nn.Module):
    """Samples → features; in float64, so that the size of a piece does not show in float32."""

    width, hop, shortest = WIDTH, HOP, WINDOW

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64) ** 0.85
        bands = torch.arange(N_MELS, dtype=torch.float64) + 0.5
        order = torch.arange(N_CEPSTRA, dtype=torch.float64)[:, None]
        cosines = torch.cos(math.pi / N_MELS * order * bands) * math.sqrt(2 / N_MELS)
        cosines[0] = math.sqrt(1 / N_MELS)
        lifter = 1 + LIFTER / 2 * torch.sin(math.pi * order / LIFTER)
        self.register_buffer("window", window)
        self.register_buffer("bank", mel_bank(N_MELS, FFT, LOW_HZ, SAMPLE_RATE / 2).T.contiguous())
        self.register_buffer("cosines", (cosines * lifter).T.contiguous())
        self.register_buffer("slope", torch.arange(-REACH, REACH + 1, dtype=torch.float64)[None, None] / 10)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the features (frames, 39) float32 of samples (n,) at 16 kHz, n ≥ 400."""
        frames = samples.double().unfold(0, WINDOW, HOP)
        frames = frames - frames.mean(1, keepdim=True)
        before = torch.cat([frames[:, :1], frames[:, :-1]], 1)
        spectrum = torch.fft.rfft((frames - PRE_EMPHASIS * before) * self.window, FFT)
        power = spectrum.real.square() + spectrum.imag.square()
        cepstra = (power @ self.bank).clamp(min=FLOOR).log() @ self.cosines
        first = self._differences(cepstra)
        return torch.cat([cepstra, first, self._differences(first)], 1).float()

    def _differences(self, x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x.T[:, None], (REACH, REACH), mode="replicate")
        return F.conv1d(padded, self.slope)[:, 0].T

    def pieces(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Yield (samples, features (frames, 39)) of a recording of any length, given as float32 blocks: the
        features of the whole, and the samples from the start of the first of these frames on.
        """
        for samples, before, count in overlapping(blocks):
            found = self(torch.from_numpy(samples).to(self.window.device))
            yield samples[before * HOP :], found[before : before + count]


def overlapping(blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield (samples, frames of context before, frames wanted): pieces of a stream that give each frame once,
    with the context it needs; they do not depend on how the stream was cut.
    """
    ahead = (CONTEXT - 1) * HOP + WINDOW
    waiting: list[np.ndarray] = []
    held = before = 0
    for block in blocks:
        waiting.append(block)
        held += len(block)
        while held >= (before + PIECE) * HOP + ahead:
            whole = np.concatenate(waiting)
            yield whole[: (before + PIECE) * HOP + ahead], before, PIECE
            waiting = [whole[(before + PIECE - CONTEXT) * HOP :]]
            held, before = len(waiting[0]), CONTEXT
    left = frames_in(held, WINDOW, HOP) - before
    if left > 0:
        yield np.concatenate(waiting), before, left
