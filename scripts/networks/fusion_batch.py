"""Rows of the multimodal data set as padded, normalised tensors.

Each number is normalised by the training set's mean and standard deviation (dataset.json), so 0 is the mean
and what is missing is 0 too, and marked. `contour` is pitch in semitones (where voiced), voicing and level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from networks.fusion_masks import Hidden

ARRAYS = ("mel", "mfcc", "contour")
MODALITIES = ("text", *ARRAYS, "prosody", "emotion", "speaker")
OF_AUDIO = (*ARRAYS, "prosody")  # what --audio shuffles or zeroes
CONTOUR = ("f0_hz", "voicing", "energy_db")
BEFORE = -1.0  # the time of a condition


class Example(NamedTuple):
    """A row, normalised; `values` and `valid` by modality: arrays (frames, width), others (width,)."""

    key: str
    text: np.ndarray  # ids, (tokens,)
    context: np.ndarray
    frames: int
    values: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]
    speaker: int  # -1: not known


class Batch(NamedTuple):
    """Padded rows. Frames are padded to whole steps; `hide` is by modality, for text a token, for arrays a
    step, for others a row. `shown` is what the model reads, `target` what it should give.
    """

    tokens: Tensor  # (rows, tokens): context, then text
    tokens_valid: Tensor
    is_context: Tensor
    token_times: Tensor  # (rows, tokens), in steps
    steps_valid: Tensor  # (rows, steps)
    shown: dict[str, Tensor]  # arrays (rows, frames, width), prosody and emotion (rows, width)
    target: dict[str, Tensor]
    valid: dict[str, Tensor]  # where there is a target; text: (rows, tokens)
    hide: dict[str, Tensor]
    speaker: Tensor  # (rows,)
    emotion_valid: Tensor  # (rows,)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(*(_to(part, device) for part in self))

    def hiding(self, names: Sequence[str]) -> Batch:
        """Return the batch with the modalities of these names hidden, all of them, and nothing else."""
        hide = {name: torch.full_like(mask, name in names) for name, mask in self.hide.items()}
        if "text" in hide:
            hide["text"] &= self.valid["text"]
        return self._replace(hide=hide)


def _to(part: Any, device: torch.device) -> Any:
    if isinstance(part, dict):
        return {name: value.to(device, non_blocking=True) for name, value in part.items()}
    return part.to(device, non_blocking=True)


def _pad(arrays: Sequence[np.ndarray], length: int, dtype: Any) -> Tensor:
    """Return arrays (n, …) as one tensor (rows, length, …), 0 behind."""
    padded = np.zeros((len(arrays), length, *arrays[0].shape[1:]), dtype)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return torch.from_numpy(padded)


def collate(examples: Sequence[Example], hidden: Sequence[Hidden], stride: int, speakers: int,
            audio: str = "real") -> Batch:  # fmt: skip
    """Return examples as a batch, each with what is hidden of it; `audio` says whose audio the model is
    shown: its own (real), that of the next in the batch at its own length (shuffled), or silence (zero).

    The targets are always a row's own. Alone in its batch, a row has nobody's audio to be shown but silence.
    """
    shown = [_ablated(examples, row, audio) for row in range(len(examples))]
    steps = [-(-example.frames // stride) for example in examples]
    frames = max(steps) * stride
    fields: dict[str, Any] = _text(examples, hidden, steps)
    target, valid, seen, hide = {}, fields.pop("valid"), {}, fields.pop("hide")
    for name in examples[0].values:
        if name in ARRAYS:
            seen[name] = _pad([values[name] for values in shown], frames, np.float32)
            target[name] = _pad([example.values[name] for example in examples], frames, np.float32)
            valid[name] = _pad([example.valid[name] for example in examples], frames, bool)
            hide[name] = _pad([one[name] for one in hidden], max(steps), bool)
        else:
            seen[name], target[name] = (
                torch.from_numpy(np.stack([values[name] for values in of]).astype(np.float32))
                for of in (shown, [example.values for example in examples])
            )
            valid[name] = torch.from_numpy(np.stack([example.valid[name] for example in examples]))
            hide[name] = torch.tensor([bool(one[name][0]) for one in hidden])
    if "speaker" in hidden[0]:
        hide["speaker"] = torch.tensor([bool(one["speaker"][0]) for one in hidden])
    known = [example.speaker if 0 <= example.speaker < speakers else speakers for example in examples]
    emotional = (
        valid["emotion"].any(-1) if "emotion" in valid else torch.zeros(len(examples), dtype=torch.bool)
    )
    return Batch(
        **fields, shown=seen, target=target, valid=valid, hide=hide, speaker=torch.tensor(known),
        steps_valid=_pad([np.ones(count, bool) for count in steps], max(steps), bool),
        emotion_valid=emotional,
    )  # fmt: skip


def _ablated(examples: Sequence[Example], row: int, audio: str) -> dict[str, np.ndarray]:
    own = examples[row]
    if audio == "real":
        return own.values
    others = [one for one in examples if one.frames and one is not own]
    values = dict(own.values)
    donor = None
    if audio == "shuffled" and others and own.frames:
        behind = [one for one in examples[row + 1 :] if one.frames]
        donor = (behind or others)[0]
    for name in own.values:
        if name in OF_AUDIO:
            values[name] = (
                np.zeros_like(own.values[name])
                if donor is None
                else np.resize(donor.values[name], own.values[name].shape)
            )
    return values


def _text(examples: Sequence[Example], hidden: Sequence[Hidden], steps: Sequence[int]) -> dict[str, Any]:
    """Return the fields of a batch that hold its text: context first, then the text with its times."""
    texts = [np.concatenate([example.context, example.text]) for example in examples]
    length = max(map(len, texts))
    contexts = [np.ones(len(example.context), bool) for example in examples]
    times, wanted, hides = [], [], []
    for example, one, count in zip(examples, hidden, steps):
        before = len(example.context)
        numbers = np.arange(1, len(example.text) + 1)
        spread = numbers * (count or len(numbers)) / max(1, len(numbers))
        times.append(np.concatenate([np.full(before, BEFORE), spread]))
        wanted.append(np.concatenate([np.zeros(before, bool), numbers > 1]))  # <bos> is no target
        hides.append(np.concatenate([np.zeros(before, bool), one.get("text", np.zeros(len(numbers), bool))]))
    return {
        "tokens": _pad(texts, length, np.int64),
        "tokens_valid": _pad([np.ones(len(text), bool) for text in texts], length, bool),
        "is_context": _pad(contexts, length, bool),
        "token_times": _pad(times, length, np.float32),
        "valid": {"text": _pad(wanted, length, bool)},
        "hide": {"text": _pad(hides, length, bool)},
    }
