"""Our pitch tracker: right on voices of known pitch, in noise too, on any length; pieces give what the whole
does.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch

import voices
from media.errors import EngineError
from networks.pitch import Pitch, track_pitch, track_pitch_blocks, track_pitches
from networks.pitch_engines import ENGINES, load_pitch_engine
from voices import HOP, SAMPLE_RATE, Voice

GLIDES = [(60, 150, "a"), (250, 100, "i"), (300, 600, "i"), (100, 400, "o")]


class Errors(NamedTuple):
    """Of frames: median error in cents and share of gross errors (20 %) where both have a pitch; share of
    wrong voicing.
    """

    cents: float
    gross: float
    voicing: float


def errors(found: Pitch, voice: Voice) -> Errors:
    f0_hz, true_hz = found.f0_hz.numpy(), voice.f0_hz
    assert len(f0_hz) == len(found.voicing) == len(true_hz)
    both = (f0_hz > 0) & (true_hz > 0)
    octaves = np.abs(np.log2(f0_hz[both] / true_hz[both]))
    wrong = (f0_hz > 0) != (true_hz > 0)
    return Errors(
        1200 * float(np.median(octaves)), float((octaves > np.log2(1.2)).mean()), float(wrong.mean())
    )


def track(samples: np.ndarray, rate_hz: int = SAMPLE_RATE, hop: int = HOP) -> Pitch:
    return track_pitch(torch.from_numpy(samples).float(), rate_hz, hop)


@pytest.fixture(scope="module")
def babble() -> np.ndarray:
    return voices.babble(3 * SAMPLE_RATE, talkers=6)


@pytest.mark.parametrize(("from_hz", "to_hz", "vowel"), GLIDES)
def test_a_glide_is_found_to_a_cent_and_noise_costs_no_octaves(from_hz: int, to_hz: int, vowel: str) -> None:
    voice = voices.glide(from_hz, to_hz, 2.0, vowel)
    noisy = voices.mixed(voice.samples, voices.white(len(voice.samples)), 10)
    for samples, most_cents in ((voice.samples, 1), (noisy, 6)):
        found = errors(track(samples), voice)
        assert found.cents < most_cents
        assert found.gross == 0
        assert found.voicing == 0  # in the first and the last frame too


@pytest.mark.parametrize("mean_hz", [110, 300])
def test_sentences_clean_and_in_noise(mean_hz: int, babble: np.ndarray) -> None:
    voice = voices.sentence(mean_hz, mean_hz, 4.0)
    count = len(voice.samples)
    clean = errors(track(voice.samples), voice)
    assert clean.cents < 5
    assert clean.gross == 0
    assert clean.voicing < 0.05
    for noise, snr_db, most_voicing in (
        (voices.white(count), 10, 0.03),
        (babble, 10, 0.04),  # other voices, which go on in the pauses, have no pitch here
        (voices.white(count), 0, 0.06),
    ):
        found = errors(track(voices.mixed(voice.samples, noise, snr_db)), voice)
        assert found.gross == 0
        assert found.voicing < most_voicing


@pytest.mark.parametrize("rate_hz", [5, 6, 7])
def test_vibrato_is_not_smoothed(rate_hz: float) -> None:
    voice = voices.vibrato(220, semitones=1, rate_hz=rate_hz)
    assert errors(track(voice.samples), voice).cents < 2


def test_octave_traps() -> None:
    """A second harmonic ten times as strong as all odd ones; a telephone's band; cycles that alternate."""
    voice = voices.glide(100, 250)
    contour = np.interp(np.arange(len(voice.samples)) / HOP, np.arange(len(voice.f0_hz)), voice.f0_hz)
    phase = 2 * np.pi * np.cumsum(contour) / SAMPLE_RATE
    even = sum((1.0 if number % 2 == 0 else 0.1) * np.cos(number * phase) / number for number in range(1, 9))
    hz = np.fft.rfftfreq(len(voice.samples), 1 / SAMPLE_RATE)
    narrow = np.fft.irfft(np.fft.rfft(voice.samples) * ((hz > 300) & (hz < 3400)), len(voice.samples))
    alternating = voice.samples * (1 + 0.05 * np.cos(phase / 2))
    for samples in (0.1 * even, narrow, alternating):
        assert errors(track(samples), voice).gross == 0


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000])
def test_any_sample_rate(rate_hz: int) -> None:
    seconds = np.arange(2 * rate_hz) / rate_hz
    phase = 2 * np.pi * np.cumsum(150 * 2**seconds) / rate_hz  # 150 to 600 Hz
    samples = sum(np.cos(number * phase) / number**2 for number in range(1, 7))
    hop = rate_hz // 100
    found = track(0.2 * samples, rate_hz, hop).f0_hz.numpy()[5:-5]
    true_hz = (150 * 2**seconds)[::hop][5 : 5 + len(found)]
    assert np.abs(1200 * np.log2(found / true_hz)).max() < 20


