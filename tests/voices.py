"""Voices whose pitch is known: harmonics along a contour, shaped by formants, in noise of a known level.

Everything is float64 at 16 kHz, and follows from its seed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SAMPLE_RATE = 16_000  # Hz
HOP = 160  # samples, 10 ms
VOWELS = {  # first three formants, Hz (Peterson & Barney's means for men, rounded)
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
BANDWIDTHS_HZ = (80, 100, 140)
TILT_DB = -9.0  # an octave, of the source with radiation


class Voice(NamedTuple):
    """Samples (n,) and the true pitch at t · HOP: `f0_hz` (1 + n // HOP,), 0 where unvoiced."""

    samples: np.ndarray
    f0_hz: np.ndarray


def glide(from_hz: float, to_hz: float, duration_s: float = 3.0, vowel: str = "a") -> Voice:
    """A vowel whose pitch moves from one value to the other, evenly in octaves."""
    octaves = np.linspace(np.log2(from_hz), np.log2(to_hz), round(duration_s * SAMPLE_RATE) + 1)[:-1]
    return sung(2.0**octaves, vowel)


def vibrato(
    mean_hz: float, semitones: float = 1.0, rate_hz: float = 6.0, duration_s: float = 3.0, vowel: str = "a"
) -> Voice:
    """A vowel whose pitch swings `semitones` to each side, `rate_hz` times a second."""
    times_s = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    return sung(mean_hz * 2.0 ** (semitones / 12 * np.sin(2 * np.pi * rate_hz * times_s)), vowel)


def sung(f0_hz: np.ndarray, vowel: str = "a") -> Voice:
    """A vowel along a contour f0_hz (n,) of its samples."""
    formants = np.repeat(np.array(VOWELS[vowel], float)[:, None], len(f0_hz), 1)
    samples = harmonics(f0_hz, formants)
    return Voice(0.3 * samples / np.abs(samples).max(), _on_frames(f0_hz))


def _on_frames(f0_hz: np.ndarray) -> np.ndarray:
    """Values (n,) of samples at t · HOP: (1 + n // HOP,), the last repeated at the end."""
    return f0_hz[np.minimum(np.arange(1 + len(f0_hz) // HOP) * HOP, len(f0_hz) - 1)]


def harmonics(f0_hz: np.ndarray, formants_hz: np.ndarray) -> np.ndarray:
    """Return the sum of all harmonics below 7.5 kHz of a contour (n,), through formants (3, n) in Hz."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / SAMPLE_RATE
    samples = np.zeros(len(f0_hz))
    for number in range(1, int(7500 / f0_hz.min()) + 1):
        hz = number * f0_hz
        gain = 10 ** (TILT_DB / 20 * np.log2(number)) * (hz < 7500)
        for centre, width in zip(formants_hz, BANDWIDTHS_HZ):
            gain *= centre**2 / np.hypot(centre**2 - hz**2, hz * width)
        samples += gain * np.cos(number * phase + number**2 * 0.3)
    return samples


def sentence(seed: int, mean_hz: float = 120.0, duration_s: float = 6.0, spread: float = 0.25) -> Voice:
    """Vowels of 80 to 400 ms that rise and fall around `mean_hz` (by `spread` octaves) and change their
    formants, with noise (a fricative) or silence between them.
    """
    random = np.random.default_rng(seed)
    samples, true = [], []
    left = round(duration_s * SAMPLE_RATE)
    while left > 0:
        voiced = round(random.uniform(0.08, 0.4) * SAMPLE_RATE)
        pause = round(random.uniform(0.05, 0.2) * SAMPLE_RATE)
        samples += [_syllable(random, voiced, mean_hz, spread, true), _gap(random, pause)]
        true.append(np.zeros(pause))
        left -= voiced + pause
    together = np.concatenate(samples)
    return Voice(0.3 * together / np.abs(together).max(), _on_frames(np.concatenate(true)))


def _syllable(
    random: np.random.Generator, count: int, mean_hz: float, spread: float, true: list[np.ndarray]
) -> np.ndarray:
    places = np.linspace(0, 1, count)
    ends = random.normal(0, spread, 3)
    octaves = np.interp(places, (0, random.uniform(0.3, 0.7), 1), ends)
    octaves = np.convolve(np.pad(octaves, 400, mode="edge"), np.hanning(801) / np.hanning(801).sum(), "valid")
    f0_hz = mean_hz * 2.0**octaves
    one, other = (np.array(VOWELS[name], float) for name in random.choice(list(VOWELS), 2))
    formants = one[:, None] + (other - one)[:, None] * places
    sound = harmonics(f0_hz, formants)
    ramp = min(count // 2, 320)  # 20 ms
    envelope = np.minimum(1, np.minimum(np.arange(count), np.arange(count)[::-1]) / ramp)
    true.append(f0_hz)
    return sound / np.sqrt(np.mean(sound**2)) * envelope * 10 ** (random.uniform(-10, 0) / 20)


def _gap(random: np.random.Generator, count: int) -> np.ndarray:
    if random.random() < 0.5:
        return np.zeros(count)
    hiss = np.diff(random.standard_normal(count + 1))  # louder towards high frequencies
    return 0.15 * hiss * np.hanning(count)


class Pulses(NamedTuple):
    """Samples (n,) of a vowel driven by pulses, and its true jitter (local) and shimmer (local, dB)."""

    samples: np.ndarray
    jitter: float
    shimmer_db: float


def pulses(f0_hz: float, jitter: float, shimmer_db: float, duration_s: float = 2.0, seed: int = 0) -> Pulses:
    """A vowel of pulses whose periods and sizes differ at random, with these standard deviations."""
    random = np.random.default_rng(seed)
    count = round(duration_s * SAMPLE_RATE)
    hz = np.fft.rfftfreq(2 * count, 1 / SAMPLE_RATE)
    periods_s = (1 + jitter * random.standard_normal(int(duration_s * f0_hz * 0.95))) / f0_hz
    levels_db = shimmer_db * random.standard_normal(len(periods_s))
    spectrum = np.zeros(len(hz), complex)
    for at_s, level_db in zip(0.02 + np.cumsum(periods_s), levels_db):
        spectrum += 10 ** (level_db / 20) * np.exp(-2j * np.pi * hz * at_s)
    spectrum *= (hz < 7500) / (1 + (hz / 200) ** 2)
    for centre, width in zip(VOWELS["a"], BANDWIDTHS_HZ):
        spectrum *= centre**2 / (centre**2 - hz**2 + 1j * hz * width)
    samples = np.fft.irfft(spectrum)[:count]
    true_jitter = np.abs(np.diff(periods_s[1:])).mean() / periods_s.mean()
    return Pulses(0.3 * samples / np.abs(samples).max(), true_jitter, np.abs(np.diff(levels_db)).mean())


def mixed(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Samples in noise (repeated to their length) whose mean power is `snr_db` below theirs."""
    noise = np.resize(noise, len(samples))
    gain = np.sqrt(np.mean(samples**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    return samples + gain * noise


def white(count: int, seed: int = 0) -> np.ndarray:
    """White noise (count,)."""
    return np.random.default_rng(seed).standard_normal(count)


def babble(count: int, seed: int = 0, talkers: int = 8) -> np.ndarray:
    """Several voices at once (count,), none of which stands out."""
    random = np.random.default_rng(seed)
    total = np.zeros(count)
    for talker in range(talkers):
        voice = sentence(1000 * (seed + 1) + talker, random.uniform(90, 260), count / SAMPLE_RATE + 1.0)
        start = random.integers(0, len(voice.samples) - count)
        part = voice.samples[start : start + count]
        total += part / np.sqrt(np.mean(part**2))
    return total
