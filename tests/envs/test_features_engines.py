"""extract_features.py with other people's trackers of pitch: the same frames and fields, pitch alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from media.frames import read_frames  # noqa: E402
from speech import SENTENCES, speak, write_wav  # noqa: E402


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of a spoken sentence, silence and a clip of 20 ms; its folder is the working one."""
    monkeypatch.chdir(tmp_path)
    voice = speak(SENTENCES[0])
    sounds = {"speech": voice, "silence": np.zeros(16_000), "clip": voice[4000:4320]}
    paths = [write_wav(tmp_path / f"{name}.wav", samples) for name, samples in sounds.items()]
    manifest = tmp_path / "corpus.json"
    manifest.write_text("".join(json.dumps({"audio_filepath": str(path)}) + "\n" for path in paths))
    return manifest


def run(manifest: Path, engine: str, status: int = 0) -> str:
    command = [sys.executable, ROOT / "scripts/extract_features.py", manifest, "--pitch-engine", engine]
    command += ["--features", "pitch,functionals", "--field", engine]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_other_trackers_give_the_same_frames_and_a_like_pitch(corpus: Path) -> None:
    for engine in ("amela", "pyin", "swift"):
        run(corpus, engine)
    speech, silence, clip = (json.loads(line) for line in corpus.read_text().splitlines())
    ours = read_frames(speech["amela"])
    for engine in ("pyin", "swift"):
        theirs = read_frames(speech[engine])
        assert {name: (theirs[name].shape, theirs[name].dtype) for name in ("f0_hz", "voicing")} == {
            name: (ours[name].shape, ours[name].dtype) for name in ("f0_hz", "voicing")
        }
        both = (ours["f0_hz"] > 0) & (theirs["f0_hz"] > 0)
        assert both.mean() > 0.3
        assert np.median(np.abs(np.log2(ours["f0_hz"][both] / theirs["f0_hz"][both]))) < 0.5 / 12
        assert speech[f"{engine}_f0_median_hz"] == pytest.approx(speech["amela_f0_median_hz"], rel=0.1)
        assert silence[f"{engine}_f0_median_hz"] is None
        assert len(read_frames(clip[engine])["f0_hz"]) == 3


def test_a_tracker_that_is_not_installed_is_named(corpus: Path) -> None:
    said = run(corpus, "praat", status=2)
    assert "praat-parselmouth" in said
    assert "Traceback" not in said
