"""asr.py from the command line with the embedded recogniser, and what holds for every backend."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from conftest import REPOSITORY
from media import any_vad, audio, hub, transcribing
from speech import SENTENCES, real_speech, speak, tone, write_wav

RATE = 16_000


def asr(*words, status=0):
    command = [sys.executable, str(REPOSITORY / "scripts/asr.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A sentence read aloud: a real one where there is one."""
    real = real_speech()
    if real is not None:
        return real / "asr" / "spk1_snt5.wav", "sunday is the best part of the week"
    path = write_wav(tmp_path_factory.mktemp("spoken") / "fox.wav", speak(SENTENCES[0], "rms"))
    return path, "the quick brown fox jumps over the lazy dog"


@pytest.fixture(scope="module")
def long_recording(spoken, tmp_path_factory):
    """The sentence four times with long pauses, as 44.1 kHz stereo; its length and where each begins."""
    import soxr

    samples, rate = soundfile.read(spoken[0], dtype="float32")
    sentence = soxr.resample(samples, rate, 44_100)
    parts, starts, at = [], [], 0
    for pause_s in (1.0, 1.5, 4.0, 1.2):
        parts += [np.zeros(round(pause_s * 44_100), np.float32), sentence]
        at += len(parts[-2])
        starts.append(at / 44_100)
        at += len(sentence)
    path = tmp_path_factory.mktemp("long") / "long.flac"
    soundfile.write(path, np.stack([np.concatenate(parts)] * 2, axis=1), 44_100)
    return path, at / 44_100, starts


def test_a_manifest_gets_text_settings_and_segments(spoken, tmp_path):
    path, sentence = spoken
    manifest = write(
        tmp_path / "m.json", [{"audio_filepath": str(path), "duration": audio.probe(path).duration_s}]
    )
    asr(manifest, "--backend", "pocketsphinx", "--timestamps")
    (record,) = read(manifest)
    words = set(record["text"].split())
    assert len(words & set(sentence.split())) >= 0.5 * len(set(sentence.split())), record["text"]
    assert record["asr"] == {
        "backend": "pocketsphinx",
        "model": "en-us",
        "revision": record["asr"]["revision"],
        "max_duration_s": 40.0,
        "timestamps": True,
        "vad": "silero",
        "flags": [],
    }
    (segment,) = record["asr_segments"]
    assert segment["text"] == record["text"]
    assert " ".join(word["word"] for word in segment["words"]) == record["text"]
    assert segment["start_s"] <= segment["words"][0]["start_s"]
    assert segment["words"][-1]["end_s"] <= segment["end_s"] <= record["duration"]


def test_field_leaves_the_reference_alone(spoken, tmp_path):
    manifest = write(
        tmp_path / "m.json", [{"audio_filepath": str(spoken[0]), "duration": 3.0, "text": "a human wrote"}]
    )
    asr(manifest, "--backend", "pocketsphinx", "--field", "pred_text")
    (record,) = read(manifest)
    assert record["text"] == "a human wrote"
    assert record["pred_text"]
    assert record["pred_text_asr"]["backend"] == "pocketsphinx"


def test_what_a_stage_made_is_heard_beside_the_original(spoken, tmp_path):
    """A part of a recording whose resynthesis is another sentence: it is heard whole, its own text kept."""
    made = write_wav(tmp_path / "made.wav", speak(SENTENCES[0], "rms"))
    record = {"audio_filepath": str(spoken[0]), "offset": 0.5, "duration": 9.0, "text": "own"}
    seconds = audio.probe(made).duration_s
    both = [{**record, "sts_filepath": str(made), "sts_duration": seconds}, {**record, "offset": 0.6}]
    manifest = write(tmp_path / "m.json", both)
    asr(manifest, "--backend", "pocketsphinx", "--audio-field", "sts_filepath", status=3)
    done, failed = read(manifest)
    assert len({"quick", "brown", "fox", "over", "lazy", "dog"} & set(done["sts_text"].split())) >= 3
    assert done["text"] == "own"
    assert done["sts_text_asr"]["audio_field"] == "sts_filepath"
    assert done["sts_text_asr_segments"][0]["end_s"] <= seconds
    assert "sts_text" not in failed


