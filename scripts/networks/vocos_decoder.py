"""Vocos (Siuzdak 2023) as a decoder of EnCodec's 24 kHz codes, by the package vocos.

Its own class fetches EnCodec's weights whenever it is made; here its parts are put together without.
Convolutions and an inverse Fourier transform, so pieces with their surroundings give the sound of the
whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from media.codecs import CodecError
from networks.pieces import cut_array
from networks.weights import WeightsError, fill, read_weights, tensors_of

PIECE_S = 10
FRAME_RATE_HZ, SAMPLE_RATE, BITS = 75, 24_000, 10  # of EnCodec 24 kHz
CODEBOOKS = "feature_extractor.codebook_weights"
BACKBONE, HEAD = "vocos.models.VocosBackbone", "vocos.heads.ISTFTHead"
FEATURES = "vocos.feature_extractors.EncodecFeatures"


class Vocos:
    """The decoder of a folder with config.yaml and pytorch_model.bin; decodes only."""

    sample_rate_hz, channels, most_codebooks = SAMPLE_RATE, 1, 32  # EnCodec's; of these it knows some
    segment = stride = None

    def __init__(self, folder: str, device: torch.device) -> None:
        config = _read(folder)
        from vocos.heads import ISTFTHead
        from vocos.models import VocosBackbone

        path = os.path.join(folder, "pytorch_model.bin")
        state = tensors_of({"all": read_weights(path)}, "all", path)
        table = state.pop(CODEBOOKS, None)
        if table is None or table.dim() != 2:
            raise WeightsError(
                f"{path}: no {CODEBOOKS}; wanted the Vocos of EnCodec, not of mel spectrograms"
            )
        self.hop, self.device = int(config["head"]["hop_length"]), device
        self.bandwidths = [float(one) for one in config["feature_extractor"]["bandwidths"]]
        self.codebook_size = 1 << BITS
        network = torch.nn.ModuleDict(
            {"backbone": VocosBackbone(**config["backbone"]), "head": ISTFTHead(**config["head"])}
        )
        own = {
            name: value for name, value in state.items() if not name.startswith("feature_extractor.encodec.")
        }
        fill(network, own, path)
        self.network, self.table = network.eval().requires_grad_(False).to(device), table.to(device)
        self.reach = 3 * (1 + int(config["backbone"]["num_layers"])) + 4  # frames, each side

    @torch.inference_mode()
    def decode(self, codes: np.ndarray, _scales: Any, _samples: int | None) -> Iterator[np.ndarray]:
        """Yield blocks (1, samples) of codes (frames, codebooks), `hop` samples a frame. CodecError for a
        number of codebooks that it was not trained with.
        """
        kbps = codes.shape[1] * BITS * FRAME_RATE_HZ / 1000
        if kbps not in self.bandwidths:
            known = ", ".join(f"{one:g}" for one in self.bandwidths)
            raise CodecError(
                f"codes of {kbps:g} kbps, wanted {known} for this Vocos: encode with --bandwidth-kbps"
            )
        which = torch.tensor([self.bandwidths.index(kbps)], device=self.device)
        offsets = np.arange(codes.shape[1]) * self.codebook_size
        for piece, left, length in cut_array(codes, PIECE_S * FRAME_RATE_HZ, self.reach):
            known = torch.from_numpy(piece.astype(np.int64) + offsets).to(self.device)
            features = torch.nn.functional.embedding(known, self.table).sum(dim=1).T[None]
            wave = self.network["head"](self.network["backbone"](features, bandwidth_id=which))
            yield wave[:, left * self.hop : (left + length) * self.hop].cpu().numpy()


def _read(folder: str) -> dict[str, dict[str, Any]]:
    """Return the arguments of the three parts; WeightsError where they are not those of EnCodec's Vocos."""
    import yaml

    path = os.path.join(folder, "config.yaml")
    try:
        with open(path, encoding="utf-8") as file:
            config = yaml.safe_load(file)
        found = {part: config[part]["class_path"] for part in ("feature_extractor", "backbone", "head")}
        arguments = {part: dict(config[part]["init_args"]) for part in found}
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise WeightsError(f"{path}: {type(error).__name__}: {error}; wanted a folder of Vocos") from error
    wanted = {"feature_extractor": FEATURES, "backbone": BACKBONE, "head": HEAD}
    if found != wanted:
        raise WeightsError(
            f"{path}: made of {', '.join(found.values())}; wanted {', '.join(wanted.values())}"
        )
    if arguments["feature_extractor"].get("encodec_model", "encodec_24khz") != "encodec_24khz":
        raise WeightsError(f"{path}: decodes another EnCodec than the one of 24 kHz")
    arguments["feature_extractor"].setdefault("bandwidths", [1.5, 3.0, 6.0, 12.0])
    return arguments
