"""train_multimodal.py and embed_multimodal.py: it learns from audio, goes on where it was, says what is
wrong.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import multimodal_runs as multimodal
import numpy as np
import pytest
import torch
import training_runs as runs

from annotated import write_corpus
from media.emotions import LABELS
from media.frames import read_frames
from networks.fusion import load
from networks.fusion_batch import collate
from networks.fusion_masks import draw
from networks.fusion_rows import Rows
from toy_speech import speech_row

FLAGS = ["data", "--num-epochs", 3, "--dropout", 0.2, "--grad-accum-steps", 2, "--warmup-steps", 3]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small data set in data/."""
    return multimodal.write_data(tmp_path_factory.mktemp("corpus"), 60)


@pytest.fixture(scope="module")
def unbroken(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run that nobody stopped."""
    folder = with_data(corpus, tmp_path_factory.mktemp("unbroken"))
    multimodal.train(folder, *FLAGS)
    return runs.run_of(folder)


def with_data(corpus: Path, folder: Path) -> Path:
    """Let a folder have the data of another."""
    folder.mkdir(exist_ok=True)
    (folder / "data").symlink_to(corpus / "data")
    return folder


# ---- learning


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the runs of the same settings on real audio and on that of others, in speech that says text and
    emotion.
    """
    folder = multimodal.write_data(tmp_path_factory.mktemp("speech"), 240, 64)
    flags = ["data", "--num-epochs", 8, "--hidden-dim", 48, "--latent-dim", 24, "--learning-rate", 0.006]
    found = []
    for audio in ("real", "shuffled"):
        multimodal.train(folder, *flags, "--log-steps", 20, "--audio", audio, "--checkpoints", audio)
        found += folder.glob(f"{audio}/*/data_s42")
    return found[0], found[1]


def test_audio_matters(learnt: tuple[Path, Path]) -> None:
    """What only the audio says, the emotion, is learnt from it: predicted where hidden, and not without."""
    real, shuffled = ([*multimodal.lines(run, "valid_loss")][-1] for run in learnt)
    assert real["valid_loss"] < 0.85 * shuffled["valid_loss"]
    assert real["valid_emotion_accuracy"] > 0.75
    assert shuffled["valid_emotion_accuracy"] < 0.6
    for name in ("mel", "contour", "prosody", "emotion"):
        assert real[f"valid_r2_masked_{name}"] > 0.2, name
    assert real["valid_r2_emotion_from_rest"] > 0.5
    assert shuffled["valid_r2_emotion_from_rest"] < 0.2


def test_context_changes_the_representation(learnt: tuple[Path, Path]) -> None:
    """The sentences around an utterance move its embedding; without them it is what it was without."""
    model, config = load(str(learnt[0] / "best.pt"))
    rows = Rows(json.loads((learnt[0] / "dataset.json").read_text())["statistics"], config)

    def embedding(context: list[int]) -> torch.Tensor:
        one = rows.of_row({**speech_row(7, 1), "context_tokens": context})
        shown = draw(np.random.default_rng(0), config["modalities"], -(-one.frames // 4), len(one.text), 0.0)
        with torch.no_grad():
            return model(collate([one], [shown], 4, 10)).embedding()

    none, some, other = embedding([]), embedding([5, 6, 7]), embedding([12, 13, 14])
    assert float((some - none).norm() / none.norm()) > 1e-3
    assert float((some - other).norm() / none.norm()) > 1e-3, "what is said there, not only that something is"
    assert torch.equal(embedding([]), none)


def test_config_says_what_accuracy_is(learnt: tuple[Path, Path]) -> None:
    config = json.loads((learnt[0] / "config.json").read_text())
    assert config["accuracy_is"].startswith("share of the masked text tokens")
    assert 0 <= multimodal.lines(learnt[0], "valid_accuracy")[-1]["valid_accuracy"] <= 1


# ---- going on


def test_stopped_at_random_steps_and_resumed(corpus: Path, unbroken: Path, tmp_path: Path) -> None:
    """Killed, then told to stop, then let go on: weights, optimizer and metrics of the run that was not."""
    folder = with_data(corpus, tmp_path / "run")
    first = random.randint(2, 5)
    assert multimodal.stop_at(folder, first, signal.SIGKILL, *FLAGS) == -signal.SIGKILL
    assert multimodal.stop_at(folder, random.randint(first + 1, 9), signal.SIGUSR1, *FLAGS) == 75
    multimodal.train(folder, *FLAGS)
    runs.assert_same_run(unbroken, runs.run_of(folder))


def test_through_flight_it_is_the_same_run(corpus: Path, unbroken: Path, tmp_path: Path) -> None:
    """Killed and resumed, all of it from a server: the bits of the run that read the folder."""
    address = tmp_path / "flight.json"
    script = [
        sys.executable,
        str(multimodal.SCRIPTS / "serve_flight.py"),
        str(corpus / "data"),
        "--port",
        "0",
    ]
    server = subprocess.Popen([*script, "--address-file", str(address)], cwd=tmp_path, env=runs.environment(),
                              stdout=subprocess.DEVNULL)  # fmt: skip
    flags = ["--address-file", address, *FLAGS[1:], "--wait-s", 30]
    try:
        assert multimodal.stop_at(tmp_path, 5, signal.SIGKILL, *flags) == -signal.SIGKILL
        multimodal.train(tmp_path, *flags)
    finally:
        server.terminate()
        server.wait(timeout=30)
    runs.assert_same_run(unbroken, runs.run_of(tmp_path))


def launch(folder: Path, *flags: object, kill_at: int = 0) -> None:
    """Train with two processes; with `kill_at` end both once that step was reached."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    process = subprocess.Popen([*start, *multimodal.command(*flags)[1:]], cwd=folder, env=runs.environment(),
                               start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)  # fmt: skip
    if not kill_at:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        return
    until = time.monotonic() + 60
    while process.poll() is None and runs.last_step(folder) < kill_at and time.monotonic() < until:
        time.sleep(0.005)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout
    for pid in [process.pid, *map(int, children.split())]:
        subprocess.run(["kill", "-KILL", str(pid)], check=False)
    process.wait(timeout=30)
    time.sleep(0.3)


def test_two_processes_go_on_as_two_and_as_one(corpus: Path, tmp_path: Path) -> None:
    """Killed and resumed by two: the bits of two that were not; by one, or by one throughout: its losses."""
    flags = ["data", "--num-epochs", 2, "--dropout", 0]
    names = ("one", "two", "broken", "fewer")
    one, two, broken, fewer = (with_data(corpus, tmp_path / name) for name in names)
    multimodal.train(one, *flags)
    launch(two, *flags)
    launch(broken, *flags, kill_at=5)
    shutil.copytree(broken / "checkpoints", fewer / "checkpoints")
    for beat in fewer.glob("checkpoints/*/*/beats/*"):
        beat.unlink()
    launch(broken, *flags)
    multimodal.train(fewer, *flags)
    runs.assert_same_run(runs.run_of(two), runs.run_of(broken))
    for name in ("loss", "valid_loss"):
        losses = [
            [line[name] for line in multimodal.lines(runs.run_of(run), name)] for run in (one, two, fewer)
        ]
        assert len(losses[0]) == len(losses[1]) == len(losses[2]) >= 2
        assert losses[1] == pytest.approx(losses[0], rel=1e-3)
        assert losses[2] == pytest.approx(losses[0], rel=1e-3)


# ---- what is wrong


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["nowhere"], "nowhere/dataset.json: no such file; wanted a whole data set"),
        (
            ["data", "--num-heads", 5],
            "--hidden-dim 32 --num-heads 5: wanted an even width that the heads divide",
        ),
        (["data", "--reconstruct", "text", "--text-loss", "none"], "--reconstruct (nothing): wanted some of"),
        (["--port", 1, "--wait-s", 1], "grpc://127.0.0.1:1"),
    ],
)
def test_a_bad_call_ends_in_a_sentence(corpus: Path, tmp_path: Path, flags: list[object], said: str) -> None:
    folder = with_data(corpus, tmp_path / "run")
    assert said in multimodal.train(folder, *flags, ok=2)


def test_a_flag_that_makes_no_sense_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        multimodal.train(tmp_path, "data", "--modalities", "text,smell")
    assert "no modality smell; there are text, mel" in capsys.readouterr().err


def test_other_data_and_an_empty_split_are_refused(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus / "data", tmp_path / "data")
    multimodal.train(tmp_path, "data", "--max-steps", 1)
    path = tmp_path / "data/dataset.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "speakers": told["speakers"][:-1]}))
    assert "dataset_sha256" in multimodal.train(tmp_path, "data", "--max-steps", 1, ok=2)
    path.write_text(json.dumps({**told, "splits": {**told["splits"], "valid": {"rows": 0, "parts": []}}}))
    assert "found no row in valid, wanted some" in multimodal.train(tmp_path, "data", "--seed", 3, ok=2)


# ---- what comes out


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a manifest, its tokenizer and data set, and a run on them."""
    folder = tmp_path_factory.mktemp("annotated")
    write_corpus(folder / "corpus", 40, change=lacking)
    script("train_tokenizer.py", folder, "corpus/corpus.json", "tokenizer", "--vocab-size", 400)
    script("build_parquet.py", folder, "corpus/corpus.json", "data", "--tokenizer", "tokenizer")
    multimodal.train(folder, "data", "--tokenizer", "tokenizer", "--num-epochs", 1)
    return folder


def lacking(index: int, _record: dict[str, Any], arrays: Any) -> Any:
    """Let two records have no features."""
    return None if index in (3, 11) else arrays


def script(name: str, folder: Path, *words: object, ok: int = 0) -> str:
    done = subprocess.run([sys.executable, str(multimodal.SCRIPTS / name), *map(str, words)], cwd=folder,
                          env=runs.environment(), capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_each_record_gets_what_the_model_makes_of_it(annotated: Path) -> None:
    """Records without features have an error that says what to run; the others all fields, and no NaN."""
    flags = ("--model", runs.run_of(annotated), "--device", "cpu")
    script("embed_multimodal.py", annotated, "corpus/corpus.json", *flags, "--workers", 1)
    text = (annotated / "corpus/corpus.json").read_text()
    assert "NaN" not in text
    records = [json.loads(line) for line in text.splitlines()]
    assert [at for at, record in enumerate(records) if "multimodal" not in record] == [3, 11]
    for record in (record for record in records if "multimodal" in record):
        said, arrays = record["multimodal"], read_frames(record["multimodal_filepath"])
        assert arrays["embedding"].shape == arrays["prosody_control"].shape == (32,)
        assert arrays["emotion_control"].dtype == np.float32
        assert said["emotion"]["label"] == LABELS[int(np.argmax(said["emotion"]["scores"]))]
        assert said["prosody"]["words_per_s"] is None, "no record of the training data had it"
        assert abs(said["prosody"]["f0_median_hz"] - record["f0_median_hz"]) < 100
        assert isinstance(said["text"], str)
        assert isinstance(said["text_from_rest"], str)
    made = [record for record in records if "multimodal" in record]
    vectors = {read_frames(record["multimodal_filepath"])["embedding"].tobytes() for record in made}
    assert len(vectors) == len(made) == 38
    listing = script("status.py", annotated, "corpus/corpus.json", "--errors")
    assert "no features_filepath" in listing


def test_the_emotion_said_of_a_record_is_not_what_it_was_told(annotated: Path) -> None:
    """The same but for the field `emotion`: the same is said."""
    flags = ("--model", runs.run_of(annotated), "--device", "cpu", "--only")
    records = [json.loads(line) for line in (annotated / "corpus/corpus.json").read_text().splitlines()]
    other = {**records[5], "emotion": {**records[5]["emotion"], "scores": [0.5] * 28}}
    (annotated / "other.json").write_text(json.dumps(other) + "\n")
    one, two = (script("embed_multimodal.py", annotated, manifest, *flags, records[5]["audio_filepath"])
                for manifest in ("corpus/corpus.json", "other.json"))  # fmt: skip
    assert one == two


def test_another_tokenizer_is_refused(annotated: Path) -> None:
    script("train_tokenizer.py", annotated, "corpus/corpus.json", "another", "--vocab-size", 380)
    said = multimodal.train(annotated, "data", "--tokenizer", "another", "--checkpoints", "other", ok=2)
    assert "another: found a tokenizer of hash" in said
    flags = ("--model", runs.run_of(annotated), "--device", "cpu", "--tokenizer", "another")
    script("embed_multimodal.py", annotated, "corpus/corpus.json", *flags, "--field", "again", ok=2)
