"""Audio that libsndfile cannot decode (m4a …), by the programs ffprobe and ffmpeg."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from media.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

FFMPEG_REMEDY = (
    "install it: `conda install -c conda-forge ffmpeg`, or `apt install ffmpeg`, or `module load ffmpeg`"
)


class AudioInfo(NamedTuple):
    """What the header of an audio file says."""

    duration_s: float
    sample_rate_hz: int
    channels: int


def ffprobe(path: str) -> AudioInfo:
    """What ffprobe says of the first audio stream. Raises AudioError."""
    entries = "stream=sample_rate,channels,duration:format=duration"
    command = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", entries, "-of", "json"]
    try:
        done = subprocess.run(
            [*command, f"file:{path}"], capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError as error:
        raise AudioError(
            f"{path}: libsndfile cannot decode it and ffprobe is not here; {FFMPEG_REMEDY}"
        ) from error
    found = json.loads(done.stdout or "{}") if done.returncode == 0 else {}
    if not found.get("streams"):
        raise AudioError(
            f"{path}: cannot be decoded: {_last_line(path, done.stderr) or 'no audio stream in it'}"
        )
    stream = found["streams"][0]
    duration = stream.get("duration") or found.get("format", {}).get("duration")
    if duration is None:
        raise AudioError(f"{path}: its container does not say how long it is; convert it to .wav or .flac")
    return AudioInfo(float(duration), int(stream["sample_rate"]), int(stream["channels"]))


def ffmpeg_blocks(
    path: str, info: AudioInfo, offset_s: float, duration_s: float | None, block_s: float
) -> Iterator[np.ndarray]:
    """Blocks of `block_s` seconds, shape (frames, channels), at the file's own rate. Raises AudioError."""
    import tempfile

    import numpy as np

    command = ["ffmpeg", "-nostdin", "-v", "error", "-xerror", "-threads", "1", "-ss", repr(float(offset_s))]
    command += ["-t", repr(float(duration_s))] if duration_s is not None else []
    command += ["-i", f"file:{path}", "-map", "0:a:0", "-ar", str(info.sample_rate_hz)]
    command += ["-ac", str(info.channels), "-f", "f32le", "pipe:1"]
    with tempfile.TemporaryFile() as complaints:  # a pipe for stderr could fill up and block both sides
        try:
            decoder = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=complaints, stdin=subprocess.DEVNULL
            )
        except FileNotFoundError as error:
            raise AudioError(
                f"{path}: libsndfile cannot decode it and ffmpeg is not here; {FFMPEG_REMEDY}"
            ) from error
        assert decoder.stdout is not None
        frame_bytes = 4 * info.channels
        block_bytes = round(block_s * info.sample_rate_hz) * frame_bytes
        try:
            while True:
                data = decoder.stdout.read(block_bytes)
                data = data[: len(data) // frame_bytes * frame_bytes]
                if not data:
                    break
                yield np.frombuffer(data, "<f4").reshape(-1, info.channels)
            if decoder.wait() != 0:
                complaints.seek(0)
                raise AudioError(f"{path}: corrupt: ffmpeg stopped: {_last_line(path, complaints.read())}")
        finally:  # also when the reader of this generator goes away in the middle
            decoder.kill()
            decoder.stdout.close()
            decoder.wait()


def _last_line(path: str, text: bytes) -> str:
    """The last line of what a program printed, without the path that stands in our message already."""
    lines = text.decode(errors="surrogateescape").replace(f"file:{path}: ", "").strip().splitlines()
    return lines[-1] if lines else ""
