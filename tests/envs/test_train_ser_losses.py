"""What train_ser.py minimises, by hand: the alphas, means over a step, sums however a step is dealt."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from ser_runs import EMOTIONS, backbone, data_flags, write_data
from torch import Tensor, nn

from amela.cli import parser
from amela.ser_flags import add_ser
from media import ser_data
from media.audio import AudioError
from networks import ctc, ctc_align, ser_run
from networks.distributed import Group
from networks.ser import aligned_spans, emotion_loss, even_spans, word_vectors
from networks.ser_task import OF_CTC, SerTask

ALL = ("ser", "asr", "prosody")
OF_HEADS = {"ser": ("ser",), "asr": OF_CTC, "prosody": ("prosody",)}
ALONE = Group(0, 1, 0)
NAMES = ("a", "b", "c", "d")  # of emotions; nobody is d


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ser") / "data"
    write_data(folder)
    backbone(folder / "xlsr", "xlsr")
    return folder


def made(folder: Path, group: Group = ALONE, heads: tuple[str, ...] = ALL, **settings: Any) -> SerTask:
    """Return a task; its heads are the same each time."""
    flags = parser(None)
    add_ser(flags)
    typed = [*data_flags(folder), *(f"--use_alpha_{head}" for head in heads), "--backbone", "xlsr"]
    args: argparse.Namespace = flags.parse_args(
        [*typed, "--dropout", "0", "--batch_size", "4", "--num_workers", "1"]
    )
    splits, _ = ser_data.read_splits([args.train_jsonl, args.val_jsonl], args.audio_base_path, NAMES)
    config = {**args.settings, "emotions": NAMES, "vocab_size": 30, **settings}
    torch.manual_seed(0)
    data = dict(zip(("train", "valid"), splits))
    device = torch.device("cpu")
    task = ser_run.build_task(
        config, data, str(folder / "xlsr"), args.tokenizer_path, group, device, args, print
    )
    for module in task.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    task.model.backbone.model.eval()  # its dropout is of its own config
    return task


def step_sums(task: SerTask, step: int = 0) -> dict[str, Tensor]:
    """Return the sums of a step's batches, divided by its count."""
    loaded = task.load(0, step)
    sums: dict[str, Any] = {}
    for batch in loaded.batches:
        for name, value in task.loss(batch).items():
            sums[name] = sums.get(name, 0.0) + value / loaded.count
    return sums


def test_the_parts_by_hand(folder: Path) -> None:
    settings = {"ctc_blank_penalty": 2.0, "ctc_label_smoothing": 0.1, "grad_accum_steps": 2,
                "ctc_entropy_share": True, "ctc_confidence_penalty": 0.5,
                "ctc_confidence_threshold": 0.03}  # fmt: skip
    task = made(folder, alpha_ser=0.7, alpha_asr=0.3, alpha_prosody=0.2, **settings)
    sums = step_sums(task)
    losses, texts, marks, entropy, largest = [], [], [], [], []
    data, model = task.train, task.model
    with torch.no_grad():
        for index, one in enumerate(data.utterances):
            frames = model(model.backbone.prepare([data.wave(index)]))
            losses.append(
                nn.functional.cross_entropy(model.ser(frames, [len(frames)]), torch.tensor([one.emotion]))
            )
            ids = [token for word in data.words[index] for token in word]
            log_p = model.asr(frames).log_softmax(1)
            if not ids:
                continue
            entropy.append(-(log_p.exp() * log_p).sum(1) / math.log(log_p.shape[1]))
            largest.append(log_p.exp().amax(1))
            texts.append(nn.functional.ctc_loss(log_p, torch.tensor(ids), torch.tensor(len(frames)),
                                                torch.tensor(len(ids)), blank=4) )  # fmt: skip
            tokens = ctc_align.align(log_p, ids, 4)
            spans = torch.tensor(aligned_spans(tokens, [len(word) for word in data.words[index]]))
            means = torch.stack([frames[first:behind].mean(0) for first, behind in spans])
            marks.append((model.prosody(means).squeeze(1), torch.tensor(one.prosody).float()))
    by_hand = {
        "ser": torch.stack(losses).mean(),
        "ctc": torch.stack(texts).mean(),
        "entropy": torch.cat(entropy).mean(),
        "confidence": (torch.cat(largest) - 0.03).clamp(min=0).mean(),
        "prosody": nn.functional.binary_cross_entropy_with_logits(*map(torch.cat, zip(*marks))),
    }
    assert by_hand["confidence"] > 0
    assert len(texts) == len(losses) - 1  # one has no words
    for name, value in by_hand.items():
        torch.testing.assert_close(sums[name].detach(), value.squeeze(), atol=1e-5, rtol=1e-4, msg=name)
    asr = 0.9 * sums["ctc"] + 0.1 * sums["smoothing"] - 0.01 * sums["entropy"] + 2.0 * sums["hinge"]
    asr = asr + 0.5 * sums["confidence"]
    total = 0.7 * sums["ser"] + 0.3 * asr + 0.2 * sums["prosody"]
    torch.testing.assert_close(sums["loss"], total, atol=1e-5, rtol=1e-5)


