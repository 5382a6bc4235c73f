"""Speak a small corpus whose text is known: WAV files in a folder for each voice, and reference.csv.

    python scripts/make_corpus.py output/demo_corpus
    python scripts/make_corpus.py output/emotions --kind emotion

With Debian's flite the voices are slt, rms, awb and kal16, which recognisers understand; else espeak-ng from
the package espeakng-loader, which they hardly do. Beside the sentences: one long recording, one file of
noise, and one that is no audio at all, as real corpora have them. Files that are there already are kept.

--kind emotion: voices of espeak-ng say sentences of a closed set of 40 words in six manners. The text does
not tell which, but for one sentence of four (`text_tells`), whose last word names it. It writes a manifest
with text, speaker, `emotion`, `words`, `prosody_annotations` (1: the word stands out), `asr_segments` (when
each word begins) and `split`, which is by voice, and the manifest of each split; the same bytes each time.
"""

from __future__ import annotations

import argparse
import array
import csv
import random
import sys
import wave
from pathlib import Path
from typing import Any, Callable

from amela.cli import parser, positive
from amela.errors import OK, CallError, run_main
from amela.files import make_folder, write_aside
from amela.log import log
from amela.manifest import write_manifest
from media import emotions, spoken_emotions
from media.errors import EngineError
from media.speaking import Espeak, Sound, engine
from media.spoken_emotions import Utterance

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
RATE_HZ, HEARD = 16_000, 100  # of --kind emotion; 50 dB below full scale
SPLITS = ("train", "valid", "test")


def main() -> int:
    """Write the corpus and return 0."""
    arguments = parser(__doc__)
    add = arguments.add_argument
    add("folder", help="where the corpus goes")
    add("--kind", choices=("sentences", "emotion"), default="sentences", help="of corpus")
    emotional = arguments.add_argument_group("--kind emotion")
    add = emotional.add_argument
    most = len(spoken_emotions.VOICES)
    add("--voices", type=positive, default=12, metavar="N", help=f"how many, 3 to {most}")
    add("--utterances", type=positive, default=60, metavar="N", help="of each voice")
    add("--snr-db", type=float, metavar="DB", help="add noise at this ratio, in dB (default: none)")
    args = arguments.parse_args()
    if not 3 <= args.voices <= most:
        raise CallError(f"--voices {args.voices}: wanted 3 to {most}: at least one a split")
    folder = make_folder(args.folder)
    try:
        return write_emotions(folder.resolve(), args) if args.kind == "emotion" else write_sentences(folder)
    except EngineError as error:
        raise CallError(str(error)) from error


def write_sentences(folder: Path) -> int:
    """Write the sentences of each voice and what real corpora have beside them; return 0."""
    name, voices, speak = engine()
    reference = []
    for voice in voices:
        log(f"{name}: voice {voice}")
        texts = {f"{number:02d}": text for number, text in enumerate(SENTENCES, 1)}
        if voice == voices[0]:
            texts["long"] = " ".join(SENTENCES)
        for stem, text in texts.items():
            path = make_folder(folder / voice) / f"{stem}_{voice}.wav"
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
        file.write(f"spoken by {name}: {', '.join(voices)}\n")
    log(f"{len(reference) + 2} files in {folder}, spoken by {name}")
    return OK


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


def write_emotions(folder: Path, args: argparse.Namespace) -> int:
    """Write the emotional corpus, its manifest last; return 0."""
    espeak = Espeak()  # all is said anew, in this order: what it says depends on what it said before
    records = []
    for place, voice in enumerate(spoken_emotions.VOICES[: args.voices]):
        log(f"espeak-ng: voice {voice}")
        split = spoken_emotions.split_of(place, args.voices)
        for number, utterance in enumerate(spoken_emotions.utterances_of(voice, args.utterances)):
            seed = 1 + 10_000 * place + number
            sound, starts = espeak.speak_words(
                f"{spoken_emotions.LANGUAGE}+{voice}", utterance.ssml(), utterance.manner, seed
            )
            samples = _levelled(sound, utterance.level_db, args.snr_db, seed)
            path = make_folder(folder / voice) / f"{voice}_{number:04d}_{utterance.emotion}.wav"
            _write_wav(path, samples, RATE_HZ)
            edges_s = [edge / sound[1] for edge in (*starts, _end(sound[0]))]
            records.append(_record(path, utterance, len(samples) / RATE_HZ, edges_s, split))
    for split in SPLITS:
        write_manifest(folder / f"{split}.json", (record for record in records if record["split"] == split))
    write_manifest(folder / "manifest.json", records)
    words = len({word for record in records for word in record["words"]})
    log(f"{folder / 'manifest.json'}: {len(records)} utterances of {args.voices} voices, {words} words")
    return OK


def _record(
    path: Path, utterance: Utterance, duration_s: float, edges_s: list[float], split: str
) -> dict[str, Any]:
    """Return the record of an utterance; `edges_s`: where its words begin, and where the last one ends."""
    words = utterance.words
    assert len(edges_s) == len(words) + 1, (words, edges_s)
    times_s = [round(time_s, 4) for time_s in edges_s]
    said = [
        {"word": word, "start_s": start_s, "end_s": end_s}
        for word, start_s, end_s in zip(words, times_s, times_s[1:])
    ]
    text = " ".join(words)
    scores = [float(label == utterance.emotion) for label in emotions.LABELS]
    return {
        "audio_filepath": str(path),
        "duration": round(duration_s, 6),
        "id": path.stem,
        "speaker": utterance.voice,
        "lang": "en",
        "split": split,
        "text": text,
        "text_tells": utterance.tells,
        "emotion": {"label": utterance.emotion, "score": 1.0, "scores": scores, "model": "make_corpus"},
        "words": list(words),
        "prosody_annotations": [int(out) for out in utterance.stands_out],
        "asr_segments": [{"start_s": times_s[0], "end_s": times_s[-1], "text": text, "words": said}],
    }


def _end(samples: array.array[int]) -> int:
    """Return the sample after the last one that is heard."""
    return next(place for place in range(len(samples), 0, -1) if abs(samples[place - 1]) > HEARD)


def _levelled(sound: Sound, level_db: float, snr_db: float | None, seed: int) -> array.array[int]:
    """Return 16-bit samples at RATE_HZ with an RMS level (dB re full scale), in pink noise if wanted."""
    import numpy as np
    import soxr

    samples = soxr.resample(np.asarray(sound[0]) / 32768, sound[1], RATE_HZ)
    samples *= 10 ** (level_db / 20) / np.sqrt(np.mean(samples**2))
    if snr_db is not None:
        count = len(samples)
        spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
        noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), count)
        samples += noise * np.sqrt(np.mean(samples**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    samples *= min(1, 0.99 / np.abs(samples).max())
    return array.array("h", np.round(32767 * samples).astype(np.int16).tobytes())


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
