"""Speech synthesis for made-up corpora: flite as a program, espeak-ng as a library; samples are 16-bit."""

from __future__ import annotations

import array
import ctypes
import os
import shutil
import subprocess
import sys
from typing import Callable, NamedTuple

from media.errors import EngineError

FLITE_VOICES = ("slt", "rms", "awb", "kal16")
ESPEAK_VOICES = ("en-us", "en-us+f3", "en-us+m3", "en-us+f2")
NEEDED = "apt-get install flite, or use the environment `local`"

Sound = "tuple[array.array[int], int]"  # 16-bit samples (samples,), rate in Hz


class Manner(NamedTuple):
    """How espeak-ng says something, in its own units."""

    pitch: int  # 0 to 100; 50 is the voice's own
    pitch_range: int  # 0 (monotone) to 100
    rate_wpm: int  # 80 to 450 words a minute
    gap_10ms: int  # silence between words, in steps of 10 ms


def engine() -> tuple[str, tuple[str, ...], Callable[[str, str], Sound]]:
    """Return the name of what can speak here, its voices, and `speak(voice, text)`; EngineError for none."""
    if shutil.which("flite"):
        return "flite", FLITE_VOICES, speak_by_flite
    return "espeak-ng", ESPEAK_VOICES, Espeak().speak


def speak_by_flite(voice: str, text: str) -> Sound:
    """Speak with flite, which writes 16 kHz (8 kHz for some voices) mono WAV to standard output."""
    command = ["flite", "-voice", voice, "-t", text, "-o", "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not done.stdout.startswith(b"RIFF"):
        problem = done.stderr.decode(errors="replace").strip() or "no audio"
        raise EngineError(f"flite -voice {voice}: {problem}")
    rate_hz = int.from_bytes(done.stdout[24:28], "little")
    start = done.stdout.index(b"data") + 8
    return _samples(done.stdout[start:]), rate_hz


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h: what begins at a sample."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


class Espeak:
    """espeak-ng as the shared library of the wheel espeakng-loader, through its C interface (speak_lib.h)."""

    SYNCHRONOUS, UTF8, SSML = 2, 1, 0x10
    RATE, PITCH, RANGE, WORD_GAP = 1, 3, 4, 7
    END_OF_LIST, WORD = 0, 1

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise EngineError(f"neither flite on PATH nor espeakng_loader in this Python: {NEEDED}") from None
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = os.path.dirname(espeakng_loader.get_data_path())
        self.rate_hz = self.library.espeak_Initialize(self.SYNCHRONOUS, 0, data.encode(), 0)
        if self.rate_hz <= 0:
            raise EngineError(
                f"espeak-ng does not start with the data in {data}: build the environment again"
            )
        callback = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
        )
        self.heard: list[bytes] = []
        self.starts: list[int] = []  # samples at which words begin
        self.callback = callback(self._take)  # kept: the library holds no reference
        self.library.espeak_SetSynthCallback(self.callback)

    def _take(self, samples, count: int, events) -> int:
        if count and samples:
            self.heard.append(ctypes.string_at(samples, 2 * count))
        place = 0
        while events[place].type != self.END_OF_LIST:
            if events[place].type == self.WORD:
                self.starts.append(events[place].sample)
            place += 1
        return 0

    def speak(self, voice: str, text: str) -> Sound:
        """Return the sound of a text."""
        return self._say(voice, text, self.UTF8), self.rate_hz

    def speak_words(self, voice: str, ssml: str, manner: Manner, seed: int) -> tuple[Sound, list[int]]:
        """Return the sound of an SSML text, and the sample at which each of its words begins.

        What is said first in a process, and what is said after it in the same order, is the same again.
        """
        for name, value in zip((self.PITCH, self.RANGE, self.RATE, self.WORD_GAP), manner):
            self.library.espeak_SetParameter(name, value, 0)
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(seed))  # of breath; else it is the clock
        return (self._say(voice, ssml, self.UTF8 | self.SSML), self.rate_hz), list(self.starts)

    def _say(self, voice: str, text: str, flags: int) -> array.array[int]:
        self.heard.clear()
        self.starts.clear()
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise EngineError(f"espeak-ng has no voice {voice}")
        data = text.encode() + b"\0"
        self.library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 0, 0, flags, None, None)
        self.library.espeak_Synchronize()
        return _samples(b"".join(self.heard))


def _samples(data: bytes) -> array.array[int]:
    samples = array.array("h", data[: len(data) // 2 * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples
