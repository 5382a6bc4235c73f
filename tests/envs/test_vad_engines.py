"""vad.py inside its own environment, which has neither torch nor anything of the other stages."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from speech import spoken_with_pauses

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_environment_is_light() -> None:
    assert [name for name in ("torch", "torchaudio", "pandas") if importlib.util.find_spec(name)] == []


@pytest.mark.parametrize("engine", ["ten", "silero"])
def test_each_engine_finds_the_sentences(engine: str, tmp_path: Path) -> None:
    path, spoken = spoken_with_pauses(tmp_path / "audio" / "spoken.wav")
    script = str(REPOSITORY / "scripts/vad.py")
    command = [sys.executable, script, str(path.parent), str(tmp_path / "found"), "--engine", engine]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = [json.loads(line) for line in (tmp_path / "found.json").read_text().splitlines()]
    heard = sum(segment["end_s"] - segment["start_s"] for segment in record["speech"])
    meant = sum(end_s - start_s for start_s, end_s in spoken)
    assert 0.6 * meant < heard < 1.3 * meant
