"""Text of a model that listens, drawn a token at a time; keys and values of what was said are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from networks.audio_gpt2 import MultimodalGPT2


class Written(NamedTuple):
    """Tokens that were drawn, without the end symbol, and whether the model came to an end by itself."""

    tokens: list[int]
    ended: bool


@torch.inference_mode()
def write(
    model: MultimodalGPT2,
    frames: Tensor,
    prompt: Sequence[int],
    end: int,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> Written:
    """Return how the model goes on after a prompt (at least the start symbol) with audio (frames, width).

    Temperature 0 takes the likeliest token each time; else tokens are drawn, the same ones for a seed.
    """
    device = frames.device
    random = torch.Generator("cpu").manual_seed(seed)
    heard, cache = model.hear(frames[None], [len(frames)]), None
    tokens, found = torch.tensor([list(prompt)], device=device), []
    for _ in range(max_new_tokens):
        logits, cache = model.go_on(tokens, heard, cache)
        token = _pick(logits[0, -1].float().cpu(), temperature, random)
        if token == end:
            return Written(found, True)
        found.append(token)
        tokens = torch.tensor([[token]], device=device)
    return Written(found, False)


def _pick(logits: Tensor, temperature: float, random: torch.Generator) -> int:
    if not temperature:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits / temperature, 0), 1, generator=random))
