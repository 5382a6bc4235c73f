"""submit.py multimodal: from audio or text to a trained model; what serves the training ends with it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from amela import multimodal
from amela.trained import is_trained
from amela.workflow import Wish, missing_steps

SENTENCES = ("The {} is blue.", "We hate the noise of the {}!", "They love the old {} so much.")
THINGS = ("boat", "dog", "river", "garden", "train", "house", "ball", "book", "school", "bird", "tree", "car")
TRAINING = (
    "--hidden-dim 16 --latent-dim 8 --num-heads 2 --num-layers 1 --transformer-layers 1 --learning-rate 0.001"
)


def submit(*arguments: object, status: int = 0) -> str:
    command = [sys.executable, "scripts/submit.py", "multimodal", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=quick())
    logs = "".join(path.read_text()[-1500:] for path in Path("logs").glob("*.err"))
    assert done.returncode == status, done.stdout + done.stderr + logs
    return done.stdout + done.stderr


def quick() -> dict[str, str]:
    """Return an environment in which a task uses one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def steps_of(said: str) -> list[str]:
    return re.findall(r"^— (\w+)", said, re.MULTILINE)


@pytest.fixture
def texts(checkout: Path) -> Path:
    """Return a folder of twelve texts in a checkout."""
    folder = checkout / "texts"
    folder.mkdir()
    for thing in THINGS:
        lines = "\n".join(sentence.format(thing) for sentence in SENTENCES)
        (folder / f"{thing}.txt").write_text(lines)
    return folder


