"""The vocoder `griffinlim`: exact lengths, pieces without seams, the spectra of the codebook; and the whole
way fit_kmeans.py → encode.py → sts.py → synthesize.py on speech.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import golden
import speech
from networks import griffinlim
from networks.codebook import Codebook, write_codebook
from networks.griffinlim import GriffinLim
from networks.spectra import N_MELS, log_mels
from networks.vocoder import UnitsError
from networks.weights import WeightsError

SCRIPTS = Path(__file__).parents[2] / "scripts"
UNITS = 5
MADE_OF = {"encoder": "mfcc", "encoder_revision": "mfcc-1", "layer": None}
torch.set_num_threads(1)


def book(path: Path, hop_s: float = 0.01, **parts: object) -> Path:
    """Write a codebook of five units: three vowels of a kind, a hiss, near silence."""
    bands = np.arange(N_MELS)
    log_mels = [2 - 0.1 * bands + 2 * np.cos(bands / (8 + 4 * unit)) for unit in range(3)]
    log_mels += [0.08 * bands - 6, np.full(N_MELS, -14.0)]
    made = Codebook(np.zeros((UNITS, 39), np.float32), np.array(log_mels, np.float32),
                    np.ones(UNITS, np.int64), {**MADE_OF, "hop_s": hop_s})  # fmt: skip
    with open(path, "wb") as file:
        write_codebook(file, made._replace(**parts))
    return path


def voice(path: Path) -> GriffinLim:
    return GriffinLim(str(path), None, None, "cpu")


def spoken(vocoder: GriffinLim, units: np.ndarray, *durations: np.ndarray) -> np.ndarray:
    return np.concatenate(list(vocoder.speak(units, *durations)))


@pytest.mark.parametrize("hop_s", [0.01, 0.02, 0.04])
@pytest.mark.parametrize("count", [1, 2, 333])
def test_each_unit_lasts_one_hop_exactly_whatever_the_hop(tmp_path: Path, hop_s: float, count: int) -> None:
    samples = spoken(voice(book(tmp_path / "b.npz", hop_s)), np.arange(count) % UNITS)
    assert len(samples) == round(16_000 * hop_s) * count
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= griffinlim.LOUDEST


def test_pieces_are_those_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = voice(book(tmp_path / "b.npz"))
    units = np.random.default_rng(0).integers(0, UNITS, 350).repeat(3)
    whole = spoken(vocoder, units)
    assert np.array_equal(spoken(vocoder, units), whole)
    for piece in (300, 1000):
        monkeypatch.setattr(griffinlim, "PIECE", piece)
        assert np.abs(spoken(vocoder, units) - whole).max() < 1e-6
    monkeypatch.setattr(griffinlim, "CONTEXT", 5)
    assert np.abs(spoken(vocoder, units) - whole).max() > 1e-3  # so the context is needed


def test_the_sound_has_the_spectra_of_the_codebook(tmp_path: Path) -> None:
    path = book(tmp_path / "b.npz")
    vocoder = voice(path)
    with np.load(path) as arrays:
        wanted = arrays["log_mels"]
    for unit in range(4):
        samples = torch.from_numpy(spoken(vocoder, np.full(200, unit))).double()
        found = log_mels(samples, 160, 400, 190)[10:].mean(0).numpy()
        heard = wanted[unit] > wanted[unit].max() - 7
        assert np.abs(found - wanted[unit])[heard].mean() < 0.6, unit  # nats, 2.6 dB
    silent = spoken(vocoder, np.full(200, 4))
    assert np.abs(silent).max() < 1e-3 < np.abs(samples).max()


def test_voices_have_a_pitch_and_hisses_none(tmp_path: Path) -> None:
    vocoder = voice(book(tmp_path / "b.npz"))

    def periodic(unit: int) -> float:
        samples = spoken(vocoder, np.full(100, unit))[1600:-1600].astype(np.float64)
        lag = round(16_000 / griffinlim.PITCH_HZ)
        return float((samples[lag:] * samples[:-lag]).sum() / (samples**2).sum())

    assert min(periodic(0), periodic(1), periodic(2)) > 0.7
    assert periodic(3) < 0.3


def test_durations_spell_units_out(tmp_path: Path) -> None:
    vocoder, units, durations = voice(book(tmp_path / "b.npz")), np.array([0, 3, 4]), np.array([9, 1, 30])
    assert np.array_equal(spoken(vocoder, units, durations), spoken(vocoder, np.repeat(units, durations)))


def test_what_it_cannot_speak_is_refused(tmp_path: Path) -> None:
    path = book(tmp_path / "b.npz")
    for units, said in (([], "no units"), ([0, UNITS], f"found unit {UNITS}, wanted 0 to {UNITS - 1}")):
        with pytest.raises(UnitsError, match=said):
            spoken(voice(path), np.array(units))
    with pytest.raises(WeightsError, match="--speaker lj: wanted none: this vocoder has no speakers"):
        GriffinLim(str(path), "lj", None, "cpu")
    with pytest.raises(WeightsError, match="--style sad: wanted none"):
        GriffinLim(str(path), None, "sad", "cpu")
    with pytest.raises(WeightsError, match=r"bn\.km: no log_mels in it; griffinlim wants"):
        GriffinLim(str(golden.SMALL / "bn.km"), None, None, "cpu")
    with pytest.raises(WeightsError, match=r"0\.0123 s apart"):
        voice(book(tmp_path / "hop.npz", 0.0123))
    with pytest.raises(WeightsError, match=r"shape \(5, 40\)"):
        voice(book(tmp_path / "mels.npz", log_mels=np.zeros((UNITS, 40), np.float32)))


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three spoken sentences in data/corpus/, and their manifest."""
    monkeypatch.chdir(tmp_path)
    lines = []
    for number, sentence in enumerate(speech.SENTENCES):
        path = speech.write_wav(tmp_path / f"data/corpus/{number}.wav", speech.speak(sentence))
        lines.append(json.dumps({"audio_filepath": str(path), "duration": soundfile.info(path).duration}))
    (tmp_path / "corpus.json").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(name: str, *arguments: object, status: int = 0) -> str:
    """Run a script; return what it printed."""
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of two sounds' log-mel spectra over time and frequency."""
    count = len(other) // 160 - 2
    mels = [log_mels(torch.from_numpy(samples).double(), 160, 400, count).numpy().clip(-12).ravel()
            for samples in (one, other)]  # fmt: skip
    return float(np.corrcoef(mels)[0, 1])


