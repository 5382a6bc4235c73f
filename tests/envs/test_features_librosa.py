"""Mel spectra, cepstra and energy against librosa's own, at several rates and windows.

Tolerances: 2e-3 dB and 1e-3 for mel and mfcc as computed (float32 on both sides), and half a step of float16
as stored: 2^-11 of the value.
"""

from __future__ import annotations

import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from networks.frame_features import Analyser, Settings  # noqa: E402
from networks.mel import TOP_DB, slaney_bank  # noqa: E402
from speech import SENTENCES, speak  # noqa: E402

WINDOWS = pytest.mark.parametrize(
    ("rate_hz", "n_fft", "n_mels"),
    [(16_000, 400, 80), (16_000, 512, 128), (22_050, 2048, 128), (44_100, 1102, 80), (8_000, 200, 40)],
)
HALF_STEP = 2.0**-11  # of float16
torch.set_num_threads(1)


def sounds(rate_hz: int) -> dict[str, np.ndarray]:
    """Speech, the same with seconds of digital silence, clipped speech, noise, and a clip of 20 ms."""
    import soxr

    speech = soxr.resample(np.concatenate([speak(text) for text in SENTENCES]), 16_000, rate_hz)
    speech = speech.astype(np.float32)
    quiet = speech.copy()
    quiet[rate_hz : 3 * rate_hz] = 0
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * rate_hz).astype(np.float32)
    return {
        "speech": speech,
        "quiet": quiet,
        "clipped": np.clip(20 * speech, -1, 1),
        "noise": noise,
        "clip": speech[rate_hz // 2 :][: rate_hz // 50],
    }


@WINDOWS
def test_the_bank_is_librosas(rate_hz: int, n_fft: int, n_mels: int) -> None:
    theirs = librosa.filters.mel(sr=rate_hz, n_fft=n_fft, n_mels=n_mels, dtype=np.float64)
    assert np.abs(slaney_bank(n_mels, n_fft, rate_hz).numpy() - theirs).max() < 1e-12


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large")  # of the clip
@WINDOWS
def test_mel_mfcc_and_energy_are_librosas(rate_hz: int, n_fft: int, n_mels: int) -> None:
    wanted = frozenset({"mel", "mfcc", "energy"})
    analyser = Analyser(
        Settings(wanted, 10.0, n_fft, n_mels, 20, 60.0, 600.0, None), rate_hz, torch.device("cpu")
    )
    for name, samples in sounds(rate_hz).items():
        lengths = {"n_fft": n_fft, "hop_length": analyser.hop}
        power = librosa.feature.melspectrogram(
            y=samples, sr=rate_hz, n_mels=n_mels, pad_mode="constant", **lengths
        )
        mel = librosa.power_to_db(power, top_db=TOP_DB)
        mfcc = librosa.feature.mfcc(S=mel, n_mfcc=20)
        rms = librosa.feature.rms(y=samples, frame_length=n_fft, hop_length=analyser.hop, pad_mode="constant")
        frames = analyser.frames(np.array_split(samples, 3))
        ours = np.concatenate(list(analyser.frames(np.array_split(samples, 3)).mel_db.take(10**9)))
        stored = analyser.mel_and_mfcc(frames)
        ours = np.maximum(ours, ours.max() - TOP_DB)
        assert ours.shape == mel.T.shape, name
        assert np.abs(ours - mel.T).max() < 2e-3, name
        assert np.abs(ours @ analyser.cosines.numpy() - mfcc.T).max() < 1e-3, name
        for theirs, feature in ((mel.T, "mel"), (mfcc.T, "mfcc")):
            apart = np.abs(stored[feature].astype(np.float64) - theirs)
            assert (apart <= 3e-3 + HALF_STEP * np.abs(theirs)).all(), (name, feature)
        assert np.abs(np.sqrt(frames.contours["power"]) - rms[0]).max() < 1e-6, name


def test_mfcc_are_what_librosa_makes_of_the_samples_at_its_own_bands() -> None:
    samples = sounds(16_000)["speech"]
    settings = Settings(frozenset({"mfcc"}), 10.0, 2048, 128, 20, 60.0, 600.0, None)
    analyser = Analyser(settings, 16_000, torch.device("cpu"))
    theirs = librosa.feature.mfcc(y=samples, sr=16_000, n_mfcc=20, hop_length=160)
    stored = analyser.mel_and_mfcc(analyser.frames([samples]))["mfcc"]
    assert (np.abs(stored - theirs.T) <= 3e-3 + HALF_STEP * np.abs(theirs.T)).all()