def gradients(task: SerTask, steps: int = 1) -> dict[str, Tensor]:
    task.model.zero_grad()
    for step in range(steps):
        (step_sums(task, step)["loss"]).backward()
    return {
        name: weight.grad.clone() for name, weight in task.model.named_parameters() if weight.grad is not None
    }


def test_accumulation_changes_nothing(folder: Path) -> None:
    once = gradients(made(folder, batch_size=8, grad_accum_steps=1))
    often = gradients(made(folder, batch_size=3, grad_accum_steps=3))
    assert once.keys() == often.keys()
    for name, gradient in once.items():
        torch.testing.assert_close(gradient, often[name], atol=2e-5, rtol=1e-3, msg=name)


def test_two_processes_change_nothing(folder: Path) -> None:
    once, parts = gradients(made(folder)), [gradients(made(folder, Group(rank, 2, rank))) for rank in (0, 1)]
    for name, gradient in once.items():
        summed = sum(part.get(name, torch.zeros(())) for part in parts)
        torch.testing.assert_close(gradient, summed, atol=2e-5, rtol=1e-3, msg=name)


def test_validation_does_not_depend_on_batches_and_processes(folder: Path) -> None:
    task = made(folder)
    task.model.eval()
    with torch.no_grad():
        whole = task.validate()
        for size, world in ((1, 1), (2, 3), (4, 2)):  # of 4 utterances: some processes have none
            parts = []
            for rank in range(world):
                other = made(folder, Group(rank, world, rank), batch_size=size)
                other.model.eval()
                parts.append(other.validate())
            for part in parts:
                assert list(part) == list(whole)  # they are added up in this order
            for name, value in whole.items():
                torch.testing.assert_close(
                    sum(part[name] for part in parts), value, atol=1e-4, rtol=1e-5, msg=name
                )
    found = task.figures({name: value.tolist() for name, value in whole.items()})
    assert found["accuracy"] == whole["confusion"].diagonal().sum() / 4


@pytest.mark.parametrize("heads", [("ser",), ("asr",), ("prosody",), ("ser", "asr"), ALL])
def test_a_head_is_there_only_where_its_flag_is(folder: Path, heads: tuple[str, ...]) -> None:
    task = made(folder, heads=heads)
    there = {name.split(".")[0] for name, _ in task.model.named_parameters()}
    assert there == {"mix", "backbone", *heads}
    wanted = {"loss", *(name for head in heads for name in OF_HEADS[head])}
    assert set(step_sums(task)) == wanted
    task.model.eval()
    with torch.no_grad():
        figures = task.figures({name: value.tolist() for name, value in task.validate().items()})
    assert ("ua" in figures, "wer" in figures, "prosody_f1" in figures) == tuple(
        head in heads for head in ALL
    )


def test_a_batch_without_words_has_the_same_sums(folder: Path) -> None:
    task = made(folder, batch_size=1, grad_accum_steps=1)
    without = int(np.flatnonzero(~task.train.has_text)[0])
    one = np.array([without])
    found = task.loss(task.train.batch(one, [task.train.wave(without)], one))
    other = task.loss(task.train.batch(np.array([0]), [task.train.wave(0)], np.array([0])))
    assert list(found) == list(other)
    assert all(value.isfinite() for value in found.values())
    assert [found[name].item() for name in ("ctc", "prosody", "entropy")] == [0.0, 0.0, 0.0]
    found["loss"].backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in task.model.parameters())


def test_a_batch_of_one_emotion(folder: Path) -> None:
    task = made(folder, class_weights="balanced", logit_adjustment=1.0, focal_gamma=2.0)
    chosen = np.flatnonzero(np.array([one.emotion for one in task.train.utterances]) == 1)
    task.model.train()
    loss = task.loss(task.train.batch(chosen, [task.train.wave(int(index)) for index in chosen], chosen))[
        "loss"
    ]
    loss.backward()
    assert loss.isfinite()
    assert task.model.ser.head[-1].weight.grad.abs().sum() > 0


