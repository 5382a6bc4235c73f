"""Our pitch tracker beside pyin and Praat on the sounds of benchmarks/pitch.py; theirs on our frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import voices
from networks.pitch_engines import ENGINES, load_pitch_engine
from pitch_sounds import in_condition, judge, known_sets, spoken_sets, track
from voices import HOP, SAMPLE_RATE, Voice


@pytest.fixture(scope="module")
def sets() -> dict[str, list[Voice]]:
    torch.set_num_threads(1)
    return {**known_sets(), **spoken_sets([load_pitch_engine("praat"), load_pitch_engine("swift")])}


def errors(engine: str, sounds: list[Voice]):
    tracker = load_pitch_engine(engine)
    return judge([track(voice.samples, tracker) for voice in sounds], sounds)


@pytest.mark.parametrize("name", ["glides", "traps", "sentences", "espeak", "recordings"])
def test_clean_sounds_to_five_cents(name: str, sets: dict[str, list[Voice]]) -> None:
    """Six where the reference is the mean of two trackers."""
    found = errors("amela", sets[name])
    assert found.cents < (6 if name == "recordings" else 5)
    assert found.gross < (2.5 if name == "recordings" else 0.5)


@pytest.mark.parametrize("condition", ["white 10 dB", "babble 10 dB"])
@pytest.mark.parametrize("name", ["glides", "traps", "sentences", "espeak", "recordings"])
def test_no_worse_than_pyin_at_10_db(name: str, condition: str, sets: dict[str, list[Voice]]) -> None:
    """Median, gross errors and voicing."""
    noisy = in_condition(sets[name], condition)
    own, pyin = errors("amela", noisy), errors("pyin", noisy)
    assert own.gross <= pyin.gross
    assert own.voicing <= pyin.voicing
    assert own.cents <= pyin.cents


def other_sounds(name: str) -> list[Voice]:
    """Voices, and babble, that benchmarks/pitch.py does not have."""
    if name == "high":  # one strong harmonic, and weak above 400 Hz
        sounds = [voices.glide(a, b, 2.5, vowel) for vowel in "iu" for a, b in ((150, 600), (600, 150))]
    else:
        sounds = [voices.sentence(30 + i, mean_hz, 5.0) for i, mean_hz in enumerate((95, 180, 260, 360), 1)]
    noise = voices.babble(15 * SAMPLE_RATE, seed=7)
    return [
        Voice(voices.mixed(voice.samples, np.roll(noise, -7001 * i), 10), voice.f0_hz)
        for i, voice in enumerate(sounds)
    ]


@pytest.mark.parametrize("name", ["high", "sentences"])
def test_no_worse_than_pyin_on_other_voices_in_babble(name: str) -> None:
    sounds = other_sounds(name)
    own, pyin = errors("amela", sounds), errors("pyin", sounds)
    assert own.gross <= pyin.gross
    assert own.voicing <= pyin.voicing


def test_better_than_praat_in_noise(sets: dict[str, list[Voice]]) -> None:
    for condition in ("white 10 dB", "white 0 dB"):
        noisy = in_condition(sets["sentences"] + sets["glides"], condition)
        assert errors("amela", noisy).either < errors("praat", noisy).either


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_answers_on_our_frames(engine: str) -> None:
    tracker = load_pitch_engine(engine)
    voice = voices.vibrato(180, duration_s=2.0)
    samples = torch.from_numpy(voice.samples).float()
    found = tracker(samples, SAMPLE_RATE, HOP)
    f0_hz = found.f0_hz.numpy()
    voiced = f0_hz > 0
    assert len(f0_hz) == len(voice.f0_hz)
    assert voiced.mean() > 0.95
    assert np.median(np.abs(1200 * np.log2(f0_hz[voiced] / voice.f0_hz[voiced]))) < 60
    for count in (0, 1, 160, 319, 800, 1500):
        short = tracker(samples[:count], SAMPLE_RATE, HOP)
        assert len(short.f0_hz) == len(short.voicing) == 1 + count // HOP
        assert ((short.voicing >= 0) & (short.voicing <= 1)).all()
    assert not tracker(torch.zeros(8000), SAMPLE_RATE, HOP).f0_hz.any()
    assert len(tracker(samples, 44_100, 441).f0_hz) == 1 + len(samples) // 441
