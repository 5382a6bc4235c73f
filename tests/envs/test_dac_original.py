"""DAC against Descript's own package (environment dac): its files, all published shapes, codes and sound
equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dac
import numpy as np
import pytest
import torch
from codec_models import blocks, signal

from networks.codec_weights import load_dac
from networks.codecs import open_codec
from networks.weights import WeightsError

torch.set_num_threads(1)
SPEECH_RATES = {"encoder_rates": [2, 4, 5, 8], "decoder_rates": [8, 5, 4, 2]}
SHAPES = {  # of the published files; widths a quarter or less, as sums of more numbers tell no more
    "dac_16khz": {"sample_rate": 16_000, "n_codebooks": 12, **SPEECH_RATES},
    "dac_24khz": {"sample_rate": 24_000, "n_codebooks": 32, **SPEECH_RATES},
    "dac_44khz": {"sample_rate": 44_100, "n_codebooks": 9},
    "dac_44khz 16kbps": {"sample_rate": 44_100, "n_codebooks": 18, "latent_dim": 128},
}


def make(folder: Path, shape: dict[str, Any], **widths: int) -> tuple[Any, str]:
    """The package's model with random weights, and the file that it writes."""
    torch.manual_seed(0)
    model = dac.DAC(**{"encoder_dim": 16, "decoder_dim": 96, **widths}, **shape).eval()
    path = str(folder / "weights.pth")
    model.save(path, package=False)
    return model, path


def of_the_package(model: Any, sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes (frames, codebooks) and sound (1, samples), as the package gives them."""
    with torch.no_grad():
        filled = model.preprocess(torch.from_numpy(sound)[None], model.sample_rate)
        codes = model.encode(filled)[1]
        return codes[0].T.numpy(), model.decode(model.quantizer.from_codes(codes)[0])[0].numpy()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seconds", [0.02, 1.5, 11.3])
def test_codes_and_sound_are_those_of_the_package(tmp_path: Path, name: str, seconds: float) -> None:
    model, path = make(tmp_path, SHAPES[name])
    codec = open_codec(name.split(maxsplit=1)[0], path, "cpu")
    sound = signal(1, int(seconds * model.sample_rate) + 7)
    codes, scales, length = codec.encode(blocks(sound))
    wanted, heard = of_the_package(model, sound)
    assert (scales, length) == (None, sound.shape[-1])
    assert np.array_equal(codes, wanted)
    assert seconds < 1 or min(len(np.unique(column)) for column in codes.T) > 20, "codes that tell nothing"
    ours = np.concatenate(list(codec.decode(codes, None, None)), axis=-1)
    assert ours.shape == heard.shape
    assert np.abs(ours - heard).max() < 1e-5 * np.abs(heard).max()


def test_the_full_size_is_equal_too(tmp_path: Path) -> None:
    model, path = make(tmp_path, SHAPES["dac_44khz"], encoder_dim=64, decoder_dim=1536)
    codec = open_codec("dac_44khz", path, "cpu")
    sound = signal(1, 44_100)
    codes, *_ = codec.encode(blocks(sound))
    wanted, heard = of_the_package(model, sound)
    assert np.array_equal(codes, wanted)
    assert np.abs(next(codec.decode(codes, None, None)) - heard).max() < 1e-5 * np.abs(heard).max()


def test_a_file_with_another_set_of_weights_is_refused(tmp_path: Path) -> None:
    _, path = make(tmp_path, SHAPES["dac_16khz"])
    content = torch.load(path, weights_only=True)
    del content["state_dict"]["decoder.model.0.bias"]
    torch.save(content, path)
    with pytest.raises(WeightsError, match=r"missing decoder.conv1.bias"):
        load_dac(path)
