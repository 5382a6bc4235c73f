"""Audio files as 16 kHz mono float32: libsndfile first, ffmpeg where it cannot (m4a …), soxr for the rate.

Everything streams: `stream_mono` yields blocks, so a recording of many hours needs no more memory than a
short one; `load_mono` is the same blocks in one array. Samples are scaled to [-1, 1]; float files may exceed
that and are passed on as they are. Sources: libsndfile (python-soundfile), ffmpeg's f32le output, soxr
quality HQ.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from media.errors import AudioError
from media.ffmpeg import AudioInfo, ffmpeg_blocks, ffprobe

if TYPE_CHECKING:
    import numpy as np
    import soundfile

SAMPLE_RATE = 16_000  # Hz, what every stage works at
BLOCK_S = 30.0  # seconds of audio read at a time
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
SHORTFALL_S = 0.1  # a file that decodes to less than its header promises, by more than this, is truncated
STREAMED_BYTES = 0x7FFF_F000  # WAV headers of pipes promise this much or more: they mean "unknown"


def scan_audio(folder: str | os.PathLike[str], suffixes: tuple[str, ...] = AUDIO_SUFFIXES) -> list[str]:
    """All audio files below `folder` as sorted absolute paths; the one file itself where it is such.

    Links to folders are followed, each folder once. Names that begin with a dot are left out: `.snapshot` of
    file servers, `._x.wav` of macOS. A folder that cannot be read raises OSError, so that nothing is left out
    in silence.
    """
    if os.path.isfile(folder):
        path = os.path.abspath(folder)
        return [path] if path.lower().endswith(suffixes) else []
    paths: list[str] = []
    seen: set[tuple[int, int]] = set()

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(os.path.abspath(folder), followlinks=True, onerror=fail):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = (name for name in files if name.lower().endswith(suffixes) and not name.startswith("."))
        paths.extend(os.path.join(parent, name) for name in names)
    return sorted(paths)


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """Duration (s), rate (Hz) and channels from the header, without decoding. Raises AudioError."""
    path = os.fspath(path)
    _check_readable(path)
    with _open_sound(path) as sound:
        if sound is not None:
            return AudioInfo(sound.frames / sound.samplerate, sound.samplerate, sound.channels)
    return ffprobe(path)


def stream_mono(
    path: str | os.PathLike[str],
    sample_rate_hz: int = SAMPLE_RATE,
    offset_s: float = 0.0,
    duration_s: float | None = None,
    channel: int | None = None,
) -> Iterator[np.ndarray]:
    """Blocks of float32 samples, shape (samples,), of at most about 30 s each; none is empty.

    All channels are averaged unless `channel` (counted from 0) names one. `offset_s` and `duration_s` cut a
    window out. Raises AudioError for a file that is missing, empty, truncated, undecodable, or has NaN or
    infinite samples, and for a channel or window that the file does not have.
    """
    path = os.fspath(path)
    _check_readable(path)
    with contextlib.ExitStack() as stack:
        sound = stack.enter_context(_open_sound(path))
        if sound is not None:
            info = AudioInfo(sound.frames / sound.samplerate, sound.samplerate, sound.channels)
            check_window(path, info, offset_s, duration_s, channel)
            raw = _sound_blocks(path, sound, offset_s, duration_s)
        else:
            info = ffprobe(path)
            check_window(path, info, offset_s, duration_s, channel)
            raw = stack.enter_context(
                contextlib.closing(ffmpeg_blocks(path, info, offset_s, duration_s, BLOCK_S))
            )
        mono = _to_mono(path, raw, channel, offset_s, info.sample_rate_hz)
        yield from resampled(mono, info.sample_rate_hz, sample_rate_hz)


def load_mono(
    path: str | os.PathLike[str],
    sample_rate_hz: int = SAMPLE_RATE,
    offset_s: float = 0.0,
    duration_s: float | None = None,
    channel: int | None = None,
) -> np.ndarray:
    """The blocks of `stream_mono` as one float32 array of shape (samples,)."""
    import numpy as np

    blocks = list(stream_mono(path, sample_rate_hz, offset_s, duration_s, channel))
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def record_window(record: dict[str, Any]) -> dict[str, Any]:
    """The keywords of `stream_mono` and `load_mono` that a manifest record asks for.

    A record without `offset` is its whole file, whatever its `duration` says.
    """
    window = {"path": record["audio_filepath"], "channel": record.get("channel")}
    if record.get("offset") is not None:
        window.update(offset_s=record["offset"], duration_s=record.get("duration"))
    return window


def load_record(record: dict[str, Any], sample_rate_hz: int = SAMPLE_RATE) -> np.ndarray:
    """The samples of a manifest record (`audio_filepath`, `offset`, `duration`, `channel`): float32,
    (samples,).
    """
    return load_mono(sample_rate_hz=sample_rate_hz, **record_window(record))


def _check_readable(path: str) -> None:
    """Raise AudioError with a plain sentence before a decoder raises an obscure one."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(f"{path}: not a regular file; wanted an audio file")
        if status.st_size == 0:
            raise AudioError(f"{path}: the file is empty (0 bytes); copy it again")
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened: {error.strerror or error}") from error


