"""Training a SER model: what the loop of training.py asks of a task. All losses are means over the utterances
of a step, but for CTC's, over those with words, and prominence's, over the words that are marked.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import torch
from torch import Tensor, nn

from networks import ctc, ctc_align, ctc_decode
from networks.distributed import Group
from networks.ser import SerModel, aligned_spans, emotion_loss, even_spans, logits_of, word_vectors
from networks.ser_batches import Batch, Loader, Step, Utterances, Words
from networks.ser_figures import Heard, figures, zeros

BLANK = 4  # of SentencePieceTokenizer
OF_CTC = (
    "ctc", "entropy", "hinge", "smoothing", "confidence", "blank_share", "argmax_blank_share", "empty_share",
    "infeasible",
)  # fmt: skip


class SerTask:
    """A model with its training and validation utterances; training.py says what the methods are."""

    counted = "utterances"

    def __init__(self, model: SerModel, train: Utterances, valid: Utterances, config: dict[str, Any],
                 group: Group, device: torch.device, decode: Callable[[list[int]], str], threads: int,
                 ahead: int) -> None:  # fmt: skip
        self.model, self.train, self.valid = model, train, valid
        self.config, self.group, self.device, self.decode = config, group, device, decode
        self.loader = Loader(train, config, group, threads, ahead)
        self.rates = {"backbone.": config["backbone_lr"] / config["learning_rate"]}
        self.size = f"{len(train.utterances):,} utterances to train on"
        self.regularisers = ctc.Regularisers(
            config["ctc_entropy_weight"], config["ctc_entropy_share"], config["ctc_blank_penalty"],
            config["ctc_blank_threshold"], config["ctc_label_smoothing"], config["ctc_confidence_penalty"],
            config["ctc_confidence_threshold"],
        )  # fmt: skip
        counts = np.bincount([one.emotion for one in train.utterances], minlength=len(config["emotions"]))
        self.class_weights = _class_weights(counts, config["class_weights"], device)
        self.log_prior = _log_prior(counts, config["logit_adjustment"], device)

    def steps_in(self, epoch: int) -> int:
        """Return the optimizer steps of an epoch."""
        return self.loader.steps_in(epoch)

    def load(self, epoch: int, step: int) -> Step:
        """Return the part of this process of a step."""
        found = self.loader.load(epoch, step)
        if self.device.type == "cuda" and self.config["pin_memory"]:
            found = found._replace(batches=[_pinned(batch) for batch in found.batches])
        return found

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted loss and every part, plain: sums that the count of the step divides."""
        return self.hear(batch)[0]

    def hear(self, batch: Batch) -> tuple[dict[str, Tensor], Heard]:
        """Return the sums of a batch, and what each head said of it."""
        model, config = self.model, self.config
        frames = model(batch.inputs.to(self.device))
        sums: dict[str, Tensor] = {}
        heard = Heard(batch)
        total = frames.new_zeros((), dtype=torch.float32)
        if config["use_alpha_ser"]:
            logits, targets = model.ser(frames, batch.frames), batch.emotions.to(self.device)
            heard.emotions = logits.detach().float()
            sums["ser"] = nn.functional.cross_entropy(heard.emotions, targets, reduction="sum")
            losses = emotion_loss(
                logits,
                targets,
                self.class_weights,
                self.log_prior if model.training else None,
                config["focal_gamma"],
            )
            total = total + config["alpha_ser"] * losses.sum()
        if config["use_alpha_asr"]:
            found = self._ctc(frames, batch)
            total = total + config["alpha_asr"] * found.pop("loss")
            sums.update(found)
        if config["use_alpha_prosody"]:
            logits, marks = self._prominence(frames, batch)
            heard.prominence = logits.detach().float()
            loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), marks, reduction="sum")
            sums["prosody"] = loss.detach() * batch.per_word
            total = total + config["alpha_prosody"] * loss * batch.per_word
        if config["use_alpha_asr"] and not model.training:
            heard.log_probs = model.asr(frames).float().log_softmax(1)
            heard.labels = ctc_decode.greedy(heard.log_probs, torch.tensor(batch.frames), BLANK)
        return {"loss": total, **sums}, heard

    def _ctc(self, frames: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return L_ASR as "loss" and its parts, of the utterances that have words."""
        labels = [[token for word in words for token in word] for words in batch.words]
        kept = [row for row, ids in enumerate(labels) if ids]
        if not kept:
            return {name: frames.sum() * 0.0 for name in ("loss", *OF_CTC)}
        parts = frames.split(batch.frames)
        found = ctc.ctc_losses(
            torch.cat([parts[row] for row in kept]),
            torch.tensor([batch.frames[row] for row in kept], device=self.device),
            nn.utils.rnn.pad_sequence([torch.tensor(labels[row]) for row in kept], True).to(self.device),
            torch.tensor([len(labels[row]) for row in kept], device=self.device),
            BLANK,
            self.regularisers,
            batch.mean_frames,
            self.model.asr,
        )
        return {name: value * batch.per_text for name, value in found.items()}

    def _prominence(self, frames: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits and marks (words,) of all words that somebody marked."""
        marked = [row for row, marks in enumerate(batch.prosody) if marks is not None and len(marks)]
        if not marked:
            return frames.new_zeros(0), torch.zeros(0, device=self.device)
        parts = frames.split(batch.frames)
        spans = self._spans([parts[row] for row in marked], [batch.words[row] for row in marked])
        vectors = [
            word_vectors(parts[row], torch.tensor(of, device=self.device)) for row, of in zip(marked, spans)
        ]
        marks = torch.cat([batch.prosody[row] for row in marked]).to(self.device)
        return self.model.prosody(torch.cat(vectors)).squeeze(1), marks

    def _spans(self, parts: list[Tensor], words: list[Words]) -> list[list[tuple[int, int]]]:
        """Return the frames of each word of some utterances: where the ASR head hears it, else (no such head,
        or it learns nothing, at alpha 0; or too few frames) all words equally long.
        """
        spans = [even_spans(len(part), len(of)) for part, of in zip(parts, words)]
        learns = self.config["use_alpha_asr"] and self.config["alpha_asr"]
        if self.config["prosody_align"] != "ctc" or not learns:
            return spans
        rows = [row for row, of in enumerate(words) if all(of)]
        if rows:
            labels = [torch.tensor([token for word in words[row] for token in word]) for row in rows]
            for row, tokens in zip(rows, self._aligned([parts[row] for row in rows], labels)):
                if tokens is not None:
                    spans[row] = aligned_spans(tokens, [len(word) for word in words[row]])
        return spans

    def _aligned(self, parts: list[Tensor], labels: list[Tensor]) -> list[list[tuple[int, int]] | None]:
        """Return the frames of each label of some utterances, by the ASR head's logits of these labels."""
        pieces, places = torch.cat([torch.tensor([BLANK]), *labels]).unique(return_inverse=True)
        sizes = [len(of) for of in labels]
        with torch.no_grad():
            logits = logits_of(self.model.asr, torch.cat(parts), pieces.to(self.device))
        targets = nn.utils.rnn.pad_sequence(places[1:].split(sizes), True)
        lengths = torch.tensor([len(part) for part in parts])
        return ctc_align.align_batch(logits, lengths, targets, torch.tensor(sizes), int(places[0]))

    def validate(self) -> dict[str, Tensor]:
        """Return sums over this process's part of the validation set, of which `figures` makes figures."""
        whole = np.arange(len(self.valid.utterances))
        found = zeros(len(self.config["emotions"]))
        for name in self._parts():  # a process without a batch has them too
            found[f"part_{name}"] = np.zeros(2)
        loader = Loader(self.valid, self.config, self.group, 1, 0)
        for indices in loader.in_order():
            waves = list(self.loader.pool.map(self.valid.wave, indices))
            sums, heard = self.hear(self.valid.batch(indices, waves, whole))
            found["loss"] += np.array([float(sums.pop("loss")), len(indices)])
            heard.add_to(found, self.decode, [self.valid.utterances[int(index)].words for index in indices])
            for name, value in sums.items():
                found[f"part_{name}"] += np.array([float(value), len(indices)])
        return {name: torch.from_numpy(np.asarray(value)).to(self.device) for name, value in found.items()}

    def _parts(self) -> list[str]:
        """Return the names of the sums of a batch but the loss."""
        names = {"ser": ("ser",), "asr": OF_CTC, "prosody": ("prosody",)}
        return [name for head, of in names.items() if self.config[f"use_alpha_{head}"] for name in of]

    def figures(self, sums: dict[str, list[float]]) -> dict[str, float | None]:
        """Return UA, WA, macro-F1, WER, CER, F1 of prominence, and the parts of the loss."""
        return figures(sums, self.config)


def _class_weights(counts: np.ndarray, kind: str, device: torch.device) -> Tensor | None:
    """Return N / (C n_c), at most 10, whose mean over the training utterances is near 1; None for `none`."""
    if kind == "none":
        return None
    weights = counts.sum() / (max(1, (counts > 0).sum()) * np.maximum(counts, 1))
    return torch.tensor(np.minimum(weights, 10.0), dtype=torch.float32, device=device)


def _log_prior(counts: np.ndarray, tau: float, device: torch.device) -> Tensor | None:
    if not tau:
        return None
    prior = np.maximum(counts, 1) / np.maximum(counts, 1).sum()
    return torch.tensor(tau * np.log(prior), dtype=torch.float32, device=device)


def _pinned(batch: Batch) -> Batch:
    return batch._replace(inputs=batch.inputs.pin_memory())
