"""Batches of clips of different lengths: how to cut them so that little is padded, and how much fits on a
GPU.

A batch costs what its longest clip costs, times its clips: its *padded seconds*. Clips sorted by length and
batches bounded by padded seconds (instead of a number of clips) keep that cost near the audio itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Callable

MAX_CLIPS = 256  # a batch of very short clips gains nothing beyond this
START_CLIPS = (
    4  # what starting a batch costs, in clips of its length: decoding takes as many steps for one clip
)
MEMORY_SHARE = 0.7  # of the free GPU memory; the rest is for fragmentation and longer texts than the probe's
PROBE_CLIPS = 4


def cut_batches(lengths_s: Sequence[float], batch_s: float, max_clips: int = MAX_CLIPS) -> list[list[int]]:
    """Return batches of indices, longest clips first, each of at most `batch_s` padded seconds (or one clip).

    Of all ways to cut the sorted clips, the one that costs least: a batch costs its padded seconds and a
    start (`START_CLIPS`). Where little is left, filling every batch to the budget would be mostly padding.
    """
    order = sorted(range(len(lengths_s)), key=lambda i: -lengths_s[i])
    least = [0.0] + [math.inf] * len(order)  # cost of the first n clips …
    begin = [0] * (len(order) + 1)  # … and where their last batch begins
    for first, index in enumerate(order):
        longest_s = lengths_s[index]
        most = min(max_clips, len(order) - first)
        if longest_s * most > batch_s:
            most = max(1, int(batch_s / longest_s))
        for clips in range(1, most + 1):
            cost_s = least[first] + longest_s * (clips + START_CLIPS)
            if cost_s < least[first + clips]:
                least[first + clips], begin[first + clips] = cost_s, first
    batches = []
    end = len(order)
    while end:
        batches.append(order[begin[end] : end])
        end = begin[end]
    return batches[::-1]


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
