"""HuBERT encoders from fairseq's checkpoint files: waveform → features of one transformer layer.

The modules carry fairseq's names, so that a state dict fits as it is and every key can be accounted for. The
form is read from the shapes: weight-norm or batch-norm positional convolution, group-norm or layer-norm
extractor, widths, depth; what shapes cannot tell (strides, heads, norm first) from the settings in the file.
Source: Hsu et al. 2021; fairseq/models/hubert/hubert.py and fairseq/models/wav2vec/wav2vec2.py (MIT).
"""

from __future__ import annotations

import ast
import os
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

from networks.weights import (
    Inert,
    State,
    WeightsError,
    fill,
    fold_weight_norm,
    read_weights,
    shape_of,
    tensors_of,
)

SAMPLE_RATE = 16_000  # Hz
HEAD = ("mask_emb", "final_proj.weight", "final_proj.bias", "label_embs_concat")  # only used in pretraining


class Attention(nn.Module):
    """Multi-head self-attention of (batch, frames, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, frames, width)."""
        batch, frames, width = x.shape
        q, k, v = (
            project(x).view(batch, frames, self.heads, width // self.heads).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if hasattr(F, "scaled_dot_product_attention"):
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:  # torch 1.12, environment `sts`
            scale = (width // self.heads) ** -0.5
            mixed = torch.softmax(q * scale @ k.transpose(-1, -2), -1) @ v
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, frames, width))


class Layer(nn.Module):
    """A transformer layer; `norm_first` as in the large models."""

    def __init__(self, width: int, inner: int, heads: int, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, frames, width)."""
        if self.norm_first:
            x = x + self.self_attn(self.self_attn_layer_norm(x))
            return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))
        x = self.self_attn_layer_norm(x + self.self_attn(x))
        return self.final_layer_norm(x + self.fc2(F.gelu(self.fc1(x))))


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of (batch, channels, frames), under the name that fairseq gives it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.add_module("1", nn.LayerNorm(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (batch, channels, frames)."""
        return getattr(self, "1")(x.transpose(1, 2)).transpose(1, 2)


class Form:
    """What a checkpoint says of its network."""

    def __init__(self, state: State, settings: dict[str, Any], path: str) -> None:
        self.convs = []  # (in, out, kernel, stride, bias)
        for index, (width, kernel, stride) in enumerate(_conv_layers(settings, path)):
            name = f"feature_extractor.conv_layers.{index}.0"
            out, into, found = shape_of(state, f"{name}.weight", 3, path)
            if (out, found) != (width, kernel):
                raise WeightsError(
                    f"{path}: {name}.weight: {out} wide, kernel {found}; its settings say {width}, {kernel}"
                )
            self.convs.append((into, out, kernel, stride, f"{name}.bias" in state))
        first = "feature_extractor.conv_layers.0.2"
        self.group_norm = f"{first}.weight" in state or f"{first}.bias" in state
        positions = {name.rsplit(".", 1)[0] for name in state if name.startswith("encoder.pos_conv.")}
        self.batch_norm = "encoder.pos_conv.1" in positions or "encoder.pos_conv.0.running_mean" in state
        self.projects = any(name.startswith("post_extract_proj.") for name in state)
        pos = f"encoder.pos_conv.{int(self.batch_norm)}.weight"
        self.width, in_group, self.pos_kernel = shape_of(state, pos, 3, path)
        self.pos_groups = self.width // max(1, in_group)
        self.layers = int(_setting(settings, "encoder_layers", path))
        self.inner = shape_of(state, "encoder.layers.0.fc1.weight", 2, path)[0]
        self.heads = int(_setting(settings, "encoder_attention_heads", path))
        self.norm_first = bool(_setting(settings, "layer_norm_first", path))
        self._check(settings, path)

    def _check(self, settings: dict[str, Any], path: str) -> None:
        """Hold what the shapes say against the settings: a weight may be cut in a way that still fits."""
        for name, setting, found in (
            ("encoder.pos_conv, its width", "encoder_embed_dim", self.width),
            ("encoder.pos_conv, its kernel", "conv_pos", self.pos_kernel),
            ("encoder.pos_conv, its groups", "conv_pos_groups", self.pos_groups),
            ("encoder.layers.0.fc1", "encoder_ffn_embed_dim", self.inner),
        ):
            if settings.get(setting, found) != found:
                raise WeightsError(
                    f"{path}: {name}: found {found}, the settings say {settings[setting]} ({setting})"
                )
        if self.width % self.heads or settings.get("activation_fn", "gelu") != "gelu":
            raise WeightsError(
                f"{path}: {self.heads} heads of width {self.width}, activation "
                f"{settings.get('activation_fn')}; wanted heads that divide the width, and gelu"
            )


class Hubert(nn.Module):
    """The encoder up to the last layer it was built with; call it with (batch, samples) at 16 kHz."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        blocks = []
        for index, (into, out, kernel, stride, bias) in enumerate(form.convs):
            block = nn.ModuleDict({"0": nn.Conv1d(into, out, kernel, stride, bias=bias)})
            if not form.group_norm:
                block["2"] = ChannelNorm(out)
            elif index == 0:
                block["2"] = nn.GroupNorm(out, out)
            blocks.append(block)
        self.feature_extractor = nn.ModuleDict({"conv_layers": nn.ModuleList(blocks)})
        self.layer_norm = nn.LayerNorm(form.convs[-1][1])
        self.post_extract_proj = nn.Linear(form.convs[-1][1], form.width) if form.projects else None
        conv = nn.Conv1d(
            form.width, form.width, form.pos_kernel, padding=form.pos_kernel // 2, groups=form.pos_groups
        )
        positions = [nn.BatchNorm1d(form.width), conv] if form.batch_norm else [conv]
        layers = [Layer(form.width, form.inner, form.heads, form.norm_first) for _ in range(form.layers)]
        self.encoder = nn.ModuleDict({
            "pos_conv": nn.ModuleList(positions),
            "layers": nn.ModuleList(layers),
            "layer_norm": nn.LayerNorm(form.width),
        })  # fmt: skip
        self.norm_first, self.width = form.norm_first, form.width
        self.shortest = 1  # samples that give one frame
        for _, _, kernel, stride, _ in reversed(form.convs):
            self.shortest = (self.shortest - 1) * stride + kernel

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the features (batch, frames, width) of the last layer: (batch, samples), equal lengths."""
        x = samples[:, None]
        for block in self.feature_extractor["conv_layers"]:
            x = block["0"](x)
            if "2" in block:
                x = block["2"](x)
            x = F.gelu(x)
        x = self.layer_norm(x.transpose(1, 2))
        if self.post_extract_proj is not None:
            x = self.post_extract_proj(x)
        position = x.transpose(1, 2)
        for part in self.encoder["pos_conv"]:
            position = part(position)
        x = x + F.gelu(position[..., : x.shape[1]]).transpose(1, 2)  # an even kernel gives one frame more
        if not self.norm_first:
            x = self.encoder["layer_norm"](x)
        for layer in self.encoder["layers"]:
            x = layer(x)
        return x


def load_fairseq(path: str | os.PathLike[str], layer: int) -> tuple[Hubert, int, bool]:
    """Return the encoder up to `layer` (from 1), its hop in samples, and whether it wants the waveform
    normalised. WeightsError unless every weight of the file has its place.
    """
    path = os.fspath(path)
    content = read_weights(path)
    settings, task = _settings(content, path)
    state = tensors_of(content, "model", path)
    positions = {name: value for name, value in state.items() if name.startswith("encoder.pos_conv.")}
    rest = {name: value for name, value in state.items() if name not in positions}
    state = {**rest, **fold_weight_norm(positions, 2, path)}
    form = Form(state, settings, path)
    _drop_head(state, form.width, path)
    if not 1 <= layer <= form.layers:
        raise WeightsError(f"{path}: --layer {layer} wanted, the encoder has layers 1 to {form.layers}")
    if int(task.get("sample_rate") or SAMPLE_RATE) != SAMPLE_RATE:
        raise WeightsError(f"{path}: made for {task['sample_rate']} Hz; wanted {SAMPLE_RATE}")
    model = Hubert(form)
    fill(model, state, path)
    del model.encoder["layers"][layer:]
    hop = 1
    for _, _, _, stride, _ in form.convs:
        hop *= stride
    return model.eval().requires_grad_(False), hop, bool(task.get("normalize"))


def _settings(content: dict[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model's and the task's settings: of `cfg`, or in older files of `args`."""
    cfg, args = content.get("cfg"), content.get("args")
    if isinstance(cfg, dict) and isinstance(cfg.get("model"), dict):
        task = cfg.get("task")
        return cfg["model"], task if isinstance(task, dict) else {}
    if isinstance(args, Inert):
        return args.state, args.state
    raise WeightsError(f"{path}: neither `cfg` nor `args` has settings; wanted a file saved by fairseq")


def _setting(settings: dict[str, Any], name: str, path: str) -> Any:
    if settings.get(name) is None:
        raise WeightsError(f"{path}: its settings have no {name}")
    return settings[name]


def _conv_layers(settings: dict[str, Any], path: str) -> list[list[int]]:
    """Return [width, kernel, stride] of each convolution, from a Python expression such as "[(512,10,5)] +
    [(512,3,2)] * 4".
    """
    text = str(_setting(settings, "conv_feature_layers", path))
    try:
        layers = _list_of(ast.parse(text, mode="eval").body)
        return [[int(width), int(kernel), int(stride)] for width, kernel, stride in layers]
    except (SyntaxError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: conv_feature_layers {text[:80]!r}: {error}") from error


def _list_of(node: ast.expr) -> list[Any]:
    """Evaluate lists, `+` of lists and `*` with a small number; ValueError, TypeError for all else."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _list_of(node.left) + _list_of(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        times = ast.literal_eval(node.right)
        if type(times) is not int or not 0 <= times <= 64:
            raise ValueError(f"times {times!r}")
        return _list_of(node.left) * times
    value = ast.literal_eval(node)
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value


def _drop_head(state: State, width: int, path: str) -> None:
    """Take the pretraining head out of `state`: whole or not there, its shapes fitting."""
    there = [name for name in HEAD if name in state]
    missing = [name for name in HEAD if there and name not in state]
    if missing:
        raise WeightsError(f"{path}: missing {', '.join(missing)}, of the head {', '.join(HEAD)}")
    if not there:
        return
    mask, weight, bias, labels = (tuple(state.pop(name).shape) for name in HEAD)
    fits = weight[1:] == (width,) and bias == weight[:1] and len(labels) == 2 and not weight[0] % labels[1]
    if mask != (width,) or not fits:
        raise WeightsError(
            f"{path}: {', '.join(HEAD)} have shapes {mask}, {weight}, {bias}, {labels}; wanted "
            f"({width},), (D, {width}), (D,), (labels, a divisor of D)"
        )
