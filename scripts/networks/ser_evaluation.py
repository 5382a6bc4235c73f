"""What a SER model gets right on a set of utterances, with intervals, and what the majority would get."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from media.scoring import bootstrap, count_characters, count_words, interval, rate
from media.ser_data import Utterance
from networks import ctc_decode
from networks.distributed import Group
from networks.ser_batches import Utterances
from networks.ser_figures import emotion_scores
from networks.ser_task import BLANK, SerTask

CTC = (
    "entropy_weight", "entropy_share", "blank_penalty", "blank_threshold", "label_smoothing",
    "confidence_penalty", "confidence_threshold",
)  # fmt: skip
RESAMPLES, SEED = 1000, 0
BEAM, TOP_K = 10, 20  # hypotheses that are kept, and pieces that may follow each, in a frame


def evaluate(
    model: Any, config: dict[str, Any], utterances: list[Utterance], tokenizer: Any, device: str,
    batch_size: int, decode_method: str, fusion: ctc_decode.Fusion | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # fmt: skip
    """Return the metrics of a model of train_ser.py, and what it said of each utterance, in their order."""
    data = Utterances(utterances, tokenizer.encode, model.backbone)
    config = {**config, "batch_size": batch_size, "pin_memory": False}
    task = SerTask(model, data, data, config, Group(0, 1, 0), torch.device(device), tokenizer.decode, 1, 0)
    said: list[dict[str, Any]] = [{} for _ in utterances]
    with torch.no_grad():
        for indices in task.loader.in_order():
            batch = data.batch(indices, [data.wave(int(index)) for index in indices], indices)
            for index, one in zip(indices, _of_batch(task, batch, decode_method, fusion)):
                of = utterances[int(index)]
                said[int(index)] = {"id": of.key, "audio_filepath": os.path.abspath(of.window["path"]), **one}
    return _metrics(utterances, said, config), said


def _of_batch(
    task: SerTask, batch: Any, decode_method: str, fusion: ctc_decode.Fusion | None
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{} for _ in batch.frames]
    heard = task.hear(batch)[1]
    if heard.emotions is not None:
        for one, shares in zip(found, heard.emotions.softmax(1).cpu().tolist()):
            one.update(emotion=int(np.argmax(shares)), probabilities=shares)
    if heard.log_probs is not None:
        labels = heard.labels
        if decode_method == "beam":
            parts = heard.log_probs.split(batch.frames)
            labels = [ctc_decode.prefix_beam(part, BLANK, BEAM, TOP_K, fusion=fusion)[0][0] for part in parts]
        for one, ids in zip(found, labels):
            one["text"] = task.decode(list(ids))
    if heard.prominence is not None:
        shares = heard.prominence.sigmoid().cpu().tolist()
        for one, marks in zip(found, batch.prosody):
            words = 0 if marks is None else len(marks)
            one["prosody"], shares = shares[:words], shares[words:]
    return found


def _metrics(
    utterances: Sequence[Utterance], said: list[dict[str, Any]], config: dict[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {"utterances": len(utterances)}
    if config["use_alpha_ser"]:
        found.update(_of_emotions(utterances, [one["emotion"] for one in said], config["emotions"]))
    if config["use_alpha_asr"]:
        found.update(_of_texts(utterances, [one["text"] for one in said]))
    if config["use_alpha_prosody"]:
        found.update(_of_prominence(utterances, said))
    return found


def _of_emotions(utterances: Sequence[Utterance], said: list[int], names: list[str]) -> dict[str, Any]:
    true = np.array([one.emotion for one in utterances])
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (true, np.array(said)), 1)
    scores = emotion_scores(confusion)
    draws = np.random.default_rng(SEED).integers(len(true), size=(RESAMPLES, len(true)))
    again = []
    for draw in draws:
        drawn = np.zeros_like(confusion)
        np.add.at(drawn, (true[draw], np.array(said)[draw]), 1)
        again.append([emotion_scores(drawn)[name] for name in ("ua", "wa", "macro_f1")])
    low_high = [interval(column) for column in np.array(again, float).T]
    support = confusion.sum(1)
    return {
        **{name: scores[name] for name in ("ua", "wa", "macro_f1")},
        **{f"{name}_interval": list(pair) for name, pair in zip(("ua", "wa", "macro_f1"), low_high)},
        "majority": {"emotion": names[int(support.argmax())], "wa": float(support.max() / support.sum()),
                     "ua": 1 / int((support > 0).sum())},
        "emotions": {name: {"support": int(support[index]),
                            **{kind: scores[kind][index] for kind in ("recall", "precision", "f1")}}
                     for index, name in enumerate(names)},
        "confusion": confusion.tolist(),
    }  # fmt: skip


def _of_texts(utterances: Sequence[Utterance], said: list[str]) -> dict[str, Any]:
    pairs = [(" ".join(one.words), text) for one, text in zip(utterances, said) if any(one.words)]
    if not pairs:
        return {"wer": None, "cer": None}
    words, characters = ([count(*pair) for pair in pairs] for count in (count_words, count_characters))
    return {
        "wer": rate(words),
        "wer_interval": list(interval(bootstrap([words], RESAMPLES, SEED)[0])),
        "cer": rate(characters),
        "empty_hypotheses": sum(not text.strip() for _, text in pairs) / len(pairs),
        "transcribed": len(pairs),
    }


def _of_prominence(utterances: Sequence[Utterance], said: list[dict[str, Any]]) -> dict[str, Any]:
    from sklearn.metrics import f1_score, roc_auc_score

    marked = [(one.prosody, of["prosody"]) for one, of in zip(utterances, said) if one.prosody]
    true = np.array([mark for marks, _ in marked for mark in marks], int)
    shares = np.array([share for _, of_words in marked for share in of_words])
    both = len(set(true.tolist())) == 2
    return {
        "prosody_f1": float(f1_score(true, shares > 0.5, zero_division=0)) if len(true) else None,
        "prosody_auc": float(roc_auc_score(true, shares)) if both else None,
        "prosody_words": len(true),
        "prosody_prominent": float(true.mean()) if len(true) else None,
    }


def summary(metrics: dict[str, Any], config: dict[str, Any]) -> str:
    """Return the metrics as text, with the alphas and the settings of CTC that they came by."""
    lines = []
    if "ua" in metrics:
        major = metrics["majority"]
        lines.append(
            f"{_percent(metrics, 'ua')}, {_percent(metrics, 'wa')}, macro-F1 {metrics['macro_f1']:.3f} "
            f"of {metrics['utterances']} utterances; always {major['emotion']}: "
            f"UA {100 * major['ua']:.1f} %, WA {100 * major['wa']:.1f} %"
        )
    if metrics.get("wer") is not None:
        lines.append(f"WER {100 * metrics['wer']:.1f} %, CER {100 * metrics['cer']:.1f} %, "
                     f"{100 * metrics['empty_hypotheses']:.1f} % of the hypotheses empty")  # fmt: skip
    if lm := metrics.get("language_model"):
        pieces = f"{lm['lm_order']}-gram of the pieces of {lm['lm_jsonl']}"
        lines.append(f"language model: {pieces}, weight {lm['lm_weight']:g}")
    if metrics.get("prosody_f1") is not None:
        auc = "" if metrics["prosody_auc"] is None else f", AUC {metrics['prosody_auc']:.3f}"
        lines.append(f"prominence F1 {metrics['prosody_f1']:.3f}{auc} of {metrics['prosody_words']} words")
    for name, one in metrics.get("emotions", {}).items():
        if one["support"]:
            scores = f"recall {one['recall']:.3f}, F1 {one['f1'] or 0.0:.3f}"
            lines.append(f"  {name}: {scores}, {one['support']} utterances")
    heads = [head for head in ("ser", "asr", "prosody") if config[f"use_alpha_{head}"]]
    lines.append("alphas: " + ", ".join(f"{head} {config[f'alpha_{head}']:g}" for head in heads))
    if "asr" in heads:
        lines.append("CTC: " + ", ".join(f"{name} {config[f'ctc_{name}']:g}" for name in CTC))
    lines.append(f"backbone: {config['backbone']} {config['backbone_model']}, seed {config['seed']}")
    return "\n".join(lines) + "\n"


def _percent(metrics: dict[str, Any], name: str) -> str:
    low, high = metrics[f"{name}_interval"]
    return f"{name.upper()} {100 * metrics[name]:.1f} % ({100 * low:.1f}–{100 * high:.1f})"
