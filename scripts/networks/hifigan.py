"""Unit HiFi-GAN vocoders as textlesslib and speech-resynthesis save them: units → 16 kHz waveform.

Sources: Kong et al. 2020; Polyak et al. 2021; speech-resynthesis examples/expresso (configuration),
textlesslib textless/vocoders/hifigan (graph and duration predictor).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

from networks.weights import State, WeightsError, fill, fold_weight_norm, read_weights, tensors_of

SLOPE = 0.1  # of the leaky ReLUs, but for the last, which has PyTorch's default
CONTEXT_UNITS = 21  # on each side of a chunk: beyond it no unit reaches a sample (measured: 20.0 and 21.03)
CHUNK_UNITS = 500


class ResBlock(nn.Module):
    """Three pairs of convolutions, each around a residual; (batch, channels, time) stays as it is."""

    def __init__(self, channels: int, kernel: int, dilations: list[int]) -> None:
        super().__init__()

        def conv(dilation: int) -> nn.Conv1d:
            padding = (kernel - 1) * dilation // 2
            return nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=padding)

        self.convs1 = nn.ModuleList(conv(dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(conv(1) for _ in dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        for first, second in zip(self.convs1, self.convs2):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class DurationPredictor(nn.Module):
    """How many frames each unit lasts, from its embedding; one sequence at a time."""

    def __init__(self, width: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv1d(width, hidden, kernel, padding=(kernel - 1) // 2), nn.ReLU())
        self.ln1 = nn.LayerNorm(hidden)
        self.conv2 = nn.Sequential(nn.Conv1d(hidden, hidden, kernel, padding=1), nn.ReLU())  # always 1 there
        self.ln2 = nn.LayerNorm(hidden)
        self.proj = nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return durations (units,) in frames, at least 1, of embeddings (1, width, units)."""
        x = self.ln1(self.conv1(x).transpose(1, 2))
        x = self.ln2(self.conv2(x.transpose(1, 2)).transpose(1, 2))
        return torch.clamp(torch.round(torch.exp(self.proj(x).squeeze(2)) - 1).long(), min=1)[0]


class UnitHifigan(nn.Module):
    """The generator, with tables of units and, where there are such, speakers and styles."""

    def __init__(self, config: dict[str, Any], state: State) -> None:
        super().__init__()
        channels = config["upsample_initial_channel"]
        self.dict = nn.Embedding(*state["dict.weight"].shape)
        self.spkr = nn.Embedding(*state["spkr.weight"].shape) if "spkr.weight" in state else None
        self.style = nn.Embedding(*state["style.weight"].shape) if "style.weight" in state else None
        predictor = config.get("dur_predictor_params")
        self.dur_predictor = None
        if predictor:
            self.dur_predictor = DurationPredictor(
                predictor["encoder_embed_dim"],
                predictor["var_pred_hidden_dim"],
                predictor["var_pred_kernel_size"],
            )
        self.conv_pre = nn.Conv1d(config["model_in_dim"], channels, 7, padding=3)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        self.hop = 1
        for rate, kernel in zip(config["upsample_rates"], config["upsample_kernel_sizes"]):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(up)
            channels //= 2
            self.hop *= rate
            for size, dilations in zip(config["resblock_kernel_sizes"], config["resblock_dilation_sizes"]):
                self.resblocks.append(ResBlock(channels, size, dilations))
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3)
        self.per_stage = len(config["resblock_kernel_sizes"])
        self.sample_rate_hz = int(config.get("sampling_rate", 16_000))

    def forward(self, units: torch.Tensor, speaker: int, style: int) -> torch.Tensor:
        """Return samples (hop · frames,) in [-1, 1] of units (frames,), int64, durations already spelt
        out.
        """
        parts = [self.dict(units)[None].transpose(1, 2)]
        for table, index in ((self.spkr, speaker), (self.style, style)):
            if table is not None:
                parts.append(table.weight[index][None, :, None].expand(-1, -1, len(units)))
        x = self.conv_pre(torch.cat(parts, 1))
        for stage, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            blocks = self.resblocks[stage * self.per_stage : (stage + 1) * self.per_stage]
            total = blocks[0](x)
            for block in blocks[1:]:
                total = total + block(x)
            x = total / self.per_stage
        return torch.tanh(self.conv_post(F.leaky_relu(x)))[0, 0]

    def spell_out(self, units: torch.Tensor) -> torch.Tensor:
        """Return units (frames,), each repeated as long as the vocoder predicts that it lasts."""
        durations = self.dur_predictor(self.dict(units)[None].transpose(1, 2))
        return torch.repeat_interleave(units, durations)

    def chunks(
        self, units: torch.Tensor, speaker: int = 0, style: int = 0, chunk_units: int = CHUNK_UNITS
    ) -> Iterator[torch.Tensor]:
        """Yield the samples of `forward` piece by piece: the same ones, in memory that does not grow."""
        for start in range(0, len(units), chunk_units):
            first = max(0, start - CONTEXT_UNITS)
            end = min(len(units), start + chunk_units)
            samples = self(units[first : end + CONTEXT_UNITS], speaker, style)
            yield samples[(start - first) * self.hop : (end - first) * self.hop]


