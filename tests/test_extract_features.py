"""extract_features.py: what its figures mean; every record has a result or an error, however it runs."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import extract_features
import networks.extraction  # noqa: F401 (loaded once: tasks are forks)
from amela.manifest import record_key
from amela.merge import merge
from arrays import Task
from media.frames import read_frames
from media.prosody import level_db, pitch_figures
from media.speech_rate import nuclei, phones, rates, words
from memory import peak_mib
from networks.frame_features import FRAMES, Analyser, Settings
from networks.pitch import best_pitches, track_pitch
from networks.streaming import Rows, pieces
from speech import SENTENCES, speak, tone, write_wav

ARRAYS = {"mel", "mfcc", "f0_hz", "voicing", "energy_db"}
HOP_S = 0.01
torch.set_num_threads(1)


def analyser(*features: str, rate_hz: int = 16_000) -> Analyser:
    settings = Settings(frozenset(features), 10.0, None, 80, 20, 60.0, 600.0, None)
    return Analyser(settings, rate_hz, torch.device("cpu"))


def syllables(count: int, every_s: float, rate_hz: int = 16_000) -> np.ndarray:
    """A voice of 150 Hz that swells `count` times, half a second of faint noise before and after."""
    times_s = np.arange(round(count * every_s * rate_hz)) / rate_hz
    voice = sum(np.sin(2 * np.pi * 150 * k * times_s) / k for k in range(1, 20))
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * times_s / every_s)
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(times_s) + rate_hz)
    noise[rate_hz // 2 : -rate_hz // 2] += 0.2 * voice * swell
    return noise.astype(np.float32)


# ---- definitions


def test_a_full_sine_has_minus_3_decibels_in_every_frame_and_as_a_whole() -> None:
    frames = analyser("energy").frames([tone(1.0, amplitude=1.0).astype(np.float32)])
    assert level_db(frames.mean_square) == -3.01
    inner = 10 * np.log10(frames.contours["power"][2:-2])
    assert np.abs(inner - 10 * math.log10(0.5)).max() < 0.01
    assert level_db(0.0) is None


def test_pitch_figures_are_of_voiced_frames_around_their_own_median() -> None:
    f0_hz = np.array([0, 100, 200, 0, 400, 0, 0, 0], np.float32)
    figures = pitch_figures(f0_hz)
    assert figures["f0_median_hz"] == 200
    assert figures["voiced_ratio"] == 0.375
    assert figures["f0_semitone_sd"] == round(12 * math.sqrt(2 / 3), 3)  # -12, 0, 12 semitones
    nothing = {"f0_median_hz": None, "f0_semitone_sd": None, "voiced_ratio": 0.0}
    assert pitch_figures(np.zeros(5, np.float32)) == nothing
    assert pitch_figures(np.array([0, 100], np.float32))["f0_semitone_sd"] is None


@pytest.mark.parametrize("every_s", [0.15, 0.25, 0.5])
def test_each_swell_of_a_voice_is_a_syllable_a_second_of_speech(every_s: float) -> None:
    power = analyser("rate").frames([syllables(12, every_s)]).contours["band"]
    assert len(nuclei(power, HOP_S)[1]) == 12
    found = rates({"speech": [{"start_s": 0.5, "end_s": 0.5 + 12 * every_s}]}, power, HOP_S)
    assert found == {"rate_syl_s": pytest.approx(1 / every_s, rel=0.01)}
    half = rates({"speech": [{"start_s": 0.5, "end_s": 0.5 + 6 * every_s}]}, power, HOP_S)
    assert half["rate_syl_s"] == pytest.approx(1 / every_s, rel=0.02)  # nuclei outside speech do not count
    alone = rates({}, power, HOP_S)  # without `speech`: what is loud enough, its pauses filled
    assert alone["rate_syl_s"] == pytest.approx(1 / every_s, rel=0.1)


def test_less_than_a_syllable_of_speech_has_no_rate() -> None:
    power = analyser("rate").frames([syllables(12, 0.25)]).contours["band"]
    short = [{"start_s": 0.6, "end_s": 0.68}]
    assert rates({"speech": short, "text": "a"}, power, HOP_S) == {"rate_syl_s": None, "words_per_s": None}


def test_a_ripple_and_a_hiss_are_no_syllables() -> None:
    times_s = np.arange(48_000) / 16_000
    voice = sum(np.sin(2 * np.pi * 150 * k * times_s) / k for k in range(1, 20))
    noise = np.random.default_rng(0).standard_normal(48_000)

    def count(samples: np.ndarray) -> int:
        power = analyser("rate").frames([samples.astype(np.float32)]).contours["band"]
        return len(nuclei(power, HOP_S)[1])

    for ripple_db, syllable_count in ((0.8, 1), (4, 12)):
        swell_db = ripple_db / 2 * np.sin(2 * np.pi * 4 * times_s)
        assert count(0.1 * voice * 10 ** (swell_db / 20)) == syllable_count
    hiss = 0.005 * np.hanning(4000) * np.diff(noise[:4006], 6)  # what lies above 4 kHz, as loud as the voice
    apart = np.concatenate([syllables(5, 0.25), hiss, syllables(5, 0.25)])
    assert count(apart) == 10


def test_a_pause_is_no_speech_from_three_tenths_of_a_second_on() -> None:
    def rate_with(pause_s: float) -> Any:
        voice = syllables(4, 0.25)[8000:-8000]
        samples = np.concatenate([voice, np.zeros(round(pause_s * 16_000), np.float32), voice])
        return rates({}, analyser("rate").frames([samples]).contours["band"], HOP_S)["rate_syl_s"]

    assert rate_with(1.0) == pytest.approx(rate_with(0.4), rel=0.02)
    assert rate_with(0.1) < 0.97 * rate_with(0.4)


def test_words_and_phones_are_counted_in_speech_alone() -> None:
    power = analyser("rate").frames([syllables(8, 0.25)]).contours["band"]
    record = {"speech": [{"start_s": 0.5, "end_s": 2.5}], "text": "Well, I – 2 do!", "ipa": "wɛl aɪ tuː"}
    found = rates(record, power, HOP_S)
    assert (found["words_per_s"], found["phones_per_s"]) == (2.0, 3.5)
    assert set(rates({**record, "speech": []}, power, HOP_S).values()) == {None}
    assert words("今日は良い天気") is None
    assert words("don't stop 🙂 …") == 2
    assert phones("t͡ʃˈaɪ̯ld(en)") == 5  # tʃ a i l d: a tie joins, marks and espeak's flags are none


# ---- streams


def test_pieces_have_each_frame_once_however_a_stream_was_cut() -> None:
    rng = np.random.default_rng(1)
    for samples, hop in ((1, 160), (159, 160), (160, 160), (9_999, 7), (20_000, 160), (12_800, 160)):
        whole = np.arange(samples, dtype=np.float32)
        cuts = np.split(whole, np.sort(rng.integers(0, samples, 5)))
        seen = []
        for piece in pieces([cut for cut in cuts if len(cut)], hop, 16, 3):
            own = [piece.samples[t * hop] for t in range(piece.before, piece.before + piece.count)
                   if t * hop < len(piece.samples)]  # fmt: skip
            seen += own + [samples] * (piece.count - len(own))  # a last centre at the very end
        assert len(seen) == 1 + samples // hop
        assert seen == [t * hop for t in range(len(seen))]


def test_rows_come_back_as_they_came_whatever_the_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rows, "SLAB", 10 * 4 * 3)
    values = np.arange(3 * 47, dtype=np.float32).reshape(47, 3)
    rows = Rows()
    for some in np.split(values, [1, 5, 30, 40]):
        rows.add(some)
    assert rows.count == 47
    assert np.array_equal(np.concatenate(list(rows.take(4))), values)
    assert not list(rows.take(4))


def test_a_long_recording_in_pieces_equals_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.tile(speak(SENTENCES[1]).astype(np.float32), 3)
    pitch = track_pitch(torch.from_numpy(samples), 16_000, 160)
    whole = analyser("mel", "functionals").frames([samples])
    assert len(samples) // 160 < FRAMES
    monkeypatch.setattr("networks.frame_features.FRAMES", 128)
    parted = analyser("mel", "functionals").frames(np.array_split(samples, 17))
    both = [np.concatenate(list(frames.mel_db.take(100))) for frames in (whole, parted)]
    assert len(both[0]) == 1 + len(samples) // 160
    assert np.abs(both[0] - both[1]).max() < 1e-3
    assert parted.loudest_db == pytest.approx(both[0].max(), abs=1e-3)
    for name, contour in whole.contours.items():
        assert np.allclose(contour, parted.contours[name], rtol=1e-3, atol=1e-9, equal_nan=True), name
    assert parted.mean_square == pytest.approx(whole.mean_square, rel=1e-12)
    for frames in (whole, parted):
        assert frames.peaks
        assert np.allclose(best_pitches([frames.peaks])[0].f0_hz, pitch.f0_hz, rtol=1e-4)


def test_a_long_recording_costs_what_is_kept_of_it() -> None:
    """20 min: 77 MB of samples, of which nothing stays; 50 MB of log-mels and candidates of pitch do."""
    voice = speak(SENTENCES[1]).astype(np.float32)
    blocks = 1200 * 16_000 // len(voice)
    pid = os.fork()
    if pid == 0:
        hear = analyser("mel", "pitch", "energy", "rate")
        hear.frames([voice] * 5)
        before_mib = peak_mib()
        hear.frames(np.roll(voice, 331 * number) for number in range(blocks))
        os._exit(min(255, peak_mib() - before_mib))
    grown_mib = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert 20 < grown_mib < 130


# ---- the stage


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with corpus.json: speech and all that is odd; the last three records cannot be had."""
    monkeypatch.chdir(tmp_path)
    voice = speak(SENTENCES[0])
    sounds = {
        "speech": (voice, 16_000),
        "loud": (np.clip(30 * voice, -1, 1), 16_000),
        "silence": (np.zeros(16_000), 16_000),
        "clip": (voice[4000:4320], 16_000),
        "sample": (voice[4000:4001], 16_000),
        "low": (voice[::2], 8_000),
        "high": (np.repeat(voice, 3), 48_000),
        "stereo": (np.stack([voice, np.zeros(len(voice))], 1), 16_000),
    }
    records: list[dict] = []
    for name, (samples, rate_hz) in sounds.items():
        path = write_wav(tmp_path / f"data/corpus/{name}.wav", samples, rate_hz)
        records.append({"audio_filepath": str(path)})
    records[0].update(text=SENTENCES[0], speech=[{"start_s": 0.1, "end_s": 2.0}], ipa="ðə kwɪk bɹaʊn fɑːks")
    records.append({**records[-1], "channel": 1})
    records.append({"audio_filepath": records[0]["audio_filepath"], "offset": 0.5, "duration": 0.5})
    (tmp_path / "data/corpus/bad.wav").write_bytes(b"RIFF but no sound")
    torn = (tmp_path / "data/corpus/speech.wav").read_bytes()[:20_000]
    (tmp_path / "data/corpus/torn.wav").write_bytes(torn)
    records += [{"audio_filepath": str(tmp_path / f"data/corpus/{name}.wav")} for name in ("bad", "torn")]
    records.append({"id": "text only", "text": "no sound"})
    (tmp_path / "corpus.json").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def run(*words: object, status: int = 0) -> str:
    """Run the script to its end; return what it printed."""
    log = Path(tempfile.mkstemp(suffix=".log")[1])
    try:
        assert Task(words, log=log, main=extract_features.main).wait() == status, log.read_text()
        return log.read_text()
    finally:
        log.unlink()


