"""NVIDIA Canary-Qwen (NeMo's SALM): an audio encoder in front of a language model that writes the transcript.

English, pieces of at most 40 s, no times of its own. Sources: model card nvidia/canary-qwen-2.5b,
nemo/collections/speechlm2/models/salm.py (NeMo 3.0.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    import numpy as np

MODEL = "nvidia/canary-qwen-2.5b"


def load(
    folder: str, device: str, dtype: str, prompt: str, max_new_tokens: int
) -> Callable[[list[np.ndarray]], list[dict[str, Any]]]:
    """Return a function from clips (float32, 16 kHz) to `[{"text", "truncated"}]`.

    folder: config.json and model.safetensors; the weights must fit the model exactly, or RuntimeError is
    raised.
    """
    import torch
    from nemo.collections.speechlm2.models import SALM
    from nemo.utils import logging
    from transformers import GenerationConfig

    logging.setLevel(logging.ERROR)
    model = SALM.from_pretrained(folder, strict=True)
    model = model.eval().to(device=device, dtype=getattr(torch, dtype))
    greedy = GenerationConfig(
        bos_token_id=model.text_bos_id,
        eos_token_id=model.text_eos_id,
        pad_token_id=model.text_pad_id,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
    )
    turns = [{"role": "user", "content": f"{prompt}{model.audio_locator_tag}"}]

    def recognise(clips: list[np.ndarray]) -> list[dict[str, Any]]:
        audios, lengths = _padded(clips, device)
        with torch.inference_mode():
            answers = model.generate(
                prompts=[turns] * len(clips), audios=audios, audio_lens=lengths, generation_config=greedy
            )
        return [_heard(model, answer, max_new_tokens) for answer in answers.cpu()]

    return recognise


def _padded(clips: list[np.ndarray], device: str) -> Any:
    """Clips as one float32 tensor (clips, longest) and their lengths, int64 (clips,)."""
    import torch

    lengths = torch.tensor([len(samples) for samples in clips], dtype=torch.int64)
    audios = torch.zeros(len(clips), int(lengths.max()), dtype=torch.float32)
    for row, samples in zip(audios, clips):
        row[: len(samples)] = torch.from_numpy(samples)
    return audios.to(device), lengths.to(device)


def _heard(model: Any, answer: Any, max_new_tokens: int) -> dict[str, Any]:
    """The text up to the end token; a row that never ends is as long as was allowed: truncated."""
    ends = (answer == model.text_eos_id).nonzero()
    length = int(ends[0]) if len(ends) else len(answer)
    text = model.tokenizer.ids_to_text(answer[:length]).strip()
    return {"text": text, "truncated": not len(ends) and len(answer) >= max_new_tokens}
