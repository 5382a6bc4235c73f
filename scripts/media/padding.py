"""Batches of clips of different lengths: how to cut them so that little is padded, and how much fits on a
GPU.

A batch costs what its longest clip costs, times its clips: its *padded seconds*. Clips sorted by length and
batches bounded by padded seconds (instead of a number of clips) keep that cost near the audio itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

MAX_CLIPS = 256  # a batch of very short clips gains nothing beyond this
MEMORY_SHARE = 0.7  # of the free GPU memory; the rest is for fragmentation and longer texts than the probe's
PROBE_CLIPS = 4


def cut_batches(lengths_s: Sequence[float], batch_s: float, max_clips: int = MAX_CLIPS) -> list[list[int]]:
    """Return batches of indices, longest clips first, each of at most `batch_s` padded seconds (or one
    clip).
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths_s)), key=lambda i: -lengths_s[i]):
        batch = batches[-1] if batches else []
        longest_s = lengths_s[batch[0]] if batch else 0.0
        if batch and len(batch) < max_clips and longest_s * (len(batch) + 1) <= batch_s:
            batch.append(index)
        else:
            batches.append([index])
    return batches


def padded_s(lengths_s: Sequence[float], batches: Sequence[Sequence[int]]) -> float:
    """Return the seconds that these batches cost: the longest clip of each times its clips."""
    return sum(max(lengths_s[i] for i in batch) * len(batch) for batch in batches if batch)


def waste(audio_s: float, cost_s: float) -> float:
    """Return the share of the padded seconds that is padding, 0 to 1."""
    return 1.0 - audio_s / cost_s if cost_s else 0.0


def seconds_that_fit(recognise: Callable[[list[Any]], Any], clip_s: float, sample_rate_hz: int) -> float:
    """Return how many padded seconds of audio one batch may hold on the current GPU: measured, not guessed.

    Four clips of noise of the greatest length go through the model; what they took beyond the weights, a
    padded second, is set against the memory that is free. Needs a CUDA device.
    """
    import numpy as np
    import torch

    noise = np.random.default_rng(0).normal(0, 0.05, round(clip_s * sample_rate_hz)).astype(np.float32)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    recognise([noise] * PROBE_CLIPS)
    taken = max(1, torch.cuda.max_memory_allocated() - before)
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    return max(clip_s, MEMORY_SHARE * free / taken * PROBE_CLIPS * clip_s)