@contextlib.contextmanager
def _open_sound(path: str) -> Iterator[soundfile.SoundFile | None]:
    """The file opened by libsndfile, or None where libsndfile does not know the format."""
    import soundfile

    try:
        sound = soundfile.SoundFile(os.fsencode(path))  # bytes: names need not be UTF-8
    except soundfile.LibsndfileError as error:
        if not _may_be_known_to_ffmpeg(path):
            raise AudioError(f"{path}: cannot be decoded: {error.error_string}") from error
        yield None
        return
    with sound:
        promised = re.search(r"^data : (\d+) \(should be (\d+)\)", sound.extra_info, re.MULTILINE)
        if promised and int(promised[2]) < int(promised[1]) < STREAMED_BYTES:
            raise AudioError(
                f"{path}: truncated: the header promises {promised[1]} bytes of samples, the file holds "
                f"{promised[2]}; copy it again"
            )
        yield sound


def _may_be_known_to_ffmpeg(path: str) -> bool:
    """False for a .wav or .flac that does not even begin like one: ffmpeg would find music in any garbage."""
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened: {error.strerror or error}") from error
    if path.lower().endswith((".wav", ".flac")):
        return start[:4] in (b"RIFF", b"RF64", b"fLaC") or start[4:8] == b"ftyp"
    return True


def check_window(
    path: str, info: AudioInfo, offset_s: float, duration_s: float | None, channel: int | None
) -> None:
    """Raise AudioError for a channel or window that a file of this header does not have."""
    if info.duration_s <= 0:
        raise AudioError(f"{path}: holds no samples (0 s); wanted sound: was the recording interrupted?")
    if channel is not None and not 0 <= channel < info.channels:
        raise AudioError(f"{path}: channel {channel} wanted, the file has {info.channels} (counted from 0)")
    if offset_s < 0 or (duration_s is not None and duration_s < 0):
        raise AudioError(f"{path}: offset {offset_s} s and duration {duration_s} s must not be negative")
    end_s = offset_s + (duration_s or 0.0)
    if end_s > info.duration_s + SHORTFALL_S:
        raise AudioError(
            f"{path}: {offset_s:g} to {end_s:g} s wanted, the file is {info.duration_s:.3f} s long; was it "
            "changed after the manifest was made?"
        )


def _sound_blocks(
    path: str, sound: soundfile.SoundFile, offset_s: float, duration_s: float | None
) -> Iterator[np.ndarray]:
    """Blocks of shape (frames, channels) from libsndfile. Raises AudioError when fewer come than were
    promised.
    """
    import soundfile

    rate_hz = sound.samplerate
    first = min(round(offset_s * rate_hz), sound.frames)
    left = sound.frames - first
    if duration_s is not None:
        left = min(left, round(duration_s * rate_hz))
    try:
        if first:
            sound.seek(first)
        while left > 0:
            block = sound.read(min(left, round(BLOCK_S * rate_hz)), dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            left -= len(block)
            yield block
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: corrupt: decoding stopped: {error.error_string}") from error
    if left > SHORTFALL_S * rate_hz:
        raise AudioError(
            f"{path}: truncated or corrupt: the header promises {sound.frames / rate_hz:.3f} s, "
            f"{left / rate_hz:.3f} s of it cannot be decoded; copy it again"
        )


def _to_mono(
    path: str, blocks: Iterator[np.ndarray], channel: int | None, offset_s: float, rate_hz: int
) -> Iterator[np.ndarray]:
    """(frames, channels) → contiguous (frames,): one channel, or the mean of all. Refuses NaN, infinity."""
    import numpy as np

    start = 0
    for block in blocks:
        if block.shape[1] == 1:
            mono = block[:, 0]
        elif channel is not None:
            mono = np.ascontiguousarray(block[:, channel])
        else:
            mono = block.mean(axis=1)
        finite = np.isfinite(mono)
        if not finite.all():
            at_s = offset_s + (start + int(finite.argmin())) / rate_hz
            raise AudioError(
                f"{path}: samples that are NaN or infinite, the first at {at_s:.3f} s; wanted finite ones"
            )
        start += len(mono)
        yield mono


def resampled(
    blocks: Iterator[np.ndarray], from_hz: int, to_hz: int, channels: int = 1
) -> Iterator[np.ndarray]:
    """The same signal, (samples,) or (samples, channels), at `to_hz`. One soxr stream a file, so that block
    borders leave no trace.
    """
    if from_hz == to_hz:
        yield from blocks
        return
    import numpy as np
    import soxr

    stream = soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32", quality="HQ")
    for block in blocks:
        resampled = stream.resample_chunk(block)
        if len(resampled):
            yield resampled
    nothing = np.zeros((0, channels) if channels > 1 else 0, np.float32)
    rest = stream.resample_chunk(nothing, last=True)
    if len(rest):
        yield rest
