"""What a trained fusion model makes of a record of a manifest: its embedding, emotion, text and prosody, and
vectors to steer speech by.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import torch

from media.dataset import ARRAYS, PROSODY, DatasetError
from media.dataset_rows import LEXICON, MODEL, WORDS, Kind, RowMaker
from media.emotions import labels_of
from networks.fusion import Output, load
from networks.fusion_batch import Example, collate
from networks.fusion_rows import Rows

DATASET = "dataset.json"
DIGITS = 4


class FusionEmbedder:
    """The model of a checkpoint, with the dataset.json that stands beside it; `tokenizer` is that of the run,
    None where the model reads no text. DatasetError where these are not there.
    """

    def __init__(self, checkpoint: str, tokenizer: Any, device: str) -> None:
        self.model, self.config = load(checkpoint, device)
        self.device = torch.device(device)
        path = os.path.join(os.path.dirname(checkpoint), DATASET)
        try:
            with open(path, encoding="utf-8") as file:
                self.data = json.load(file)
        except OSError as error:
            raise DatasetError(
                f"{path}: {error.strerror}; wanted the one that train_multimodal.py wrote"
            ) from error
        if "text" in self.config["modalities"]:
            self._check(tokenizer)
        self.tokenizer = tokenizer
        self.rows = Rows(self.data["statistics"], self.config)
        kind = Kind(self.data["arrays"], self.data["hop_s"], self.data["sample_rate_hz"])
        names = self.data["emotion_names"]
        feeling = None if not names else WORDS if tuple(names) == LEXICON else MODEL
        self.maker = RowMaker(
            tuple(ARRAYS), kind, feeling, self.data["speakers"], tokenizer, None, "the training data"
        )

    def _check(self, tokenizer: Any) -> None:
        wanted = self.config["tokenizer_sha256"]
        if tokenizer is None or tokenizer.sha256 != wanted:
            found = "none" if tokenizer is None else f"one of hash {tokenizer.sha256[:12]}…"
            raise DatasetError(
                f"tokenizer: found {found}, wanted that of the training data "
                f"({wanted[:12] if wanted else 'it had none'}…): give --tokenizer DIR"
            )

    def of_record(self, key: str, record: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return (what is said of a record, arrays (width,) float32 by name); raises ValueError for a bad
        record.

        Its emotion is hidden from the model, so it comes from the rest; for `text_from_rest` its text too.
        """
        if record.get("audio_filepath") and not record.get("features_filepath") and self.rows.arrays:
            raise DatasetError("found no features_filepath in the record: run extract_features.py before")
        example = self.rows.of_row(self.maker.row(key, record, [], []))
        batch = collate([example], [self._nothing(example)], self.model.stride, self.config["num_speakers"])
        with torch.no_grad():
            given = self.model(batch.to(self.device).hiding(["emotion"]))
            of_rest = self.model(batch.to(self.device).hiding(["emotion", "text"]))
        said: dict[str, Any] = {}
        if "emotion" in given.found:
            said["emotion"] = self._emotion(given)
        if "prosody" in given.found:
            said["prosody"] = self._prosody(given)
        if "text" in given.found and len(example.text):
            said["text"], said["text_from_rest"] = (self._text(one, example) for one in (given, of_rest))
        vectors = {f"{name}_control": vector for name, vector in given.summaries.items()}
        arrays = {"embedding": given.embedding(), **vectors}
        return said, {name: array[0].float().cpu().numpy() for name, array in arrays.items()}

    def _nothing(self, example: Example) -> dict[str, np.ndarray]:
        steps = -(-example.frames // self.model.stride)
        sizes = {"text": len(example.text), "prosody": 1, "emotion": 1, "speaker": 1}
        return {name: np.zeros(sizes.get(name, steps), bool) for name in self.config["modalities"]}

    def _values(self, name: str, given: Output) -> np.ndarray:
        """Return a modality's (width,) values in their own units."""
        mean, std = self.rows.scales[name]
        return given.found[name][0].float().cpu().numpy() * std + mean

    def _emotion(self, given: Output) -> dict[str, Any]:
        names, scores = (
            self.data["emotion_names"],
            [round(float(one), DIGITS) for one in self._values("emotion", given)],
        )
        (label,) = labels_of([scores], names)
        score = scores[names.index(label)] if label in names else scores[0]
        return {"label": label, "score": score, "scores": scores}

    def _prosody(self, given: Output) -> dict[str, float | None]:
        counts = self.data["statistics"]["prosody"]["count"]
        values = self._values("prosody", given)
        return {
            name: round(float(value), DIGITS) if count else None  # never seen in training
            for name, value, count in zip(PROSODY, values, counts)
        }

    def _text(self, given: Output, example: Example) -> str:
        """Return the text of the likeliest tokens, up to the end of the text."""
        ids = given.found["text"][0, len(example.context) :].argmax(-1).tolist()[1:]
        if self.tokenizer.eos_id in ids:
            ids = ids[: ids.index(self.tokenizer.eos_id)]
        special = set(self.tokenizer.ids.values())
        return str(self.tokenizer.decode([one for one in ids if one not in special]))
