"""train_audio_gpt2.py and infer_audio_gpt2.py from files to text: it listens, stops, goes on after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import training_runs as runs
from tiny_models import make_encoder, make_lm

import embed_pairs
import extract_features
import infer_audio_gpt2
import train_audio_gpt2
from amela.errors import CallError
from media.frames import read_array
from networks.audio_text import encode
from networks.hearing import hear
from networks.hf_folder import load_tokenizer
from speech import write_wav

os.environ["HF_HUB_OFFLINE"] = "1"
torch.set_num_threads(1)
COLOURS = ("red", "green", "blue", "white")  # which one it is, the audio alone tells
TEXTS = [f"the ball is {colour} today" for colour in COLOURS]
WIDTH = 6
QUICK = [
    "--device",
    "cpu",
    "--cross-every",
    "1",
    "--batch-size",
    "8",
    "--grad-accum-steps",
    "1",
    "--learning-rate",
    "5e-3",
    "--audio-learning-rate",
    "1e-2",
    "--num-epochs",
    "12",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two language models, audio.pt of 96 utterances and a transcript of each."""
    root = tmp_path_factory.mktemp("corpus")
    for kind in ("gpt2", "llama"):
        make_lm(root / kind, kind, TEXTS)
    random = np.random.default_rng(0)
    voices = random.normal(size=(len(COLOURS), WIDTH))
    (root / "texts").mkdir()
    tensors = {}
    for number in range(96):
        colour, frames = number % len(COLOURS), int(random.integers(4, 20))
        noise = random.normal(size=(frames, WIDTH)) * 0.3
        tensors[f"u{number:02d}"] = torch.tensor(voices[colour] + noise, dtype=torch.float32)
        (root / "texts" / f"u{number:02d}.txt").write_text(TEXTS[colour])
    torch.save(tensors, root / "audio.pt")
    return root


