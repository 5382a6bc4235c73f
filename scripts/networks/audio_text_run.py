"""A run of a model that listens, put together: from its config and its pairs to the task that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import torch

from media import packed_frames
from media.packed_frames import Packed
from networks.audio_gpt2 import FUSIONS, MultimodalGPT2
from networks.audio_text import MultimodalDataset, encode
from networks.audio_text_task import ACCURACY, AudioTextTask
from networks.distributed import Group
from networks.embedding_file import read_audio
from networks.hf_folder import load_tokenizer
from networks.language_model import empty_lm, load_lm, positions_of
from networks.memory import Bytes, training_bytes
from networks.training import PRECISIONS

FACTS = {"arch": "audio_gpt2", "accuracy_is": ACCURACY}
PLANNED_WIDTH = 1024  # of a frame: wav2vec 2.0 large


class AudioTextError(ValueError):
    """Pairs that a model cannot be trained on; the message says what was found and what was wanted."""


def pack(pairs: Sequence[dict[str, Any]], name: str, cache: str, write_aside: Callable[..., Any]) -> Packed:
    """Return the frames of all pairs; `name` is that of their array."""
    sources = [pair["audio"] for pair in pairs]
    return packed_frames.pack(sources, lambda source: read_audio(source, name), cache, write_aside)


def build(
    base: str,
    config: dict[str, Any],
    pairs: Sequence[dict[str, Any]],
    cache: str,
    write_aside: Callable[..., Any],
    group: Group,
    device: torch.device,
    checkpoints: bool,
    log: Callable[[str], None],
) -> AudioTextTask:
    """Return the task of a run; `base` is the folder of the LM with its weights."""
    packed = pack(pairs, config["audio_from"], cache, write_aside)
    tokenizer = load_tokenizer(base)
    try:
        texts = encode(tokenizer, [pair["text"] for pair in pairs], config["max_length"])
    except ValueError as error:
        raise AudioTextError(f"{base}: {error}") from error
    cut = sum(int(text[-1]) != tokenizer.eos_token_id for text in texts)
    if cut and group.rank == 0:
        log(f"{cut} texts are longer than --max-length {config['max_length']} tokens and are cut")
    parts = {}
    for split in ("train", "valid"):
        chosen = [number for number, pair in enumerate(pairs) if pair["split"] == split]
        parts[split] = MultimodalDataset(
            [texts[number] for number in chosen], packed, chosen, config["audio"], config["seed"]
        )
    model = listening(load_lm(base), config)
    _check_positions(model, config, texts, packed)
    mean, deviation = parts["train"].measure(config["seed"])
    model.projector.mean.copy_(torch.from_numpy(mean))
    model.projector.deviation.copy_(torch.from_numpy(deviation))
    if checkpoints:
        model.checkpoint_layers()
    return AudioTextTask(model.to(device), parts["train"], parts["valid"], config, group, device)


def listening(lm: Any, config: dict[str, Any]) -> MultimodalGPT2:
    """Return an LM that listens, as a run's config says."""
    shape = {name: config[name] for name in ("fusion", "stride", "cross_every", "freeze_lm")}
    try:
        return MultimodalGPT2(lm, config["width"], **shape)
    except ValueError as error:
        raise AudioTextError(str(error)) from error


def step_bytes(base: str, settings: dict[str, Any], frames: int, checkpoints: bool) -> Bytes:
    """Return the memory of a step of --batch-size texts of --max-length tokens, each with so many frames."""
    rows, length = settings["batch_size"], settings["max_length"]

    def make() -> tuple[torch.nn.Module, Callable[[], torch.Tensor]]:
        model = listening(empty_lm(base), {**settings, "width": PLANNED_WIDTH}).train()
        if checkpoints:
            model.checkpoint_layers()
        tokens, heard = torch.zeros(rows, length, dtype=torch.long), torch.zeros(rows, frames, PLANNED_WIDTH)

        def loss() -> torch.Tensor:
            logits = model(tokens, heard, [frames] * rows).flatten(0, 1)
            return torch.nn.functional.cross_entropy(logits.float(), tokens.flatten(), reduction="sum")

        return model, loss

    return training_bytes(make, PRECISIONS[settings["precision"]])


def _check_positions(
    model: MultimodalGPT2, config: dict[str, Any], texts: Sequence[Any], packed: Packed
) -> None:
    """Raise AudioTextError where the longest text, and audio before it, is too much for the LM."""
    most = positions_of(model.lm)
    words = max(len(text) - 1 for text in texts)
    heard = 0
    if config["fusion"] == FUSIONS[1]:
        heard = -(-int((packed.ends[1:] - packed.ends[:-1]).max()) // config["stride"])
    if most is not None and words + heard > most:
        raise AudioTextError(
            f"the longest text has {words} tokens and {heard} positions of audio stand before it; the LM has "
            f"{most}: lower --max-length, raise --stride, or cut recordings by chunk_audio.py"
        )
