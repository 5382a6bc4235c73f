"""The shape of each frame's spectrum in a few numbers, and its loudness: for prosody functionals."""

from __future__ import annotations

import torch

NAMES = ("alpha_ratio_db", "hammarberg_db", "slope_0_500_db_khz", "slope_500_1500_db_khz", "spectral_flux")
FAINT = 1e-12  # power below which a band says nothing
LOUDNESS_EXPONENT = 0.3  # Stevens: loudness doubles with 10 dB


def spectral_shape(
    power: torch.Tensor, sample_rate_hz: int, before: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    """Return NAMES of power spectra (frames, n_fft // 2 + 1), each (frames,); NaN in silence.

    alpha_ratio_db: energy from 50 Hz to 1 kHz over that from 1 to 5 kHz. hammarberg_db: the strongest bin
    below 2 kHz over that from 2 to 5 kHz. slope_*: straight line through the spectrum in dB, in dB per kHz.
    spectral_flux: distance from the frame before (`before` (bins,) is the one before the first), of magnitude
    spectra of unit length: 0 for the same shape, at most √2. Bands end at half the sample rate.
    """
    hz = torch.arange(power.shape[1], device=power.device) * (sample_rate_hz / 2 / (power.shape[1] - 1))
    low, high = ((hz >= a) & (hz < b) for a, b in ((50, 1000), (1000, 5000)))
    strong, weak = ((hz >= a) & (hz < b) for a, b in ((0, 2000), (2000, 5000)))
    found = {
        "alpha_ratio_db": ratio_db(power[:, low].sum(1), power[:, high].sum(1)),
        "hammarberg_db": ratio_db(power[:, strong].amax(1), power[:, weak].amax(1)),
        "slope_0_500_db_khz": slope(power, hz, 0, 500),
        "slope_500_1500_db_khz": slope(power, hz, 500, 1500),
    }
    if before is None:
        before = power[0]
    magnitude = torch.cat([before[None], power]).sqrt()
    length = magnitude.norm(dim=1, keepdim=True)
    shape = torch.where(length > FAINT**0.5, magnitude / length.clamp(min=1e-20), torch.nan)
    return {**found, "spectral_flux": (shape[1:] - shape[:-1]).norm(dim=1)}


def ratio_db(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """Return above over below in dB, NaN where either is silent."""
    heard = (above > FAINT) & (below > FAINT)
    return torch.where(heard, 10 * (above.clamp(min=FAINT) / below.clamp(min=FAINT)).log10(), torch.nan)


def slope(power: torch.Tensor, hz: torch.Tensor, low_hz: float, high_hz: float) -> torch.Tensor:
    """Return the slope in dB per kHz of the least-squares line through the bins of a band, DC left out."""
    band = (hz > low_hz) & (hz <= high_hz)
    khz = hz[band] / 1000
    level_db = 10 * power[:, band].clamp(min=FAINT).log10()
    centred = khz - khz.mean()
    line = (level_db * centred).sum(1) / centred.square().sum().clamp(min=1e-20)
    return torch.where(power[:, band].amax(1) > FAINT, line, torch.nan)


def loudness(mel_power: torch.Tensor) -> torch.Tensor:
    """Return a loudness (frames,), without unit, of the power in mel bands (frames, bands): the sum of what
    each band adds.
    """
    return mel_power.clamp(min=0).pow(LOUDNESS_EXPONENT).sum(1)
