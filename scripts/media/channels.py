"""A record's audio as one channel or two, and how long it is in its own file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from media.audio import probe, record_window, stream_mono

if TYPE_CHECKING:
    import numpy as np


def stream_record(record: dict[str, Any], sample_rate_hz: int, channels: int = 1) -> Iterator[np.ndarray]:
    """Blocks of shape (channels, samples) of a manifest record: one channel as `stream_mono` gives it; of two
    those of a stereo file, else the one twice.
    """
    import numpy as np

    window = record_window(record)
    if channels == 2 and window["channel"] is None and probe(window["path"]).channels == 2:
        sides = (stream_mono(sample_rate_hz=sample_rate_hz, **{**window, "channel": side}) for side in (0, 1))
        yield from (np.stack(pair) for pair in zip(*sides))
        return
    for block in stream_mono(sample_rate_hz=sample_rate_hz, **window):
        yield np.repeat(block[None], channels, axis=0)


def source_samples(record: dict[str, Any]) -> tuple[int, int]:
    """The samples of a manifest record in its file, and the file's rate in Hz, by the file's header."""
    info = probe(record["audio_filepath"])
    whole, first = round(info.duration_s * info.sample_rate_hz), 0
    if record.get("offset") is not None:
        first = min(round(record["offset"] * info.sample_rate_hz), whole)
        whole = min(whole, first + round(record["duration"] * info.sample_rate_hz))
    return whole - first, info.sample_rate_hz
