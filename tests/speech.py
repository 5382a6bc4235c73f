"""Speech for tests: real recordings where they are at hand, else spoken on the spot; and small sounds of any
kind.

The real ones are looked for in $AMELA_SPEECH, else in ../shared/speech beside the repository: vad/*.wav with
labels in .scv, asr/* with references.tsv, noise/*. Without them flite speaks, or espeak-ng from the
espeakng-loader wheel.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 16_000  # Hz
SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "Please call Stella and ask her to bring these things with her from the store.",
    "A rainbow is a division of white light into many beautiful colours.",
)


def real_speech() -> Path | None:
    """The folder of real recordings, or None where there is none."""
    folder = Path(os.environ.get("AMELA_SPEECH") or Path(__file__).parents[2] / "shared" / "speech")
    return folder if (folder / "vad").is_dir() else None


def labelled_files(folder: Path) -> list[tuple[Path, list[tuple[float, float]]]]:
    """Recordings with their true speech [(start_s, end_s), …]: the real set, else sentences and pauses."""
    real = real_speech()
    if real is not None:
        return [
            (path, read_labels(path.with_suffix(".scv"))) for path in sorted((real / "vad").glob("*.wav"))
        ]
    return [
        spoken_with_pauses(folder / f"spoken_{index}.wav", pause_s=0.8 + 0.2 * index) for index in range(3)
    ]


def read_labels(path: Path) -> list[tuple[float, float]]:
    """The speech of a .scv label file: name, then start, end, 0 or 1, again and again."""
    values = path.read_text().strip().split(",")[1:]
    triples = zip(values[::3], values[1::3], values[2::3])
    return [(float(start), float(end)) for start, end, label in triples if label == "1"]


def spoken_with_pauses(path: Path, pause_s: float = 1.0) -> tuple[Path, list[tuple[float, float]]]:
    """All sentences with `pause_s` of faint noise around each, written to `path`; and where the speech is."""
    noise = np.random.default_rng(0)
    parts, labels, at_s = [np.zeros(round(pause_s * SAMPLE_RATE))], [], pause_s
    for sentence in SENTENCES:
        loud = speak(sentence)
        within = np.flatnonzero(np.abs(loud) > 0.02 * np.abs(loud).max())
        loud = loud[within[0] : within[-1] + 1]
        labels.append((at_s, at_s + len(loud) / SAMPLE_RATE))
        parts += [loud, np.zeros(round(pause_s * SAMPLE_RATE))]
        at_s = labels[-1][1] + pause_s
    samples = np.concatenate(parts)
    return write_wav(path, samples + 1e-3 * noise.standard_normal(len(samples))), labels


def speak(sentence: str, voice: str = "slt") -> np.ndarray:
    """A sentence as float64 samples at 16 kHz: by flite (voices slt, rms, awb, kal16) or by espeak-ng."""
    if shutil.which("flite"):
        import tempfile

        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            subprocess.run(["flite", "-voice", voice, "-t", sentence, "-o", file.name], check=True)
            samples, rate_hz = soundfile.read(file.name)
    else:
        samples, rate_hz = _speak_by_espeak(sentence)
    import soxr

    return np.asarray(soxr.resample(samples, rate_hz, SAMPLE_RATE))


def _speak_by_espeak(sentence: str) -> tuple[np.ndarray, int]:
    """By the library in the espeakng-loader wheel, through its C interface (speak_lib.h)."""
    import espeakng_loader

    library = espeakng_loader.load_library()
    data = os.fsencode(espeakng_loader.get_data_path())
    rate_hz = library.espeak_Initialize(2, 0, data, 0)  # 2: hand the samples over, at once
    parts: list[np.ndarray] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def take(samples, count, _events):
        if count > 0:
            parts.append(np.ctypeslib.as_array(samples, (count,)) / 32768.0)
        return 0

    library.espeak_SetSynthCallback(take)
    library.espeak_SetVoiceByName(b"en")
    text = sentence.encode() + b"\0"
    library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, 1, None, None)
    library.espeak_Synchronize()
    return np.concatenate(parts), rate_hz


def write_wav(path: Path, samples: np.ndarray, rate_hz: int = SAMPLE_RATE, subtype: str = "PCM_16") -> Path:
    """Write samples (n,) or (n, channels) and return the path; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), samples, rate_hz, subtype=subtype, format="WAV")
    return path


def tone(duration_s: float, rate_hz: int = SAMPLE_RATE, amplitude: float = 0.3) -> np.ndarray:
    """A 440 Hz tone, float64 (n,): a sound that is no speech."""
    return amplitude * np.sin(2 * np.pi * 440 * np.arange(round(duration_s * rate_hz)) / rate_hz)


def frame_f1(
    pairs: list[tuple[list[tuple[float, float]], list[tuple[float, float]]]], duration_s: float = 60.0
) -> float:
    """F1 of found against true speech on a 10 ms grid, over all files; pairs of (found, true) segments."""
    hits = found_frames = true_frames = 0
    times_s = (np.arange(round(duration_s * 100)) + 0.5) / 100
    for found, true in pairs:
        masks = [np.zeros(len(times_s), bool), np.zeros(len(times_s), bool)]
        for mask, segments in zip(masks, (found, true)):
            for start_s, end_s in segments:
                mask[(times_s >= start_s) & (times_s < end_s)] = True
        hits += int((masks[0] & masks[1]).sum())
        found_frames += int(masks[0].sum())
        true_frames += int(masks[1].sum())
    return 2 * hits / (found_frames + true_frames)
