"""Layers of the fusion model: a text encoder, attention over tokens of several modalities, three kinds of it.

Shapes are (rows, tokens, width). A mask is (rows, queries, keys), true where a query may look; every query
has at least one key. All layers normalise first and add to what they were given.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

GROWTH = 2  # width of a feed-forward layer over that of the model
LONGEST = 10_000.0  # wavelength of the slowest of the time waves over 2 π, as in Vaswani et al. 2017


class Attention(nn.Module):
    """Scaled dot-product attention with several heads (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mix = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Return what each query finds among the keys, (rows, queries, width)."""
        key, value = self.key_value(keys).chunk(2, -1)
        rate = self.dropout if self.training else 0.0
        return self.mix(_attend(self.query(queries), key, value, mask, self.heads, rate))


class MultimodalLatentAttention(nn.Module):
    """Attention in a latent: tokens of all modalities are compressed to one narrow vector each, out of which
    come keys and values; queries meet them there, and what they find is expanded again.

    After the multi-head latent attention of DeepSeek-V2 (arXiv 2405.04434), but that the heads too live in
    the latent: `latent` numbers a token are all that a decoder would have to keep.
    """

    def __init__(self, width: int, latent: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.compress = nn.Linear(width, latent), nn.Linear(width, latent, bias=False)
        self.norm = nn.LayerNorm(latent)
        self.key_value = nn.Linear(latent, 2 * latent)
        self.expand = nn.Linear(latent, width)

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Return what each query finds among the keys, (rows, queries, width)."""
        key, value = self.key_value(self.norm(self.compress(keys))).chunk(2, -1)
        rate = self.dropout if self.training else 0.0
        return self.expand(_attend(self.query(queries), key, value, mask, self.heads, rate))


MLA = MultimodalLatentAttention


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, heads: int, dropout: float) -> Tensor:
    split = [part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value)]
    found = scaled_dot_product_attention(*split, attn_mask=mask[:, None], dropout_p=dropout)
    return found.transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """The two matrices after an attention."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.grow, self.shrink = nn.Linear(width, GROWTH * width), nn.Linear(GROWTH * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the hidden states with what the layer adds."""
        return hidden + self.dropout(self.shrink(gelu(self.grow(self.norm(hidden)))))


class Block(nn.Module):
    """A layer in which each token looks at all that its mask shows, by the attention given."""

    def __init__(self, attention: nn.Module, width: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.norm = attention, nn.LayerNorm(width)
        self.dropout, self.feed = nn.Dropout(dropout), FeedForward(width, dropout)

    def forward(self, hidden: Tensor, mask: Tensor, _text_at: int = 0) -> Tensor:
        """Return the hidden states after the layer."""
        normed = self.norm(hidden)
        return self.feed(hidden + self.dropout(self.attention(normed, normed, mask)))


class CrossBlock(nn.Module):
    """A layer in which text looks at the other modalities only, and these then at the text only.

    The first token, which every token may look at, stands on both sides.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.of_text, self.of_rest = Attention(width, heads, dropout), Attention(width, heads, dropout)
        self.text_norm, self.rest_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout, self.feed = nn.Dropout(dropout), FeedForward(width, dropout)

    def forward(self, hidden: Tensor, mask: Tensor, text_at: int) -> Tensor:
        """Return the hidden states after the layer; text stands from `text_at` to the end."""
        rest, text = hidden[:, :text_at], hidden[:, text_at:]
        normed = self.rest_norm(rest)
        found = self.of_text(self.text_norm(text), normed, mask[:, text_at:, :text_at])
        text = text + self.dropout(found)
        keys = self.text_norm(torch.cat([rest[:, :1], text], 1))
        seen = torch.cat([mask[:, :text_at, :1], mask[:, :text_at, text_at:]], 2)
        rest = rest + self.dropout(self.of_rest(normed, keys, seen))
        return self.feed(torch.cat([rest, text], 1))


class CustomTransformer(nn.Module):
    """The text encoder: token and position embeddings, then layers of attention among the tokens.

    Context is numbered by itself and marked, so it moves no token of the text.
    """

    def __init__(self, vocab_size: int, width: int, heads: int, layers: int, positions: int, dropout: float,
                 causal: bool) -> None:  # fmt: skip
        super().__init__()
        self.causal = causal
        self.tokens, self.positions = nn.Embedding(vocab_size, width), nn.Embedding(positions, width)
        self.context, self.hidden = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))
        for weight in (self.tokens.weight, self.positions.weight, self.context, self.hidden):
            nn.init.normal_(weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(Attention(width, heads, dropout), width, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, valid: Tensor, is_context: Tensor, hide: Tensor) -> Tensor:
        """Return the states of tokens (rows, tokens), context first; where `hide`, a learned vector stands
        for the token. Causal: a token looks at none behind it.
        """
        embedded = torch.where(hide[..., None], self.hidden, self.tokens(tokens))
        embedded = torch.where(is_context[..., None], embedded + self.context, embedded)
        order = torch.arange(tokens.shape[1], device=tokens.device)
        begins = is_context.sum(1, keepdim=True)
        numbers = torch.where(is_context, order, order - begins).clamp(min=0)
        mask = valid[:, None, :].expand(-1, tokens.shape[1], -1)
        if self.causal:
            mask = mask & (order[:, None] >= order)
        mask = mask | torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)  # padding: itself
        states = self.dropout(embedded + self.positions(numbers))
        for block in self.blocks:
            states = block(states, mask)
        return self.norm(states)


def time_waves(times: Tensor, width: int) -> Tensor:
    """Return sines and cosines of times (…), (…, width): near times are alike, and no time is too late."""
    steps = torch.arange(width // 2, device=times.device)
    angles = times[..., None] * torch.exp(steps * (-math.log(LONGEST) / (width // 2)))
    return torch.cat([angles.sin(), angles.cos()], -1)


def who_sees_whom(times: Tensor, valid: Tensor, causal: bool, window: int) -> Tensor:
    """Return the mask (rows, queries, keys) of tokens at `times` (rows, tokens), in steps.

    A token sees the valid ones at its time and before (any, unless `causal`), at most `window` steps away.
    Conditions, whose time is below 0, are seen by all; summaries, whose time is infinite, see all.
    """
    query, key = times[:, :, None], times[:, None, :]
    near = ((query - key).abs() <= window) | (key < 0) | query.isinf()  # inf - inf is not near, but isinf
    seen = near & (key <= query) if causal else near
    return seen & valid[:, None, :]
