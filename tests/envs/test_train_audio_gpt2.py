"""MultimodalGPT2 on tiny GPT-2 and Llama: what it adds to the language model, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_models import make_lm

from media.frames import FramesError
from media.packed_frames import Packed, pack
from networks.audio_generate import draw
from networks.audio_gpt2 import MultimodalGPT2, decoder_layers
from networks.audio_text import IGNORED, MultimodalDataset, collate, encode, others
from networks.hf_folder import load_tokenizer
from networks.language_model import load_lm, save_shape
from networks.memory import Live, training_bytes
from networks.weights import WeightsError

torch.set_num_threads(1)
WIDTH = 5
TEXTS = ["the ball is red", "the ball is green today", "a ball", "where is the red ball?"]
KINDS = ("gpt2", "llama")
FUSIONS = ("cross", "prefix")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("lm")
    return {kind: make_lm(root / kind, kind, TEXTS) for kind in KINDS}


def listening(
    folders: dict[str, Path], kind: str, fusion: str, gate: float = 0.7, **more: Any
) -> MultimodalGPT2:
    """Return a model whose gates are open."""
    torch.manual_seed(3)
    model = MultimodalGPT2(load_lm(str(folders[kind])), WIDTH, fusion, stride=2, cross_every=1, **more)
    for layer in model.cross:
        torch.nn.init.constant_(layer.gate, gate)
    return model.eval()


def pairs_of(folders: dict[str, Path], kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return texts as tokens, each with some frames."""
    texts = encode(load_tokenizer(str(folders[kind])), TEXTS, 64)
    random = np.random.default_rng(0)
    return [(text, random.normal(size=(3 + 2 * place, WIDTH))) for place, text in enumerate(texts)]


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_first_step_it_is_bit_for_bit_the_language_model(folders: dict[str, Path], kind: str) -> None:
    model = MultimodalGPT2(load_lm(str(folders[kind])), WIDTH).eval()
    plain = load_lm(str(folders[kind]))
    tokens, _, frames, counts = collate(pairs_of(folders, kind))
    with torch.no_grad():
        expected = plain(input_ids=tokens).logits
        assert torch.equal(model(tokens, frames, counts), expected)
        model.cross[0].gate.fill_(0.1)
        assert not torch.equal(model(tokens, frames, counts), expected)
        assert torch.equal(model.read(tokens, None), expected)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_of_audio_and_text_changes_nothing(folders: dict[str, Path], kind: str, fusion: str) -> None:
    model, pairs = listening(folders, kind, fusion), pairs_of(folders, kind)
    batch = collate(pairs)
    batch.frames[0, batch.counts[0] :] = 1e4  # what stands in padding is not looked at
    batch.tokens[batch.targets == IGNORED] = 7
    with torch.no_grad():
        together = model(batch.tokens, batch.frames, batch.counts)
        for row, (text, frames) in enumerate(pairs):
            alone = collate([(text, frames)])
            expected = model(alone.tokens, alone.frames, alone.counts)[0]
            torch.testing.assert_close(together[row, : len(text) - 1], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_frame_of_the_audio_is_heard(folders: dict[str, Path], kind: str, fusion: str) -> None:
    """The original kept the first frame of each file."""
    model = listening(folders, kind, fusion)
    tokens, _, frames, counts = collate(pairs_of(folders, kind)[-1:])
    with torch.no_grad():
        before = model(tokens, frames, counts)
        for place in range(counts[0]):
            changed = frames.clone()
            changed[0, place] += 3
            assert (model(tokens, changed, counts) - before).abs().max() > 1e-3, place


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_with_a_cache_is_what_all_of_it_gives(
    folders: dict[str, Path], kind: str, fusion: str
) -> None:
    model = listening(folders, kind, fusion, gate=2.0)
    frames = torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(1))
    found, ended = draw(model, frames, [0, 9], end=-1, max_new_tokens=12)
    assert len(found) == 12
    assert not ended
    text = [0, 9]
    for token in found:
        with torch.no_grad():
            logits = model(torch.tensor([text]), frames[None], [6])[0, -1]
        assert token == int(logits.argmax())
        text.append(token)
    drawn = [draw(model, frames, [0, 9], -1, 12, temperature=1.0, seed=seed)[0] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def gradients(model: MultimodalGPT2, batch: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    logits = model(batch.tokens, batch.frames, batch.counts).flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(logits, batch.targets.flatten(), ignore_index=IGNORED)
    loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_all_that_is_new_and_checkpoints_keep_them(
    folders: dict[str, Path], kind: str, fusion: str
) -> None:
    model = listening(folders, kind, fusion).train()
    batch = collate(pairs_of(folders, kind))
    plain = gradients(model, batch)
    assert set(plain) == {name for name, _ in model.named_parameters()}
    for name, gradient in plain.items():
        assert gradient.abs().max() > 0, name
    model.checkpoint_layers()
    again = gradients(model, batch)
    assert all(torch.equal(again[name], plain[name]) for name in plain)
    if fusion == "cross":  # shut gates let nothing through but what opens them
        for layer in model.cross:
            torch.nn.init.zeros_(layer.gate)
        shut = gradients(model, batch)
        assert shut["cross.0.gate"].abs().max() > 0
        assert shut["projector.project.weight"].abs().max() == 0


def test_a_frozen_language_model_gets_no_gradient(folders: dict[str, Path]) -> None:
    for fusion in FUSIONS:
        model = listening(folders, "llama", fusion, freeze_lm=True).train()
        found = gradients(model, collate(pairs_of(folders, "llama")))
        assert found
        assert all(name.startswith(("projector", "cross")) for name in found)


def test_any_causal_lm_shows_its_layers() -> None:
    small = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    configs = [
        transformers.GPTNeoXConfig(**small, intermediate_size=16),
        transformers.Qwen2Config(**small, intermediate_size=16, num_key_value_heads=1),
        transformers.OPTConfig(**small, ffn_dim=16, word_embed_proj_dim=16),
        transformers.Gemma3TextConfig(**small, intermediate_size=16, num_key_value_heads=1, head_dim=8),
    ]
    for config in configs:
        lm = transformers.AutoModelForCausalLM.from_config(config).eval()
        assert len(decoder_layers(lm)) == 3
        tokens, frames = torch.randint(3, 40, (2, 6)), torch.randn(2, 4, WIDTH)
        with torch.no_grad():
            expected = lm(input_ids=tokens).logits
            model = MultimodalGPT2(lm, WIDTH, cross_every=2).eval()
            assert torch.equal(model(tokens, frames, [4, 2]), expected)
            model.cross[1].gate.fill_(1.0)
            assert not torch.allclose(model(tokens, frames, [4, 2]), expected)


def test_texts_begin_and_end_and_a_long_one_is_cut(folders: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(str(folders["gpt2"]))
    whole, cut = encode(tokenizer, TEXTS[:1], 64)[0], encode(tokenizer, TEXTS[:1], 3)[0]
    assert whole[0] == whole[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(whole[1:-1]) == TEXTS[0]
    assert cut.tolist() == whole[:4].tolist()
    batch = collate([(whole, np.zeros((1, 2))), (cut, np.zeros((3, 2)))])
    assert (batch.targets[0, : len(whole) - 1] == torch.from_numpy(whole[1:].astype(np.int64))).all()
    assert (batch.targets[1, 3:] == IGNORED).all()
    assert batch.counts == [1, 3]
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no end symbol"):
        encode(tokenizer, TEXTS, 64)


def test_the_audio_of_ablations() -> None:
    for count in (2, 3, 50):
        numbers = np.arange(100, 100 + count)
        found = others(numbers, 5)
        assert sorted(found) == sorted(numbers)
        assert (found != numbers).all()
        assert (found == others(numbers, 5)).all()
    packed = Packed(np.arange(12, dtype=np.float16).reshape(6, 2), np.array([0, 1, 3, 6]))
    texts = [np.zeros(3, np.int32)] * 3
    real, zero = (MultimodalDataset(texts, packed, [0, 1, 2], audio) for audio in ("real", "zero"))
    assert [len(real[index][1]) for index in range(3)] == [1, 2, 3]
    assert [zero[index][1].tolist() for index in range(3)] == [[[0.0, 0.0]]] * 3
    mean, deviation = real.measure(0)
    np.testing.assert_allclose(mean, packed.values.mean(0), rtol=1e-3)
    np.testing.assert_allclose(deviation, packed.values.astype(float).std(0), rtol=1e-3)


def test_frames_are_packed_once_and_bad_ones_named(tmp_path: Path) -> None:
    from amela.files import write_aside

    for name in "abc":
        (tmp_path / name).write_text(name)
    arrays = {"a": np.ones((2, 3)), "b": np.full(3, 2.0), "c": np.zeros((4, 3))}
    asked: list[str] = []

    def read(source: str) -> np.ndarray:
        asked.append(source)
        return arrays[Path(source).name]

    sources = [str(tmp_path / name) for name in "abc"]
    for _ in range(2):
        packed = pack(sources, read, str(tmp_path), write_aside)
        assert packed.recording(1).tolist() == [[2.0, 2.0, 2.0]]
        assert len(packed.recording(2)) == 4
    assert len(asked) == 3
    for bad, what in (
        (np.ones((2, 4)), "of 4 numbers, wanted 3"),
        (np.zeros((0, 3)), "wanted .frames, width"),
        (np.full((1, 3), np.nan), "not finite"),
        (np.full((1, 3), 1e6), "not finite"),
    ):
        arrays["c"] = bad
        (tmp_path / "c").write_text(what)
        with pytest.raises(FramesError, match=what):
            pack(sources, read, str(tmp_path), write_aside)


def test_no_weight_is_left_random(folders: dict[str, Path], tmp_path: Path) -> None:
    save_shape(str(folders["gpt2"]), str(tmp_path))
    with pytest.raises(WeightsError):
        load_lm(str(tmp_path))


def test_memory_counted_without_numbers_is_that_of_a_step() -> None:
    """The same counter on real tensors, and what autograd says that it saves."""
    config = transformers.GPT2Config(vocab_size=300, n_embd=64, n_layer=3, n_head=4, n_positions=64)

    def build() -> tuple[torch.nn.Module, Any]:
        model = MultimodalGPT2(
            transformers.AutoModelForCausalLM.from_config(config), 8, "cross", 2, 2
        ).train()
        tokens, frames = torch.zeros(2, 40, dtype=torch.long), torch.zeros(2, 20, 8)
        return model, lambda: model(tokens, frames, [20, 20]).logsumexp(-1).sum()

    told = training_bytes(build, None)
    model, loss = build()
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    with Live(model) as live:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            value = loss()
        after_forward = live.now
        value.backward()
        del value
        live.peak = live.now
        loss().backward()
    saved = sum(size for place, size in kept.items() if place not in weights)
    assert saved == pytest.approx(after_forward, rel=0.02)
    assert told.activations == pytest.approx(live.peak - told.gradients, rel=0.02)
    assert told.weights >= sum(weight.numel() * 4 for weight in model.parameters())
    assert told.moments == 2 * told.gradients


def test_gpt2_medium_is_trained_in_8_gb() -> None:
    config = transformers.GPT2Config(n_embd=1024, n_layer=24, n_head=16)

    def build() -> tuple[torch.nn.Module, Any]:
        model = MultimodalGPT2(transformers.AutoModelForCausalLM.from_config(config), 768).train()
        model.checkpoint_layers()
        tokens, frames = torch.zeros(1, 512, dtype=torch.long), torch.zeros(1, 1000, 768)

        def loss() -> torch.Tensor:
            logits = model(tokens, frames, [1000])[0].float()
            return torch.nn.functional.cross_entropy(logits, tokens[0], reduction="sum")

        return model, loss

    assert training_bytes(build, torch.float16).total() < 7.25 * 2**30  # what a driver leaves of 8 GB
