"""A unit HiFi-GAN of random weights that any computer can run."""

from __future__ import annotations

import json
from pathlib import Path


def make_vocoder(folder: Path, units: int) -> Path:
    """Write a tiny vocoder of random weights, in the format of the original ones, with two speakers."""
    import torch

    from networks.hifigan import UnitHifigan

    path = folder / "generator.pt"
    if path.exists():
        return path
    folder.mkdir()
    config = {
        "resblock": "1", "upsample_rates": [5, 4, 4, 2, 2], "upsample_kernel_sizes": [11, 8, 8, 4, 4],
        "upsample_initial_channel": 32, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3, 5]],
        "num_embeddings": units, "embedding_dim": 8, "model_in_dim": 16, "sampling_rate": 16_000,
        "multispkr": "from_input_file",
    }  # fmt: skip
    torch.manual_seed(2)
    tables = {"dict.weight": torch.randn(units, 8), "spkr.weight": torch.randn(2, 8)}
    model = UnitHifigan(config, tables)
    torch.save({"generator": {**model.state_dict(), **tables}}, path)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "speakers.txt").write_text("one\ntwo\n")
    return path
