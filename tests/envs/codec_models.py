"""Random models of real codecs, built on the spot: the original packages' classes and files, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch


def signal(channels: int, samples: int, seed: int = 1) -> np.ndarray:
    """Noise that swells and fades, shape (channels, samples)."""
    chance = np.random.default_rng(seed)
    swell = 0.2 * (1.1 + np.sin(np.arange(samples) / 3000))
    return (swell * chance.normal(0, 0.5, (channels, samples))).astype(np.float32)


def blocks(array: np.ndarray, size: int = 30_000) -> Any:
    """The array as a stream reads: in blocks."""
    return (array[:, start : start + size] for start in range(0, array.shape[-1], size))


def spread_codebooks(layers: Any, features: torch.Tensor) -> None:
    """Give residual codebooks (each has `embed`) entries around what random weights give, features (frames,
    width); else one code would be nearest to all.
    """
    left = features
    for book in layers:
        book.embed.copy_(left.mean(dim=0) + 0.3 * left.std(dim=0) * torch.randn_like(book.embed))
        left = left - book.embed[torch.cdist(left, book.embed).argmin(dim=1)]


def louder(encoder: torch.nn.Module) -> None:
    """Double the gains of an encoder's layers: random ones give almost the same features for any sound, whose
    differences are then near the last bits of a float.
    """
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if name.endswith(("weight_g", "original0")):
                weight.mul_(2)


def original_encodec(rate_khz: int) -> Any:
    """Meta's model class of full size with random weights."""
    from encodec import EncodecModel

    torch.manual_seed(0)
    model = getattr(EncodecModel, f"encodec_model_{rate_khz}khz")(pretrained=False).eval()
    louder(model.encoder)
    heard = torch.from_numpy(signal(model.channels, model.sample_rate * 3, seed=7))[None]
    with torch.no_grad():
        features = model.encoder(heard)[0].T
        spread_codebooks([layer._codebook for layer in model.quantizer.vq.layers], features)
    return model


def small_encodec_folder(folder: Path) -> Path:
    """A Hugging Face folder of a causal EncodecModel that takes no time."""
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    model = EncodecModel(EncodecConfig(num_filters=2, hidden_size=8)).eval()
    louder(model.encoder)
    with torch.no_grad():
        features = model.encoder(torch.from_numpy(signal(1, 24_000))[None])[0].T
        spread_codebooks([layer.codebook for layer in model.quantizer.layers], features)
    model.save_pretrained(folder)
    return folder


def small_dac_folder(folder: Path, rate_hz: int = 24_000) -> Path:
    """A Hugging Face folder of a small DacModel, with the wrong hop that the published one of 24 kHz
    states.
    """
    from transformers import DacConfig, DacModel

    torch.manual_seed(0)
    sizes = {"encoder_hidden_size": 4, "decoder_hidden_size": 32, "n_codebooks": 6}
    config = DacConfig(downsampling_ratios=[2, 4, 5, 8], sampling_rate=rate_hz, **sizes)
    config.hop_length = 512
    DacModel(config).save_pretrained(folder)
    return folder


def vocos_folder(folder: Path, monkeypatch: Any, layers: int = 8) -> tuple[Path, Any]:
    """A folder of Vocos as it is published, and the package's own model of it (all of it random)."""
    import encodec
    import yaml
    from vocos import Vocos

    make = encodec.EncodecModel.encodec_model_24khz
    monkeypatch.setattr(encodec.EncodecModel, "encodec_model_24khz", lambda **_: make(pretrained=False))
    parts = {
        "feature_extractor": ("feature_extractors.EncodecFeatures", {"bandwidths": [1.5, 3.0, 6.0, 12.0]}),
        "backbone": (
            "models.VocosBackbone",
            {"input_channels": 128, "dim": 384, "intermediate_dim": 1152, "num_layers": layers,
             "adanorm_num_embeddings": 4},
        ),
        "head": ("heads.ISTFTHead", {"dim": 384, "n_fft": 1280, "hop_length": 320, "padding": "same"}),
    }  # fmt: skip
    config = {
        part: {"class_path": f"vocos.{name}", "init_args": init} for part, (name, init) in parts.items()
    }
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    model = Vocos.from_hparams(str(folder / "config.yaml")).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    state = {name: value for name, value in model.state_dict().items() if ".encodec." not in name}
    torch.save(state, folder / "pytorch_model.bin")
    return folder, model
