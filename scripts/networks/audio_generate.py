"""Text of a model that listens, drawn a token at a time; keys and values of what was said are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from networks import checkpoints
from networks.audio_gpt2 import MultimodalGPT2
from networks.audio_text import bounds
from networks.audio_text_run import AudioTextError, listening
from networks.device import choose
from networks.hf_folder import load_tokenizer
from networks.language_model import empty_lm, positions_of


class Written(NamedTuple):
    """What a model wrote: its text, how many tokens, and whether it came to an end by itself."""

    text: str
    tokens: int
    ended: bool


class Writer:
    """A trained model and its tokenizer: `lm` is the run's folder of that name, `checkpoint` a file there."""

    def __init__(self, lm: str, checkpoint: str, device: str) -> None:
        self.device = choose(device)
        saved = checkpoints.read(checkpoint)
        if not isinstance(saved, dict) or not {"config", "model"} <= saved.keys():
            raise AudioTextError(
                f"{checkpoint}: found no model with its config; wanted a checkpoint of this run"
            )
        self.config, self.tokenizer = saved["config"], load_tokenizer(lm)
        try:
            self.model = listening(empty_lm(lm), self.config)
            self.model.load_state_dict(saved["model"])
        except (KeyError, RuntimeError) as error:  # a config or weights of another model
            what = " ".join(str(error).split())[:200]
            raise AudioTextError(f"{checkpoint}: not a model of {lm}: {what}") from error
        self.model.to(self.device).eval()

    def write(
        self, frames: np.ndarray, text: str, max_new_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> Written:
        """Return how the model goes on after a text, with the frames (frames, width) of a recording."""
        if frames.shape[1] != self.config["width"]:
            raise AudioTextError(
                f"found frames of {frames.shape[1]} numbers, wanted {self.config['width']}, as the model has "
                "heard: name the encoder of its training data by --audio-model"
            )
        start, end = bounds(self.tokenizer)
        prompt = [start, *self.tokenizer(text, add_special_tokens=False)["input_ids"]]
        heard = -(-len(frames) // self.config["stride"]) if self.model.fusion == "prefix" else 0
        most = positions_of(self.model.lm)
        room = max_new_tokens if most is None else min(max_new_tokens, most - heard - len(prompt) + 1)
        if room < 1:
            raise AudioTextError(
                f"{len(prompt)} tokens of text and {heard} positions of audio leave no room among the "
                f"{most} of the language model; wanted a shorter text or recording"
            )
        audio = torch.from_numpy(frames.astype(np.float32)).to(self.device)
        tokens, ended = draw(self.model, audio, prompt, end, room, temperature, seed)
        return Written(self.tokenizer.decode(tokens), len(tokens), ended)


@torch.inference_mode()
def draw(
    model: MultimodalGPT2,
    frames: Tensor,
    prompt: Sequence[int],
    end: int,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> tuple[list[int], bool]:
    """Return the tokens that follow a prompt (at least the start symbol), and whether the end symbol came.

    Temperature 0 takes the likeliest token each time; else tokens are drawn, the same ones for a seed.
    """
    random = torch.Generator("cpu").manual_seed(seed)
    heard, cache = model.hear(frames[None], [len(frames)]), None
    tokens, found = torch.tensor([list(prompt)], device=frames.device), []
    for _ in range(max_new_tokens):
        logits, cache = model.go_on(tokens, heard, cache)
        token = _pick(logits[0, -1].float().cpu(), temperature, random)
        if token == end:
            return found, True
        found.append(token)
        tokens = torch.tensor([[token]], device=frames.device)
    return found, False


def _pick(logits: Tensor, temperature: float, random: torch.Generator) -> int:
    if not temperature:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits / temperature, 0), 1, generator=random))
