"""Codes back to sound: what was stored of them, checked, decoded, cut to the source's length, written as
WAV.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from media.codecs import CodecError, check_codes

if TYPE_CHECKING:
    import numpy as np


class Codes(NamedTuple):
    """Codes of one source, (frames, codebooks), with what is known of them; `samples` and `source_…` are
    None of codes that another program made.
    """

    source: str
    codes: Any
    scales: Any  # (segments,), None where the codec has none
    samples: int | None  # at the codec's rate
    source_samples: int | None
    source_rate_hz: int | None


def read_codes(source: str, about: dict[str, Any] | None, name: str, codec: Any) -> Codes:
    """Return the codes of a source (media.frames), of which a record says `about`; CodecError where they
    are not those of the open codec `name`.
    """
    from media.frames import read_frames

    found = {**(about or {}), **read_frames(source)}
    if "codes" not in found:
        raise CodecError(f"{source}: no codes in it; wanted what encode_codec.py writes")
    made_by = found.get("codec", name)
    if made_by != name:
        raise CodecError(f"{source}: codes of {made_by}, wanted those of {name}: type --codec {made_by}")
    check_codes(found["codes"], codec, source)
    known = (found.get(key) for key in ("samples", "source_samples", "source_rate_hz"))
    return Codes(source, found["codes"], found.get("scales"), *known)


def rate_of(parts: list[Codes]) -> int:
    """Return the rate in Hz that the sources of all parts have; CodecError where they have none, or
    several.
    """
    rates = {part.source_rate_hz for part in parts}
    if len(rates) != 1 or None in rates:
        what = ", ".join(sorted(str(rate) for rate in rates))
        raise CodecError(f"{parts[0].source}: sources of {what} Hz; wanted one rate: leave out --source-rate")
    return int(next(iter(rates)) or 0)


def sound(part: Codes, codec: Any, rate_hz: int, trim_s: float | None) -> Iterator[np.ndarray]:
    """Yield blocks (samples, channels) at `rate_hz`, as many samples in all as the source has, at most
    `trim_s` seconds; CodecError where the codec cannot decode the codes.
    """
    from media.audio import resampled

    blocks = (block.T for block in codec.decode(part.codes, part.scales, part.samples))
    if codec.channels == 1:
        mono = (block[:, 0] for block in _of_length(blocks, part.samples))
        blocks = (block[:, None] for block in resampled(mono, codec.sample_rate_hz, rate_hz))
    else:
        blocks = resampled(_of_length(blocks, part.samples), codec.sample_rate_hz, rate_hz, codec.channels)
    length = part.samples if rate_hz == codec.sample_rate_hz else part.source_samples
    if trim_s is not None:
        asked = math.ceil(trim_s * rate_hz)
        length = asked if length is None else min(length, asked)
    return _of_length(blocks, length, pad=trim_s is None or part.samples is not None)


def _of_length(blocks: Iterator[np.ndarray], length: int | None, pad: bool = True) -> Iterator[np.ndarray]:
    """Yield `length` samples of blocks (samples, channels): cut, or filled up with silence; all where it is
    None.
    """
    import numpy as np

    if length is None:
        yield from blocks
        return
    left, channels = length, 1
    for block in blocks:
        channels = block.shape[1]
        yield block[:left]
        left -= len(block)
        if left <= 0:
            return
    if pad:
        yield np.zeros((left, channels), np.float32)


def write_wav(file: IO[bytes], blocks: Iterator[np.ndarray], rate_hz: int, channels: int) -> int:
    """Write a 16-bit WAV and return its samples; equal sound gives equal bytes."""
    import soundfile

    with soundfile.SoundFile(file, "w", rate_hz, channels, "PCM_16", format="WAV") as wav:
        for block in blocks:
            wav.write(block)
        return int(wav.frames)
