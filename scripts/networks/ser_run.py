"""What train_ser.py and evaluate_ser.py build: a task, the model of a checkpoint, a test."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import nullcontext
from typing import Any, Callable

import numpy as np
import torch

from media.audio import AudioError
from media.sentencepiece_tokenizer import SentencePieceTokenizer
from media.ser_data import SerDataError, Utterance, read_words
from media.token_settings import TokenizerError
from networks import checkpoints, ngram
from networks.ctc_decode import Fusion
from networks.device import choose
from networks.distributed import Group
from networks.ser import SerModel
from networks.ser_backbones import empty_backbone, load_backbone, trainable
from networks.ser_batches import Utterances
from networks.ser_evaluation import evaluate, summary
from networks.ser_task import SerTask
from networks.weights import WeightsError

BAD_INPUT = (AudioError, SerDataError, TokenizerError, WeightsError)
HEADS = ("ser", "asr", "prosody")


def precision(args: Any) -> str:
    """Return the numbers of the forward pass: what --precision asks for, else mixed ones on a GPU."""
    if args.precision != "fp32" or not args.use_amp or not choose(args.device).startswith("cuda"):
        return args.precision
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def build_task(
    config: dict[str, Any],
    data: dict[str, list[Utterance]],
    weights: str,
    tokenizer_path: str,
    group: Group,
    device: torch.device,
    args: Any,
    log: Callable[[str], None],
) -> SerTask:
    """Return the task of a run: the backbone, its weights published ones or random, and new heads."""
    trim, checkpointing = config["whisper_trim"], config["gradient_checkpointing"]
    if config["from_scratch"]:
        backbone = trainable(empty_backbone(config["backbone_about"], trim), checkpointing)
    else:
        backbone = load_backbone(weights, trim, checkpointing)
    model = _model(config, backbone).to(device)
    tokenizer = SentencePieceTokenizer(model_path=tokenizer_path)
    tokenizer.load_tokenizer()
    # of the test set too: what is too short to be heard is said before training
    of = {split: Utterances(utterances, tokenizer.encode, backbone) for split, utterances in data.items()}
    train, valid = of["train"], of["valid"]
    if config["use_alpha_prosody"] and not train.marked.any():
        raise SerDataError("the training set has no prosody_annotations, wanted by --use_alpha_prosody")
    if config["use_alpha_asr"] and not train.has_text.any():
        raise SerDataError("the training set has no words, wanted by --use_alpha_asr")
    if config["use_alpha_asr"] and group.rank == 0:
        for line in doubts(train):
            log(line)
    ahead = args.num_workers * args.prefetch_factor
    return SerTask(model, train, valid, config, group, device, tokenizer.decode, args.num_workers, ahead)


def doubts(train: Utterances) -> list[str]:
    """Return warnings about the transcripts of a training set."""
    labels = [[token for word in words for token in word] for words in train.words]
    wanted = [len(ids) + sum(one == other for one, other in zip(ids, ids[1:])) for ids in labels]
    texts, tokens = int(train.has_text.sum()), sum(map(len, labels))
    long = sum(need > have for need, have in zip(wanted, train.frames))
    unknown = sum(ids.count(SentencePieceTokenizer.unk_id) for ids in labels)
    said = []
    if texts < len(labels):
        said.append(f"note: {len(labels) - texts} of {len(labels)} utterances have no words: CTC omits them")
    if long:
        share = f"{long} of {texts} transcripts ({long / texts:.1%})"
        said.append(f"warning: {share} have more pieces than frames: CTC learns nothing of them")
    if unknown:
        share = f"{unknown} of {tokens} pieces ({unknown / tokens:.1%})"
        said.append(f"warning: {share} are unknown to the tokenizer; --retrain_tokenizer makes another one")
    return said


def _model(config: dict[str, Any], backbone: Any) -> SerModel:
    heads = [head for head in HEADS if config[f"use_alpha_{head}"]]
    return SerModel(backbone, len(config["emotions"]), config["vocab_size"], heads, config["dropout"])


def load(path: str, device: str) -> tuple[SerModel, dict[str, Any]]:
    """Return the model of a checkpoint, for inference, and its config; CheckpointError where it is of another
    program.
    """
    saved = checkpoints.read(path, device)
    config = saved.get("config", {}) if isinstance(saved, dict) else {}
    if "backbone_about" not in config:
        raise checkpoints.CheckpointError(f"{path}: found another checkpoint, wanted one of train_ser.py")
    model = _model(config, empty_backbone(config["backbone_about"], config["whisper_trim"]))
    try:
        model.load_state_dict(saved["model"])
    except (KeyError, RuntimeError) as error:
        what = str(error).split("\n", 1)[-1].strip()[:200]
        said = f"{path}: its weights are not those of its config: {what}"
        raise checkpoints.CheckpointError(said) from error
    return model.to(device).eval(), config


def tokenizer_of(path: str, config: dict[str, Any]) -> SentencePieceTokenizer:
    """Return the tokenizer that a model was trained with; WeightsError where it is another one."""
    found = SentencePieceTokenizer(model_path=path)
    found.load_tokenizer()
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    if digest != config["tokenizer_sha256"]:
        raise WeightsError(
            f"{path}: found {found.vocab_size} pieces that are not those the model was trained with "
            f"({config['vocab_size']}); wanted the tokenizer of that run"
        )
    return found


def fusion_of(
    path: str, config: dict[str, Any], tokenizer: SentencePieceTokenizer, weight: float, order: int
) -> Fusion:
    """Return an n-gram (modified Kneser-Ney) of the pieces of transcripts, for the beam; SerDataError where a
    file has no words, WeightsError where the model has none to help with.
    """
    if not config["use_alpha_asr"]:
        raise WeightsError("the model has no head of words; wanted one trained with --use_alpha_asr")
    texts = [[token for word in words for token in tokenizer.encode(word)] for words in read_words(path)]
    return Fusion(ngram.fit(map(np.array, filter(None, texts)), config["vocab_size"], order), weight)


def amp(wanted: bool, device: str) -> Any:
    """Return the context of inference: mixed precision on a GPU where it is wanted."""
    if not wanted or not device.startswith("cuda"):
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)


def test(folder: str, utterances: list[Utterance], args: Any, write_aside: Callable[..., Any]) -> None:
    """Evaluate the best of a run, and write test_metrics.json and summary.txt into its folder."""
    device = choose(args.device)
    model, config = load(os.path.join(folder, checkpoints.BEST), device)
    tokenizer = tokenizer_of(args.tokenizer_path, config)
    metrics, _ = evaluate(model, config, utterances, tokenizer, device, args.batch_size, "beam")
    write(folder, metrics, config, write_aside)


def write(
    folder: str, metrics: dict[str, Any], config: dict[str, Any], write_aside: Callable[..., Any]
) -> None:
    """Write test_metrics.json and summary.txt into a folder."""
    with write_aside(os.path.join(folder, "test_metrics.json")) as file:
        json.dump(metrics, file, indent=1)
        file.write("\n")
    with write_aside(os.path.join(folder, "summary.txt")) as file:
        file.write(summary(metrics, config))
