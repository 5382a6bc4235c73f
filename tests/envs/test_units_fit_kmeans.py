"""fit_kmeans.py: the same bytes from the same recordings, clusters as good as a full k-means, none empty."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import golden
import speech
from amela.errors import CallError
from networks import clustering
from networks.codebook import Codebook, check_encoder, read_codebook, write_codebook
from networks.encoder import Encoder, Features
from networks.griffinlim import GriffinLim
from networks.kmeans import load_kmeans
from networks.spectra import log_mels
from networks.weights import WeightsError

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import fit_kmeans  # noqa: E402

UNITS = 32
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six recordings of speech and their manifest, corpus.json."""
    folder = tmp_path_factory.mktemp("fit")
    records = []
    for number, sentence in enumerate(speech.SENTENCES):
        for voice in ("slt", "awb"):
            path = speech.write_wav(folder / f"corpus/{voice}{number}.wav", speech.speak(sentence, voice))
            records.append({"audio_filepath": str(path), "duration": soundfile.info(path).duration})
    write_manifest(folder / "corpus.json", records)
    return folder


def write_manifest(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def fit(corpus: Path, *flags: object) -> None:
    """Run fit_kmeans.py in the corpus's folder, inside this process: half its time is loading PyTorch."""
    words = ["fit_kmeans.py", *map(str, flags), "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(corpus)
        patch.setattr(sys, "argv", words)
        assert fit_kmeans.main() == 0


def refused(corpus: Path, *flags: object) -> str:
    """Return the sentence with which fit_kmeans.py refuses (status 2)."""
    with pytest.raises(CallError) as error:
        fit(corpus, *flags)
    return str(error.value)


@pytest.fixture(scope="module")
def fitted(corpus: Path) -> Path:
    """The codebook of the corpus under its default name, made by a process of its own."""
    command = [sys.executable, SCRIPTS / "fit_kmeans.py", "corpus.json", "--clusters", str(UNITS)]
    done = subprocess.run(list(map(str, command)), cwd=corpus, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return corpus / f"models/corpus_mfcc_{UNITS}.npz"


def features_of(corpus: Path) -> tuple[np.ndarray, np.ndarray]:
    """All MFCC and log-mels, straight from the whole recordings."""
    model, found, mels = Features("mfcc", None, "cpu", "float32", 100), [], []
    for path in sorted((corpus / "corpus").glob("*.wav")):
        samples = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        found.append(model.model(samples).numpy())
        mels.append(log_mels(samples.double(), 160, 400, len(found[-1])).numpy())
    return np.concatenate(found), np.concatenate(mels)


def test_same_recordings_give_the_same_bytes_in_any_order_and_another_seed_others(
    corpus: Path, fitted: Path
) -> None:
    lines = (corpus / "corpus.json").read_text().splitlines(keepends=True)
    (corpus / "again/corpus.json").parent.mkdir()
    (corpus / "again/corpus.json").write_text("".join(lines[::-1]))
    fit(corpus, "again/corpus.json", "--clusters", UNITS, "--output", "again.npz")
    assert (corpus / "again.npz").read_bytes() == fitted.read_bytes()
    assert (corpus / "again.json").read_bytes() == fitted.with_suffix(".json").read_bytes()
    fit(corpus, "corpus.json", "--clusters", UNITS, "--output", "other.npz", "--seed", 1)
    assert not np.array_equal(read_codebook(corpus / "other.npz").centers, read_codebook(fitted).centers)


def test_clusters_are_nearly_as_close_as_those_of_a_full_k_means(corpus: Path, fitted: Path) -> None:
    from sklearn.cluster import KMeans

    frames, _ = features_of(corpus)
    full = KMeans(UNITS, n_init=3, random_state=0).fit(frames).inertia_ / len(frames)
    told = json.loads(fitted.with_suffix(".json").read_text())
    assert told["inertia_a_frame"] < 1.05 * full
    passes = told["inertia_a_held_out_frame_by_pass"]
    assert len(passes) == 10
    assert max(passes) < 1.1 * min(passes), "so small a corpus is learnt in one pass, and not unlearnt"
    assert 0.8 < passes[-1] / told["inertia_a_frame"] < 1.5


def test_the_file_says_how_each_unit_sounds_and_how_often_it_is_used(corpus: Path, fitted: Path) -> None:
    frames, mels = features_of(corpus)
    book, told = read_codebook(fitted), json.loads(fitted.with_suffix(".json").read_text())
    units = ((frames[:, None].astype(np.float64) - book.centers) ** 2).sum(2).argmin(1)
    assert np.array_equal(book.counts, np.bincount(units, minlength=UNITS))
    for unit in range(UNITS):
        assert np.abs(book.log_mels[unit] - mels[units == unit].mean(0)).max() < 1e-4
    assert (book.centers.dtype, book.log_mels.dtype) == (np.float32, np.float32)
    assert told["counts"] == book.counts.tolist()
    assert told["dead_units"] == []
    share = book.counts / book.counts.sum()
    assert told["perplexity"] == pytest.approx(np.prod(share**-share))
    assert told["settings"] == book.settings
    assert (book.settings["encoder"], book.settings["hop_s"], book.settings["layer"]) == ("mfcc", 0.01, None)


def test_encoding_reads_exactly_these_centres(corpus: Path, fitted: Path) -> None:
    book = read_codebook(fitted)
    assert np.array_equal(load_kmeans(fitted, 39).centres.numpy(), book.centers.astype(np.float64))
    encoder = Encoder("mfcc", None, str(fitted), "cpu", "float32", 100)
    counts = np.zeros(UNITS, int)
    for path in (corpus / "corpus").glob("*.wav"):
        counts += np.bincount(encoder.units([soundfile.read(path, dtype="float32")[0]]), minlength=UNITS)
    assert np.array_equal(counts, book.counts)


def test_a_hubert_is_clustered_too_and_its_codebook_kept_to_its_layer(corpus: Path, fitted: Path) -> None:
    model = ["--encoder", golden.SMALL / "bn.pt", "--layer", 2]
    fit(corpus, "corpus.json", *model, "--clusters", 8, "--output", "bn.npz", "--passes", 2)
    book = read_codebook(corpus / "bn.npz")
    assert book.centers.shape == (8, golden.WIDTH)
    assert book.settings["hop_s"] == 0.02
    spoken = GriffinLim(str(corpus / "bn.npz"), None, None, "cpu").speak(np.arange(8))
    assert sum(map(len, spoken)) == 8 * 320
    check_encoder(str(corpus / "bn.npz"), book.settings)
    with pytest.raises(WeightsError, match=r"made of bn \(.*, layer 2, and asked for is bn \(.*, layer 1;"):
        check_encoder(str(corpus / "bn.npz"), {**book.settings, "layer": 1})
    command = [sys.executable, SCRIPTS / "encode.py", "corpus.json", *model, "--kmeans", fitted]
    done = subprocess.run(list(map(str, command)), cwd=corpus, capture_output=True, text=True)
    assert done.returncode == 2
    assert "made of mfcc (mfcc-1), and asked for is bn" in done.stderr
    check_encoder(str(golden.SMALL / "bn.km"), book.settings)  # says nothing of its encoder


def test_too_little_speech_is_one_sentence(corpus: Path) -> None:
    records = [json.loads((corpus / "corpus.json").read_text().splitlines()[0])]
    short = write_manifest(corpus / "short.json", [{**records[0], "offset": 0.5, "duration": 0.2}])
    said = refused(corpus, short, "--clusters", 100, "--output", "short.npz")
    assert "found 18 frames, wanted at least --clusters 100" in said
    assert not (corpus / "short.npz").exists()
    empty = write_manifest(corpus / "empty.json", [{"id": "a"}])
    assert "no record with audio_filepath" in refused(corpus, empty)
    assert "no layers" in refused(corpus, "corpus.json", "--layer", 2)


def test_a_bad_recording_is_named_and_left_out_and_many_stop_it(
    corpus: Path, fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (corpus / "corpus.json").read_text()
    (corpus / "bad.wav").write_bytes(b"RIFF but no sound")
    bad = json.dumps({"audio_filepath": str(corpus / "bad.wav")}) + "\n"
    (corpus / "some/corpus.json").parent.mkdir()
    (corpus / "some/corpus.json").write_text(bad + lines)
    fit(corpus, "some/corpus.json", "--clusters", UNITS, "--output", "some.npz")
    assert "bad.wav" in capsys.readouterr().err
    assert (corpus / "some.npz").read_bytes() == fitted.read_bytes()
    more = bad.replace("bad.wav", "gone.wav")
    (corpus / "many.json").write_text(bad + more + lines)
    assert "2 of 8 recordings could not be read" in refused(corpus, "many.json", "--output", "x.npz")


def test_a_sample_has_the_hours_asked_for_wherever_its_records_stand(tmp_path: Path) -> None:
    records = [{"audio_filepath": f"/x/{number}.wav", "duration": 36.0} for number in range(5000)]
    args = Namespace(manifest=str(write_manifest(tmp_path / "m.json", records)), seed=3, hours=2.0)
    chosen = fit_kmeans.sample(args)
    assert len(chosen) == 200
    write_manifest(tmp_path / "m.json", records[::-1])
    assert fit_kmeans.sample(args) == chosen
    assert fit_kmeans.sample(Namespace(**{**vars(args), "seed": 4})) != chosen
    assert len(fit_kmeans.sample(Namespace(**{**vars(args), "hours": 1000.0}))) == 5000


def test_empty_clusters_get_a_new_centre_and_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    frames = (chance.normal(0, 1, (5000, 4)) + 20 * chance.integers(0, 4, (5000, 1))).astype(np.float32)
    far = np.full((2, 4), 1e4, np.float32)
    monkeypatch.setattr(clustering, "_start", lambda *_: np.concatenate([far, frames[:6]]))
    found = clustering.fit(frames, 8, 3, 0, lambda _: None)
    assert {0, 1} <= set(found.reseeded[1])
    counts = sum(np.bincount(units, minlength=8) for _, units, _ in clustering.assign(frames, found.centers))
    assert counts.all()
    assert found.inertia[-1] < 20


def test_a_damaged_codebook_is_refused_by_name(fitted: Path, tmp_path: Path) -> None:
    book = read_codebook(fitted)
    with open(tmp_path / "odd.npz", "wb") as file:
        write_codebook(file, Codebook(book.centers, book.log_mels[1:], book.counts, book.settings))
    with pytest.raises(WeightsError, match=r"odd\.npz: log_mels of shape \(31, 80\)"):
        read_codebook(tmp_path / "odd.npz")
    data = bytearray(fitted.read_bytes())
    data[300] ^= 1
    (tmp_path / "flipped.npz").write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        read_codebook(tmp_path / "flipped.npz")
    (tmp_path / "cut.npz").write_bytes(fitted.read_bytes()[:-100])
    assert read_codebook(tmp_path / "cut.npz") is None  # load_kmeans names it
    with pytest.raises(WeightsError, match="cut"):
        load_kmeans(tmp_path / "cut.npz")
