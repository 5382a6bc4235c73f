"""Speech → units: an encoder up to one layer, and a codebook, over audio of any length.

A recording is cut every `chunk_s` seconds, as textlesslib does, with nothing shared between chunks; so the
chunk is part of what a unit means. Chunks go through the network one at a time: a batch could change the last
bits of a feature, and with them a unit. MFCC know no chunks: theirs are those of the whole recording.
`gapless` chunks share the few samples that their neighbours' frames need, so that no frame is lost between
them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from networks.catalogue import MFCC
from networks.device import choose
from networks.hubert import SAMPLE_RATE, load_fairseq
from networks.kmeans import load_kmeans
from networks.mfcc import Mfcc
from networks.weights import WeightsError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TooShortError(ValueError):
    """A recording with less sound than one unit needs."""


def prepare_device(name: str) -> torch.device:
    """Return the device (auto: a GPU where there is one), with settings that give the same bits each time.
    DeviceError where it is not here.
    """
    torch.set_num_threads(1)  # one process a CPU is faster, and sums do not depend on the count
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return torch.device(choose(name))


class Features:
    """The features of one layer of an encoder, or MFCC, of audio of any length. Frame t of a piece begins
    at sample t · `hop` of it and is `shortest` samples long; `width` numbers a frame; a full
    chunk gives `chunk_frames` (None where nothing is lost between chunks). `layer` None is the whole encoder
    of a folder.
    """

    def __init__(
        self, path: str, layer: int | None, device: str, dtype: str, chunk_s: float, gapless: bool = False
    ) -> None:
        self.epsilon = None
        if path == MFCC:
            if dtype != "float32":
                raise WeightsError(f"--dtype {dtype}: {MFCC} are always computed alike; leave it out")
            model: Any = Mfcc()
            self.hop, self.shortest = model.hop, model.shortest
        elif os.path.isdir(path):
            from networks.hf_encoder import load_folder

            model, self.hop, self.shortest, self.epsilon = load_folder(path, layer)
        elif layer is None:
            raise WeightsError(f"{path}: of a fairseq file there is only the output of a layer: give --layer")
        else:
            model, self.hop, normalise = load_fairseq(path, layer)
            self.shortest, self.epsilon = model.shortest, 1e-5 if normalise else None
        self.device, self.dtype = prepare_device(device), DTYPES[dtype]
        self.model = model.to(self.device) if path == MFCC else model.to(self.device, self.dtype)
        self.width = model.width
        self.chunk = round(chunk_s * SAMPLE_RATE)
        longest = getattr(self.model, "longest", self.chunk)
        if not self.shortest <= self.chunk <= longest:
            limits = f"at least {self.shortest / SAMPLE_RATE} s and at most {longest / SAMPLE_RATE} s"
            raise WeightsError(f"--chunk-s {chunk_s}: wanted {limits}")
        self.hop_s, self.shared = self.hop / SAMPLE_RATE, 0
        if gapless and self.chunk >= self.hop:
            self.shared = max(0, self.shortest - self.hop)  # of the next chunk, for the last frames of this
            self.chunk = self.chunk // self.hop * self.hop + self.shared
        self.chunk_frames = None if path == MFCC else (self.chunk - self.shortest) // self.hop + 1

    @torch.inference_mode()
    def pieces(
        self, blocks: Iterable[np.ndarray], moments: tuple[float, float] | None = None
    ) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Yield (samples, features (frames, width)) piece by piece of float32 blocks at 16 kHz; the samples
        begin where the first frame does. What is left of a last chunk below one frame gives none. With the
        `moments` of the blocks a recording need not be in memory as a whole to be normalised.
        """
        if isinstance(self.model, Mfcc):  # one recording, whatever the pieces: nothing is lost between them
            yield from self.model.pieces(blocks)
            return
        if self.epsilon is not None and moments is not None:
            mean, scale = moments[0], (moments[1] + self.epsilon) ** -0.5
            blocks = (((block - mean) * scale).astype(np.float32) for block in blocks)
        elif self.epsilon is not None:  # normalised as a whole: it has to be in memory
            whole = torch.from_numpy(np.concatenate(list(blocks) or [np.zeros(0, np.float32)]))
            if len(whole):
                whole = torch.nn.functional.layer_norm(whole, whole.shape, eps=self.epsilon)
            blocks = [whole.numpy()]
        heard_as = getattr(self.model, "hears", self.dtype)
        for chunk in _chunks(blocks, self.chunk, self.shared):
            if len(chunk) >= self.shortest:
                yield chunk, self.model(torch.from_numpy(chunk).to(self.device, heard_as)[None])[0]

    def too_short(self, samples: int) -> TooShortError:
        """Return the error of a recording with so many samples, which gave no frame."""
        return TooShortError(
            f"{samples} samples at 16 kHz give no frame; wanted at least {self.shortest} "
            f"({1000 * self.shortest / SAMPLE_RATE:g} ms)"
        )


class Encoder:
    """Turns blocks of samples into units; hop_s is the time from one unit to the next, `chunk_frames` as
    of `Features`.
    """

    def __init__(
        self, path: str, layer: int | None, kmeans: str, device: str, dtype: str, chunk_s: float
    ) -> None:
        self.features = Features(path, layer, device, dtype, chunk_s)
        self.model, self.hop_s = self.features.model, self.features.hop_s
        self.chunk_frames = self.features.chunk_frames
        self.kmeans = load_kmeans(kmeans, self.features.width).to(self.features.device)

    @torch.inference_mode()
    def units(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """Return the units (frames,) int16 of a recording given as float32 blocks at 16 kHz.

        Raises TooShortError for less than one unit.
        """
        heard = Counted(blocks)
        found = [self.kmeans(features).cpu().numpy() for _, features in self.features.pieces(heard)]
        if not found:
            raise self.features.too_short(heard.samples)
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


def moments_of(blocks: Iterable[np.ndarray]) -> tuple[float, float]:
    """Return the mean and the variance of the samples of all blocks."""
    count, total, squares = 0, 0.0, 0.0
    for block in blocks:
        samples = block.astype(np.float64)
        count, total, squares = count + len(samples), total + samples.sum(), squares + samples @ samples
    mean = total / max(1, count)
    return mean, max(0.0, squares / max(1, count) - mean * mean)


def _chunks(blocks: Iterable[np.ndarray], size: int, shared: int) -> Iterator[np.ndarray]:
    """Cut a stream of blocks into arrays of `size` samples, the last one shorter, that begin with the last
    `shared` samples of the one before.
    """
    waiting: list[Any] = []
    held = 0
    for block in blocks:
        rest = block
        while held + len(rest) >= size:
            cut = size - held
            chunk = np.concatenate([*waiting, rest[:cut]])
            yield chunk
            rest, waiting, held = rest[cut:], [chunk[size - shared :]], shared
        if len(rest):
            waiting.append(rest)
            held += len(rest)
    if held:
        yield np.concatenate(waiting)
