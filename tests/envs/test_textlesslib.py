"""In the environment `sts`: textlesslib's own programs against the golden data, and `--backend textless`.

textlesslib is on no package index: `make test-envs` runs this where AMELA_TEXTLESSLIB names a checkout of it.
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
from compat.textless_backend import Encoder, Vocoder
from networks.kmeans import load_kmeans
from networks.weights import read_weights

CLOSE = 1e-5
SCRIPTS = Path(__file__).parents[2] / "scripts"
torch.set_num_threads(1)


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_textlesslib_gives_the_golden_units(variant: str) -> None:
    encode = Encoder(str(golden.hubert(f"{variant}.pt")), 2, str(golden.hubert(f"{variant}.km")), "cpu")
    for reference in golden.hubert_reference(variant):
        assert np.array_equal(encode.units([reference["wav"]]), reference["units"])


@pytest.mark.parametrize(
    ("name", "speaker", "style"), [("expresso", 4, 3), ("plain", 0, 0), ("durations", 0, 0)]
)
def test_textlesslib_gives_the_golden_waveforms(name: str, speaker: int, style: int) -> None:
    vocoder = Vocoder(str(golden.hifigan(f"{name}.generator.pt")), speaker, style, "cpu")
    found = np.load(golden.hifigan(f"{name}.ref.npz"))
    for index in range(3):
        samples = next(vocoder.speak(found[f"units_{index}"]))
        assert np.abs(samples - found[f"wav_{index}_spk{speaker}_style{style}"]).max() <= CLOSE


def small_vocoder(folder: Path) -> Path:
    """The golden vocoder of speakers and styles, its table cut to the units of the golden codebooks."""
    source = golden.hifigan("expresso.generator.pt")
    weights = read_weights(source)["generator"]
    units = len(load_kmeans(golden.hubert("bn.km")).centres)
    torch.save(
        {"generator": {**weights, "dict.weight": weights["dict.weight"][:units].clone()}},
        folder / source.name,
    )
    for name in ("speakers.txt", "styles.txt", "config.json"):
        text = golden.hifigan(f"expresso.{name}").read_text()
        (folder / f"expresso.{name}").write_text(
            text.replace('"num_embeddings": 50', f'"num_embeddings": {units}')
        )
    return folder / source.name


def test_sts_by_textlesslib_is_sts_by_us(tmp_path: Path) -> None:
    wave = tmp_path / "corpus" / "a.wav"
    wave.parent.mkdir()
    soundfile.write(wave, golden.hubert_reference("bn")[0]["wav"], 16_000, "FLOAT")
    flags = ["--kmeans", golden.hubert("bn.km"), "--layer", 2, "--device", "cpu", "--style", "read-sad"]
    flags += ["--encoder", golden.hubert("bn.pt"), "--vocoder", small_vocoder(tmp_path)]
    sounds = {}
    for backend in ("native", "textless"):
        manifest = tmp_path / f"{backend}.json"
        manifest.write_text(json.dumps({"audio_filepath": str(wave)}) + "\n")
        command = [sys.executable, SCRIPTS / "sts.py", manifest, "corpus", "--backend", backend, *flags]
        done = subprocess.run(
            [*map(str, command), "--output", str(tmp_path / backend)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        sounds[backend] = soundfile.read(json.loads(manifest.read_text())["sts_filepath"], dtype="int16")[0]
    assert len(sounds["native"]) > 0
    assert np.abs(sounds["native"].astype(int) - sounds["textless"]).max() <= 1
