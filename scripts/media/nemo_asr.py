"""Any NeMo ASRModel (Parakeet, Canary, CTC, RNN-T, TDT …) from a .nemo file, through its own `transcribe`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    import numpy as np


def load(
    path: str, device: str, dtype: str, timestamps: bool, source_lang: str, target_lang: str
) -> Callable[[list[np.ndarray]], list[dict[str, Any]]]:
    """Return a function from clips (float32, 16 kHz) to `[{"text", "words"?}]`.

    The languages prompt models that take prompts (Canary); others ignore them.
    """
    import torch
    from nemo.collections.asr.models import ASRModel
    from nemo.utils import logging

    logging.setLevel(logging.ERROR)
    model = ASRModel.restore_from(path, map_location=device)
    model = model.eval().to(device=device, dtype=getattr(torch, dtype))
    if inspect.signature(model.transcribe).parameters.get("prompt") is not None:
        task = "asr" if source_lang == target_lang else "ast"
        prompt = {"source_lang": source_lang, "target_lang": target_lang, "task": task, "pnc": "yes"}
    else:
        prompt = {}

    def recognise(clips: list[np.ndarray]) -> list[dict[str, Any]]:
        found = model.transcribe(
            clips, batch_size=len(clips), return_hypotheses=True, num_workers=0, verbose=False,
            timestamps=timestamps or None, **prompt,
        )  # fmt: skip
        best = found[0] if isinstance(found, tuple) else found  # (best, all beams) in some versions
        return [_heard(hypothesis, timestamps) for hypothesis in best]

    return recognise


def _heard(hypothesis: Any, timestamps: bool) -> dict[str, Any]:
    heard: dict[str, Any] = {"text": hypothesis.text.strip()}
    if timestamps:
        words = (hypothesis.timestamp or {}).get("word", [])
        heard["words"] = [
            {"start_s": float(word["start"]), "end_s": float(word["end"]), "word": word["word"]}
            for word in words
        ]
    return heard
