"""What a trained fusion model makes of a record of a manifest: embedding, emotion, text, prosody, vectors to
steer speech by.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from media.emotions import labels_of
from media.frames import read_frames
from media.dataset import PROSODY
from networks.fusion import Output, load
from networks.fusion_batch import CONTOUR, Batch, Example, collate
from networks.fusion_rows import Rows

STEERING = {"prosody": "prosody_control", "emotion": "emotion_control"}


class FusionEmbedder:
    """A checkpoint of train_multimodal.py with the dataset.json beside it; `tokenizer` is that of the run, or
    None where the model reads no text.
    """

    def __init__(self, checkpoint: str, tokenizer: Any, device: str) -> None:
        self.model, self.config = load(checkpoint, device)
        self.device, self.tokenizer = torch.device(device), tokenizer
        with open(os.path.join(os.path.dirname(checkpoint), "dataset.json"), encoding="utf-8") as file:
            self.data = json.load(file)
        self.rows = Rows(self.data["statistics"], self.config)
        self.speakers = {name: number for number, name in enumerate(self.data["speakers"])}
