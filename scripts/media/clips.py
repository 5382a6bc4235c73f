"""Parts of a recording as files of their own: WAV, 16 bit, mono, at the recording's rate."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import IO, Any, Callable, NamedTuple

from media.audio import probe, record_window, stream_mono
from media.cutting import read_pieces


class Clip(NamedTuple):
    """A part of a record, in seconds from its start, and the path of its file."""

    start_s: float
    end_s: float
    path: str


def write_clips(
    record: dict[str, Any],
    clips: Sequence[Clip],
    write_output: Callable[[str], AbstractContextManager[IO[bytes]]],
) -> None:
    """Write parts of a record, in the order of their starts; the recording is read once, as a stream.

    Raises AudioError where it cannot be read; parts written before stay.
    """
    import soundfile

    rate_hz = probe(record["audio_filepath"]).sample_rate_hz
    blocks = stream_mono(sample_rate_hz=rate_hz, **record_window(record))
    for clip, samples in zip(clips, read_pieces(blocks, clips, rate_hz)):
        with write_output(clip.path) as file:
            soundfile.write(file, samples, rate_hz, subtype="PCM_16", format="WAV")
