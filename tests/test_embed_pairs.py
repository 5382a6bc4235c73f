"""embed_pairs.py with a small HuBERT: one file of tensors by stem, whatever was killed on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import embed_pairs
import golden
from arrays import Task, read_manifest, wait_until
from networks.encoder import Features
from speech import write_wav

RATE_HZ = 16_000
OUTPUT = Path("embeddings/audio_embeddings.pt")
PAIRS = ["--audio_dir", "wavs", "--transcripts_dir", "texts"]
MODEL = ["--model", golden.SMALL / "bn.pt", "--layer", 2, "--device", "cpu", "--workers", 1]
torch.set_num_threads(1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with six pairs in wavs/ and texts/, one of them with an empty transcript, and two alone."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0)
    for number in range(7):
        samples = noise.normal(0, 0.1, 16_000 + 3000 * number)
        write_wav(Path(f"wavs/{'deep/' * (number % 2)}a{number}.wav"), samples)
    Path("texts").mkdir()
    for number in range(6):
        Path(f"texts/a{number}.txt").write_text("\ufeff \n" if number == 5 else f"text\n{number}")
    Path("texts/orphan.txt").write_text("no sound")
    return tmp_path


def run(*flags: object, status: int = 0, model: list = MODEL) -> str:
    log = Path("log")
    log.unlink(missing_ok=True)
    done = Task([*PAIRS, *model, *flags], log=log, main=embed_pairs.main).wait()
    assert done == status, log.read_text()
    return log.read_text()


def tensors() -> dict[str, torch.Tensor]:
    return torch.load(OUTPUT, weights_only=True)


def test_each_pair_has_all_its_frames(here: Path) -> None:
    said = run("--verbose")
    for text in (
        "1 recordings without a transcript (texts): a6",
        "1 transcripts without a recording (wavs): orphan",
        "1 transcripts without a word, left out (texts): a5",
        "5 pairs of 7",
        "a3: ",
    ):
        assert text in said
    found = tensors()
    assert list(found) == [f"a{number}" for number in range(5)]
    encoder = Features(str(golden.SMALL / "bn.pt"), 2, "cpu", "float32", 30.0)
    for number, frames in enumerate(found.values()):
        samples = soundfile.read(f"wavs/{'deep/' * (number % 2)}a{number}.wav", dtype="float32")[0]
        ((_, expected),) = encoder.pieces([samples])
        assert frames.dtype == torch.float32
        assert torch.equal(frames, expected)
        assert len(frames) == (len(samples) - 400) // 320 + 1
    records = read_manifest(OUTPUT.with_suffix(".json"))
    assert [record["text"] for record in records] == [f"text {number}" for number in range(5)]
    assert not OUTPUT.with_suffix(".parts").exists()


def test_what_is_killed_goes_on_and_ends_in_the_same_bytes(here: Path) -> None:
    run()
    expected = OUTPUT.read_bytes()
    for path in OUTPUT.parent.iterdir():
        subprocess.run(["rm", "-r", path], check=True)
    task = Task([*PAIRS, *MODEL], log="log", main=embed_pairs.main)
    parts = OUTPUT.with_suffix(".parts")
    wait_until(lambda: parts.exists() and list(parts.glob("a*.pt")))
    task.send(signal.SIGKILL)
    assert task.wait() == -signal.SIGKILL
    assert not OUTPUT.exists()
    run()
    assert OUTPUT.read_bytes() == expected
    assert not parts.exists()


def test_later_pairs_are_added_and_nothing_is_done_twice(here: Path) -> None:
    run()
    old, written = tensors(), OUTPUT.stat().st_mtime_ns
    assert "0 records left" in run()
    assert OUTPUT.stat().st_mtime_ns == written
    Path("texts/a6.txt").write_text("late")
    Path("texts/a0.txt").unlink()
    assert "1 records left" in run()
    assert list(tensors()) == ["a1", "a2", "a3", "a4", "a6"]
    assert torch.equal(tensors()["a1"], old["a1"])


def test_another_model_never_mixes_with_the_first(here: Path) -> None:
    run()
    old = tensors()["a0"]
    assert "layer: 2 before, 1 now" in run("--layer", 1, status=2)
    write_wav(Path("wavs/deep/a1.wav"), np.zeros(100))  # it fails from here on
    run("--layer", 1, "--fresh", "--max-error-rate", 1)
    assert list(tensors()) == ["a0", "a2", "a3", "a4"]
    assert not torch.equal(tensors()["a0"], old)


def test_a_bad_recording_is_named_and_the_others_kept(here: Path) -> None:
    Path("wavs/a2.wav").write_bytes(b"RIFF")
    assert "a2: AudioError" in run("--max-error-rate", 0.5)
    assert list(tensors()) == ["a0", "a1", "a3", "a4"]


def test_a_lost_file_is_said(here: Path) -> None:
    run()
    OUTPUT.unlink()
    assert "lacks a0, which was embedded; give --fresh" in run(status=2)
    run("--fresh")
    assert len(tensors()) == 5


def test_what_is_wrong_with_a_call_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "wanted a name that ends in .pt" in run("--output_file", "x.npz", status=2)
    assert "give --layer" in run(
        "--output_file", "x.pt", "--chunk-s", 20, "--fresh", status=2, model=MODEL[:2]
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu = [*MODEL[:4], "--device", "cuda:7"]
    assert "PyTorch finds no GPU here" in run("--output_file", "y.pt", status=2, model=gpu)
    assert "nowhere: no such folder" in run("--transcripts_dir", "nowhere", status=2)
    Path("empty").mkdir()
    assert "found no pair" in run("--transcripts_dir", "empty", status=2)
    write_wav(Path("wavs/more/a1.wav"), np.zeros(800))
    assert "wanted one file a stem" in run(status=2)


def test_the_readme_of_the_seed_types_it_so(here: Path) -> None:
    """As a command: underscores, --verbose, a folder that is not there yet; a dict for torch.load."""
    script = Path(embed_pairs.__file__)
    command = [sys.executable, script, *PAIRS, "--output_file", "new/deep/e.pt", "--verbose", *MODEL]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    assert set(torch.load("new/deep/e.pt", weights_only=True)) == {f"a{number}" for number in range(5)}
    assert json.loads(Path("new/deep/e.json").read_text().splitlines()[0])["id"] == "a0"