@pytest.mark.parametrize("change", ["clipped", "quiet", "offset"])
def test_clipping_low_level_and_offset_do_no_harm(change: str) -> None:
    voice = voices.glide(100, 300, 2.0)
    samples = {
        "clipped": np.clip(8 * voice.samples, -1, 1),
        "quiet": 1e-3 * voice.samples,
        "offset": 0.1 * voice.samples + 0.5,
    }[change]
    found = errors(track(samples), voice)
    assert found.cents < 1
    assert found.gross == 0
    assert found.voicing == 0


def test_silence_and_noise_have_no_pitch() -> None:
    silence = track(np.zeros(SAMPLE_RATE))
    assert not silence.f0_hz.any()
    assert not silence.voicing.any()
    hiss = track(0.1 * voices.white(4 * SAMPLE_RATE))
    assert float((hiss.f0_hz > 0).float().mean()) < 0.01
    hum = track(np.full(SAMPLE_RATE, 0.5))
    assert not hum.f0_hz.any()


@pytest.mark.parametrize("count", [0, 1, 159, 160, 320, 481, 16_001])
def test_every_length_has_its_frames(count: int) -> None:
    found = track(voices.glide(150, 200, 2.0).samples[:count])
    assert len(found.f0_hz) == len(found.voicing) == 1 + count // HOP
    assert torch.isfinite(found.f0_hz).all()
    assert ((found.voicing >= 0) & (found.voicing <= 1)).all()


@pytest.mark.parametrize("size", [1000, 163_841, 300_000])
def test_blocks_give_what_the_whole_gives(size: int) -> None:
    """To the last bit, wherever the blocks are cut."""
    samples = torch.from_numpy(np.tile(voices.sentence(1, 240, 6.0).samples, 4)).float()
    whole = track_pitch(samples, SAMPLE_RATE, HOP)
    found = track_pitch_blocks(samples.split(size), SAMPLE_RATE, HOP)
    assert torch.equal(found.f0_hz, whole.f0_hz)
    assert torch.equal(found.voicing, whole.voicing)
    assert float((whole.f0_hz > 0).float().mean()) > 0.3


def test_a_cut_says_what_the_whole_says_there() -> None:
    """The cut starts in the second of the pieces that a recording is read in."""
    samples = voices.vibrato(300, duration_s=12.5).samples
    whole, late = track(samples).f0_hz.numpy(), track(samples[900 * HOP :]).f0_hz.numpy()
    assert np.abs(1200 * np.log2(late[5:-5] / whole[905:-5])).max() < 0.05


def test_a_batch_gives_what_one_by_one_gives() -> None:
    batch = [torch.from_numpy(voices.sentence(seed, 150, seed).samples).float() for seed in (1, 2)]
    batch.insert(1, torch.zeros(0))
    for found, samples in zip(track_pitches(batch, SAMPLE_RATE, HOP), batch):
        alone = track_pitch(samples, SAMPLE_RATE, HOP)
        assert torch.equal(found.f0_hz, alone.f0_hz)
        assert torch.equal(found.voicing, alone.voicing)


@pytest.mark.parametrize(("low_hz", "high_hz"), [(195, 205), (40, 1000)])
def test_any_range(low_hz: float, high_hz: float) -> None:
    samples = torch.from_numpy(voices.glide(198, 202, 1.0).samples).float()
    found = track_pitch(samples, SAMPLE_RATE, HOP, low_hz, high_hz).f0_hz[10:-10]
    assert float((found / 200).log2().abs().max()) < 0.02


def test_a_finer_hop_finds_the_same_pitch() -> None:
    samples = voices.sentence(5, 180, 3.0).samples
    coarse, fine = track(samples).f0_hz, track(samples, hop=HOP // 2).f0_hz[::2]
    both = (coarse > 0) & (fine > 0)
    assert float(both.sum() / (coarse > 0).sum()) > 0.95
    assert float((coarse[both] / fine[both]).log2().abs().max()) < 0.05


def test_praat_agrees(speech_dir) -> None:
    """On recordings: 9 of 10 frames that both call voiced within 50 cents, half within 6."""
    from media.audio import load_mono

    praat = load_pitch_engine("praat")
    apart = []
    for path in sorted((speech_dir / "asr").glob("*.wav")):
        samples = torch.from_numpy(load_mono(path))
        ours, theirs = (tracker(samples, SAMPLE_RATE, HOP).f0_hz for tracker in (track_pitch, praat))
        assert len(ours) == len(theirs)
        both = (ours > 0) & (theirs > 0)
        assert float(((ours > 0) == (theirs > 0)).float().mean()) > 0.85
        apart.append(1200 * (ours[both] / theirs[both]).log2().abs())
    together = torch.cat(apart)
    assert float(together.median()) < 6
    assert float((together < 50).float().mean()) > 0.9


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ENGINES == ("amela", "pyin", "praat", "swift")
    for name, module in (("pyin", "librosa"), ("praat", "parselmouth"), ("swift", "swift_f0")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(EngineError, match=f"pitch engine {name}: .*is not installed here; `pip install "):
            load_pitch_engine(name)
