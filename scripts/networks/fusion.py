"""A model that joins text, audio, prosody, emotion and speaker, and gives back what it was shown, hidden or
not.

The tokens of an utterance, each with a time in steps of `audio_stride` frames:
    start, speaker, prosody, emotion  before all (-1): conditions, seen by all
    queries for prosody and emotion   after all (infinite): they see all, none but they see them
    audio step k, of all arrays       k + 1, where it ends
    context of the text               before all
    text token i of n in T steps      T (i + 1) / n, where it would end if all were equally long
Causal: a token sees none of a later time, so nothing said later changes what the model made of earlier ones.
What is hidden is a learned vector in its place; the targets are the normalised inputs, never a weight.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from networks.fusion_batch import ARRAYS, BEFORE, Batch
from networks.fusion_blocks import (
    Attention,
    Block,
    CrossBlock,
    CustomTransformer,
    MultimodalLatentAttention,
    time_waves,
    who_sees_whom,
)

CONDITIONS = ("speaker", "prosody", "emotion")
SUMMARIES = ("prosody", "emotion")
SHAPE = (
    "arch",
    "fusion",
    "hidden_dim",
    "latent_dim",
    "num_layers",
    "transformer_layers",
    "max_seq_length",
    "num_speakers",
    "audio_stride",
    "modalities",
    "reconstruct",
    "widths",
    "vocab_size",
)


class Output(NamedTuple):
    """What the model makes of a batch, normalised as the inputs are; a modality it has not is missing."""

    found: dict[str, Tensor]  # text: (rows, tokens, vocabulary); arrays: (rows, frames, width); (rows, width)
    summaries: dict[str, Tensor]  # vectors of prosody and emotion, (rows, width)
    states: Tensor  # (rows, tokens, width): of all tokens, after the last norm
    times: Tensor  # (rows, tokens): theirs
    valid: Tensor  # (rows, tokens): which of them are there

    def embedding(self) -> Tensor:
        """Return the mean state of the audio and text that are there, (rows, width)."""
        weights = (self.valid & (self.times > 0) & self.times.isfinite()).to(self.states.dtype)
        total = (self.states * weights[..., None]).sum(1)
        return total / weights.sum(1, keepdim=True).clamp(min=1)


class MultimodalModel(nn.Module):
    """The model that a run's config.json describes; `fusion` is latent, concat or cross, all with the same
    inputs and outputs.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, has, gives = config["hidden_dim"], config["modalities"], config["reconstruct"]
        sizes = config["widths"]
        self.stride, self.width = config["audio_stride"], width
        self.causal, self.window = config["causal"], config["window_size"]
        self.widths = {name: sizes[name] for name in has if name in ARRAYS}
        self.conditions = [name for name in CONDITIONS if name in has]
        self.queries = nn.ParameterDict({name: _vector(width) for name in SUMMARIES if name in gives})
        self.start = _vector(width)
        self.hidden = nn.ParameterDict({name: _vector(width) for name in (*self.widths, *self.conditions)})
        self.read, self.write, self.text = nn.ModuleDict(), nn.ModuleDict(), None
        for name in has:
            if name == "text":
                self.text = CustomTransformer(
                    config["vocab_size"], width, config["num_heads"], config["transformer_layers"],
                    config["max_seq_length"], config["dropout"], self.causal,
                )  # fmt: skip
            elif name == "speaker":
                self.read[name] = nn.Embedding(config["num_speakers"] + 1, width)  # the last: not known
            else:
                frames = self.stride if name in self.widths else 1
                marks = sizes[name] if name == "prosody" else 0  # which of its values are known
                self.read[name] = nn.Linear(frames * sizes[name] + marks, width)
        for name in gives:
            frames = self.stride if name in self.widths else 1
            size = config["vocab_size"] if name == "text" else sizes[name]
            self.write[name] = nn.Linear(width, frames * size)
        for layer in self.write.values():  # begins by saying the mean
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.blocks = nn.ModuleList(_block(config) for _ in range(config["num_layers"]))
        self.norm = nn.LayerNorm(width)

    def forward(self, batch: Batch) -> Output:
        """Return what the model makes of what it is shown of a batch."""
        rows, steps = batch.steps_valid.shape
        conditions, known = self._conditions(batch)
        queries = [query.expand(rows, 1, -1) for query in self.queries.values()]
        text, text_times, text_valid = self._text(batch)
        hidden = torch.cat([conditions, *queries, self._audio(batch), text], 1)
        edges = [BEFORE] * conditions.shape[1] + [torch.inf] * len(queries)
        edge_times = torch.tensor(edges, device=hidden.device).expand(rows, -1)
        step_times = torch.arange(1.0, steps + 1, device=hidden.device).expand(rows, -1)
        times = torch.cat([edge_times, step_times, text_times], 1)
        there = torch.ones_like(edge_times[:, : len(queries)], dtype=torch.bool)
        valid = torch.cat([known, there, batch.steps_valid, text_valid], 1)
        waves = time_waves(torch.where(times.isfinite(), times, 0.0), self.width)
        hidden = hidden + torch.where(((times > 0) & times.isfinite())[..., None], waves, 0.0)
        mask = who_sees_whom(times, valid, self.causal, self.window)
        text_at = hidden.shape[1] - text.shape[1]
        for block in self.blocks:
            hidden = block(hidden, mask, text_at)
        return self._output(self.norm(hidden), times, valid, text_at)

    def _conditions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the tokens that stand before all, and which of them are there."""
        rows = len(batch.speaker)
        tokens, there = [self.start.expand(rows, -1)], [torch.ones_like(batch.emotion_valid)]
        for name in self.conditions:
            if name == "speaker":
                shown, is_there = batch.speaker, there[0]
            elif name == "prosody":
                shown = torch.cat([batch.shown["prosody"], batch.valid["prosody"].float()], -1)
                is_there = batch.valid["prosody"].any(-1)
            else:
                shown, is_there = batch.shown["emotion"], batch.emotion_valid
            tokens.append(torch.where(batch.hide[name][:, None], self.hidden[name], self.read[name](shown)))
            there.append(is_there)
        return torch.stack(tokens, 1), torch.stack(there, 1)

    def _audio(self, batch: Batch) -> Tensor:
        """Return a token a step: the sum of what each array shows there."""
        rows, steps = batch.steps_valid.shape
        tokens = self.start.new_zeros(rows, steps, self.width)
        for name, size in self.widths.items():
            heard = self.read[name](batch.shown[name].reshape(rows, steps, self.stride * size))
            tokens = tokens + torch.where(batch.hide[name][..., None], self.hidden[name], heard)
        return tokens

    def _text(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the text's tokens with their times, and which of them are there."""
        if self.text is None:
            none = batch.token_times[:, :0]
            return self.start.new_zeros(*none.shape, self.width), none, none.bool()
        states = self.text(batch.tokens, batch.tokens_valid, batch.is_context, batch.hide["text"])
        return states, batch.token_times, batch.tokens_valid

    def _output(self, states: Tensor, times: Tensor, valid: Tensor, text_at: int) -> Output:
        first = 1 + len(self.conditions)
        audio_at = first + len(self.queries)
        audio = states[:, audio_at:text_at]
        summaries = {name: states[:, first + at] for at, name in enumerate(self.queries)}
        found = {name: self.write[name](summary) for name, summary in summaries.items()}
        rows, steps = audio.shape[:2]
        for name, size in self.widths.items():
            if name in self.write:
                found[name] = self.write[name](audio).reshape(rows, steps * self.stride, size)
        if "text" in self.write:
            found["text"] = self.write["text"](states[:, text_at:])
        return Output(found, summaries, states, times, valid)


def _vector(width: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(width).normal_(std=0.02))


def _block(config: dict[str, Any]) -> nn.Module:
    width, heads, dropout = config["hidden_dim"], config["num_heads"], config["dropout"]
    if config["fusion"] == "cross":
        return CrossBlock(width, heads, dropout)
    if config["fusion"] == "latent":
        return Block(MultimodalLatentAttention(width, config["latent_dim"], heads, dropout), width, dropout)
    return Block(Attention(width, heads, dropout), width, dropout)


def load(path: str, device: str = "cpu") -> tuple[MultimodalModel, dict[str, Any]]:
    """Return (model in evaluation mode, its config) of a checkpoint of train_multimodal.py; CheckpointError
    where it is none.
    """
    from networks.checkpoints import CheckpointError, read

    saved = read(path, device)
    if saved.get("config", {}).get("arch") != "multimodal":
        raise CheckpointError(f"{path}: found no fusion model; wanted a best.pt of train_multimodal.py")
    model = MultimodalModel(saved["config"])
    model.load_state_dict(saved["model"])
    return model.to(device).eval(), saved["config"]