def test_emotion_loss_by_hand() -> None:
    logits, targets = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    plain = emotion_loss(logits, targets, None, None, 0.0)
    p = torch.tensor([np.exp(2) / (np.exp(2) + 1), 0.5]).float()
    torch.testing.assert_close(plain, -p.log())
    torch.testing.assert_close(emotion_loss(logits, targets, None, None, 2.0), (1 - p) ** 2 * -p.log())
    weights = torch.tensor([0.5, 3.0])
    torch.testing.assert_close(emotion_loss(logits, targets, weights, None, 0.0), plain * weights)
    prior = torch.tensor([0.8, 0.2]).log()
    adjusted = torch.tensor([0.8 * np.exp(2) / (0.8 * np.exp(2) + 0.2), 0.2]).float()
    torch.testing.assert_close(emotion_loss(logits, targets, None, prior, 0.0), -adjusted.log())


def test_balanced_weights_and_prior(folder: Path) -> None:
    task = made(folder, class_weights="balanced", logit_adjustment=0.5)
    counts = np.bincount([one.emotion for one in task.train.utterances])  # 3, 3, 2, and none of the last
    assert task.class_weights[:EMOTIONS].tolist() == pytest.approx((8 / (EMOTIONS * counts)).tolist())
    assert task.log_prior.isfinite().all()
    assert float(task.log_prior[0] - task.log_prior[2]) == pytest.approx(0.5 * np.log(3 / 2))


def test_the_prior_is_added_in_training_only(folder: Path) -> None:
    task = made(folder, heads=("ser",), logit_adjustment=2.0)
    task.model.train()
    adjusted = step_sums(task)
    task.model.eval()
    plain = step_sums(task)
    assert plain["loss"].item() == pytest.approx(plain["ser"].item())
    assert adjusted["loss"].item() != pytest.approx(adjusted["ser"].item(), rel=1e-3)


def test_words_and_their_frames() -> None:
    assert even_spans(10, 3) == [(0, 3), (3, 6), (6, 10)]
    assert even_spans(2, 3) == [(0, 1), (0, 1), (1, 2)]  # more words than frames: each has one all the same
    assert aligned_spans([(1, 2), (3, 4), (6, 9)], [2, 1]) == [(1, 6), (6, 9)]
    frames = torch.arange(12.0).reshape(6, 2)
    spans = torch.tensor([(0, 2), (5, 6)])
    assert word_vectors(frames, spans).tolist() == [[1.0, 2.0], [10.0, 11.0]]


def test_an_asr_head_that_learns_nothing_places_no_words(folder: Path) -> None:
    frames, words = torch.randn(12, 32), [[5], [6, 7], [8]]
    assert made(folder, alpha_asr=0.0)._spans([frames], [words]) == [even_spans(12, 3)]
    assert made(folder, prosody_align="uniform")._spans([frames], [words]) == [even_spans(12, 3)]
    assert made(folder, heads=("prosody",))._spans([frames], [words]) == [even_spans(12, 3)]
    assert made(folder)._spans([frames], [words]) != [even_spans(12, 3)]
    assert made(folder)._spans([frames[:2]], [words]) == [even_spans(2, 3)]  # too few frames to align


def test_doubts_about_transcripts_are_said_once(folder: Path) -> None:
    train = made(folder).train
    assert ser_run.doubts(train) == ["note: 1 of 8 utterances have no words: CTC omits them"]
    train.words[0] = [[7, 7, 7, 0]] * 40
    said = ser_run.doubts(train)
    assert said[1].startswith("warning: 1 of 7 transcripts (14.3%) have more pieces than frames")
    assert said[2].startswith("warning: 40 of ")
    batch = train.batch(np.arange(4), [train.wave(index) for index in range(4)], np.arange(4))
    sums = made(folder, heads=("asr",)).loss(batch)
    assert sums["infeasible"].item() / 4 == pytest.approx(1 / 3)  # of three with words
    assert sums["loss"].isfinite()


def test_the_names_of_ctc_are_known() -> None:
    one = torch.tensor([1])
    found = ctc.ctc_losses(torch.zeros(3, 6), 3 * one, torch.tensor([[5]]), one, 4, ctc.Regularisers())
    assert tuple(found) == ("loss", *OF_CTC)


def test_sound_that_is_no_number_is_named(folder: Path) -> None:
    task = made(folder)
    path = task.train.utterances[2].window["path"]
    before = Path(path).read_bytes()
    try:
        soundfile.write(path, np.full(8000, np.nan, np.float32), 16_000, subtype="FLOAT")
        with pytest.raises(AudioError, match=r"train_2\.wav: samples that are NaN"):
            [task.load(0, step) for step in range(task.steps_in(0))]
    finally:
        Path(path).write_bytes(before)
