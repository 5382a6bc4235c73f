"""Texts → the probabilities of the 28 emotions, by a text classifier in a Hugging Face folder.

Texts are sorted by length and batched by padded tokens; padding is masked, so that a text's scores depend on
the batch in the last bits only. A text longer than the model takes is read in windows, none of it left out;
its scores are the mean over the windows, weighted by their tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from media.emotions import EmotionError, order_of
from media.padding import cut_batches
from networks.device import choose
from networks.hf_folder import load_model, load_tokenizer

CPU_TOKENS, GPU_TOKENS = 1024, 32_768  # padded tokens of a batch; on a CPU larger ones gain nothing
DIGITS = 5  # of a probability; beyond, a batch may change it


class TextEmotion:
    """Gives texts their scores (28,), in the order of media.emotions.LABELS."""

    def __init__(self, folder: str, device: str) -> None:
        from transformers import AutoModelForSequenceClassification

        torch.set_num_threads(1)  # one process a CPU is faster
        self.device = choose(device)
        self.tokenizer = load_tokenizer(folder)
        model = load_model(AutoModelForSequenceClassification, folder)
        names = [model.config.id2label[place] for place in range(model.config.num_labels)]
        self.order = order_of(names, folder)
        # One emotion a text only where the model says so: GoEmotions gives several, hence a sigmoid for each.
        self.single = model.config.problem_type == "single_label_classification"
        # RoBERTa counts positions from behind the padding's number.
        positions = model.config.max_position_embeddings - (model.config.pad_token_id or 0) - 1
        self.window = min(self.tokenizer.model_max_length, positions)
        self.model = model.to(self.device)
        self.batch_tokens = CPU_TOKENS if self.device == "cpu" else GPU_TOKENS

    def scores(self, texts: Sequence[str]) -> list[tuple[list[float], int]]:
        """Return, for each text, its 28 probabilities and the number of windows that it was read in.

        EmotionError where the tokenizer makes nothing of a text.
        """
        if not texts:
            return []
        read = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.window,
            return_overflowing_tokens=True,
            verbose=False,
        )
        windows, owners = read["input_ids"], read["overflow_to_sample_mapping"]
        found = torch.empty(len(windows), len(self.order), dtype=torch.float64)
        for batch in cut_batches([len(window) for window in windows], self.batch_tokens):
            found[batch] = self._batch([windows[index] for index in batch])
        sums = torch.zeros(len(texts), len(self.order), dtype=torch.float64)
        tokens = torch.tensor([len(window) for window in windows], dtype=torch.float64)
        owner = torch.tensor(owners)
        sums.index_add_(0, owner, found * tokens[:, None])
        weights = torch.zeros(len(texts), dtype=torch.float64).index_add_(0, owner, tokens)
        if not bool(weights.all()):
            raise EmotionError("the tokenizer makes no token of a text")
        counts = torch.bincount(owner, minlength=len(texts)).tolist()
        means = (sums / weights[:, None]).tolist()
        return [([round(value, DIGITS) for value in row], count) for row, count in zip(means, counts)]

    @torch.inference_mode()
    def _batch(self, windows: list[list[int]]) -> torch.Tensor:
        """Return the probabilities (windows, 28) of a batch, padded to its longest window."""
        padded = self.tokenizer.pad({"input_ids": windows}, return_tensors="pt").to(self.device)
        logits = self.model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).logits
        chances = logits.softmax(-1) if self.single else logits.sigmoid()
        return chances[:, self.order].double().cpu()
