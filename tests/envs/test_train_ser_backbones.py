"""The backbones of train_ser.py, tiny and random: an utterance's frames tell of nothing but itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ser_runs import KINDS, backbone, wave
from tiny_models import make_lm

from networks.ser import SerModel
from networks.ser_backbones import described, empty_backbone, load_backbone
from networks.weights import WeightsError

SECONDS = (1.3, 0.4, 0.75)


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return backbone(tmp_path_factory.mktemp("models") / request.param, request.param)


def waves() -> list[np.ndarray]:
    return [wave(number, seconds, number) for number, seconds in enumerate(SECONDS)]


@pytest.mark.parametrize("trim", [False, True])
def test_an_utterance_alone_is_as_in_a_batch(folder: Path, trim: bool) -> None:
    model = load_backbone(str(folder), trim).eval()
    with torch.no_grad():
        together = model(model.prepare(waves()))
        alone = torch.cat([model(model.prepare([one])) for one in waves()], 1)
    counts = [model.frames_of(len(one)) for one in waves()]
    assert together.shape == (model.layers, sum(counts), model.width) == (4, sum(counts), 32)
    assert all(-1 < 50 * seconds - count < 2 for seconds, count in zip(SECONDS, counts))
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-4)
    first = together[:, : counts[0]]
    assert (first[:, 1:] - first[:, :-1]).abs().amax((1, 2)).min() > 1e-4  # frames differ in each layer


def test_the_shortest_utterance_makes_a_frame(folder: Path) -> None:
    model = load_backbone(str(folder)).eval()
    sound = wave(0, 1.0, 0)[: model.shortest]
    with torch.no_grad():
        frames = model(model.prepare([sound]))
    assert frames.shape[1] == model.frames_of(model.shortest) >= 1
    assert frames.isfinite().all()
    assert model.frames_of(model.shortest - 1) < model.frames_of(model.shortest)


def test_checkpointing_changes_memory_not_gradients(folder: Path) -> None:
    found = []
    for checkpointing in (False, True):
        model = load_backbone(str(folder), False, checkpointing).train()
        torch.manual_seed(0)
        model(model.prepare(waves())).square().sum().backward()
        found.append(
            {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        )
    assert len(found[0]) > 20
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], msg=name)


def test_all_layers_learn_from_the_first_step(folder: Path) -> None:
    model = SerModel(load_backbone(str(folder)), 3, 9, ["ser"], 0.0)
    frames = model(model.backbone.prepare(waves()))
    model.ser(frames, [model.backbone.frames_of(len(one)) for one in waves()]).square().sum().backward()
    still = {
        name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()
    }
    # key biases shift all scores of a query alike; the mask embedding is of pretraining
    still = {name for name in still if "k_proj.bias" not in name and "linear_k.bias" not in name}
    assert still <= {"backbone.encoder.embed_positions.weight", "backbone.model.masked_spec_embed",
                     "ser.score.2.bias"}  # fmt: skip


def test_a_checkpoint_needs_no_folder(folder: Path) -> None:
    loaded = load_backbone(str(folder)).eval()
    empty = empty_backbone(described(str(folder)), False).eval()
    empty.load_state_dict(loaded.state_dict())
    with torch.no_grad():
        assert torch.equal(loaded(loaded.prepare(waves())), empty(empty.prepare(waves())))


@pytest.mark.parametrize("trim", [False, True])
def test_beyond_30_s_whisper_hears_windows(tmp_path: Path, trim: bool) -> None:
    model = load_backbone(str(backbone(tmp_path / "whisper", "whisper")), trim).eval()  # its windows: 3 s
    sound = wave(0, 7.5, 1)
    with torch.no_grad():
        whole = model(model.prepare([sound, sound[:16_000]]))
        parts = [sound[:48_000], sound[48_000:96_000], sound[96_000:], sound[:16_000]]
        torch.testing.assert_close(whole, model(model.prepare(parts)), atol=2e-5, rtol=1e-4)
    assert whole.shape[1] == model.frames_of(len(sound)) + 50 == 375 + 50


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    make_lm(tmp_path / "gpt2", "gpt2", ["a b c"])
    with pytest.raises(WeightsError, match="model_type 'gpt2'; wanted whisper, wav2vec2-bert, hubert"):
        load_backbone(str(tmp_path / "gpt2"))


@pytest.mark.parametrize("trim", [False, True])
def test_windows_that_are_filled_up_count_as_padding(tmp_path: Path, trim: bool) -> None:
    model = load_backbone(str(backbone(tmp_path / "whisper", "whisper")), trim)
    inputs = model.prepare(waves())
    windows, _, mel_frames = inputs.values.shape
    assert model.computed(inputs.frames) == windows * mel_frames // 2 > sum(inputs.frames)