def serving() -> list[str]:
    """Return the servers and dashboards of this checkout that run."""
    here, found = os.getcwd(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
            if os.readlink(process / "cwd") == here and re.search("serve_flight|dashboard", " ".join(words)):
                found.append(" ".join(words))
        except OSError:
            continue
    return found


def test_lines_are_those_on_record(cluster, checkout, monkeypatch):
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    (checkout / "corpus").mkdir()
    (checkout / "corpus/a.wav").touch()
    (checkout / "corpus/notes.txt").write_text("Not looked at, as there is audio.")
    (checkout / "texts").mkdir()
    (checkout / "texts/a.txt").write_text("One. Two.")
    (checkout / "metadata/old.json").write_text('{"audio_filepath": "/a.wav", "text": "a"}\n')
    words = ["--shards=8", "--at-once=4", "--multimodal-args=--fusion cross", "--dry-run"]
    lines = submit("corpus", *words, "--multimodal-sbatch=--time=2-0 --nodes=2", "--dashboard-args=--port 0")
    lines += submit("texts/a.txt", "--dry-run", "--name", "mine")
    lines += submit("metadata/old.json", "--shards=2", "--skip", "vad", "transcribe", "--dry-run")
    lines += submit("texts", "--local", "--dry-run", "--multimodal-args=--fusion cross")
    record = Path(__file__).parent / "data/submit_multimodal.txt"
    assert lines.replace(f"{checkout}/", "/data/").splitlines() == record.read_text().splitlines()


@pytest.mark.parametrize("kind", ["audio", "text", "manifest", "manifest of text"])
def test_every_step_waits_for_those_before_it_whatever_is_left_out(kind: str):
    for skip in ([], ["emotion"], ["transcribe", "features"], ["explode"]):
        steps = multimodal.multimodal_steps(kind, skip)
        before: set[str] = set()
        for step in steps:
            assert {*step.after_ok, *step.after_any} <= before, (skip, step)
            assert not step.beside or step.beside in before
            before.add(step.name)
        assert not before & {*skip, *(f"merge.{name}" for name in skip)}
        has_audio = kind in ("audio", "manifest")
        assert ("vad" in before) == has_audio
        assert ("features" in before) == (has_audio and "features" not in skip)
        assert ("sentences" in before) == (kind == "text")
        names = [step.name for step in steps]
        assert names[-5:] == ["tokenizer", "build_parquet", "multimodal", "flight", "dashboard"]
    last = {step.name: step for step in multimodal.multimodal_steps("text", ["emotion"])}
    assert last["tokenizer"].after_ok == ("sentences",)
    assert {step.name: step for step in multimodal.multimodal_steps("audio", [])}["tokenizer"].after_ok == (
        "merge.features",
        "merge.emotion",
    )


def test_here_from_texts_to_a_trained_model_then_only_what_is_missing(texts: Path):
    words = (texts, "--local", f"--multimodal-args={TRAINING} --num-epochs 2")
    said = submit(*words)
    assert steps_of(said)[-4:] == ["build_parquet", "flight", "dashboard", "multimodal"]
    assert re.search(r"http://127.0.0.1:\d+/\?token=\S+", said)
    (done,) = Path("checkpoints").glob("multimodal_*/texts_parquet_s42/done.json")
    config = json.loads((done.parent / "config.json").read_text())
    assert config["hidden_dim"] == 16
    assert serving() == []
    assert not Path("output/texts_parquet/flight.json").exists()
    assert submit(*words).startswith("nothing is missing")
    Path("metadata/texts.json").touch()  # as by a merge that found nothing new
    assert steps_of(submit(*words)) == ["tokenizer", "build_parquet", "flight", "dashboard", "multimodal"]
    again = submit(texts, "--local", f"--multimodal-args={TRAINING} --num-epochs 2 --seed 43")
    assert steps_of(again) == ["flight", "dashboard", "multimodal"]
    assert len(list(Path("checkpoints").glob("multimodal_*/texts_parquet_s43/done.json"))) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_here_nothing_is_left_running_and_it_goes_on(texts: Path, number: signal.Signals):
    command = [sys.executable, "scripts/submit.py", "multimodal", str(texts), "--local"]
    command += [f"--multimodal-args={TRAINING} --num-epochs 100000 --early-stopping 0"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, text=True, env=quick(), start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(Path("checkpoints").glob("multimodal_*/*/metrics.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    assert len(serving()) == 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 75, said
    assert "the same command goes on from here" in said
    assert serving() == []
    (last,) = Path("checkpoints").glob("multimodal_*/*/last.pt")
    assert last.stat().st_size > 10_000


def test_on_a_cluster_training_and_its_server_meet(cluster, texts: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    words = ("--shards=2", "--emotion-args=--backend lexicon")
    training = f"--multimodal-args={TRAINING} --num-epochs 2"
    said = submit(texts, "--wait", *words, training)
    ended = dict(re.findall(r"^(\w+) +job \d+  (?:\d )?(\w+)$", said, re.MULTILINE))
    assert ended.pop("flight") == "cancelled", "once the training had ended"
    assert set(ended.values()) == {"completed"}, said
    assert len(list(Path("checkpoints").glob("multimodal_*/texts_parquet_s42/done.json"))) == 1
    assert submit(texts, *words, training).startswith("nothing is missing")


def test_a_server_that_cannot_start_is_said_at_once(texts: Path):
    said = submit(texts, "--local", "--flight-args=--tls-cert nowhere.pem", status=2)
    assert "flight is not at work: wanted both --tls-cert and --tls-key" in said
    assert serving() == []


def test_a_run_counts_only_with_the_settings_that_are_asked_for(checkout: Path):
    run = checkout / "checkpoints/multimodal_x/corpus_s42"
    run.mkdir(parents=True)
    data = checkout / "dataset.json"
    data.write_text("{}")
    sha256 = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    config: dict[str, Any] = {"learning_rate": 0.001, "causal": True, "modalities": ["text", "mel"]}
    (run / "config.json").write_text(json.dumps({**config, "dataset_sha256": sha256}))

    def is_done(words: str) -> bool:
        return is_trained("checkpoints/multimodal_*/corpus_s*", str(data), words.split())

    assert not is_done("")
    (run / "done.json").write_text("{}")
    assert is_done("")
    assert is_done("--learning-rate 1e-3 --causal --modalities=text,mel --save-steps 3 --device cpu")
    assert not is_done("--learning-rate 0.01")
    assert not is_done("--no-causal")
    assert not is_done("--modalities mel")
    data.write_text('{"another": 1}')
    assert not is_done("")


def test_what_runs_beside_a_step_is_done_when_that_is(checkout: Path):
    """No server is started for a model that is trained, and a new data set asks for both."""
    steps = multimodal.multimodal_steps(multimodal.TEXT_MANIFEST, ["emotion"])
    (checkout / "metadata/x.json").write_text('{"id": "a", "text": "a"}\n')
    values = {"manifest": "metadata/x.json", "stem": "metadata/x", "folder": ""}
    multimodal.fill_places(steps, values, [], here=True)
    wishes = {step.name: Wish([], []) for step in steps}
    names = [step.name for step in missing_steps(steps, values, wishes, here=True)]
    assert names == ["tokenizer", "build_parquet", "multimodal", "flight", "dashboard"]
    names = [step.name for step in missing_steps(steps, values, wishes)]
    assert names[-1] == "flight", "on a cluster there is a dashboard on request only"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["empty"], "found neither audio nor text"),
        (["nowhere"], "no such file or folder; wanted audio, text (.txt), a folder of either"),
        (["table.xlsx"], "found another kind of file"),
        (["empty.json"], "found no record"),
        (["corpus", "--skip", "vad"], "wanted a manifest instead of it"),
        (["corpus", "--skip", "codec"], "invalid choice: 'codec'"),
    ],
)
def test_bad_calls_say_what_to_type(checkout: Path, words: list[str], message: str):
    for name in ("empty", "corpus"):
        (checkout / name).mkdir()
    for name in ("table.xlsx", "empty.json", "corpus/a.wav"):
        (checkout / name).touch()
    assert message in submit(*words, "--local", status=2)
