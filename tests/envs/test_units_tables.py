"""Codebooks of real codec classes, saved as their hub files are, are found without a name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel

from networks.tables import read_table
from networks.weights import WeightsError


def test_the_codebooks_of_encodec_are_one_a_level(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = EncodecConfig(num_filters=4, hidden_size=8, codebook_size=16, codebook_dim=8, num_lstm_layers=1,
                           target_bandwidths=[0.9])  # fmt: skip
    model = EncodecModel(config)
    layers = model.quantizer.layers
    for layer in layers:
        torch.nn.init.normal_(layer.codebook.embed)
    model.save_pretrained(tmp_path)
    found = read_table(str(tmp_path / "model.safetensors"))
    assert found.shape == (len(layers), 16, 8)
    assert len(layers) > 1
    assert np.array_equal(found, np.stack([layer.codebook.embed.numpy() for layer in layers]))


def test_the_codebooks_of_dac_are_one_a_level(tmp_path: Path) -> None:
    config = DacConfig(encoder_hidden_size=4, decoder_hidden_size=16, n_codebooks=12, codebook_size=32,
                       codebook_dim=8, downsampling_ratios=[2, 2], upsampling_ratios=[2, 2])  # fmt: skip
    model = DacModel(config)
    model.save_pretrained(tmp_path)
    found = read_table(str(tmp_path / "model.safetensors"))
    wanted = [one.codebook.weight.detach().numpy() for one in model.quantizer.quantizers]
    assert found.shape == (12, 32, 8)  # in their order: the tenth is not the second
    assert np.array_equal(found, np.stack(wanted))


def test_a_tensor_is_named_and_a_damaged_file_refused(tmp_path: Path) -> None:
    path = tmp_path / "lm.safetensors"
    save_file({"embedding.weight": torch.eye(4)}, path)
    assert read_table(f"{path}:embedding.weight").tolist() == [np.eye(4).tolist()]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(WeightsError, match=r"wanted a \.safetensors file"):
        read_table(f"{path}:embedding.weight")
