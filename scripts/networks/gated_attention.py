"""Cross-attention that a trained network can be given without harm: its gate is shut at first.

After Flamingo (Alayrac et al. 2022): what is heard is added times tanh(gate), and the gate begins at 0, so at
step 0 the network is bit for bit what it was.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

HEAD_WIDTH = 64


class Keys(NamedTuple):
    """Keys and values (rows, heads, positions, head width) of what is attended to, and where it is no
    padding: (rows, 1, 1, positions), None where it nowhere is.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor | None


class GatedCrossAttention(nn.Module):
    """Adds to hidden states (rows, steps, width) what they find in a memory (rows, positions, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = 1 if width % HEAD_WIDTH else width // HEAD_WIDTH
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.gate = nn.Parameter(torch.zeros(1))

    def keys_of(self, memory: Tensor, mask: Tensor | None) -> Keys:
        """Return the keys of a memory; `mask` (rows, positions) is True where it is no padding."""
        keys, values = self._by_head(self.key_value(memory), 2)
        return Keys(keys, values, None if mask is None else mask[:, None, None])

    def forward(self, hidden: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Return the hidden states with what they heard; each row of the mask has a True."""
        (query,) = self._by_head(self.query(self.norm(hidden)), 1)
        found = scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        return hidden + torch.tanh(self.gate) * self.mix(found.transpose(1, 2).flatten(2))

    def _by_head(self, values: Tensor, parts: int) -> tuple[Tensor, ...]:
        rows, steps, width = values.shape
        split = values.view(rows, steps, parts, self.heads, width // parts // self.heads)
        return split.permute(2, 0, 3, 1, 4).unbind(0)
