"""Short-time spectra: frames, windows, mel filter banks, log-mels. What MFCC, mel and energy features share.

All in torch, on any device, in the precision of what they are given. Frames start every `hop` samples and
lie whole within the signal: none is padded (Kaldi's snip_edges). Source: Kaldi's feat/mel-computations.cc.
"""

from __future__ import annotations

import torch

SAMPLE_RATE = 16_000  # Hz
WINDOW = 400  # samples, 25 ms
FLOOR = torch.finfo(torch.float32).eps  # of energies before their logarithm, as in Kaldi
N_MELS = 80  # bands of `log_mels`
MEL_FFT = 1024  # fine enough that no band falls between two bins


def frames_in(samples: int, window: int, hop: int) -> int:
    """Return how many whole frames a signal of so many samples has."""
    return max(0, 1 + (samples - window) // hop) if samples >= window else 0


def mel_bank(n_mels: int, n_fft: int, low_hz: float, high_hz: float) -> torch.Tensor:
    """Return triangles (n_mels, n_fft // 2 + 1), float64, equally wide on the mel scale 1127 ln(1 + f / 700),
    peak 1, slopes straight on that scale.
    """

    def mel(hz: torch.Tensor) -> torch.Tensor:
        return 1127 * torch.log1p(hz / 700)

    ends = mel(torch.tensor([low_hz, high_hz], dtype=torch.float64))
    step = (ends[1] - ends[0]) / (n_mels + 1)
    bins = mel(torch.arange(n_fft // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / n_fft)
    left = (ends[0] + step * torch.arange(n_mels, dtype=torch.float64))[:, None]
    up, down = (bins - left) / step, (left + 2 * step - bins) / step
    return torch.minimum(up, down).clamp(min=0)


def log_mels(samples: torch.Tensor, hop: int, shortest: int, count: int) -> torch.Tensor:
    """Return log-mels (count, N_MELS) of samples (n,): those of frame t of an encoder whose frame t begins at
    sample t · hop and is `shortest` long; the window of 25 ms has the same centre. Natural logarithms of the
    power in a band.
    """
    before = (shortest - WINDOW) // 2  # from a frame's start to the window's
    end = before + (count - 1) * hop + WINDOW
    padded = torch.nn.functional.pad(samples, (max(0, -before), max(0, end - len(samples))))
    windows = padded[max(0, before) :].unfold(0, WINDOW, hop)[:count]
    shape = torch.hann_window(WINDOW, dtype=samples.dtype, device=samples.device)
    power = torch.fft.rfft(windows * shape, MEL_FFT).abs().square()
    bank = mel_bank(N_MELS, MEL_FFT, 0, SAMPLE_RATE / 2).to(power)
    return (power @ bank.T).clamp(min=FLOOR).log()
