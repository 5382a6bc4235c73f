"""Prosody functionals against sounds and contours whose answers are known; null, never NaN, where there is
none.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import voices
from networks.functionals import functionals, quality, slopes
from networks.pitch import track_pitch
from networks.spectral_shape import loudness, spectral_shape
from networks.voice_cycles import find_cycles, joined
from voices import HOP, SAMPLE_RATE

HOP_S = 0.01


def tracked(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = track_pitch(torch.from_numpy(samples).float(), SAMPLE_RATE, HOP)
    return found.f0_hz.numpy(), found.voicing.numpy()


def spectra(samples: np.ndarray, n_fft: int = 512) -> torch.Tensor:
    """Return power spectra (frames, bins) of frames within the samples."""
    frames = torch.from_numpy(np.asarray(samples, np.float64)).unfold(0, n_fft, HOP)
    return torch.fft.rfft(frames * torch.hann_window(n_fft, dtype=torch.float64)).abs().square()


def of(f0_hz: np.ndarray, voicing: np.ndarray | None = None, energy_db: np.ndarray | None = None, **more):
    voicing = np.where(f0_hz > 0, 0.9, 0.1) if voicing is None else voicing
    energy_db = np.full(len(f0_hz), -20.0) if energy_db is None else energy_db
    found = functionals(f0_hz, voicing, energy_db, HOP_S, **more)
    json.dumps(found, allow_nan=False)
    return found


def test_pitch_in_semitones() -> None:
    """An octave above 27.5 Hz is 12; the middle of a straight line its mean; unvoiced frames are left out."""
    contour = 27.5 * 2 ** (np.linspace(24, 36, 101) / 12)
    found = of(np.concatenate([np.zeros(30), contour, np.zeros(70)]))
    assert found["f0_mean_st"] == pytest.approx(30)
    assert found["f0_p20_st"] == pytest.approx(26.4)
    assert found["f0_p50_st"] == pytest.approx(30)
    assert found["f0_range_st"] == pytest.approx(7.2)
    assert found["f0_sd_st"] == pytest.approx(12 / 12**0.5, rel=0.02)
    assert found["f0_rise_mean_st_s"] == pytest.approx(12, rel=0.02)
    assert found["f0_fall_mean_st_s"] is None


def test_slopes_of_a_contour_that_rises_and_falls() -> None:
    """0.4 s up at 10 a second, 0.2 s down at 20 a second, again and again."""
    contour = np.interp(np.arange(300) * HOP_S % 0.6, (0, 0.4, 0.6), (0, 4, 0))
    found = slopes("x", contour, HOP_S, "_s")
    assert found["x_rise_mean_s"] == pytest.approx(10, rel=0.05)
    assert found["x_fall_mean_s"] == pytest.approx(-20, rel=0.05)


def test_segments() -> None:
    """0.3 s voiced, 0.2 s not, four times in 2 s."""
    voiced = np.tile(np.repeat([120.0, 0.0], (30, 20)), 4)
    found = of(voiced)
    assert found["voiced_ratio"] == pytest.approx(0.6)
    assert found["voiced_segments_s"] == pytest.approx(2)
    assert found["voiced_segment_mean_s"] == pytest.approx(0.3)
    assert found["unvoiced_segment_mean_s"] == pytest.approx(0.2)
    assert found["voiced_segment_sd_s"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("f0_hz", [90, 150, 280])
def test_a_steady_voice_has_neither_jitter_nor_shimmer(f0_hz: int) -> None:
    samples = voices.pulses(f0_hz, 0, 0).samples
    cycles = find_cycles(samples, SAMPLE_RATE, tracked(samples)[0], HOP)
    found = quality(cycles)
    assert found["jitter_local"] < 2e-3  # most of it where the voice ends
    assert found["shimmer_local_db"] < 0.05
    assert np.nanmedian(cycles.period_s) == pytest.approx(1 / f0_hz, rel=1e-4)
    assert np.isfinite(cycles.period_s).sum() > 0.8 * 2 * 0.95 * f0_hz


@pytest.mark.parametrize(
    ("f0_hz", "jitter", "shimmer_db"), [(90, 0.01, 0.3), (110, 0.02, 0.6), (150, 0.01, 0.3)]
)
def test_jitter_and_shimmer_of_uneven_pulses(f0_hz: int, jitter: float, shimmer_db: float) -> None:
    """Within 35 %: what one pulse leaves rings into the next."""
    pulses = voices.pulses(f0_hz, jitter, shimmer_db)
    found = quality(find_cycles(pulses.samples, SAMPLE_RATE, tracked(pulses.samples)[0], HOP))
    assert found["jitter_local"] == pytest.approx(pulses.jitter, rel=0.35)
    assert found["shimmer_local_db"] == pytest.approx(pulses.shimmer_db, rel=0.35)


def test_cycles_come_piece_by_piece_too() -> None:
    samples = voices.pulses(120, 0.01, 0.3).samples
    f0_hz, _ = tracked(samples)
    whole = quality(find_cycles(samples, SAMPLE_RATE, f0_hz, HOP))
    pieces = [find_cycles(samples[a * HOP : (a + 96) * HOP + 1], SAMPLE_RATE, f0_hz[a : a + 96], HOP)
              for a in range(0, 192, 96)]  # fmt: skip
    assert quality(joined(pieces))["jitter_local"] == pytest.approx(whole["jitter_local"], rel=0.15)


@pytest.mark.parametrize("snr_db", [5, 10, 20])
def test_hnr_is_the_ratio_of_voice_to_noise(snr_db: float) -> None:
    """Noise of the vowel's own spectrum, so that the ratio is the same in every band."""
    voice = voices.pulses(150, 0, 0).samples
    noise = np.convolve(voices.white(len(voice)), voice[8000:8107])[: len(voice)]
    f0_hz, voicing = tracked(voices.mixed(voice, noise, snr_db))
    assert of(f0_hz, voicing)["hnr_mean_db"] == pytest.approx(snr_db, abs=1.5)


