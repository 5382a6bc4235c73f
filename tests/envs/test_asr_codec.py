"""NeMo's audio codec (environment asr) through encode_codec.py and decode_codec.py, against the package
itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="disabled")

from codec_models import blocks, signal

from networks.codecs import open_codec

SCRIPTS = Path(__file__).parents[2] / "scripts"
torch.set_num_threads(1)
MODULES, LOSSES = (
    "nemo.collections.tts.modules.audio_codec_modules",
    "nemo.collections.tts.losses.audio_codec_loss",
)
CONFIG = {  # of nvidia/audio-codec-44khz, by NeMo's example of it, narrower
    "sample_rate": 44_100,
    "samples_per_frame": 512,
    "loss_resolutions": [[256, 64, 256]],
    "mel_loss_dims": [8],
    "commit_loss_scale": 0.0,
    "audio_encoder": {
        "_target_": f"{MODULES}.MultiBandMelEncoder",
        "mel_bands": [[low, low + 10] for low in range(0, 80, 10)],
        "out_channels": 4,
        "hidden_channels": 16,
        "filters": 32,
        "mel_processor": {
            "_target_": f"{MODULES}.MelSpectrogramProcessor",
            "mel_dim": 80,
            "sample_rate": 44_100,
            "win_length": 2048,
            "hop_length": 512,
        },
    },
    "vector_quantizer": {
        "_target_": f"{MODULES}.GroupFiniteScalarQuantizer",
        "num_groups": 8,
        "num_levels_per_group": [8, 5, 5, 5],
    },
    "audio_decoder": {
        "_target_": f"{MODULES}.HiFiGANDecoder",
        "up_sample_rates": [8, 8, 4, 2],
        "input_dim": 32,
        "base_channels": 64,
        "activation": "half_snake",
        "output_activation": "clamp",
    },
    "generator_loss": {"_target_": f"{LOSSES}.GeneratorSquaredLoss"},
    "discriminator_loss": {"_target_": f"{LOSSES}.DiscriminatorSquaredLoss"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """A random AudioCodecModel whose codes differ, and its .nemo file."""
    from nemo.collections.tts.models import AudioCodecModel
    from omegaconf import OmegaConf

    torch.manual_seed(0)
    made = AudioCodecModel(cfg=OmegaConf.create(CONFIG)).eval()
    with torch.no_grad():
        for weight in made.audio_encoder.parameters():
            weight.mul_(2)
    path = str(tmp_path_factory.mktemp("nemo") / "codec.nemo")
    made.save_to(path)
    return made, path


@pytest.mark.parametrize("seconds", [1.0, 2.3, 23.4])
def test_codes_and_sound_are_those_of_nemo(model: tuple[Any, str], seconds: float) -> None:
    package, path = model
    codec = open_codec("nemo", path, "cpu")
    sound = signal(1, int(44_100 * seconds))
    with torch.no_grad():
        tokens, valid = package.encode(
            audio=torch.from_numpy(sound), audio_len=torch.tensor([sound.shape[-1]])
        )
        tokens = tokens[..., : int(valid)]
        heard, _ = package.decode(tokens=tokens, tokens_len=valid)
    codes, scales, length = codec.encode(blocks(sound))
    assert (codec.codebooks, codec.codebook_size, scales, length) == (8, 1000, None, sound.shape[-1])
    assert np.array_equal(codes, tokens[0].T.numpy())
    assert sum(len(np.unique(column)) for column in codes.T) > 40, "codes that tell nothing"
    ours = np.concatenate(list(codec.decode(codes, None, None)), axis=-1)
    assert np.abs(ours - heard.numpy()).max() < 1e-5


def test_the_stages_give_sound_as_long_as_the_source(model: tuple[Any, str], tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    records = []
    for name, length, rate_hz in (("a", 30_001, 16_000), ("20ms", 320, 16_000), ("b", 50_000, 44_100)):
        soundfile.write(tmp_path / f"{name}.wav", chance.normal(0, 0.1, length), rate_hz)
        records.append({"audio_filepath": str(tmp_path / f"{name}.wav"), "duration": length / rate_hz})
    manifest = tmp_path / "corpus.json"
    manifest.write_text("".join(json.dumps(record) + "\n" for record in records))
    flags = [str(manifest), "--codec", "nemo", "--model", model[1], "--device", "cpu", "--workers", "1"]
    for script, more in (("encode_codec", []), ("decode_codec", ["--source-rate"])):
        command = [sys.executable, str(SCRIPTS / f"{script}.py"), *flags, *more]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for line in manifest.read_text().splitlines():
        record = json.loads(line)
        assert record["codes"]["bandwidth_kbps"] == pytest.approx(6.867, abs=1e-3)
        source, sound = soundfile.info(record["audio_filepath"]), soundfile.info(record["decoded_filepath"])
        assert (sound.frames, sound.samplerate) == (source.frames, source.samplerate)
