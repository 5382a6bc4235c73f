"""Language models over units: an LSTM, and a GPT-2 (Radford et al. 2019) over the same batches.

Both read units 0..K-1 behind the start symbol K and predict the next unit: embedding and head have K + 1
rows.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from networks.staircase import Stairs, run, run_packed

SHAPE = ("arch", "vocab_size", "hidden_size", "num_layers")
HEAD_WIDTH = 64  # of an attention head, as in GPT-2


class LstmLM(nn.Module):
    """An embedding, an LSTM with dropout between its layers and before the head, a head of its own."""

    def __init__(
        self, vocab_size: int, embedding_dim: int, hidden_size: int, num_layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.start_symbol = vocab_size
        self.embedding = nn.Embedding(vocab_size + 1, embedding_dim)
        self.lstm = nn.LSTM(
            embedding_dim, hidden_size, num_layers, dropout=dropout if num_layers > 1 else 0.0
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, vocab_size + 1)

    def forward(self, batch: Stairs, packed: bool = False) -> Tensor:
        """Return the logits at the targets of a batch, (tokens, K + 1)."""
        hidden = (run_packed if packed else run)(self.lstm, self.embedding(batch.inputs), batch)
        return self.head(self.dropout(hidden))

    def step(self, units: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return (logits (rows, K + 1) after one more unit a row (rows,), state); begin with the start
        symbol.
        """
        output, state = self.lstm(self.embedding(units)[None], state)
        return self.head(output[0]), state


class GptLM(nn.Module):
    """GPT-2: learned positions, layer norm first, head tied to the embedding. A batch is one padded
    rectangle.
    """

    def __init__(
        self, vocab_size: int, hidden_size: int, num_layers: int, dropout: float, max_units: int
    ) -> None:
        super().__init__()
        self.start_symbol = vocab_size
        self.max_units = max_units
        self.embedding = nn.Embedding(vocab_size + 1, hidden_size)
        self.positions = nn.Embedding(max_units, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(hidden_size, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(hidden_size)
        self.head = nn.Linear(hidden_size, vocab_size + 1, bias=False)
        self.head.weight = self.embedding.weight
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                is_last = name.endswith(("mix.weight", "shrink.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * num_layers) if is_last else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(self, batch: Stairs) -> Tensor:
        """Return the logits at the targets of a batch of one rectangle, (tokens, K + 1)."""
        ((steps, rows),) = batch.shapes
        hidden, _ = self._run(batch.inputs.view(steps, rows).t(), [None] * len(self.blocks))
        hidden = hidden.transpose(0, 1).reshape(steps * rows, -1)
        return self.head(hidden if batch.places is None else hidden.index_select(0, batch.places))

    def step(self, units: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return (logits (rows, K + 1) after one more unit a row (rows,), state); begin with the start
        symbol.

        Raises ValueError beyond the positions that were trained.
        """
        hidden, state = self._run(units[:, None], state or [None] * len(self.blocks))
        return self.head(hidden[:, 0]), state

    def _run(self, units: Tensor, caches: list[Any]) -> tuple[Tensor, list[Any]]:
        seen = 0 if caches[0] is None else caches[0][0].shape[2]
        if seen + units.shape[1] > self.max_units:
            raise ValueError(f"{seen + units.shape[1]} units, and this model has {self.max_units} positions")
        where = torch.arange(seen, seen + units.shape[1], device=units.device)
        hidden = self.dropout(self.embedding(units) + self.positions(where))
        kept = []
        for block, cache in zip(self.blocks, caches):
            hidden, cache = block(hidden, cache)  # noqa: PLW2901
            kept.append(cache)
        return self.norm(hidden), kept


class Block(nn.Module):
    """One layer of GPT-2 over (rows, steps, width)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.grow, self.shrink = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Return the layer's output and its keys and values, to hand in with the next unit."""
        rows, steps, width = hidden.shape
        parts = self.attend(self.first_norm(hidden)).view(rows, steps, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if cache is not None:
            key, value = torch.cat([cache[0], key], 2), torch.cat([cache[1], value], 2)
        rate = self.dropout.p if self.training else 0.0
        seen = scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=cache is None)
        hidden = hidden + self.dropout(self.mix(seen.transpose(1, 2).reshape(rows, steps, width)))
        grown = nn.functional.gelu(self.grow(self.second_norm(hidden)), approximate="tanh")
        return hidden + self.dropout(self.shrink(grown)), (key, value)


def build(config: dict[str, Any]) -> LstmLM | GptLM:
    """Return the untrained model that the settings in a run's config.json describe."""
    shape = {name: config[name] for name in ("vocab_size", "hidden_size", "num_layers", "dropout")}
    if config["arch"] == "gpt2":
        return GptLM(**shape, max_units=config["max_units"])
    return LstmLM(**shape, embedding_dim=config["embedding_dim"])


def take_weights(model: LstmLM | GptLM, path: str, config: dict[str, Any]) -> None:
    """Load the weights of a checkpoint of another run; CheckpointError where that is of another shape."""
    from networks import checkpoints

    shape = (*SHAPE, "max_units" if config["arch"] == "gpt2" else "embedding_dim")
    checkpoints.take_weights(model, path, config, shape)


def load(path: str, device: str = "cpu") -> tuple[LstmLM | GptLM, dict[str, Any]]:
    """Return (model in evaluation mode, its config) of a best.pt; ValueError where the file is not whole."""
    from networks.checkpoints import CheckpointError, read

    saved = read(path, device)
    if not isinstance(saved, dict) or not {"config", "model"} <= saved.keys():
        raise CheckpointError(f"{path}: found no model with its config; wanted a best.pt of train_lstm.py")
    model = build(saved["config"])
    model.load_state_dict(saved["model"])
    return model.to(device).eval(), saved["config"]