def test_bad_audio_costs_itself_only_and_silence_is_flagged(spoken, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(spoken[0].read_bytes()[:1000])
    shutil.copy(spoken[0], tmp_path / "a name, with 'quotes' \n and more.wav")
    records = [
        {"audio_filepath": str(spoken[0])},
        {"audio_filepath": str(tmp_path / "missing.wav")},
        {"audio_filepath": str(broken)},
        {"audio_filepath": str(write_wav(tmp_path / "empty.wav", np.zeros(0)))},
        {"audio_filepath": str(write_wav(tmp_path / "short.wav", tone(0.003)))},
        {"audio_filepath": str(write_wav(tmp_path / "silence.wav", np.zeros(5 * RATE)))},
        {"audio_filepath": str(write_wav(tmp_path / "nan.wav", np.full(RATE, np.nan), subtype="FLOAT"))},
        {"audio_filepath": str(tmp_path / "a name, with 'quotes' \n and more.wav")},
        {"audio_filepath": str(spoken[0]), "id": "told", "speech": []},
    ]
    manifest = write(tmp_path / "m.json", [{"duration": 3.0, **record} for record in records])
    done = asr(manifest, "--backend", "pocketsphinx", "--max-error-rate", "0.9", "--batch-size", "9")
    found = read(manifest)
    assert found[0]["text"] == found[7]["text"] != ""
    for index in (1, 2, 3, 6):
        assert "text" not in found[index]
        assert f"{records[index]['audio_filepath']}: " in done.stderr
    for index in (4, 5, 8):
        assert found[index]["text"] == ""
        assert found[index]["asr"]["flags"] == ["no_speech"]
        assert found[index]["asr_segments"] == []
    assert found[8]["asr"]["vad"] == "speech"


@pytest.mark.parametrize("known", [True, False], ids=["speech given", "speech sought"])
@pytest.mark.parametrize("streamed", [False, True], ids=["read whole", "streamed"])
def test_a_long_record_is_cut_and_joined_with_its_times(
    long_recording, known, streamed, tmp_path, monkeypatch
):
    path, duration_s, starts = long_recording
    record = {"audio_filepath": str(path), "duration": duration_s}
    name, find_speech = any_vad.load()
    if known:
        record["speech"] = find_speech([audio.load_mono(path)])
    if streamed:
        monkeypatch.setattr(transcribing, "LONG_S", 1.0)
    heard = []

    def recognise(clips):
        heard.extend(len(clip) / RATE for clip in clips)
        return [
            {"text": f"{len(clip) / RATE:.1f}", "words": [{"start_s": 0.2, "end_s": 0.5, "word": "x"}]}
            for clip in clips
        ]

    transcriber = transcribing.Transcriber(recognise, find_speech, name, 100.0, 5.0)
    (found,) = transcriber.records([record])
    assert max(heard) <= 5.0
    assert len(found["segments"]) == 4
    assert found["vad"] == ("speech" if known else name)
    assert found["flags"] == []
    assert found["text"].split() == [segment["text"] for segment in found["segments"]]
    for segment, start_s in zip(found["segments"], starts):
        assert segment["start_s"] == pytest.approx(start_s, abs=0.35)
        assert segment["words"][0]["start_s"] == pytest.approx(start_s, abs=0.5)


def test_a_clip_that_breaks_the_batch_is_found_by_halving(long_recording):
    path, _duration_s, _ = long_recording
    pause = {
        "audio_filepath": str(path),
        "duration": 2.0,
        "offset": 0.0,
        "speech": [{"start_s": 0.0, "end_s": 2.0}],
    }
    records = [pause, dict(pause, duration=1.0), dict(pause, offset=1.0), dict(pause, offset=2.0)]
    lengths = []

    def recognise(clips):
        lengths.append(len(clips))
        if any(len(clip) == RATE for clip in clips):
            raise RuntimeError("one second is not to my taste")
        return [{"text": "fine"} for _ in clips]

    transcriber = transcribing.Transcriber(
        recognise, any_vad.load()[1], "silero", 1000.0, 40.0, log=lambda _: None
    )
    found = transcriber.records(records)
    assert [isinstance(item, RuntimeError) for item in found] == [False, True, False, False]
    assert lengths[0] == 4


def test_out_of_memory_halves_the_batches_for_good(long_recording):
    path, _, _ = long_recording
    records = [
        {
            "audio_filepath": str(path),
            "duration": 4.0,
            "offset": k * 0.1,
            "speech": [{"start_s": 0.0, "end_s": 4.0}],
        }
        for k in range(16)
    ]
    sizes, said = [], []

    def recognise(clips):
        sizes.append(len(clips))
        if len(clips) > 4:
            raise MemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [{"text": "fine"} for _ in clips]

    transcriber = transcribing.Transcriber(recognise, any_vad.load()[1], "silero", 64.0, 4.0, log=said.append)
    assert all(item["text"] == "fine" for item in transcriber.records(records))
    assert transcriber.batch_s == 16.0
    sizes.clear()
    transcriber.records(records)
    assert sizes == [4, 4, 4, 4]
    assert any("out of memory" in line for line in said)


def test_a_broken_gpu_ends_the_process_not_the_record(spoken):
    def recognise(clips):
        raise RuntimeError("CUDA error: device-side assert triggered")

    transcriber = transcribing.Transcriber(recognise, any_vad.load()[1], "silero", 64.0, 40.0)
    with pytest.raises(RuntimeError, match="CUDA error"):
        transcriber.records([{"audio_filepath": str(spoken[0]), "speech": [{"start_s": 0.0, "end_s": 1.0}]}])


def test_flags_say_what_the_text_hides(spoken):
    def recognise(clips):
        return [{"text": " ", "truncated": True} for _ in clips]

    transcriber = transcribing.Transcriber(
        recognise, any_vad.load()[1], "silero", 64.0, 40.0, log=lambda _: None
    )
    (found,) = transcriber.records([{"audio_filepath": str(spoken[0])}])
    assert found["flags"] == ["empty", "truncated"]


def test_the_energy_rule_cuts_at_pauses(long_recording):
    _, _, starts = long_recording
    samples = audio.load_mono(long_recording[0])
    find_speech = any_vad.find_by_energy
    found = find_speech(np.array_split(samples, 7))
    for start_s in starts:
        assert any(abs(part["start_s"] - start_s) < 0.35 for part in found)
    assert find_speech([np.zeros(RATE, np.float32)]) == []
    assert find_speech([]) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--timestamps"], "canary knows no times"),
        (["--backend", "nemo"], "needs --model"),
        (["--backend", "pocketsphinx", "--model", "x"], "model of its package only"),
        (["--max-duration-s", "0"], "not above 0 s"),
    ],
)
def test_a_bad_call_says_so(words, said, tmp_path):
    assert said in asr(tmp_path / "m.json", *words, status=2).stderr


def test_a_local_model_is_known_by_its_content(tmp_path):
    (tmp_path / "a.nemo").write_bytes(b"weights")
    (tmp_path / "b.nemo").write_bytes(b"weighty")
    first = hub.revision_of(str(tmp_path / "a.nemo"))
    assert first.startswith("7:sha256:")
    assert first != hub.revision_of(str(tmp_path / "b.nemo"))
    assert hub.name_of(str(tmp_path / "a.nemo")) == "a.nemo"
    assert hub.name_of("nvidia/canary-qwen-2.5b") == "nvidia/canary-qwen-2.5b"