def test_tilt_of_two_tones() -> None:
    """20 dB from 500 Hz to 3 kHz: that is the alpha ratio and Hammarberg's index."""
    times_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    samples = np.sin(2 * np.pi * 500 * times_s) + 0.1 * np.sin(2 * np.pi * 3000 * times_s)
    shape = {name: values.numpy() for name, values in spectral_shape(spectra(samples), SAMPLE_RATE).items()}
    frames = len(shape["alpha_ratio_db"])
    found = of(np.full(frames, 100.0), shape=shape)
    assert found["alpha_ratio_voiced_mean_db"] == pytest.approx(20, abs=0.1)
    assert found["hammarberg_voiced_mean_db"] == pytest.approx(20, abs=0.1)
    assert found["alpha_ratio_unvoiced_mean_db"] is None
    assert found["spectral_flux_mean"] == pytest.approx(0, abs=1e-3)
    unvoiced = of(np.zeros(frames), shape=shape)
    assert unvoiced["alpha_ratio_unvoiced_mean_db"] == pytest.approx(20, abs=0.1)
    assert unvoiced["alpha_ratio_voiced_mean_db"] is None


def test_slopes_of_a_straight_spectrum_and_flux_of_a_changed_one() -> None:
    hz = torch.arange(257) * SAMPLE_RATE / 512
    falling = 10 ** (-2 * hz / 1000)  # 20 dB a kHz
    other = torch.zeros(257)
    other[200] = 1
    shape = spectral_shape(torch.stack([falling, falling, other]), SAMPLE_RATE)
    assert shape["slope_0_500_db_khz"][:2].tolist() == pytest.approx([-20, -20])
    assert shape["slope_500_1500_db_khz"][:2].tolist() == pytest.approx([-20, -20])
    assert shape["spectral_flux"].tolist() == pytest.approx([0, 0, 2**0.5], abs=1e-3)
    going_on = spectral_shape(torch.stack([falling, other]), SAMPLE_RATE, before=falling)
    assert torch.equal(going_on["spectral_flux"], shape["spectral_flux"][1:])


def test_ten_db_more_is_twice_as_loud() -> None:
    mels = torch.rand(50, 26)
    assert torch.allclose(loudness(10 * mels), 10**0.3 * loudness(mels))


@pytest.mark.parametrize("frames", [0, 1, 3, 200])
def test_silence_and_the_very_short_give_null(frames: int) -> None:
    """Every name is there, and no NaN."""
    power = spectral_shape(torch.zeros(frames, 257), SAMPLE_RATE) if frames else None
    shape = None if power is None else {name: values.numpy() for name, values in power.items()}
    cycles = find_cycles(np.zeros(frames * HOP), SAMPLE_RATE, np.zeros(frames), HOP)
    silent = of(np.zeros(frames), np.zeros(frames), np.full(frames, -100.0), shape=shape, cycles=cycles)
    names = of(np.full(50, 100.0))
    assert list(silent) == list(names)
    for name in (
        "f0_mean_st",
        "jitter_local",
        "hnr_mean_db",
        "alpha_ratio_unvoiced_mean_db",
        "spectral_flux_mean",
    ):
        assert silent[name] is None


def test_cepstra_are_counted_from_the_first() -> None:
    mfcc = np.tile(np.arange(6.0), (10, 1)).astype(np.float16)
    found = of(np.full(10, 100.0), mfcc=mfcc)
    assert [found[f"mfcc{number}_mean"] for number in range(1, 5)] == [1, 2, 3, 4]
    assert found["mfcc2_sd"] == 0
