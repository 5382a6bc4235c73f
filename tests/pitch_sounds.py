"""Sounds that pitch trackers are held against each other on, clean and in noise, and how they are judged.

Sets: glides and vibrato; traps (a strong second harmonic, a telephone's band, alternating and clipped cycles,
sines); sentences of vowels between hisses and pauses; espeak-ng; recordings where they are at hand. What has
no written pitch (the last two) is judged where Praat and SwiftF0 agree on the clean sound: within half a
semitone on the pitch, or on there being none.
"""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import voices
from speech import real_speech
from voices import HOP, SAMPLE_RATE, Voice

CONDITIONS = ("clean", "white 10 dB", "babble 10 dB", "white 0 dB", "babble 0 dB")
ESPEAK = (("en", 50), ("en+f3", 60), ("de", 30), ("fr+f2", 80), ("es+m3", 40))
TEXT = "The early bird may have caught nine worms, but are you really ready to leave now?"
GROSS = np.log2(1.2)


class Errors(NamedTuple):
    """Median error in cents; gross errors (20 %) in percent of what both call voiced; wrong voicing, and
    either, in percent of frames.
    """

    cents: float
    gross: float
    voicing: float
    either: float


def known_sets() -> dict[str, list[Voice]]:
    """Return the sets whose pitch is known."""
    glides = [voices.glide(a, b, vowel=vowel) for a, b, vowel in (
        (60, 200, "a"), (200, 80, "a"), (120, 400, "a"), (400, 150, "i"), (200, 600, "a"), (600, 250, "o"),
        (70, 160, "u"), (150, 300, "i"),
    )]  # fmt: skip
    glides += [
        voices.vibrato(180),
        voices.vibrato(350, 1.5, vowel="e"),
        voices.vibrato(110, 0.7, 5, vowel="u"),
    ]
    means_hz = (100, 130, 200, 230, 320, 80, 400)
    sentences = [voices.sentence(seed, mean_hz) for seed, mean_hz in enumerate(means_hz, 1)]
    return {"glides": glides, "traps": list(traps()), "sentences": sentences}


def traps() -> Iterator[Voice]:
    """Yield voices that invite octave errors."""
    for from_hz, to_hz in ((80, 200), (150, 300), (200, 400)):
        voice = voices.glide(from_hz, to_hz, 2.0)
        count = len(voice.samples)
        contour = np.interp(np.arange(count) / HOP, np.arange(len(voice.f0_hz)), voice.f0_hz)
        phase = 2 * np.pi * np.cumsum(contour) / SAMPLE_RATE
        even = sum(
            (1.0 if number % 2 == 0 else 0.1) * np.cos(number * phase) / number for number in range(1, 9)
        )
        hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
        narrow = np.fft.irfft(np.fft.rfft(voice.samples) * ((hz > 300) & (hz < 3400)), count)
        alternating = voice.samples * (1 + 0.1 * np.cos(phase / 2))
        for samples in (
            0.1 * even,
            narrow,
            alternating,
            np.clip(8 * voice.samples, -1, 1),
            0.3 * np.cos(phase),
        ):
            yield Voice(samples, voice.f0_hz)


def spoken_sets(trackers: list) -> dict[str, list[Voice]]:
    """Return the sets whose pitch is what two `trackers` agree on, NaN where they do not."""
    from media.audio import load_mono

    sounds = {"espeak": list(espeak())}
    real = real_speech()
    if real is not None:
        paths = [*sorted((real / "asr").glob("*.[wm][ap][v3]")), *sorted((real / "vad").glob("*.wav"))]
        sounds["recordings"] = [load_mono(path).astype(float) for path in paths]
    return {name: [agreed(sound, trackers) for sound in some] for name, some in sounds.items()}


def espeak() -> Iterator[np.ndarray]:
    """Yield a sentence by several voices of espeak-ng, at 16 kHz."""
    from media.audio import load_mono

    with tempfile.TemporaryDirectory() as folder:
        for voice, pitch in ESPEAK:
            path = Path(folder) / "spoken.wav"
            subprocess.run(["espeak-ng", "-v", voice, "-p", str(pitch), "-w", path, TEXT], check=True)
            yield load_mono(path).astype(float)


def agreed(samples: np.ndarray, trackers: list) -> Voice:
    """Return a sound with the pitch that two trackers agree on."""
    one, other = (track(samples, tracker) for tracker in trackers)
    both = (one > 0) & (other > 0)
    near = np.abs(np.log2(np.where(both, one, 1) / np.where(both, other, 1))) < 0.5 / 12
    true_hz = np.where(both & near, np.sqrt(one * other), np.where((one == 0) & (other == 0), 0, np.nan))
    return Voice(samples, true_hz)


def track(samples: np.ndarray, tracker) -> np.ndarray:
    """Return f0_hz (frames,) that a tracker of networks.pitch_engines finds."""
    return tracker(torch.from_numpy(samples).float(), SAMPLE_RATE, HOP, 60.0, 600.0).f0_hz.numpy()


def in_condition(sounds: list[Voice], condition: str) -> list[Voice]:
    """Return sounds in the noise that a condition names."""
    if condition == "clean":
        return sounds
    kind, level, _ = condition.split()
    noisy = []
    for index, (samples, f0_hz) in enumerate(sounds):
        noise = voices.white(len(samples), index) if kind == "white" else np.roll(babble(), 9999 * index)
        noisy.append(Voice(voices.mixed(samples, noise, float(level)), f0_hz))
    return noisy


@functools.lru_cache
def babble() -> np.ndarray:
    """Return 12 s of eight voices at once."""
    return voices.babble(12 * SAMPLE_RATE)


def judge(found: list[np.ndarray], sounds: list[Voice]) -> Errors:
    """Return the errors of f0 contours over all frames whose pitch is known."""
    f0_hz = np.concatenate(found)
    true_hz = np.concatenate([voice.f0_hz for voice in sounds])
    known = np.isfinite(true_hz)
    f0_hz, true_hz = f0_hz[known], true_hz[known]
    both = (f0_hz > 0) & (true_hz > 0)
    octaves = np.abs(np.log2(f0_hz[both] / true_hz[both]))
    gross, wrong = octaves > GROSS, (f0_hz > 0) != (true_hz > 0)
    either = (gross.sum() + wrong.sum()) / len(true_hz)
    return Errors(1200 * float(np.median(octaves)), 100 * gross.mean(), 100 * wrong.mean(), 100 * either)
