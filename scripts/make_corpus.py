"""Speak a small corpus whose text is known: WAV files in a folder for each voice, and reference.csv.

    python scripts/make_corpus.py output/demo_corpus

With Debian's flite the voices are slt, rms, awb and kal16, which recognisers understand; else espeak-ng from
the package espeakng-loader, which they hardly do. Beside the sentences: one long recording, one file of
noise, and one that is no audio at all, as real corpora have them. Files that are there already are kept.
"""

from __future__ import annotations

import array
import csv
import ctypes
import os
import random
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from typing import Callable

from amela.cli import parser
from amela.errors import OK, CallError, run_main
from amela.files import make_folder, write_aside
from amela.log import log

SENTENCES = (
    "The children are playing with a big red ball in the garden.",
    "She put the milk and the bread on the kitchen table.",
    "Can you find the little dog under the old wooden chair?",
    "We walked along the river until it was time for lunch.",
    "My grandmother tells a story every night before we sleep.",
    "There are seven apples and four bananas in the basket.",
    "The train to the city leaves at half past nine in the morning.",
    "He opened the window because the room was very warm.",
    "Look at the birds that fly over the house.",
    "Please give me a glass of water and a piece of cake.",
    "They built a small boat and sailed across the lake.",
    "The teacher asked a question and everybody was quiet.",
)
PAUSE_S = 0.8
NOISE_S, NOISE_RATE_HZ = 8, 16_000
FLITE_VOICES = ("slt", "rms", "awb", "kal16")
ESPEAK_VOICES = ("en-us", "en-us+f3", "en-us+m3", "en-us+f2")

Sound = "tuple[array.array[int], int]"  # 16-bit samples (samples,), rate in Hz


def main() -> int:
    """Write the corpus and return 0."""
    arguments = parser(__doc__)
    arguments.add_argument("folder", help="where the corpus goes")
    folder = make_folder(arguments.parse_args().folder)
    engine, voices, speak = _engine()
    reference = []
    for voice in voices:
        log(f"{engine}: voice {voice}")
        texts = {f"{number:02d}": text for number, text in enumerate(SENTENCES, 1)}
        if voice == voices[0]:
            texts["long"] = " ".join(SENTENCES)
        for name, text in texts.items():
            path = make_folder(folder / voice) / f"{name}_{voice}.wav"
            if not path.exists():
                _write_wav(path, *_speak_with_pauses(speak, voice, text))
            reference.append((str(path.relative_to(folder)), text, voice))
    if not (folder / "noise.wav").exists():
        _write_wav(folder / "noise.wav", _noise(), NOISE_RATE_HZ)
    with write_aside(folder / "broken.wav", "wb") as file:
        file.write(b"RIFF\x24\x00\x00\x00WAVEfmt ")
    with write_aside(folder / "reference.csv") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([("audio_filepath", "transcription", "speaker"), *reference])
    with write_aside(folder / "voices.txt") as file:
        file.write(f"spoken by {engine}: {', '.join(voices)}\n")
    log(f"{len(reference) + 2} files in {folder}, spoken by {engine}")
    return OK


def _engine() -> tuple[str, tuple[str, ...], Callable[[str, str], Sound]]:
    """Return the name of what can speak here, its voices, and `speak(voice, text)`."""
    if shutil.which("flite"):
        return "flite", FLITE_VOICES, _flite
    try:
        import espeakng_loader
    except ImportError:
        raise CallError("neither flite on PATH nor espeakng_loader in this Python: apt-get install flite, "
                        "or use the environment `local`") from None  # fmt: skip
    return "espeak-ng", ESPEAK_VOICES, Espeak(espeakng_loader).speak


def _flite(voice: str, text: str) -> Sound:
    """Speak with flite, which writes 16 kHz (8 kHz for some voices) mono WAV to standard output."""
    command = ["flite", "-voice", voice, "-t", text, "-o", "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not done.stdout.startswith(b"RIFF"):
        problem = done.stderr.decode(errors="replace").strip() or "no audio"
        raise CallError(f"flite -voice {voice}: {problem}")
    rate_hz = int.from_bytes(done.stdout[24:28], "little")
    start = done.stdout.index(b"data") + 8
    return _samples(done.stdout[start:]), rate_hz


class Espeak:
    """espeak-ng as the shared library of a wheel, through its C interface (speak_lib.h)."""

    SYNCHRONOUS, UTF8 = 2, 1

    def __init__(self, loader) -> None:
        self.library = ctypes.CDLL(loader.get_library_path())
        data = os.path.dirname(loader.get_data_path())
        self.rate_hz = self.library.espeak_Initialize(self.SYNCHRONOUS, 0, data.encode(), 0)
        if self.rate_hz <= 0:
            raise CallError(
                f"espeak-ng does not start with the data in {data}: build the environment again"
            )
        callback = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        self.heard: list[bytes] = []
        self.callback = callback(self._take)  # kept: the library holds no reference
        self.library.espeak_SetSynthCallback(self.callback)

    def _take(self, samples, count: int, _events) -> int:
        if count and samples:
            self.heard.append(ctypes.string_at(samples, 2 * count))
        return 0

    def speak(self, voice: str, text: str) -> Sound:
        """Return the sound of a text."""
        self.heard.clear()
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise CallError(f"espeak-ng has no voice {voice}")
        data = text.encode() + b"\0"
        self.library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 0, 0, self.UTF8, None, None)
        self.library.espeak_Synchronize()
        return _samples(b"".join(self.heard)), self.rate_hz


def _samples(data: bytes) -> array.array:
    samples = array.array("h", data[: len(data) // 2 * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _speak_with_pauses(speak: Callable[[str, str], Sound], voice: str, text: str) -> Sound:
    """Speak sentence by sentence, with a silence after each."""
    sound, rate_hz = array.array("h"), NOISE_RATE_HZ
    for sentence in text.replace("?", "?.").split(". "):
        samples, rate_hz = speak(voice, sentence.replace("?.", "?"))
        sound += samples + array.array("h", bytes(2 * int(PAUSE_S * rate_hz)))
    return sound, rate_hz


def _noise() -> array.array:
    """Return low-pass noise, as of a ventilator; always the same."""
    draw, level = random.Random(0), 0.0
    sound = array.array("h")
    for _ in range(NOISE_S * NOISE_RATE_HZ):
        level += 0.05 * (draw.gauss(0, 3000) - level)
        sound.append(int(level))
    return sound


def _write_wav(path: Path, samples: array.array, rate_hz: int) -> None:
    if sys.byteorder == "big":
        samples.byteswap()
    with write_aside(path, "wb") as file, wave.open(file, "wb") as output:
        output.setnchannels(1)
        output.setsampwidth(2)
        output.setframerate(rate_hz)
        output.writeframes(samples.tobytes())


if __name__ == "__main__":
    run_main(main)
