"""A part of a recording as a file of its own: 16-bit WAV, mono."""

from __future__ import annotations

from typing import IO, Any

from media.audio import load_mono, probe, record_window


def write_clip(piece: dict[str, Any], file: IO[bytes], sample_rate_hz: int | None) -> None:
    """Write the samples of a record (`audio_filepath`, `offset`, `duration`, `channel`) at a rate (Hz).

    Without one, at the file's own. All channels are averaged unless the record names one. Raises AudioError.
    """
    import numpy as np
    import soundfile

    rate_hz = sample_rate_hz or probe(piece["audio_filepath"]).sample_rate_hz
    samples = np.clip(load_mono(sample_rate_hz=rate_hz, **record_window(piece)), -1.0, 1.0)
    soundfile.write(file, samples, rate_hz, subtype="PCM_16", format="WAV")
