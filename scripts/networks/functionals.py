"""Prosody functionals: numbers that say how a recording was spoken. A set of our own, near eGeMAPS.

Names end in their unit: st (semitones above 27.5 Hz), db, s (seconds, or per second after a rate or slope),
khz (per kHz). mean, sd (standard deviation), p20, p50, p80 (percentiles), range (p80 - p20), rise and fall
(slopes of the stretches in which a contour rises or falls). Voiced are frames with a pitch; unvoiced those
without that are within 40 dB of the loudest, so not pauses. Every name is always there, and None where
nothing can be said: silence, too short.

| names | of |
|---|---|
| f0_*_st, f0_rise_*_st_s, f0_fall_*_st_s | pitch of voiced frames |
| energy_*_db | level of all frames, dB re full scale |
| loudness_*, loudness_rise_mean_s, loudness_fall_mean_s | sum over mel bands of power ** 0.3 |
| jitter_local | mean difference of adjoining periods over the mean period |
| shimmer_local_db | mean ratio of adjoining cycles' peak-to-peak size |
| hnr_mean_db, hnr_sd_db | r / (1 - r), r the share of a voiced frame that repeats (below 3 kHz, at most 40) |
| alpha_ratio_{voiced,unvoiced}_*_db | energy from 50 Hz to 1 kHz over that from 1 to 5 kHz |
| hammarberg_{voiced,unvoiced}_*_db | strongest bin below 2 kHz over that from 2 to 5 kHz |
| slope_{0_500,500_1500}_{voiced,unvoiced}_*_db_khz | line through the spectrum between these Hz |
| spectral_flux_*, spectral_flux_voiced_* | change of the spectrum's shape from frame to frame, 0 to √2 |
| mfcc{1,2,3,4}_*, mfcc{1,2,3,4}_voiced_mean | cepstra, the 0th not counted |
| voiced_ratio, voiced_segments_s | share of frames; voiced stretches a second |
| voiced_segment_*_s, unvoiced_segment_*_s | lengths of stretches with and without pitch |

Definitions after Eyben et al. 2016; formants, and what needs them, are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from media.prosody import semitones
from networks.spectral_shape import NAMES

if TYPE_CHECKING:
    from networks.voice_cycles import Cycles

SHORTEST_S = 0.03  # of a rising or falling stretch
PAUSE_DB = 40.0  # below the loudest frame
SILENT_DB = -100.0
HIGHEST_R = 0.9999  # 40 dB: beyond it, rounding speaks
LONGEST_RATIO = 1.3  # of adjoining periods that are cycles of one voice (Praat's)
N_MFCC = 4


def functionals(
    f0_hz: np.ndarray,
    voicing: np.ndarray,
    energy_db: np.ndarray,
    hop_s: float,
    *,
    loudness: np.ndarray | None = None,
    shape: dict[str, np.ndarray] | None = None,
    mfcc: np.ndarray | None = None,
    cycles: Cycles | None = None,
) -> dict[str, float | None]:
    """Return the functionals by name of contours (frames,): pitch (0 where unvoiced) and voicing
    (networks/pitch.py), level, loudness and shape (networks/spectral_shape.py), mfcc (frames, > 4) with the
    0th, and cycles (networks/voice_cycles.py). What is not given is None in the result.
    """
    frames = len(f0_hz)
    voiced = f0_hz > 0
    loudest_db = energy_db.max(initial=SILENT_DB)
    unvoiced = ~voiced & (energy_db > max(loudest_db - PAUSE_DB, SILENT_DB))
    nothing = np.full(frames, np.nan)
    pitch_st = semitones(f0_hz)
    found = spread("f0", pitch_st, "_st")
    found.update(slopes("f0", pitch_st, hop_s, "_st_s"))
    found.update(spread("energy", energy_db, "_db"))
    loud = nothing if loudness is None else loudness
    found.update(spread("loudness", loud, ""))
    found.update(
        {name: value for name, value in slopes("loudness", loud, hop_s, "_s").items() if "_sd" not in name}
    )
    found.update(quality(cycles))
    share = np.clip(voicing[voiced].astype(np.float64), 1e-4, HIGHEST_R)
    found.update(moments("hnr", 10 * np.log10(share / (1 - share)), "_db"))
    for name in NAMES:
        contour = nothing if shape is None else shape[name]
        stem, khz, _ = name.partition("_db")
        unit = name[len(stem) :]
        found.update(moments(f"{stem}_voiced", contour[voiced], unit))
        if khz:
            found[f"{stem}_unvoiced_mean{unit}"] = mean(contour[unvoiced])
        else:
            found.update(moments(stem, contour, unit))
    for number in range(1, N_MFCC + 1):
        contour = nothing if mfcc is None else mfcc[:, number].astype(np.float64)
        found.update(moments(f"mfcc{number}", contour, ""))
        found[f"mfcc{number}_voiced_mean"] = mean(contour[voiced])
    found.update(segments(voiced, hop_s))
    return found


def mean(values: np.ndarray) -> float | None:
    """Return the mean of finite values, None where there is none."""
    values = values[np.isfinite(values)].astype(np.float64)
    return float(values.mean()) if len(values) else None


def deviation(values: np.ndarray) -> float | None:
    """Return the standard deviation of finite values, None below two."""
    values = values[np.isfinite(values)].astype(np.float64)
    return float(values.std()) if len(values) > 1 else None


def moments(name: str, values: np.ndarray, unit: str) -> dict[str, float | None]:
    """Return mean and standard deviation."""
    return {f"{name}_mean{unit}": mean(values), f"{name}_sd{unit}": deviation(values)}


def spread(name: str, values: np.ndarray, unit: str) -> dict[str, float | None]:
    """Return mean, standard deviation and percentiles of finite values."""
    found = moments(name, values, unit)
    values = values[np.isfinite(values)]
    low, middle, high = map(float, np.percentile(values, (20, 50, 80))) if len(values) else (None, None, None)
    found.update({f"{name}_p20{unit}": low, f"{name}_p50{unit}": middle, f"{name}_p80{unit}": high})
    found[f"{name}_range{unit}"] = None if low is None or high is None else high - low
    return found


def slopes(name: str, contour: np.ndarray, hop_s: float, unit: str) -> dict[str, float | None]:
    """Return mean and deviation of the slopes of rising and of falling stretches, a second.

    A stretch runs from one turn of the contour to the next; those shorter than SHORTEST_S are passed over.
    """
    rises: list[float] = []
    falls: list[float] = []
    for start, end in runs(np.isfinite(contour)):
        if end - start < 5:
            continue
        ends = turns(contour[start:end])
        lengths = np.diff(ends) * hop_s
        change = np.diff(contour[start + ends])
        keep = (lengths >= SHORTEST_S) & (change != 0)
        steep = change[keep] / lengths[keep]
        rises += steep[steep > 0].tolist()
        falls += steep[steep < 0].tolist()
    return {
        **moments(f"{name}_rise", np.array(rises), unit),
        **moments(f"{name}_fall", np.array(falls), unit),
    }


def turns(contour: np.ndarray) -> np.ndarray:
    """Return where a contour (frames, at least 5) begins, turns and ends: its highest and lowest values near
    the turns of what five frames' means leave of it.
    """
    wide = np.pad(contour, 2, mode="edge")
    smooth = np.convolve(wide, np.full(5, 0.2), "valid")
    at = np.flatnonzero(np.diff(np.sign(np.diff(smooth)))) + 1
    near = np.lib.stride_tricks.sliding_window_view(wide, 5)[at]
    is_top = smooth[at] > smooth[at - 1]
    places = at - 2 + np.where(is_top, near.argmax(1), near.argmin(1))
    return np.unique(np.concatenate([[0], places, [len(contour) - 1]]).clip(0, len(contour) - 1))


def quality(cycles: Cycles | None) -> dict[str, float | None]:
    """Return jitter and shimmer of adjoining cycles."""
    if cycles is None or cycles.period_s.shape[1] < 2:
        return {"jitter_local": None, "shimmer_local_db": None}
    first, second = cycles.period_s[:, :-1], cycles.period_s[:, 1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = np.maximum(first / second, second / first) <= LONGEST_RATIO
        step_db = np.abs(20 * np.log10(cycles.size[:, 1:] / cycles.size[:, :-1]))
    if not pairs.any():
        return {"jitter_local": None, "shimmer_local_db": None}
    period_s = np.concatenate([first[pairs], second[pairs]]).mean()
    jitter = float(np.abs(second[pairs] - first[pairs]).mean() / period_s)
    return {"jitter_local": jitter, "shimmer_local_db": mean(step_db[pairs])}


def segments(voiced: np.ndarray, hop_s: float) -> dict[str, float | None]:
    """Return the share of voiced frames, and the rate and lengths of voiced and unvoiced stretches."""
    lengths_s = {flag: np.array([(end - start) * hop_s for start, end in runs(voiced == flag)])
                 for flag in (True, False)}  # fmt: skip
    frames = len(voiced)
    return {
        "voiced_ratio": float(voiced.mean()) if frames else None,
        "voiced_segments_s": len(lengths_s[True]) / (frames * hop_s) if frames else None,
        **moments("voiced_segment", lengths_s[True], "_s"),
        **moments("unvoiced_segment", lengths_s[False], "_s"),
    }


def runs(mask: np.ndarray) -> np.ndarray:
    """Return (start, end) of each run of true values, end not included."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)], 1)
