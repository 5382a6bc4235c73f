"""EnCodec, Vocos and small DAC against the packages themselves, random weights in the published shapes and
files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import codec_models
import numpy as np
import pytest
import torch
from codec_models import blocks, signal

from media.codecs import CodecError
from networks.codec_weights import load_dac, load_encodec
from networks.codecs import open_codec, open_vocos
from networks.weights import WeightsError

torch.set_num_threads(1)


def whole(parts: Any) -> np.ndarray:
    return np.concatenate(list(parts), axis=-1)


@pytest.fixture(scope="module", params=[24, 48])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str, str]:
    """Meta's model of a rate, the name of the codec, and the model's file."""
    model = codec_models.original_encodec(request.param)
    path = tmp_path_factory.mktemp("encodec") / "model.th"
    torch.save(model.state_dict(), path)
    return model, f"encodec_{request.param}khz", str(path)


def of_the_package(model: Any, sound: np.ndarray) -> tuple[np.ndarray, Any]:
    """Codes (frames, codebooks) and the frames to decode, as Meta's package gives them."""
    with torch.no_grad():
        frames = model.encode(torch.from_numpy(sound)[None])
    return np.concatenate([codes[0].T.numpy() for codes, _ in frames]), frames


@pytest.mark.parametrize("kbps", [3.0, 24.0])
@pytest.mark.parametrize("seconds", [0.02, 1.0, 1.5, 12.3])
def test_codes_and_sound_are_those_of_encodec(
    pair: tuple[Any, str, str], kbps: float, seconds: float
) -> None:
    model, name, path = pair
    codec = open_codec(name, path, "cpu", kbps)
    model.set_target_bandwidth(kbps)
    samples = int(seconds * model.sample_rate) + 7
    sound = signal(model.channels, samples)
    wanted, frames = of_the_package(model, sound)
    codes, scales, length = codec.encode(blocks(sound))
    assert length == samples
    assert codes.dtype == np.int16
    assert np.array_equal(codes, wanted)
    assert seconds < 1 or min(len(np.unique(column)) for column in codes.T) > 20, "codes that tell nothing"
    with torch.no_grad():
        heard = model.decode(frames)[0, :, :samples].numpy()
    ours = whole(codec.decode(codes, scales, length))[:, :samples]
    assert ours.shape == heard.shape
    assert np.abs(ours - heard).max() < 2e-5 * np.abs(heard).max()


def test_a_tail_on_which_the_package_fails_is_decoded(pair: tuple[Any, str, str]) -> None:
    """48 kHz: where the last segment is shorter than the overlap, Meta's decode raises, transformers'
    encode too.
    """
    model, name, path = pair
    sound = signal(model.channels, 2 * model.sample_rate - 700)
    codec = open_codec(name, path, "cpu", 6.0)
    model.set_target_bandwidth(6.0)
    codes, scales, length = codec.encode(blocks(sound))
    assert np.array_equal(codes, of_the_package(model, sound)[0])
    assert whole(codec.decode(codes, scales, length)).shape[-1] >= length


def test_a_folder_of_transformers_gives_the_same(pair: tuple[Any, str, str], tmp_path: Path) -> None:
    model, name, path = pair
    from transformers import EncodecConfig, EncodecModel

    from networks.codec_weights import ENCODEC_48KHZ

    folded = load_encodec(path, name == "encodec_48khz").state_dict()
    theirs = EncodecModel(EncodecConfig(**ENCODEC_48KHZ if name == "encodec_48khz" else {}))
    for key, module in theirs.named_modules():
        if hasattr(module, "parametrizations"):
            module.weight = folded[f"{key}.weight"]
    theirs.load_state_dict(
        {key: value for key, value in folded.items() if key in theirs.state_dict()}, strict=False
    )
    theirs.save_pretrained(tmp_path)
    sound = signal(model.channels, 3 * model.sample_rate)
    ours, folder = (
        open_codec(name, one, "cpu", 12.0).encode(blocks(sound))[0] for one in (path, str(tmp_path))
    )
    assert (ours == folder).mean() > 0.999  # weight norm is worked out anew


def test_silence_and_noise_beyond_full_scale_have_codes(pair: tuple[Any, str, str]) -> None:
    model, name, path = pair
    codec = open_codec(name, path, "cpu", 6.0)
    for sound in (np.zeros((model.channels, 50_001), np.float32), 9 * signal(model.channels, 50_001)):
        codes, scales, length = codec.encode(blocks(sound))
        heard = whole(codec.decode(codes, scales, length))
        assert np.isfinite(heard).all()
        assert heard.shape[-1] >= length


def test_scales_that_are_missing_or_too_few_are_refused(pair: tuple[Any, str, str]) -> None:
    model, name, path = pair
    if model.segment is None:
        return
    codec = open_codec(name, path, "cpu", 6.0)
    codes, scales, length = codec.encode(blocks(signal(2, 100_000)))
    with pytest.raises(CodecError, match="no scales"):
        codec.decode(codes, None, length)
    with pytest.raises(CodecError, match="frames and"):
        codec.decode(codes[:-1], scales, length)