def load_hifigan(path: str | os.PathLike[str]) -> tuple[UnitHifigan, list[str], list[str]]:
    """Return the vocoder in a .pt file and the names of its speakers and styles ([] where it has none).

    Beside generator.pt lie config.json and, as its tables ask for, speakers.txt and styles.txt, with whatever
    stands before `generator.pt` in the name. WeightsError unless every weight has its place.
    """
    path = os.fspath(path)
    config = _read_config(_beside(path, "config.json"))
    state = tensors_of(read_weights(path), "generator", path)
    if any(name.startswith("f0_") for name in state):
        raise WeightsError(f"{path}: a vocoder that wants pitch (f0); wanted one of units only")
    if "dict.weight" not in state:
        raise WeightsError(f"{path}: missing dict.weight")
    state = fold_weight_norm(state, 0, path)
    try:
        model = UnitHifigan(config, state)
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{_beside(path, 'config.json')}: {type(error).__name__}: {error}") from error
    fill(model, state, path)
    for name, rows in (("dict", "num_embeddings"), ("spkr", "num_speakers"), ("style", "num_styles")):
        table = getattr(model, name)
        if table is not None and config.get(rows, len(table.weight)) != len(table.weight):
            raise WeightsError(
                f"{path}: {name}.weight has {len(table.weight)} rows, its settings {config[rows]} ({rows})"
            )
    tables = [table for table in (model.dict, model.spkr, model.style) if table is not None]
    width = sum(table.embedding_dim for table in tables)
    if width != config["model_in_dim"]:
        raise WeightsError(
            f"{path}: the tables there are (dict.weight, spkr.weight, style.weight) give {width} channels, "
            f"the settings say {config['model_in_dim']}: is one missing?"
        )
    names = []
    for table, file in ((model.spkr, "speakers.txt"), (model.style, "styles.txt")):
        names.append([] if table is None else _read_names(_beside(path, file), len(table.weight)))
    return model.eval().requires_grad_(False), names[0], names[1]


def index_of(name: str | None, names: list[str], what: str) -> int:
    """Return the number of a speaker or style; WeightsError names those there are."""
    if name is None:
        return 0
    if name not in names:
        known = f"one of: {', '.join(names)}" if names else f"none: this vocoder has no {what}s"
        raise WeightsError(f"--{what} {name}: wanted {known}")
    return names.index(name)


def _beside(path: str, name: str) -> str:
    folder, file = os.path.split(path)
    end = "generator.pt"
    prefix = file[: -len(end)] if file.endswith(end) else file.rsplit(".", 1)[0] + "_"
    return os.path.join(folder, prefix + name)


def _read_config(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: {error}; wanted the vocoder's settings (JSON)") from error
    if not isinstance(config, dict) or str(config.get("resblock", "1")) != "1":
        raise WeightsError(f"{path}: wanted an object with resblock 1")
    return config


def _read_names(path: str, count: int) -> list[str]:
    """The names in a table's file, one a line; more rows than names are never used, fewer are an error."""
    try:
        with open(path, encoding="utf-8") as file:
            names = file.read().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: {error}; wanted one name a line, {count} in all") from error
    names = [name.strip() for name in names if name.strip()]
    if len(names) > count or not names:
        raise WeightsError(f"{path}: {len(names)} names for a table of {count}; wanted one a row")
    return names