def records_of(path: str) -> list[dict]:
    """The records of a manifest, in which no number is NaN."""

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} in {path}")

    return [json.loads(line, parse_constant=refuse) for line in Path(path).read_text().splitlines()]


def contents(path: str) -> list[dict]:
    """The records with their arrays in place of the file's name."""
    found = records_of(path)
    for record in found:
        if "features_filepath" in record:
            arrays = read_frames(record.pop("features_filepath"))
            assert arrays.pop("key") == record_key(record)
            record["arrays"] = {
                name: (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
                for name, value in arrays.items()
            }
    return found


LAX = ("--max-error-rate", 1)


def test_every_record_has_a_result_or_an_error(here: Path) -> None:
    said = run("corpus.json", *LAX, "--workers", 1)
    assert "bad.wav: cannot be decoded" in said
    assert "torn.wav: truncated" in said
    assert "wanted audio" in said
    found = records_of("corpus.json")
    assert [("features_filepath" in record) for record in found] == [True] * 10 + [False] * 3
    for record in found[:10]:
        arrays = read_frames(record["features_filepath"])
        assert set(arrays) >= {*ARRAYS, "key", "hop_s", "sample_rate_hz"}
        assert (arrays["hop_s"], arrays["sample_rate_hz"]) == (0.01, 16_000)
        assert {len(arrays[name]) for name in ARRAYS} == {len(arrays["f0_hz"])}
        assert (arrays["mel"].shape[1], arrays["mfcc"].shape[1]) == (80, 20)
        assert {name: arrays[name].dtype.name for name in ARRAYS} == {
            name: "float32" if name == "f0_hz" else "float16" for name in ARRAYS
        }
        assert all(np.isfinite(arrays[name]).all() for name in ARRAYS)
    speech, loud, silence, clip, sample, _, high, stereo, mute, part = found[:10]
    assert 60 < speech["f0_median_hz"] < 300
    assert high["f0_median_hz"] == pytest.approx(speech["f0_median_hz"], rel=0.02)
    assert stereo["energy_db"] == pytest.approx(speech["energy_db"] - 6.02, abs=0.1)
    assert loud["energy_db"] > speech["energy_db"] + 10
    for nothing in (silence, mute):
        assert (nothing["f0_median_hz"], nothing["energy_db"], nothing["rate_syl_s"]) == (None, None, None)
        assert nothing["voiced_ratio"] == 0
        assert nothing["functionals"]["f0_mean_st"] is nothing["functionals"]["jitter_local"] is None
    assert all(one["functionals"].keys() == speech["functionals"].keys() for one in found[:10])
    assert None not in speech["functionals"].values()
    assert len(read_frames(clip["features_filepath"])["mel"]) == 3
    assert len(read_frames(sample["features_filepath"])["mel"]) == 1
    assert len(read_frames(part["features_filepath"])["mel"]) == 51
    assert speech["words_per_s"] == round(9 / 1.9, 3)
    assert speech["phones_per_s"] == round(15 / 1.9, 3)
    assert "words_per_s" not in loud


def test_arrays_of_tasks_and_a_resumed_run_give_what_one_process_gives(here: Path) -> None:
    shutil.copy("corpus.json", "array.json")
    shutil.copy("corpus.json", "resumed.json")
    settings = [*LAX, "--workers", 1, "--n-mfcc", 3]
    run("corpus.json", *settings)
    expected = contents("corpus.json")
    argv = ["array.json", *settings, "--batch-size", 2]
    tasks = [Task(argv, 77, index, range(3), main=extract_features.main) for index in range(3)]
    assert [task.wait() for task in tasks] == [0, 0, 0]
    assert merge("array.json", "features", max_error_rate=1).status == 0
    assert contents("array.json") == expected
    run("resumed.json", *settings, "--limit", 4)
    run("resumed.json", *settings)
    assert contents("resumed.json") == expected
    merged = Path("resumed.json").read_bytes()
    run("resumed.json", *settings)  # nothing left
    assert Path("resumed.json").read_bytes() == merged


def test_files_hold_what_parts_hold(here: Path) -> None:
    shutil.copy("corpus.json", "files.json")
    run("corpus.json", *LAX, "--features", "mfcc,energy")
    run("files.json", *LAX, "--features", "energy,mfcc", "--format", "npz", "--output", "out")
    assert contents("corpus.json") == contents("files.json")
    assert len(list(Path("out").rglob("*.npz"))) == 10
    assert set(contents("files.json")[0]["arrays"]) == {"mfcc", "energy_db", "hop_s", "sample_rate_hz"}


def test_rates_as_stored_and_other_hops(here: Path) -> None:
    slow = write_wav(here / "data/corpus/slow.wav", np.zeros(1000), 1000)
    with open("corpus.json", "a") as file:
        print(json.dumps({"audio_filepath": str(slow)}), file=file)
    flags = ["--sample-rate", "stored", "--hop-ms", 5, "--f0-max-hz", 500]
    said = run("corpus.json", *LAX, "--features", "mel,pitch,energy", *flags)
    assert "found 1000 Hz, wanted at least 4 times --f0-max-hz, 2000 Hz" in said
    found = records_of("corpus.json")
    arrays = {
        name: read_frames(found[n]["features_filepath"])
        for n, name in ((0, "plain"), (5, "low"), (6, "high"))
    }
    assert [arrays[name]["sample_rate_hz"] for name in arrays] == [16_000, 8_000, 48_000]
    assert {len(one["f0_hz"]) for one in arrays.values()} == {len(arrays["plain"]["f0_hz"])}
    medians = [found[n]["f0_median_hz"] for n in (0, 5, 6)]
    assert max(medians) < 1.02 * min(medians)


def test_figures_alone_write_no_file_and_count_as_done(here: Path) -> None:
    run("corpus.json", *LAX, "--features", "rate")
    found = records_of("corpus.json")
    assert not Path("output").exists()
    assert found[0]["rate_syl_s"] > 2
    assert found[2]["rate_syl_s"] is None
    merged = Path("corpus.json").read_bytes()
    run("corpus.json", *LAX, "--features", "rate")
    assert Path("corpus.json").read_bytes() == merged


def test_what_is_asked_for_beside_it_changes_no_feature(here: Path) -> None:
    shutil.copy("corpus.json", "some.json")
    run("corpus.json", *LAX)
    run("some.json", *LAX, "--features", "functionals,pitch")
    for one, some in zip(contents("corpus.json"), contents("some.json")):
        arrays, fewer = one.pop("arrays", {}), some.pop("arrays", {})
        assert some.items() <= one.items()
        assert fewer.items() <= arrays.items()


def test_one_record_is_shown_and_nothing_written(here: Path) -> None:
    shown = json.loads(run("corpus.json", "--only", here / "data/corpus/speech.wav"))
    assert shown["f0_median_hz"]
    assert shown["words_per_s"]
    assert sorted(os.listdir(here)) == ["corpus.json", "data"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--features", "mel,chroma"], "no feature chroma"),
        (["--n-mfcc", "81"], "at most as many cepstra as bands"),
        (["--n-fft", "401"], "even"),
        (["--f0-min-hz", "700"], "min below max"),
        (["--sample-rate", "2000"], "from 4000 to 192000 Hz"),
        (["--sample-rate", "4000", "--f0-max-hz", "1200"], "at least 4 times"),
        (["--hop-ms", "0"], "from 1 to 1000 ms"),
        (["--f0-min-hz", "nan"], "from 20 to 5000 Hz"),
        (["--device", "cuda"], "finds no GPU"),
    ],
)
def test_a_bad_call_is_one_sentence(here: Path, flags: list[str], sentence: str) -> None:
    said = run("corpus.json", *flags, status=2)
    assert sentence in said
    assert "Traceback" not in said
