"""make_corpus.py --kind emotion: its manifest says what can be heard. The other kind: test_demo.py."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from media import emotions
from media.speaking import Espeak, Manner
from media.spoken_emotions import LANGUAGE, PRESETS, VOICES, split_of, utterances_of
from networks.pitch import track_pitch

REPOSITORY = Path(__file__).resolve().parents[1]
RATE_HZ = 16_000


def make(folder: Path, *flags: str, status: int = 0) -> str:
    """Make a corpus of few voices and return what was said."""
    command = [sys.executable, str(REPOSITORY / "scripts/make_corpus.py"), str(folder), "--kind", "emotion"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoken") / "emotions"
    make(folder, "--voices=4", "--utterances=24")
    return folder


@pytest.fixture(scope="module")
def heard(corpus: Path) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Return the records with their samples, float64 at 16 kHz."""
    records = read(corpus / "manifest.json")
    sounds = [soundfile.read(record["audio_filepath"]) for record in records]
    assert {rate_hz for _, rate_hz in sounds} == {RATE_HZ}
    return [(record, samples) for record, (samples, _) in zip(records, sounds)]


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples**2)))


def f0_median_hz(samples: np.ndarray, rate_hz: int = RATE_HZ) -> float:
    f0_hz = track_pitch(torch.from_numpy(samples.astype(np.float32)), rate_hz, rate_hz // 100).f0_hz
    return float(f0_hz[f0_hz > 0].median())


def test_the_text_does_not_tell_the_emotion_but_where_it_says_so(corpus: Path) -> None:
    said: dict[tuple[str, str], set[str]] = defaultdict(set)
    endings = defaultdict(set)
    for record in read(corpus / "manifest.json"):
        emotion = record["emotion"]
        assert emotion["scores"] == [float(label == emotion["label"]) for label in emotions.LABELS]
        if record["text_tells"]:
            *beginning, ending = record["words"]
            endings[emotion["label"]].add(ending)
            said[record["speaker"], "all"].add(" ".join(beginning))
        else:
            said[record["speaker"], emotion["label"]].add(record["text"])
    for voice in VOICES[:4]:
        assert len({frozenset(said[voice, label]) for label in PRESETS}) == 1
        assert len(said[voice, "neutral"]) == 3
        assert len(said[voice, "all"]) == 1
    assert endings == {label: {preset.word} for label, preset in PRESETS.items()}


def test_forty_words_are_enough_for_any_size() -> None:
    said = [one for voice in VOICES for one in utterances_of(voice, 600)]
    assert len({word for one in said for word in one.words}) <= 40
    assert len({one.words for one in said}) > 500
    assert 0.25 < np.mean([out for one in said for out in one.stands_out]) < 0.4
    assert all(any(one.stands_out) for one in said)


def test_the_same_bytes_again_and_in_another_folder_the_same_sounds(corpus: Path, tmp_path: Path) -> None:
    before = contents(corpus)
    make(corpus, "--voices=4", "--utterances=24")
    assert contents(corpus) == before
    make(tmp_path, "--voices=4", "--utterances=24")
    after = contents(tmp_path)
    assert len(after) == 4 * 24 + 4
    assert {name: data for name, data in after.items() if name.endswith(".wav")} == {
        name: data for name, data in before.items() if name.endswith(".wav")
    }


def test_splits_share_no_voice(corpus: Path) -> None:
    splits = {name: read(corpus / f"{name}.json") for name in ("train", "valid", "test")}
    voices = {name: {record["speaker"] for record in records} for name, records in splits.items()}
    assert [len(voices[name]) for name in ("train", "valid", "test")] == [2, 1, 1]
    assert len(set.union(*voices.values())) == 4
    assert [record for records in splits.values() for record in records] == read(corpus / "manifest.json")
    of_twelve = [split_of(place, 12) for place in range(12)]
    assert of_twelve == ["train"] * 8 + ["valid"] * 2 + ["test"] * 2


def test_each_emotion_is_heard_in_each_voice(heard: list[tuple[dict[str, Any], np.ndarray]]) -> None:
    """Pitch, level and rate go the way of the presets, within every voice."""
    pitch, level, words_per_s = (defaultdict(list) for _ in range(3))
    for record, samples in heard:
        key = record["speaker"], record["emotion"]["label"]
        pitch[key].append(f0_median_hz(samples))
        level[key].append(level_db(samples))
        words_per_s[key].append(len(record["words"]) / record["asr_segments"][0]["end_s"])
    for voice in VOICES[:4]:
        f0, db, rate = (
            {label: float(np.median(found[voice, label])) for label in PRESETS}
            for found in (pitch, level, words_per_s)
        )
        assert f0["sadness"] < 0.9 * f0["neutral"] < 0.9 * f0["joy"] < f0["fear"], (voice, f0)
        assert db["sadness"] < db["neutral"] - 3, (voice, db)
        assert db["neutral"] < db["anger"] - 3, (voice, db)
        assert rate["sadness"] < 0.85 * rate["neutral"] < 0.85 * rate["fear"], (voice, rate)
        assert rate["surprise"] < rate["joy"], (voice, rate)


def test_words_that_stand_out_are_louder_and_longer(
    heard: list[tuple[dict[str, Any], np.ndarray]],
) -> None:
    """Each against the same word of the same voice and emotion where it does not stand out."""
    found: dict[Any, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for record, samples in heard:
        (segment,) = record["asr_segments"]
        assert [word["word"] for word in segment["words"]] == record["words"] == record["text"].split()
        assert len(record["prosody_annotations"]) == len(record["words"])
        for word, out in zip(segment["words"], record["prosody_annotations"]):
            start, end = (round(RATE_HZ * word[name]) for name in ("start_s", "end_s"))
            assert 0 <= start < end <= len(samples)
            measured = level_db(samples[start:end]) - level_db(samples), (end - start) / RATE_HZ
            key = record["speaker"], record["emotion"]["label"], word["word"]
            found[key][out].append(measured)
    both = [(np.mean(one[1], 0), np.mean(one[0], 0)) for one in found.values() if one[0] and one[1]]
    louder_db, longer = np.array([(out[0] - not_out[0], out[1] / not_out[1]) for out, not_out in both]).T
    assert len(both) > 20
    assert np.median(louder_db) > 2
    assert np.median(longer) > 1.15


def test_noise_has_the_level_that_was_asked_for(
    heard: list[tuple[dict[str, Any], np.ndarray]], tmp_path: Path
) -> None:
    make(tmp_path, "--voices=3", "--utterances=24", "--snr-db=12")
    clean = {record["id"]: samples for record, samples in heard}
    for record in read(tmp_path / "manifest.json"):
        noisy = soundfile.read(record["audio_filepath"])[0]
        speech = clean[record["id"]]
        assert level_db(speech) - level_db(noisy - speech) == pytest.approx(12, abs=0.2)


def test_no_two_voices_are_alike() -> None:
    """Of one sentence, pitch differs by a semitone or the spectrum by 2 dB; mostly it is far more."""
    spoken = {}
    with multiprocessing.get_context("fork").Pool(1) as other:  # a process has one espeak-ng for good
        sounds = other.apply(say_one_sentence)
    for voice, (samples, rate_hz) in sounds.items():
        sound = np.asarray(samples) / 32768
        spoken[voice] = 12 * np.log2(f0_median_hz(sound, rate_hz)), third_octaves_db(sound, rate_hz)
    for one, other in itertools.combinations(VOICES, 2):
        semitones = abs(spoken[one][0] - spoken[other][0])
        apart_db = float(np.sqrt(np.mean((spoken[one][1] - spoken[other][1]) ** 2)))
        assert semitones > 1 or apart_db > 2, (one, other, semitones, apart_db)


def say_one_sentence() -> dict[str, Any]:
    """Return (samples, rate) of a sentence by voice."""
    espeak, text = Espeak(), "<speak>we take the small blue boat to the other side tomorrow</speak>"
    said = {}
    for voice in VOICES:
        said[voice], _ = espeak.speak_words(f"{LANGUAGE}+{voice}", text, Manner(50, 50, 170, 0), 1)
    return said


def third_octaves_db(sound: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the long-term spectrum from 200 Hz to 6.4 kHz without its mean, dB (15,)."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 1024)[::256] * np.hanning(1024)
    power = (np.abs(np.fft.rfft(frames)) ** 2).mean(0)
    hz = np.fft.rfftfreq(1024, 1 / rate_hz)
    edges_hz = 200 * 2 ** (np.arange(16) / 3)
    bands = [power[(hz >= low) & (hz < high)].mean() for low, high in zip(edges_hz, edges_hz[1:])]
    found = 10 * np.log10(bands)
    return found - found.mean()


def test_bad_calls(tmp_path: Path) -> None:
    assert "wanted 3 to 16" in make(tmp_path, "--voices=2", status=2)
    assert "wanted 3 to 16" in make(tmp_path, "--voices=17", status=2)