@pytest.mark.parametrize(("kbps", "frames"), [(1.5, 1), (3.0, 2), (6.0, 75), (12.0, 1700)])
def test_vocos_sounds_as_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kbps: float, frames: int
) -> None:
    folder, model = codec_models.vocos_folder(tmp_path / "vocos", monkeypatch)
    decoder = open_vocos(str(folder), "cpu")
    codes = np.random.default_rng(0).integers(0, 1024, (frames, round(kbps / 0.75))).astype(np.int16)
    given = torch.from_numpy(codes.T.astype(np.int64))
    which = torch.tensor([[1.5, 3.0, 6.0, 12.0].index(kbps)])
    wanted = model.decode(model.codes_to_features(given), bandwidth_id=which)[0].numpy()
    ours = whole(decoder.decode(codes, None, None))[0]
    assert ours.shape == wanted.shape
    assert np.abs(ours - wanted).max() < 1e-5 * np.abs(wanted).max()
    with pytest.raises(CodecError, match=r"18 kbps|24 kbps"):
        next(decoder.decode(np.repeat(codes, 32, axis=1)[:, :24], None, None))


def test_vocos_is_opened_without_fetching_encodec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = codec_models.vocos_folder(tmp_path / "vocos", monkeypatch, layers=1)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it asks for EnCodec")

    monkeypatch.setattr("encodec.EncodecModel.encodec_model_24khz", refuse)
    assert open_vocos(str(folder), "cpu").hop == 320


def test_dac_is_cut_by_its_ratios_whatever_its_config_says(tmp_path: Path) -> None:
    from transformers import DacModel

    folder = codec_models.small_dac_folder(tmp_path)
    assert json.loads((folder / "config.json").read_text())["hop_length"] == 512
    codec = open_codec("dac_24khz", str(folder), "cpu")
    model = DacModel.from_pretrained(folder).eval()
    for samples in (1, 480, 24_017, 24_000 * 21 + 5):  # the last in three pieces
        sound = signal(1, samples)
        codes, scales, length = codec.encode(blocks(sound))
        filled = torch.from_numpy(np.pad(sound, ((0, 0), (0, -samples % 320))))[None]
        with torch.no_grad():
            wanted = model.encode(filled).audio_codes
            heard = model.decode(audio_codes=wanted).audio_values.numpy()
        assert (scales, length) == (None, samples)
        assert np.array_equal(codes, wanted[0].T.numpy())
        assert np.abs(whole(codec.decode(codes, None, None)) - heard).max() < 1e-5
    assert open_codec("dac_24khz", str(folder), "cpu", codebooks=2).encode(blocks(sound))[0].shape[1] == 2


def test_a_long_recording_gives_what_it_gives_as_a_whole(tmp_path: Path) -> None:
    """The small causal model over 35 s in four pieces, LSTM and all, against one pass of transformers."""
    from transformers import EncodecModel

    folder = codec_models.small_encodec_folder(tmp_path)
    codec, model = (
        open_codec("encodec_24khz", str(folder), "cpu", 6.0),
        EncodecModel.from_pretrained(folder).eval(),
    )
    sound = signal(1, 35 * 24_000 + 11)
    codes, _, length = codec.encode(blocks(sound))
    with torch.no_grad():
        said = model.encode(torch.from_numpy(sound)[None], bandwidth=6.0)
        heard = model.decode(said.audio_codes, said.audio_scales).audio_values[0].numpy()
    wanted = said.audio_codes[0, 0].T.numpy()
    assert codes.shape == wanted.shape
    assert (codes == wanted).mean() > 0.999  # sums over a piece differ in their last bits, which decide ties
    assert np.abs(whole(codec.decode(wanted, None, length)) - heard).max() < 1e-5 * np.abs(heard).max()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda state: state.pop("encoder.model.0.conv.conv.bias"), "missing encoder.layers.0.conv.bias"),
        (lambda state: state.update(more=torch.zeros(1)), "unknown more"),
        (lambda state: state["decoder.model.0.conv.conv.bias"].fill_(float("nan")), "NaN"),
    ],
)
def test_a_file_with_a_weight_too_few_or_too_many_is_refused(
    tmp_path: Path, spoil: Any, sentence: str
) -> None:
    from encodec import EncodecModel

    state = EncodecModel.encodec_model_24khz(pretrained=False).state_dict()
    spoil(state)
    torch.save(state, tmp_path / "bad.th")
    with pytest.raises(WeightsError, match=sentence):
        load_encodec(str(tmp_path / "bad.th"), is_48khz=False)


def test_a_model_of_another_codec_is_named(tmp_path: Path) -> None:
    folder = codec_models.small_dac_folder(tmp_path)
    with pytest.raises(WeightsError, match="24000 Hz; wanted 16000"):
        open_codec("dac_16khz", str(folder), "cpu")
    with pytest.raises(WeightsError):
        load_encodec(str(folder), is_48khz=False)
    torch.save({"state_dict": {}}, tmp_path / "no.pth")
    with pytest.raises(WeightsError, match="no metadata"):
        load_dac(str(tmp_path / "no.pth"))
    with pytest.raises(CodecError, match=r"this model has 1.5, 3, 6, 12, 24"):
        open_codec("encodec_24khz", str(codec_models.small_encodec_folder(tmp_path / "e")), "cpu", 5.0)
