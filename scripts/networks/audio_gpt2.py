"""A language model that listens: any causal LM of transformers, given audio by cross-attention or as prefix.

Frames of audio are normalised, stacked `stride` at a time and projected to the LM's width. With `cross` some
of its layers look at all of them before they do their own work (gated_attention.py); with `prefix` they stand
before the text. The LM itself is not changed: its decoder layers get a hook each, its weights keep their
names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from networks.gated_attention import GatedCrossAttention, Keys

FUSIONS = ("cross", "prefix")
WORDS = 1000  # whose embeddings are measured
LONGEST = 10_000.0  # wavelength of the slowest position, in 2 pi positions (Vaswani et al. 2017)


class Heard(NamedTuple):
    """Audio as the LM meets it: (rows, positions, width), how many positions of each row are no padding, and
    with `cross` the keys for each layer that listens.
    """

    memory: Tensor
    counts: list[int]
    keys: list[Keys]


class AudioProjector(nn.Module):
    """Frames (rows, frames, width) → positions (rows, ceil(frames / stride), hidden width)."""

    def __init__(self, width: int, hidden: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.project = nn.Linear(width * stride, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, frames: Tensor, counts: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Return the positions and how many of each row are no padding. What lies behind a row's own frames
        counts as the mean frame, so padding changes nothing.
        """
        rows, steps, width = frames.shape
        own = torch.arange(steps)[None] < torch.tensor(counts)[:, None]
        frames = ((frames - self.mean) / self.deviation) * own.to(frames.device)[..., None]
        frames = nn.functional.pad(frames, (0, 0, 0, -steps % self.stride))
        found = self.project(frames.reshape(rows, -1, width * self.stride))
        found = self.norm(found + _positions(found.shape[1], found.shape[2], found.device))
        return found, [-(-count // self.stride) for count in counts]


class MultimodalGPT2(nn.Module):
    """A causal LM of transformers that listens; `width` numbers a frame of audio."""

    def __init__(self, lm: Any, width: int, fusion: str = "cross", stride: int = 4, cross_every: int = 4,
                 freeze_lm: bool = False) -> None:  # fmt: skip
        super().__init__()
        self.lm, self.fusion = lm, fusion
        lm.requires_grad_(not freeze_lm)
        hidden = lm.config.get_text_config().hidden_size
        if fusion == "prefix":  # as wide and as loud as words are
            embedding = lm.get_input_embeddings()
            words = embedding(torch.arange(min(WORDS, embedding.num_embeddings))).detach()
            hidden = words.shape[1]
        self.projector = AudioProjector(width, hidden, stride)
        if fusion == "prefix":
            self.projector.norm.weight.data.fill_(words.std())
        chosen = decoder_layers(lm)[::cross_every] if fusion == "cross" else []
        self.cross = nn.ModuleList(GatedCrossAttention(hidden) for _ in chosen)
        for number, layer in enumerate(chosen):
            layer.register_forward_pre_hook(self._listening(number), with_kwargs=True)
        self.heard: Heard | None = None  # while the LM runs
        self.checkpoints = False

    def checkpoint_layers(self) -> None:
        """Keep a layer's input alone for the backward pass, and compute the rest again there."""
        self.lm.activation_checkpointing_enable({"use_reentrant": False})
        self.checkpoints = True

    def forward(self, tokens: Tensor, frames: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the logits (rows, tokens, vocabulary) of what follows each token.

        tokens (rows, tokens), padded on the right with any; frames (rows, frames, width), likewise, of which
        `counts` of each row are its own.
        """
        return self.read(tokens, self.hear(frames, counts))

    def hear(self, frames: Tensor, counts: Sequence[int]) -> Heard:
        """Return what the LM is to listen to; each row has a frame at least."""
        memory, counts = self.projector(frames, counts)
        mask = _mask(counts, memory.shape[1], memory.device)
        return Heard(memory, counts, [layer.keys_of(memory, mask) for layer in self.cross])

    def read(self, tokens: Tensor, heard: Heard | None) -> Tensor:
        """Return the logits of rows of text (see forward), or with `heard` None those of the plain LM."""
        if heard is not None and self.fusion == "prefix":
            return self._behind(tokens, heard)
        # behind a text stands padding alone, which no token of it looks at
        return self._run(heard, input_ids=tokens, use_cache=False).logits

    def go_on(self, tokens: Tensor, heard: Heard, cache: Any) -> tuple[Tensor, Any]:
        """Return (logits (1, tokens, vocabulary), cache) of one row of more text; begin with cache None."""
        if cache is None and self.fusion == "prefix":
            embedded = torch.cat([heard.memory, self.lm.get_input_embeddings()(tokens)], 1)
            out = self._run(heard, inputs_embeds=embedded, use_cache=True)
        else:
            out = self._run(heard, input_ids=tokens, past_key_values=cache, use_cache=True)
        return out.logits[:, -tokens.shape[1] :], out.past_key_values

    def _behind(self, tokens: Tensor, heard: Heard) -> Tensor:
        """Return the logits of text that stands right behind the audio of its row, all padding after it."""
        embedded = torch.cat([heard.memory, self.lm.get_input_embeddings()(tokens)], 1)
        before, steps, device = heard.memory.shape[1], tokens.shape[1], tokens.device
        if all(count == before for count in heard.counts):
            return self._run(heard, inputs_embeds=embedded, use_cache=False).logits[:, before:]
        counts = torch.tensor(heard.counts)[:, None]
        places = torch.arange(before + steps)[None].expand(len(tokens), -1)
        padding = (places >= counts) & (places < before)
        order = padding.int().argsort(dim=1, stable=True).to(device)[..., None]
        embedded = embedded.gather(1, order.expand_as(embedded))
        logits = self._run(heard, inputs_embeds=embedded, use_cache=False).logits
        text = (counts + torch.arange(steps)[None]).to(device)[..., None]
        return logits.gather(1, text.expand(-1, -1, logits.shape[-1]))

    def _run(self, heard: Heard | None, **inputs: Any) -> Any:
        self.heard = heard
        try:
            with _one_by_one(self.projector.mean.device.type) if self.checkpoints else nullcontext():
                return self.lm(**inputs)
        finally:
            self.heard = None

    def _listening(self, number: int) -> Any:
        def listen(_layer: Any, args: Any, kwargs: Any) -> Any:
            if self.heard is None:
                return None
            keys = self.heard.keys[number]
            hidden = args[0] if args else kwargs["hidden_states"]
            if self.checkpoints and self.training:
                hidden = checkpoint(self.cross[number], hidden, *keys, use_reentrant=False)
            else:
                hidden = self.cross[number](hidden, *keys)
            return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

        return listen


def decoder_layers(lm: Any) -> nn.ModuleList:
    """Return the decoder layers of a causal LM of transformers: transformer.h of GPT-2, model.layers of
    Llama, …; ValueError where it has no list of as many modules as its config has layers.
    """
    layers = lm.config.get_text_config().num_hidden_layers
    for module in lm.modules():
        if isinstance(module, nn.ModuleList) and len(module) == layers:
            return module
    raise ValueError(f"{type(lm).__name__}: found no list of {layers} decoder layers; wanted one, or prefix")


def _one_by_one(device: str) -> Any:
    """Return autocast as it is, but that weights in half precision go with the layer that used them: kept to
    the end of the forward pass, those of all layers would be its peak.
    """
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    return torch.autocast(device, dtype, enabled=enabled, cache_enabled=False)


def _mask(counts: Sequence[int], size: int, device: torch.device) -> Tensor | None:
    """Return (rows, size), True for what is no padding; None where nothing is padding."""
    if all(count == size for count in counts):
        return None
    return (torch.arange(size)[None] < torch.tensor(counts)[:, None]).to(device, non_blocking=True)


def _positions(count: int, width: int, device: torch.device) -> Tensor:
    """Return sines and cosines of the position (count, width)."""
    half = (width + 1) // 2
    rate = torch.exp(torch.arange(half, device=device) * (-math.log(LONGEST) / half))
    angle = torch.arange(count, device=device)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)[:, :width]
