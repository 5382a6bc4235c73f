"""The encoder `mfcc`: Kaldi's numbers, whatever the blocks, and encode.py with it.

tests/data/mfcc.npz was made by other programs: `samples`, one second spoken by flite (slt); `features`, the
13 cepstra of kaldi-native-fbank 1.23.0 (defaults, use_energy off, no dither) of samples / 32768, and the
differences of python_speech_features 0.6 (delta, N = 2), once and twice.
"""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from networks.encoder import Features
from networks.mfcc import CONTEXT, PIECE, Mfcc
from networks.spectra import log_mels, mel_bank
from networks.weights import WeightsError

DATA = Path(__file__).parents[1] / "data"
NOISE = np.random.default_rng(1).normal(0, 0.1, 160 * (PIECE + CONTEXT + 30)).astype(np.float32)


def features(blocks) -> np.ndarray:
    return torch.cat([found for _, found in Mfcc().pieces(blocks)]).numpy()


def test_features_are_those_of_kaldi() -> None:
    with np.load(DATA / "mfcc.npz") as golden:
        samples, wanted = (golden["samples"] / 32768).astype(np.float32), golden["features"]
    found = features([samples])
    assert found.shape == wanted.shape == (98, 39)
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < 5e-4  # Kaldi's are float32, up to 60
    assert np.abs(wanted).max() > 50


@pytest.mark.parametrize("block", [400, 12_345, 16_000, len(NOISE)])
def test_blocks_of_any_size_give_the_same_bits(block: int) -> None:
    blocks = (NOISE[first : first + block] for first in range(0, len(NOISE), block))
    assert np.array_equal(features(blocks), features([NOISE]))


@pytest.mark.parametrize("frames", [PIECE - 1, PIECE, PIECE + 1, PIECE + CONTEXT - 1, PIECE + CONTEXT + 1])
def test_pieces_join_without_a_seam(frames: int) -> None:
    samples = NOISE[: 160 * (frames - 1) + 400 + 159]
    found = features([samples])
    assert found.shape == (frames, 39)
    assert np.array_equal(found, Mfcc()(torch.from_numpy(samples)).numpy())


def test_each_piece_comes_with_the_samples_where_its_frames_begin() -> None:
    at = 0
    for samples, found in Mfcc().pieces([NOISE]):
        assert np.array_equal(samples[:400], NOISE[160 * at :][:400])
        assert len(samples) >= 160 * (len(found) - 1) + 400
        at += len(found)
    assert at == 1 + (len(NOISE) - 400) // 160


def test_ten_minutes_take_no_more_memory_than_two() -> None:
    def blocks(minutes: int) -> Iterator[np.ndarray]:
        yield from (NOISE[:480_000] for _ in range(2 * minutes))

    peaks = []
    for minutes in (2, 10):
        tracemalloc.start()
        for _ in Mfcc().pieces(blocks(minutes)):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_less_than_a_frame_gives_none_and_flags_of_networks_are_refused() -> None:
    assert list(Mfcc().pieces([np.zeros(399, np.float32)])) == []
    assert list(Mfcc().pieces([])) == []
    with pytest.raises(WeightsError, match="--dtype bfloat16"):
        Features("mfcc", None, "cpu", "bfloat16", 100)
    script = Path(__file__).parents[2] / "scripts/encode.py"
    command = [sys.executable, script, "x.json", "--encoder", "mfcc", "--layer", "3"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "mfcc has no layers" in done.stderr


def test_mel_bands_are_triangles_that_add_up_to_one() -> None:
    bank = mel_bank(23, 512, 20, 8000)
    assert bank.shape == (23, 257)
    hz = torch.arange(257) * 31.25
    centres = 700 * (torch.exp((1127 * np.log(1 + 20 / 700) + torch.arange(1, 24)
        * 1127 * np.log((1 + 8000 / 700) / (1 + 20 / 700)) / 24) / 1127) - 1)  # fmt: skip
    inner = (hz > centres[0]) & (hz < centres[-1])
    assert torch.allclose(bank.sum(0)[inner], torch.ones(int(inner.sum()), dtype=torch.float64))


def test_log_mels_are_taken_where_an_encoders_frame_is() -> None:
    samples = torch.from_numpy(NOISE[:16_000]).double()
    fine = log_mels(samples, 160, 400, 98)
    assert close(log_mels(samples, 320, 400, 49), fine[::2])
    assert close(log_mels(samples, 160, 720, 96), fine[1:97])  # a longer frame: its centre
    assert torch.isfinite(log_mels(samples, 160, 200, 98)).all()
    assert close(log_mels(samples, 160, 80, 98)[1:], fine[:97])  # a shorter one: 160 samples earlier


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal but for the order of sums."""
    return torch.allclose(one, other, rtol=0, atol=1e-9)
