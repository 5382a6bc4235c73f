"""plan.py: what it asks for agrees with arithmetic, and it measures a real stage on a real sample."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from amela.batch_file import read_directives
from amela.manifest import write_manifest
from speech import tone, write_wav

REPOSITORY = Path(__file__).resolve().parents[1]


def plan(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "scripts/plan.py"), *map(str, arguments)]
    this = {"AMELA_ENVS": str(Path(sys.prefix).parent), "AMELA_ENV": Path(sys.prefix).name}
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **this})


def planned(*arguments: object) -> dict[str, Any]:
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    done = plan(*arguments[:cut], "--json", *arguments[cut:])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout[done.stdout.index("{") :])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """1000 records of 36 s: ten hours."""
    manifest = tmp_path / "corpus.json"
    write_manifest(manifest, ({"audio_filepath": f"/data/{i}.wav", "duration": 36.0} for i in range(1000)))
    return manifest


@pytest.mark.parametrize(
    ("x_realtime", "hours", "tasks"), [(100, 4, 1), (1, 4, 4), (1, 1, 13), (0.5, 1, 26)]
)
def test_tasks_follow_from_speed_and_hours(corpus: Path, x_realtime: float, hours: float, tasks: int) -> None:
    """Ten hours at 1 x real time in tasks of 4 h, less the margin of 1.3: 3.08 h each, so 4 tasks."""
    found = planned("asr", corpus, "--x-realtime", x_realtime, "--task-h", hours)["plan"]
    assert found["tasks"] == tasks
    assert found["audio_h"] == pytest.approx(10)
    assert found["total_h"] == pytest.approx(10 / x_realtime, rel=0.01)
    hours_asked, minutes, _ = map(int, found["time"].split(":"))
    assert found["task_s"] * 1.3 <= 3600 * hours_asked + 60 * minutes <= max(600, hours * 3600 + 600)


def test_the_line_is_one_that_sbatch_and_the_stage_take(corpus: Path) -> None:
    found = planned("asr", corpus, "--x-realtime", 1, "--", "--field", "pred_text")["plan"]
    wanted = rf"sbatch --array=0-3 --time=\d\d:\d0:00 --mem=\S+ slurm/asr.slurm {corpus} --field pred_text"
    assert re.fullmatch(wanted, found["command"])
    assert found["gpus"] == 1
    assert found["memory"] == read_directives(REPOSITORY / "slurm/asr.slurm")["mem"]


def test_imbalance_of_round_robin_is_predicted(tmp_path: Path) -> None:
    """Two shards, every other record nine times as long: the longer shard has 1.8 times the mean."""
    manifest = tmp_path / "odd.json"
    records = ({"audio_filepath": f"/d/{i}.wav", "duration": 9.0 if i % 2 else 1.0} for i in range(1440))
    write_manifest(manifest, records)
    found = planned("asr", manifest, "--x-realtime", 0.5, "--task-h", 2.9)["plan"]
    assert found["tasks"] == 2
    assert found["imbalance"] == pytest.approx(1.8)
    assert "--balance duration" in plan("asr", manifest, "--x-realtime", 0.5, "--task-h", 2.9).stdout


def test_a_stage_is_measured_on_a_sample_and_the_manifest_left_alone(tmp_path: Path) -> None:
    paths = [write_wav(tmp_path / "audio" / f"{i}.wav", tone(20.0)) for i in range(6)]
    manifest = tmp_path / "corpus.json"
    write_manifest(manifest, ({"audio_filepath": str(path), "duration": 20.0} for path in paths))
    before = manifest.read_bytes()
    found = planned("vad", manifest, "--sample", 4, "--", "--engine", "silero")
    assert manifest.read_bytes() == before
    assert not (tmp_path / ".amela").exists()
    assert 5 < found["speed"]["x_realtime"] < 20_000
    assert 0.02 < found["speed"]["memory_gb"] < 2
    assert found["plan"]["audio_h"] == pytest.approx(120 / 3600)


def test_a_folder_is_one_task_and_its_hours_are_guessed(tmp_path: Path) -> None:
    for i in range(4):
        write_wav(tmp_path / "audio" / f"{i}.wav", tone(10.0))
    done = plan("vad", tmp_path / "audio", "--sample", 2, "--", "--engine", "silero")
    assert done.returncode == 0, done.stderr
    assert "4 records guessed from the sample" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f"slurm/vad.slurm {tmp_path}/audio --engine silero")
    assert "--array" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope", "m.json"], "no slurm/nope.slurm; wanted one of asr"),
        (["asr", "no/such.json", "--x-realtime", "3"], "no such file"),
        (["asr", "EMPTY", "--x-realtime", "3"], "found no audio"),
        (["asr", "NO_DURATION", "--x-realtime", "3"], "no `duration`"),
        (["asr", "NO_DURATION", "--x-realtime", "-1"], "above 0"),
        (["vad", "NO_DURATION", "--", "--engine", "nope"], "ended with status 2 on the sample"),
    ],
)
def test_bad_calls(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "empty").mkdir()
    write_manifest(tmp_path / "x.json", [{"audio_filepath": "/data/1.wav"}])
    names = {"EMPTY": str(tmp_path / "empty"), "NO_DURATION": str(tmp_path / "x.json")}
    done = plan(*(names.get(word, word) for word in arguments))
    assert done.returncode == 2
    assert said in done.stderr
