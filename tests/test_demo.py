"""make demo, as a newcomer types it: the spoken corpus, and every stage to the report."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import copy_code

if TYPE_CHECKING:
    from cluster import Cluster

RECORDINGS, SAMPLES = 5, 5  # of the few; of the best model, one that goes on from each
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that make_corpus.py speaks."""
    folder = tmp_path_factory.mktemp("spoken") / "corpus"
    speak(folder)
    return folder


def speak(folder: Path, **env: str) -> str:
    command = [sys.executable, str(REPOSITORY / "scripts/make_corpus.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return the code as a user clones it, this Python standing for the environment `local`."""
    folder = copy_code(tmp_path / "amela")
    shutil.copy(REPOSITORY / "demo.sh", folder)
    return folder


@pytest.fixture
def few(corpus: Path, tmp_path: Path) -> Path:
    """Return a folder with four sentences, noise and a broken file, of the spoken corpus."""
    folder = tmp_path / "few words"
    folder.mkdir()
    with open(corpus / "reference.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if "long" not in row["audio_filepath"]][::13][:4]
    for row in rows:
        shutil.copy(corpus / row["audio_filepath"], folder)
        row["audio_filepath"] = Path(row["audio_filepath"]).name
    shutil.copy(corpus / "noise.wav", folder)
    with open(folder / "reference.csv", "w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return folder


def demo(clone: Path, *arguments: object, env: dict[str, str] | None = None) -> str:
    command = ["bash", str(clone / "demo.sh"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=env or alone(), timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stdout


def alone() -> dict[str, str]:
    """Return an environment in which no cluster answers."""
    return {**os.environ, "SLURM_CONF": "/nowhere/slurm.conf"}


def check_results(clone: Path, said: str) -> list[dict[str, object]]:
    records = [json.loads(line) for line in (clone / "metadata/demo_few words.json").read_text().splitlines()]
    assert len(records) == RECORDINGS
    fields = {"speech", "text", "asr", "asr_segments", "units_filepath", "sts_filepath", "sts_text"}
    fields |= {"whisperx", "ipa", "sentiment", "features_filepath", "codes_filepath", "similar"}
    assert all(fields <= set(record) for record in records)
    assert sum(record["text"] == "" for record in records) == 1, "noise has no words"
    report = clone / "output/demo_few words_report.html"
    assert report.stat().st_size > 50_000
    assert f"report       {report}" in said
    assert "WER %" in said
    assert re.search(r"little speech, \d+ s: \d+ units", said)
    with open(clone / "output/demo_few words_global_metrics.csv", newline="") as file:
        assert [row["system"] for row in csv.DictReader(file)] == ["text", "sts_text"]
    with open(clone / "output/demo_few words_grid.csv", newline="") as file:
        runs = list(csv.DictReader(file))
    assert [run["state"] for run in runs] == ["done"] * 4
    (samples,) = (clone / "metadata").glob("*_generated.json")
    assert all("text" in json.loads(line) for line in samples.read_text().splitlines())
    (run,) = (clone / "checkpoints").glob("multimodal_*/demo_few words_parquet_s42")
    assert json.loads((run / "done.json").read_text())["ended"] == "6 epochs"
    assert "valid_r2_masked_mel" in (run / "metrics.jsonl").read_text()
    page = report.read_text()
    assert page.count('"hop_s":0.01') >= RECORDINGS + SAMPLES
    assert all(name in page for name in ("LSTM language models", "Griffin-Lim", '"sts":"'))
    assert page.count('"curves":{') == page.count('"similar":[') == RECORDINGS
    assert page.count('"ipa":{') == page.count('"sentiment":{') == RECORDINGS - 1, "noise has no words"
    assert "which is no neural codec" in page
    grids = list((clone / "output/demo_few words").rglob("*.TextGrid"))
    assert len(grids) == RECORDINGS
    assert sum('"ipa"' in grid.read_text() for grid in grids) == RECORDINGS - 1
    assert (clone / "output/demo_few words/demo_few words.parquet").stat().st_size > 50_000
    return records


def test_the_corpus_is_what_its_table_says(corpus: Path) -> None:
    with open(corpus / "reference.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 12 + 1
    assert len({row["speaker"] for row in rows}) == 4
    for row in rows:
        with wave.open(str(corpus / row["audio_filepath"])) as sound:
            seconds = sound.getnframes() / sound.getframerate()
        words = len(row["transcription"].split())
        assert 1.2 < words / seconds < 4.5, row
    longest = max(rows, key=lambda row: len(row["transcription"]))
    with wave.open(str(corpus / longest["audio_filepath"])) as sound:
        assert sound.getnframes() / sound.getframerate() > 40, "longer than what asr.py takes in one piece"


def test_the_corpus_is_the_same_again_and_kept(corpus: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*.wav") if path.name != "broken.wav"}
    speak(corpus)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_without_flite_espeak_speaks_and_says_so(tmp_path: Path) -> None:
    said = speak(tmp_path / "corpus", PATH=str(tmp_path))
    assert "spoken by espeak-ng" in said
    assert "espeak-ng" in (tmp_path / "corpus/voices.txt").read_text()
    sizes = [path.stat().st_size for path in (tmp_path / "corpus").glob("*/*.wav")]
    assert len(sizes) == 49
    assert min(sizes) > 60_000


def stop_at(clone: Path, logs: str, *arguments: object) -> str:
    """Start the demo, stop it by Ctrl-C once there is such a log; return what it said."""
    process = subprocess.Popen(
        ["bash", str(clone / "demo.sh"), *map(str, arguments)], start_new_session=True,
        stdout=subprocess.PIPE, text=True, env=alone(),
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not list((clone / "logs").glob(logs)) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everything in the foreground
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 75, said
    assert "the same command goes on from here" in said
    return said


def test_ctrl_c_and_the_same_command_goes_on_to_the_end(clone: Path, few: Path) -> None:
    """Stopped while the models train; what was made before is not made again."""
    assert "local_sbatch.py slurm/vad.slurm" in stop_at(clone, "train_*.out", few)
    before = times_of_files(clone)
    check_results(clone, demo(clone, few))
    assert times_of_files(clone) == before


def test_emotions_of_voices_never_heard_are_learnt(clone: Path, corpus: Path) -> None:
    """The first that `make demo` does without a folder: speech, a model, its test."""
    shutil.copytree(corpus, clone / "output/demo_corpus")  # which is not spoken again
    said = stop_at(clone, "vad_*.out")
    assert "local_sbatch.py slurm/ser.slurm" in said
    tested = clone / "output/demo_emotion_test"
    assert {path.name for path in tested.iterdir()} >= {
        "test_metrics.json", "eval_config.json", "summary.txt", "predictions.json", "confusion.png",
    }  # fmt: skip
    summary = (tested / "summary.txt").read_text()
    assert summary in said
    found = json.loads((tested / "test_metrics.json").read_text())
    assert found["majority"]["ua"] == pytest.approx(1 / 6)
    assert found["ua_interval"][0] > 0.4, summary
    (run,) = (clone / "checkpoints/demo_ser").glob("*/done.json")
    assert {"ua", "wer", "prosody_f1"} <= set(json.loads(run.read_text()))
    voices = {}
    for split in ("train", "valid", "test"):
        lines = (clone / f"output/demo_emotions/{split}.json").read_text().splitlines()
        voices[split] = {json.loads(line)["speaker"] for line in lines}
    assert sum(map(len, voices.values())) == len(set().union(*voices.values())) == 12


def times_of_files(clone: Path) -> dict[str, int]:
    """Return when the codebook, the units and the resyntheses were written."""
    places = ("models/*.npz", "output/*_units/**/*.pt", "output/*_sts/**/*.wav")
    found = {str(path): path.stat().st_mtime_ns for place in places for path in clone.glob(place)}
    assert len(found) == 1 + 2 * RECORDINGS
    return found


def test_on_a_real_cluster_the_same(clone: Path, few: Path, cluster: Cluster) -> None:
    said = demo(clone, few, env=cluster.env)
    assert "sbatch slurm/vad.slurm" in said
    assert "sbatch --array=0-3 slurm/asr.slurm" in said
    check_results(clone, said)


def test_bad_calls(clone: Path, tmp_path: Path) -> None:
    command = ["bash", str(clone / "demo.sh"), str(tmp_path / "no")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no such folder" in done.stderr
    shutil.rmtree(clone / "envs/.built", ignore_errors=True)
    done = subprocess.run(command[:2], capture_output=True, text=True)
    assert done.returncode == 2
    assert "make demo, or envs/create.sh local" in done.stderr