def call(module: object, monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> int:
    """Run a script in this process, in a folder, as typed."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    monkeypatch.chdir(folder if folder.is_dir() else folder.parent)
    monkeypatch.setattr(sys, "argv", ["script", *map(str, words)])
    try:
        return int(module.main())
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def train(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> Path:
    """Train on the corpus of a folder; return the newest run."""
    source = ["audio.pt", "--transcripts-dir", "texts", "--base-model", "gpt2", "--checkpoint-epochs", "6"]
    assert call(train_audio_gpt2, monkeypatch, folder, *source, *QUICK, *words) == 0
    return max(folder.glob("checkpoints/*/*_s*"), key=os.path.getmtime)


def lines(run: Path, name: str) -> list[float]:
    """Return a figure's values over a run."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in found if name in line]


def write(monkeypatch: pytest.MonkeyPatch, run: Path, frames: np.ndarray, text: str, **more: str) -> None:
    """Have a trained model write to frames that no encoder has to make."""
    monkeypatch.setattr("networks.hearing.hear", lambda *_: frames.astype(np.float16))
    monkeypatch.setattr(infer_audio_gpt2, "encoder_of", lambda *_: "")
    words = ["--model_path", run, "--input_text", text, "--audio_file", __file__, "--device", "cpu"]
    for name, value in more.items():
        words += [f"--{name}", value]
    assert call(infer_audio_gpt2, monkeypatch, run, *words) == 0


@pytest.fixture(scope="module")
def trained(corpus: Path) -> dict[str, Path]:
    """Return a run a kind of audio, of GPT-2 with cross-attention."""
    with pytest.MonkeyPatch.context() as patch:
        return {audio: train(patch, corpus, "--audio", audio) for audio in ("real", "shuffled", "zero")}


def test_audio_is_what_lowers_the_loss(trained: dict[str, Path]) -> None:
    """The colour is one of four, a token of six: without audio it costs log(4) / 6 = 0.23 nats a token."""
    losses = {audio: min(lines(run, "valid_loss")) for audio, run in trained.items()}
    assert losses["real"] < 0.05
    assert losses["shuffled"] > 0.2
    assert losses["zero"] > 0.2
    assert lines(trained["real"], "valid_accuracy")[-1] == 1.0
    assert lines(trained["real"], "valid_audio_gain")[-1] > 0.2
    assert abs(lines(trained["zero"], "valid_audio_gain")[-1]) < 1e-6


def test_it_writes_what_it_hears_and_stops(
    trained: dict[str, Path],
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tensors = torch.load(corpus / "audio.pt", weights_only=True)
    for number in (88, 89, 90, 91):
        frames = tensors[f"u{number:02d}"].numpy()
        for checkpoint in (trained["real"], trained["real"] / "checkpoint_epoch_12.pth"):
            capsys.readouterr()
            write(monkeypatch, checkpoint, frames, "the ball is")
            said = capsys.readouterr()
            assert said.out == f" {COLOURS[number % 4]} today\n"
            assert said.err == ""  # not cut: it has learnt to end
    write(monkeypatch, trained["real"], frames, "", max_new_tokens="2")
    said = capsys.readouterr()
    assert said.err == "(cut at 2 tokens)\n"
    assert TEXTS[91 % 4].startswith(said.out.strip())


@pytest.mark.parametrize(
    "words",
    [
        ["--base-model", "llama"],
        ["--fusion", "prefix", "--num-epochs", "24"],
        ["--freeze-lm", "--num-epochs", "2", "--dataset", "frozen", "--checkpoint-epochs", "1"],
    ],
)
def test_the_other_models_learn_too(corpus: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    run = train(monkeypatch, corpus, *words)
    losses = lines(run, "valid_loss")
    if "--freeze-lm" in words:
        saved = torch.load(run / "best.pt", weights_only=True)["model"]
        before = torch.load(run / "checkpoint_epoch_1.pth", weights_only=True)["model"]
        moved = {name for name in saved if not torch.equal(saved[name], before[name])}
        assert moved
        assert all(name.startswith(("projector", "cross")) for name in moved)
    else:
        assert losses[-1] < 0.1
        assert lines(run, "valid_audio_gain")[-1] > 0.1


def test_what_a_run_leaves_behind(trained: dict[str, Path]) -> None:
    run = trained["real"]
    assert {path.name for path in run.glob("*.pth")} == {"checkpoint_epoch_6.pth", "checkpoint_epoch_12.pth"}
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    config = json.loads((run / "config.json").read_text())
    assert "share of tokens" in config["accuracy_is"]
    assert (config["train_pairs"], config["valid_pairs"], config["width"]) == (86, 10, WIDTH)
    files = [json.loads(line) for line in (run / "files.json").read_text().splitlines()]
    assert sum(file["split"] == "valid" for file in files) == 10
    done = json.loads((run / "done.json").read_text())
    assert done["accuracy"] == 1.0


def test_a_killed_run_goes_on_bit_for_bit(corpus: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(runs.SCRIPTS / "train_audio_gpt2.py"),
        "audio.pt",
        "--transcripts-dir",
        "texts",
        "--base-model",
        "gpt2",
        *QUICK,
        "--num-epochs",
        "2",
        "--log-steps",
        "1",
        "--save-steps",
        "3",
    ]
    folders = []
    for name in ("whole", "broken"):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        for linked in ("audio.pt", "texts", "gpt2"):
            (folders[-1] / linked).symlink_to(corpus / linked)
    whole, broken = folders
    with open(broken / "log", "w") as file:
        process = subprocess.Popen(command, cwd=broken, env=runs.environment(), stdout=file, stderr=file)
        limit = time.monotonic() + 60
        while process.poll() is None and runs.last_step(broken, "audio") < 4 and time.monotonic() < limit:
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    for folder in folders:
        done = subprocess.run(command, cwd=folder, env=runs.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stdout
    found = [next(folder.glob("checkpoints/*/audio_s42")) for folder in (whole, broken)]
    runs.assert_same_run(*found)
    assert {path.name for path in found[1].glob("*.pth")} == {
        "checkpoint_epoch_1.pth",
        "checkpoint_epoch_2.pth",
    }


def test_stems_without_a_partner_are_named(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(corpus / "texts", tmp_path / "texts")
    (tmp_path / "audio.pt").symlink_to(corpus / "audio.pt")
    (tmp_path / "gpt2").symlink_to(corpus / "gpt2")
    (tmp_path / "texts" / "u03.txt").rename(tmp_path / "texts" / "lost.txt")
    (tmp_path / "texts" / "u04.txt").write_text(" \n")
    with pytest.raises(CallError) as told:
        train(monkeypatch, tmp_path, "--num-epochs", "1")
    assert "2 tensors without a transcript in texts (u03, u04)" in str(told.value)
    assert "1 transcripts in texts without a tensor (lost)" in str(told.value)
    run = train(monkeypatch, tmp_path, "--num-epochs", "1", "--skip-missing")
    assert len((run / "files.json").read_text().splitlines()) == 94
    with pytest.raises(CallError, match=r"no .*audio.json; wanted it, or --transcripts-dir"):
        call(train_audio_gpt2, monkeypatch, tmp_path, "audio.pt", "--base-model", "gpt2", "--dataset", "x")


def speak(folder: Path, count: int = 12) -> Path:
    """Write tones of one second, a text beside each, and their manifest."""
    for name in ("wavs", "texts"):
        (folder / name).mkdir(parents=True)
    times = np.arange(16_000) / 16_000
    with open(folder / "corpus.json", "w") as file:
        for number in range(count):
            tone = 0.3 * np.sin(2 * np.pi * 200 * (1 + number % 4) * times).astype(np.float32)
            path, text = folder / "wavs" / f"t{number:02d}.wav", TEXTS[number % 4]
            write_wav(path, tone)
            (folder / "texts" / f"t{number:02d}.txt").write_text(text)
            print(json.dumps({"audio_filepath": str(path), "duration": 1.0, "text": text}), file=file)
    return folder


def test_a_recording_is_heard_as_the_features_it_was_trained_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speak(tmp_path)
    (tmp_path / "gpt2").symlink_to(corpus / "gpt2")
    words = ["corpus.json", "--features", "mel", "--n-mels", "20", "--hop-ms", "20", "--device", "cpu"]
    assert call(extract_features, monkeypatch, tmp_path, *words, "--workers", "1") == 0
    words = [
        "corpus.json",
        "--audio-from",
        "mel",
        "--base-model",
        "gpt2",
        *QUICK,
        "--num-epochs",
        "80",
        "--checkpoint-epochs",
        "0",
    ]
    assert call(train_audio_gpt2, monkeypatch, tmp_path, *words) == 0
    run = next(tmp_path.glob("checkpoints/audio_gpt2_gpt2_cross_mel/corpus_s42"))
    made_with = json.loads((run / "config.json").read_text())["made_with"]
    assert made_with == {"from": "mel", "sample_rate": 16_000, "hop_ms": 20.0, "n_fft": None, "n_mels": 20}
    record = json.loads((tmp_path / "corpus.json").read_text().splitlines()[2])
    frames = hear(record["audio_filepath"], made_with, "", "cpu")
    assert np.array_equal(frames, read_array(record["features_filepath"], "mel"))
    capsys.readouterr()
    words = ["--model-path", run, "--audio-file", record["audio_filepath"], "--device", "cpu"]
    assert call(infer_audio_gpt2, monkeypatch, tmp_path, *words) == 0
    assert capsys.readouterr().out == record["text"] + "\n"
    write_wav(tmp_path / "silent.wav", np.zeros(16_000, np.float32))
    for name, what in (
        ("silent.wav", "no sound in it"),
        ("none.wav", "no such file"),
        ("corpus.json", "corpus.json"),
    ):
        with pytest.raises(CallError, match=what):
            call(infer_audio_gpt2, monkeypatch, tmp_path, *words[:2], "--audio-file", name, "--device", "cpu")


def test_embedded_pairs_are_heard_by_the_encoder_that_made_them(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speak(tmp_path, 4)
    (tmp_path / "gpt2").symlink_to(corpus / "gpt2")
    encoder = make_encoder(tmp_path / "encoder", "wav2vec2")
    folders = ["--audio-dir", "wavs", "--transcripts-dir", "texts", "--model", "encoder", "--device", "cpu"]
    assert call(embed_pairs, monkeypatch, tmp_path, *folders, "--workers", "1") == 0
    words = ["embeddings/audio_embeddings.pt", "--base-model", "gpt2", *QUICK, "--num-epochs", "1"]
    assert call(train_audio_gpt2, monkeypatch, tmp_path, *words) == 0
    run = next(tmp_path.glob("checkpoints/*/audio_embeddings_s42"))
    made_with = json.loads((run / "config.json").read_text())["made_with"]
    frames = hear(str(tmp_path / "wavs/t01.wav"), made_with, str(encoder), "cpu")
    tensors = torch.load(tmp_path / "embeddings/audio_embeddings.pt", weights_only=True)
    np.testing.assert_allclose(frames, tensors["t01"].numpy(), atol=2e-3)
    asked = ["--model-path", run, "--audio-file", "wavs/t01.wav", "--device", "cpu"]
    assert call(infer_audio_gpt2, monkeypatch, tmp_path, *asked, "--audio-model", "encoder") == 0
    bare = hear(
        str(tmp_path / "wavs/t01.wav"), {"from": "embedding"}, str(encoder), "cpu"
    )  # a file of others
    assert np.array_equal(bare, frames)
    other = make_encoder(tmp_path / "other", "hubert")
    for more, what in (
        ([], "a local path; name it by --audio-model"),
        (["--audio-model", other], "its weights are"),
        (["--audio-model", "nowhere/"], "no such model"),
    ):
        with pytest.raises(CallError, match=what):
            call(infer_audio_gpt2, monkeypatch, tmp_path, *asked, *more)


def test_what_cannot_be_trained_on_or_asked_is_said(
    corpus: Path, trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, what in (
        (
            [
                "--fusion",
                "prefix",
                "--stride",
                "1",
                "--dataset",
                "a",
                "--base-model",
                str(short(corpus, tmp_path)),
            ],
            "positions of audio stand before it; the LM has 12",
        ),
        (["--learning-rate", "1e-3"], "learning_rate: 0.005 before, 0.001 now"),
        (["--base-model", "nowhere/"], "no such model"),
        (["--base-model", "texts"], "no weights in this folder"),
    ):
        with pytest.raises(CallError, match=what):
            train(monkeypatch, corpus, *words)
    run = trained["real"]
    other = tmp_path / "other.pt"
    torch.save({"config": {}, "model": {}}, other)
    shutil.copy(run / "config.json", tmp_path)
    shutil.copytree(run / "lm", tmp_path / "lm")
    monkeypatch.setattr(infer_audio_gpt2, "encoder_of", lambda *_: "")
    for path, frames, what in (
        (run, np.zeros((3, WIDTH + 1)), "found frames of 7 numbers, wanted 6"),
        (other, np.zeros((3, WIDTH)), "not a model of"),
        (corpus / "texts", np.zeros((3, WIDTH)), "no config.json"),
    ):
        monkeypatch.setattr("networks.hearing.hear", lambda *_, found=frames: found.astype(np.float16))
        words = ["--model-path", path, "--audio-file", other, "--device", "cpu"]
        with pytest.raises(CallError, match=what):
            call(infer_audio_gpt2, monkeypatch, tmp_path, *words)


def short(corpus: Path, folder: Path) -> Path:
    """Return a language model of few positions."""
    longest = max(len(text) - 1 for text in encode(load_tokenizer(str(corpus / "gpt2")), TEXTS, 64))
    return make_lm(folder / "short", "gpt2", TEXTS, positions=longest + 6)
