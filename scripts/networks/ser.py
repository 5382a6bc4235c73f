"""Speech emotion recognition by several tasks at once: a backbone that is shared, a head for each task.

Cai et al., Speech Emotion Recognition with Multi-task Learning, Interspeech 2021, with a third task of
Prosody-SER, prominence of words. All heads see real frames only: they lie one after the other, without
padding, of all utterances of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

ATTENTION = 128  # width of what weighs frames
SMALL = 0.1  # gain of the first weights of the CTC head: peaky beginnings fall into all blanks


class SerModel(nn.Module):
    """`forward` gives the frames; the heads `ser`, `asr` and `prosody` are there only where asked for."""

    def __init__(
        self, backbone: Any, emotions: int, vocab_size: int, heads: Sequence[str], dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.backbone, width = backbone, backbone.width
        self.mix = nn.Parameter(torch.zeros(backbone.layers))
        if "ser" in heads:
            self.ser = EmotionHead(width, emotions, dropout)
        if "asr" in heads:
            self.asr = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, vocab_size))
            with torch.no_grad():
                self.asr[-1].weight.mul_(SMALL)
                self.asr[-1].bias.zero_()
        if "prosody" in heads:
            self.prosody = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, 1))

    def forward(self, inputs: Any) -> Tensor:
        """Return the frames (frames of all utterances, width): a learned mean of the backbone's layers."""
        return torch.einsum("l,lfw->fw", self.mix.softmax(0), self.backbone(inputs))


class EmotionHead(nn.Module):
    """Frames of each utterance, weighed by attention (Mirsamadi et al. 2017), and a linear layer."""

    def __init__(self, width: int, emotions: int, dropout: float) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, ATTENTION), nn.Tanh(), nn.Linear(ATTENTION, 1))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, emotions))

    def forward(self, frames: Tensor, lengths: list[int]) -> Tensor:
        """Return logits (utterances, emotions) of frames (sum of lengths, width)."""
        scores = nn.utils.rnn.pad_sequence(self.score(frames).split(lengths), True, -torch.inf)
        padded = nn.utils.rnn.pad_sequence(frames.split(lengths), True)
        weights = scores.float().softmax(1).to(padded.dtype)
        return self.head((weights.transpose(1, 2) @ padded).squeeze(1))


def logits_of(head: nn.Sequential, frames: Tensor, pieces: Tensor) -> Tensor:
    """Return the logits (frames, pieces) that the ASR head gives some pieces, without dropout: of 16,000 an
    alignment needs those of its words only.
    """
    norm, _, last = head
    return nn.functional.linear(norm(frames), last.weight[pieces], last.bias[pieces])


def word_vectors(frames: Tensor, spans: Tensor) -> Tensor:
    """Return the mean (words, width) of the frames (frames, width) of each span (words, 2): first, behind
    last.
    """
    sums = nn.functional.pad(frames.double().cumsum(0), (0, 0, 1, 0))
    first, behind = spans.unbind(1)
    return ((sums[behind] - sums[first]) / (behind - first)[:, None]).to(frames.dtype)


def even_spans(frames: int, words: int) -> list[tuple[int, int]]:
    """Return spans of frames of equal length, one a word, each of a frame at least."""
    edges = [word * frames // words for word in range(words + 1)]
    starts = [min(edge, frames - 1) for edge in edges[:-1]]
    return [(start, max(start + 1, edge)) for start, edge in zip(starts, edges[1:])]


def aligned_spans(tokens: list[tuple[int, int]], sizes: list[int]) -> list[tuple[int, int]]:
    """Return the span of each word, from its first token to the next word's first one.

    `tokens` are the spans of all tokens of the words, `sizes` how many of them each word has; silence before
    the next word goes with the word that it follows, as the frames of lengthened words are blank.
    """
    spans, at = [], 0
    for size in sizes:
        first, last = tokens[at], tokens[at + size - 1]
        at += size
        behind = tokens[at][0] if at < len(tokens) else last[1]
        spans.append((first[0], max(behind, last[1])))
    return spans


def emotion_loss(
    logits: Tensor, targets: Tensor, weights: Tensor | None, log_prior: Tensor | None, focal_gamma: float
) -> Tensor:
    """Return the loss (utterances,) of logits (utterances, emotions), in float32.

    `log_prior` (what tau multiplies already) is added to the logits, Menon et al. 2021; focal loss is Lin et
    al. 2017; `weights` are those of the classes.
    """
    logits = logits.float() if log_prior is None else logits.float() + log_prior
    losses = nn.functional.cross_entropy(logits, targets, reduction="none")
    if focal_gamma:
        losses = (1 - torch.exp(-losses)).clamp(min=1e-8) ** focal_gamma * losses
    return losses if weights is None else losses * weights[targets]
