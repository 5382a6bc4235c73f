"""Pairs of audio and text for a model that listens: what is said, as tokens, and the frames that say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from media.packed_frames import Packed

IGNORED = -100  # a target that is padding, as cross_entropy has it
AUDIO = ("real", "shuffled", "zero")
MEASURED = 2000  # recordings that mean and deviation of the frames are measured on


class Pairs(NamedTuple):
    """A batch, padded on the right: tokens and targets (rows, tokens), frames (rows, frames, width) float32;
    `counts` says how many frames of each row are its own.
    """

    tokens: Tensor
    targets: Tensor
    frames: Tensor
    counts: list[int]

    def to(self, device: torch.device) -> Pairs:
        """Return the batch on a device."""
        tensors = (tensor.to(device, non_blocking=True) for tensor in self[:3])
        return Pairs(*tensors, self.counts)

    def pin_memory(self) -> Pairs:
        """Return the batch where a GPU copies it from without waiting."""
        return Pairs(*(tensor.pin_memory() for tensor in self[:3]), self.counts)


class MultimodalDataset:
    """Texts with their audio; `lengths` counts the targets of each, `numbers` says which recordings of
    `packed` they are of.

    `audio` is real, or for ablations shuffled (each text has the audio of another, always the same one) or
    zero (one frame of zeros, so that not even its length tells).
    """

    def __init__(
        self,
        texts: Sequence[np.ndarray],
        packed: Packed,
        numbers: Sequence[int],
        audio: str = "real",
        seed: int = 0,
    ) -> None:
        self.texts, self.packed = texts, packed
        self.audio, self.heard = audio, np.array(numbers, np.int64)
        if audio == "shuffled":
            self.heard = others(self.heard, seed)
        self.lengths = np.array([len(text) - 1 for text in texts], np.int64)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (start symbol, tokens and end symbol of the text; frames (frames, width) float16)."""
        if self.audio == "zero":
            return self.texts[index], np.zeros((1, self.packed.values.shape[1]), np.float16)
        return self.texts[index], self.packed.recording(int(self.heard[index]))

    def batch(self, indices: Sequence[int]) -> Pairs:
        """Return some of the pairs as a batch."""
        return collate([self[int(index)] for index in indices])

    def measure(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation (width,) float32 of the frames, over MEASURED recordings at
        most; where all are the same the deviation is 1.
        """
        chosen = np.random.default_rng(seed).permutation(len(self.heard))[:MEASURED]
        count, total, squares = 0, 0.0, 0.0
        for index in np.sort(chosen):
            frames = self.packed.recording(int(self.heard[index])).astype(np.float64)
            count, total, squares = count + len(frames), total + frames.sum(0), squares + (frames**2).sum(0)
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        same = deviation <= 1e-4 * (1 + abs(mean))
        return mean.astype(np.float32), np.where(same, 1.0, deviation).astype(np.float32)


def others(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Return the numbers in another order, none of them where it was (where there are two)."""
    order = np.random.default_rng([seed, len(numbers)]).permutation(len(numbers))
    found = np.empty_like(numbers)
    found[order] = numbers[np.roll(order, 1)]
    return found


def encode(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[np.ndarray]:
    """Return of each text its start symbol, tokens and end symbol, int32: at most `max_length` to be learnt.

    The end is learnt like any token, so the model stops; a text that is too long is cut and has none.
    ValueError where the tokenizer has no end symbol.
    """
    start, end = bounds(tokenizer)
    words = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if len(texts) else []
    return [np.array([start, *ids, end][: max_length + 1], np.int32) for ids in words]


def bounds(tokenizer: Any) -> tuple[int, int]:
    """Return the ids of the start and the end symbol; GPT-2 has one for both."""
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError("the tokenizer has no end symbol (eos_token); wanted one, to learn to stop")
    return (end if tokenizer.bos_token_id is None else tokenizer.bos_token_id), end


def collate(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Pairs:
    """Return a batch of pairs (text, frames)."""
    counts = [len(frames) for _, frames in pairs]
    longest = max(len(text) for text, _ in pairs) - 1
    tokens = torch.zeros(len(pairs), longest, dtype=torch.long)
    targets = torch.full((len(pairs), longest), IGNORED)
    heard = torch.zeros(len(pairs), max(counts), pairs[0][1].shape[1])
    for row, (text, frames) in enumerate(pairs):
        ids = torch.from_numpy(text.astype(np.int64))
        tokens[row, : len(ids) - 1], targets[row, : len(ids) - 1] = ids[:-1], ids[1:]
        heard[row, : len(frames)] = torch.from_numpy(np.array(frames, np.float32))
    return Pairs(tokens, targets, heard, counts)
