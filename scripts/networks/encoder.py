"""Speech → units: an encoder up to one layer, and a codebook, over audio of any length.

A recording is cut every `chunk_s` seconds, as textlesslib does, with nothing shared between chunks; so the
chunk is part of what a unit means. Chunks go through the network one at a time: a batch could change the last
bits of a feature, and with them a unit. MFCC know no chunks: theirs are those of the whole recording.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from networks.catalogue import MFCC
from networks.hubert import SAMPLE_RATE, load_fairseq
from networks.kmeans import load_kmeans
from networks.mfcc import Mfcc
from networks.weights import WeightsError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TooShortError(ValueError):
    """A recording with less sound than one unit needs."""


def prepare_device(name: str) -> torch.device:
    """Return the device (auto: a GPU where there is one), with settings that give the same bits each time."""
    torch.set_num_threads(1)  # one process a CPU is faster, and sums do not depend on the count
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


class Features:
    """The features of one layer of an encoder, or MFCC, of audio of any length. Frame t of a piece begins
    at sample t · `hop` of it and is `shortest` samples long; `width` numbers a frame.
    """

    def __init__(self, path: str, layer: int | None, device: str, dtype: str, chunk_s: float) -> None:
        self.epsilon = None
        if path == MFCC:
            if dtype != "float32":
                raise WeightsError(f"--dtype {dtype}: {MFCC} are always computed alike; leave it out")
            model: Any = Mfcc()
            self.hop, self.shortest = model.hop, model.shortest
        elif os.path.isdir(path):
            from networks.hf_encoder import load_folder

            model, self.hop, self.shortest, self.epsilon = load_folder(path, layer or 0)
        else:
            model, self.hop, normalise = load_fairseq(path, layer or 0)
            self.shortest, self.epsilon = model.shortest, 1e-5 if normalise else None
        self.device, self.dtype = prepare_device(device), DTYPES[dtype]
        self.model = model.to(self.device) if path == MFCC else model.to(self.device, self.dtype)
        self.width = model.width
        self.chunk = round(chunk_s * SAMPLE_RATE)
        if self.chunk < self.shortest:
            raise WeightsError(f"--chunk-s {chunk_s}: wanted at least {self.shortest / SAMPLE_RATE} s")
        self.hop_s = self.hop / SAMPLE_RATE

    @torch.inference_mode()
    def pieces(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Yield (samples, features (frames, width)) piece by piece of float32 blocks at 16 kHz; the samples
        begin where the first frame does. What is left of a last chunk below one frame gives none.
        """
        if isinstance(self.model, Mfcc):  # one recording, whatever the pieces: nothing is lost between them
            yield from self.model.pieces(blocks)
            return
        if self.epsilon is not None:  # normalised as a whole: it has to be in memory
            whole = torch.from_numpy(np.concatenate(list(blocks) or [np.zeros(0, np.float32)]))
            if len(whole):
                whole = torch.nn.functional.layer_norm(whole, whole.shape, eps=self.epsilon)
            blocks = [whole.numpy()]
        for chunk in _chunks(blocks, self.chunk):
            if len(chunk) >= self.shortest:
                yield chunk, self.model(torch.from_numpy(chunk).to(self.device, self.dtype)[None])[0]


class Encoder:
    """Turns blocks of samples into units; hop_s is the time from one unit to the next."""

    def __init__(
        self, path: str, layer: int | None, kmeans: str, device: str, dtype: str, chunk_s: float
    ) -> None:
        self.features = Features(path, layer, device, dtype, chunk_s)
        self.model, self.hop_s = self.features.model, self.features.hop_s
        self.kmeans = load_kmeans(kmeans, self.features.width).to(self.features.device)

    @torch.inference_mode()
    def units(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """Return the units (frames,) int16 of a recording given as float32 blocks at 16 kHz.

        Raises TooShortError for less than one unit.
        """
        heard = Counted(blocks)
        found = [self.kmeans(features).cpu().numpy() for _, features in self.features.pieces(heard)]
        if not found:
            shortest = self.features.shortest
            raise TooShortError(
                f"{heard.samples} samples at 16 kHz give no unit; wanted at least {shortest} "
                f"({1000 * shortest / SAMPLE_RATE:g} ms)"
            )
        return np.concatenate(found).astype(np.int16)


class Counted:
    """Blocks of samples, and how many samples went by."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self.blocks, self.samples = blocks, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks:
            self.samples += len(block)
            yield block


def deduplicate(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the units without repetition, and how many frames each lasts (int32)."""
    starts = np.flatnonzero(np.concatenate([[True], units[1:] != units[:-1]]))
    return units[starts], np.diff(np.append(starts, len(units))).astype(np.int32)


def _chunks(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Cut a stream of blocks into arrays of `size` samples, the last one shorter."""
    waiting: list[Any] = []
    held = 0
    for block in blocks:
        rest = block
        while held + len(rest) >= size:
            cut = size - held
            yield np.concatenate([*waiting, rest[:cut]])
            rest, waiting, held = rest[cut:], [], 0
        if len(rest):
            waiting.append(rest)
            held += len(rest)
    if held:
        yield np.concatenate(waiting)