def test_speech_goes_all_the_way_and_is_like_itself(corpus: Path) -> None:
    run("fit_kmeans", "corpus.json", "--encoder", "mfcc", "--clusters", 64, "--output", "c.npz")
    units = ["--encoder", "mfcc", "--kmeans", "c.npz"]
    run("encode", "corpus.json", *units, "--workers", 1)
    run("sts", "corpus.json", "corpus", *units, "--vocoder", "griffinlim", "--workers", 1)
    run("synthesize", "corpus.json", "--kmeans", "c.npz", "--vocoder", "griffinlim", "--workers", 1)
    records = [json.loads(line) for line in (corpus / "corpus.json").read_text().splitlines()]
    heard = []
    for record in records:
        sound, rate_hz = soundfile.read(record["sts_filepath"], dtype="float32")
        assert (len(sound), rate_hz) == (160 * record["unit_count"], 16_000)
        assert np.array_equal(sound, soundfile.read(record["synthesis_filepath"], dtype="float32")[0])
        heard.append((soundfile.read(record["audio_filepath"], dtype="float32")[0], sound))
    for number, (original, sound) in enumerate(heard):
        others = [likeness(other, sound) for index, (other, _) in enumerate(heard) if index != number
                  and len(other) >= len(sound)]  # fmt: skip
        assert likeness(original, sound) > 0.85
        assert all(other < 0.6 for other in others)
    settings = json.loads((corpus / "output/corpus_mfcc_c_64/settings.json").read_text())
    assert (settings["hop_s"], settings["encoder"], settings["layer"]) == (0.01, "mfcc", None)
    assert settings["kmeans_revision"].startswith(f"{(corpus / 'c.npz').stat().st_size}:sha256:")


def test_flags_that_do_not_fit_are_one_sentence(corpus: Path) -> None:
    book(corpus / "b.npz")
    flags = ["--encoder", "mfcc", "--kmeans", "b.npz"]
    said = run("synthesize", "corpus.json", *flags, "--speaker", "lj", "--output", "x", status=2)
    assert "--speaker lj: wanted none" in said  # and griffinlim was taken without being named
    said = run("sts", "corpus.json", "corpus", "--encoder", "mfcc", status=2)
    assert "fit_kmeans.py" in said
    said = run("sts", "corpus.json", "corpus", *flags, "--backend", "textless", status=2)
    assert "knows neither mfcc nor griffinlim" in said
