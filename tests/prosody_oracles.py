"""Our functionals beside openSMILE's eGeMAPS and Praat's, recording by recording."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from networks.functionals import functionals
from networks.pitch import track_pitch
from networks.spectral_shape import loudness, spectral_shape
from networks.voice_cycles import find_cycles

SAMPLE_RATE, HOP, N_FFT = 16_000, 160, 512
EGEMAPS = {  # ours: openSMILE's eGeMAPSv02
    "f0_mean_st": "F0semitoneFrom27.5Hz_sma3nz_amean",
    "f0_p20_st": "F0semitoneFrom27.5Hz_sma3nz_percentile20.0",
    "f0_p50_st": "F0semitoneFrom27.5Hz_sma3nz_percentile50.0",
    "f0_p80_st": "F0semitoneFrom27.5Hz_sma3nz_percentile80.0",
    "f0_range_st": "F0semitoneFrom27.5Hz_sma3nz_pctlrange0-2",
    "f0_rise_mean_st_s": "F0semitoneFrom27.5Hz_sma3nz_meanRisingSlope",
    "f0_fall_mean_st_s": "F0semitoneFrom27.5Hz_sma3nz_meanFallingSlope",
    "loudness_mean": "loudness_sma3_amean",
    "loudness_p20": "loudness_sma3_percentile20.0",
    "loudness_p80": "loudness_sma3_percentile80.0",
    "loudness_range": "loudness_sma3_pctlrange0-2",
    "energy_mean_db": "equivalentSoundLevel_dBp",
    "jitter_local": "jitterLocal_sma3nz_amean",
    "shimmer_local_db": "shimmerLocaldB_sma3nz_amean",
    "hnr_mean_db": "HNRdBACF_sma3nz_amean",
    "alpha_ratio_voiced_mean_db": "alphaRatioV_sma3nz_amean",
    "alpha_ratio_unvoiced_mean_db": "alphaRatioUV_sma3nz_amean",
    "hammarberg_voiced_mean_db": "hammarbergIndexV_sma3nz_amean",
    "hammarberg_unvoiced_mean_db": "hammarbergIndexUV_sma3nz_amean",
    "slope_0_500_voiced_mean_db_khz": "slopeV0-500_sma3nz_amean",
    "slope_500_1500_voiced_mean_db_khz": "slopeV500-1500_sma3nz_amean",
    "spectral_flux_mean": "spectralFlux_sma3_amean",
    "voiced_segments_s": "VoicedSegmentsPerSec",
    "voiced_segment_mean_s": "MeanVoicedSegmentLengthSec",
    "unvoiced_segment_mean_s": "MeanUnvoicedSegmentLength",
}
PRAAT = ("f0_mean_st", "f0_p50_st", "jitter_local", "shimmer_local_db", "hnr_mean_db")


def ours(samples: np.ndarray) -> dict[str, float | None]:
    """Return our functionals of samples (n,) at 16 kHz."""
    sound = torch.from_numpy(samples).float()
    pitch = track_pitch(sound, SAMPLE_RATE, HOP)
    window = torch.hann_window(N_FFT)
    power = (
        torch.stft(sound, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True)
        .abs()
        .square()
        .T
    )
    frames = torch.nn.functional.pad(sound, (N_FFT // 2, N_FFT // 2)).unfold(0, N_FFT, HOP)
    level_db = 10 * frames.square().mean(1).clamp(min=1e-10).log10()
    bands = torch.nn.functional.avg_pool1d(power[:, None, :256], 8)[:, 0]
    f0_hz = pitch.f0_hz.numpy()
    return functionals(
        f0_hz,
        pitch.voicing.numpy(),
        level_db.numpy(),
        HOP / SAMPLE_RATE,
        loudness=loudness(bands).numpy(),
        shape={name: values.numpy() for name, values in spectral_shape(power, SAMPLE_RATE).items()},
        cycles=find_cycles(samples, SAMPLE_RATE, f0_hz, HOP),
    )


def egemaps(samples: np.ndarray) -> dict[str, float]:
    """Return openSMILE's eGeMAPSv02, by our names."""
    import opensmile

    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    found = smile.process_signal(samples, SAMPLE_RATE).iloc[0]
    return {name: float(found[theirs]) for name, theirs in EGEMAPS.items()}


def praat(samples: np.ndarray) -> dict[str, float]:
    """Return Praat's values of PRAAT."""
    import parselmouth
    from parselmouth.praat import call

    sound = parselmouth.Sound(samples.astype(float), SAMPLE_RATE)
    pitch = sound.to_pitch_ac(time_step=0.01, pitch_floor=60, pitch_ceiling=600)
    points = call([sound, pitch], "To PointProcess (cc)")
    f0_hz = pitch.selected_array["frequency"]
    semitones = 12 * np.log2(f0_hz[f0_hz > 0] / 27.5)
    harmonicity = sound.to_harmonicity_cc(time_step=0.01, minimum_pitch=60).values
    return {
        "f0_mean_st": float(semitones.mean()),
        "f0_p50_st": float(np.median(semitones)),
        "jitter_local": call(points, "Get jitter (local)", 0, 0, 1e-4, 0.02, 1.3),
        "shimmer_local_db": call([sound, points], "Get shimmer (local_dB)", 0, 0, 1e-4, 0.02, 1.3, 1.6),
        "hnr_mean_db": float(harmonicity[harmonicity > -100].mean()),
    }


def correlations(one: Sequence[dict], other: Sequence[dict]) -> dict[str, float]:
    """Return Pearson's r over recordings of each name of `other`."""
    found = {}
    for name in other[0]:
        pairs = [(a[name], b[name]) for a, b in zip(one, other) if a[name] is not None]
        found[name] = float(np.corrcoef(np.array(pairs).T)[0, 1])
    return found
