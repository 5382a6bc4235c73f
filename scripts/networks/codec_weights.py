"""EncodecModel and DacModel of transformers, from a Hugging Face folder or from the file of the original
package.

The originals' names of weights are mapped onto transformers'; weight norm is folded, which changes no bit
of what a layer gives. Every weight must have its place, or the file is refused. Sources: encodec 0.1.1
(model.py), descript-audio-codec 1.0.0 (dac/model/dac.py), transformers 5.23.
"""

from __future__ import annotations

import os
import re
from typing import Any

import torch

from networks.weights import State, WeightsError, fill, fold_weight_norm, read_weights, some, tensors_of

ENCODEC_48KHZ = {  # what EncodecConfig must be told of the 48 kHz model; its defaults are the 24 kHz model's
    "target_bandwidths": [3.0, 6.0, 12.0, 24.0],
    "sampling_rate": 48_000,
    "audio_channels": 2,
    "normalize": True,
    "chunk_length_s": 1.0,
    "overlap": 0.01,
    "norm_type": "time_group_norm",
    "use_causal_conv": False,
}
ENCODEC_NAMES = (
    (r"\.model\.", ".layers."),
    (r"\.(?:conv\.conv|convtr\.convtr)\.", ".conv."),
    (r"\.(?:conv|convtr)\.norm\.", ".norm."),
    (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
)
DAC_KWARGS = {  # of the original's class: of DacConfig
    "encoder_dim": "encoder_hidden_size",
    "encoder_rates": "downsampling_ratios",
    "decoder_dim": "decoder_hidden_size",
    "decoder_rates": "upsampling_ratios",
    "latent_dim": "hidden_size",
    "n_codebooks": "n_codebooks",
    "codebook_size": "codebook_size",
    "codebook_dim": "codebook_dim",
    "sample_rate": "sampling_rate",
}
UNIT = ("snake1", "conv1", "snake2", "conv2")  # parts of a residual unit, in the original's order
ENCODER_BLOCK = ("res_unit1", "res_unit2", "res_unit3", "snake1", "conv1")
DECODER_BLOCK = ("snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3")


def load_encodec(path: str, is_48khz: bool) -> Any:
    """Return the EncodecModel in a folder, or in Meta's .th file of the model of that rate."""
    from transformers import EncodecConfig, EncodecModel

    if os.path.isdir(path):
        model = _from_folder(EncodecModel, path)
        if (model.config.sampling_rate == 48_000) != is_48khz:
            raise WeightsError(f"{path}: a model of {model.config.sampling_rate} Hz; wanted --codec's")
        return model
    state = _folded(tensors_of({"all": read_weights(path)}, "all", path), path)
    for old, new in ENCODEC_NAMES:
        state = {re.sub(old, new, name): value for name, value in state.items()}
    model = _plain(EncodecModel(EncodecConfig(**ENCODEC_48KHZ if is_48khz else {})))
    fill(model, state, path)
    return model


def load_dac(path: str) -> Any:
    """Return the DacModel in a folder, or in Descript's .pth file, which tells its sizes."""
    from transformers import DacConfig, DacModel

    if os.path.isdir(path):
        return _from_folder(DacModel, path)
    content = read_weights(path)
    told = content.get("metadata", {}).get("kwargs") if isinstance(content.get("metadata"), dict) else None
    if not isinstance(told, dict):
        raise WeightsError(
            f"{path}: no metadata with kwargs beside the weights; wanted a file of the package dac"
        )
    sizes = {new: told[old] for old, new in DAC_KWARGS.items() if told.get(old) is not None}
    config = DacConfig(**sizes)
    for name, value in sizes.items():  # what the class would work out from others is what the file says
        setattr(config, name, value)
    state = {_dac_name(name, len(config.downsampling_ratios)): value for name, value in
             _folded(tensors_of(content, "state_dict", path), path).items()}  # fmt: skip
    model = _plain(DacModel(config))
    fill(model, state, path)
    return model


def _dac_name(name: str, blocks: int) -> str:
    """Return what transformers call a weight of the original package, of a model of so many blocks."""
    found = re.match(r"(encoder\.block|decoder\.model)\.(\d+)\.(.+)", name)
    if not found:
        return name
    side, index, rest = found[1].split(".")[0], int(found[2]), found[3]
    if index == 0 or index > blocks:
        return f"{side}.{ {0: 'conv1', blocks + 1: 'snake1', blocks + 2: 'conv2'}[index] }.{rest}"
    parts = rest.split(".")  # block.PART.alpha, or block.PART.block.PART.weight
    path = [(ENCODER_BLOCK if side == "encoder" else DECODER_BLOCK)[int(parts[1])]]
    if parts[2] == "block":
        path.append(UNIT[int(parts[3])])
    return ".".join([side, "block", str(index - 1), *path, parts[-1]])


def _folded(state: State, path: str) -> State:
    return fold_weight_norm(state, 0, path)


def _plain(model: torch.nn.Module) -> torch.nn.Module:
    """Return a model whose weight norm is folded into its weights, for use alone."""
    from torch.nn.utils import parametrize

    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return model.eval().requires_grad_(False)


def _from_folder(kind: Any, path: str) -> Any:
    """Return a model of this class from a folder, or raise a WeightsError that names what does not fit."""
    try:
        model, said = kind.from_pretrained(
            path, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
    except Exception as error:
        raise WeightsError(f"{path}: {type(error).__name__}: {str(error)[:300]}") from error
    problems = [f"missing {key}" for key in sorted(said["missing_keys"])]
    problems += [f"mismatched {key}" for key in sorted(map(str, said["mismatched_keys"]))]
    problems += [f"unknown {key}" for key in sorted(said["unexpected_keys"])]
    if problems:
        raise WeightsError(f"{path}: not every weight fits, and none is left random: {some(problems)}")
    return _plain(model)
