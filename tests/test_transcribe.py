"""transcribe.py without Whisper: the embedded recogniser, audio and text as input, clips, others' flags."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import transcribe as transcribing
from conftest import REPOSITORY
from media import audio, sentences
from media.cutting import Piece
from media.word_transcriber import WordTranscriber
from speech import SENTENCES, speak, write_wav

RATE = 16_000


def transcribe(*words, status=0, cwd=None):
    command = [sys.executable, str(REPOSITORY / "scripts/transcribe.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A folder with one sentence, one at 44.1 kHz in stereo, and a file that is no sound."""
    import soxr

    folder = tmp_path_factory.mktemp("spoken") / "talks"
    folder.mkdir()
    write_wav(folder / "fox.wav", speak(SENTENCES[0], "rms"))
    sound = soxr.resample(speak("the birch canoe", "slt"), RATE, 44_100)
    write_wav(folder / "stereo.wav", np.stack([sound, sound], axis=1), 44_100)
    (folder / "torn.wav").write_bytes(b"RIFF but no sound")
    (folder / "fox.txt").write_text("The quick brown fox.")
    return folder


def test_a_folder_becomes_a_manifest_with_words_and_clips(spoken, tmp_path):
    """As Nymph is called: INPUT OUTPUT_DIR, its flags too; given again, nothing is left to do."""
    words = [spoken, "out", "--backend", "pocketsphinx", "--clips", "--tmp_dir", "t", "--sample_rate", 8000,
             "--no_diarize", "--device", "cpu", "--sentiment_model", "x/y",
             "--max-error-rate", 0.5]  # fmt: skip
    said = transcribe(*words, cwd=tmp_path)
    assert "--tmp-dir: not needed" in said
    assert "type: python scripts/tag_emotion.py out/talks.json --model x/y" in said
    assert "1 text files beside the audio are left alone" in said
    fox, stereo, torn = read(tmp_path / "out/talks.json")
    assert "whisperx" not in torn
    assert len({"quick", "brown", "fox", "over", "lazy", "dog"} & set(fox["whisperx_text"].split())) >= 3
    assert (fox["lang"], fox["whisperx_model"].split()[:2]) == ("en", ["pocketsphinx", "en-us"])
    (segment,) = fox["whisperx"]
    assert segment["text"] == " ".join(word["word"] for word in segment["words"]) == fox["whisperx_text"]
    assert segment["start_s"] == segment["words"][0]["start_s"]
    assert segment["words"][-1]["end_s"] == segment["end_s"] <= fox["duration"]
    clips = read(tmp_path / "out/talks_clips.json")
    assert [clip["parent"] for clip in clips] == [fox["audio_filepath"], stereo["audio_filepath"]]
    assert clips[0]["audio_filepath"].startswith(str(tmp_path / "out/clips/"))
    info = audio.probe(clips[0]["audio_filepath"])
    assert (info.sample_rate_hz, info.channels) == (8000, 1)
    assert info.duration_s == pytest.approx(segment["end_s"] - segment["start_s"], abs=0.002)
    assert clips[0]["words"][0]["start_s"] == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.wav")}
    assert "goes on with out/talks.json" in transcribe(*words, cwd=tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.wav")}


def test_clips_are_cut_where_the_manifest_was_transcribed_before(spoken, tmp_path):
    """A stage made the segments, this one only cuts; what later stages gave to a clip stays."""
    words = [{"word": "fox", "start_s": 0.5, "end_s": 0.9}, {"word": "7"}]
    segments = [{"start_s": 0.4, "end_s": 1.0, "text": "fox 7", "speaker": "A", "words": words}]
    record = {"audio_filepath": str(spoken / "fox.wav"), "id": "f", "duration": 2.0, "lang": "de"}
    manifest = write(tmp_path / "m.json", [{**record, "whisperx": segments}, {"id": "t", "text": "no audio"}])
    run = [manifest, "--backend", "pocketsphinx", "--clips", "--max-error-rate", 1]
    transcribe(*run, cwd=tmp_path)
    (clip,) = read(tmp_path / "m_clips.json")
    made = str(tmp_path / "output/m_clips" / str(spoken).lstrip("/") / "fox_400-1000.wav")
    assert clip == {
        "audio_filepath": made, "duration": 0.6, "lang": "de", "id": "f_0000400-0001000", "parent": "f",
        "text": "fox 7", "speaker": "A", "parent_filepath": record["audio_filepath"],
        "start_s": 0.4, "end_s": 1.0,
        "words": [{"word": "fox", "start_s": 0.1, "end_s": 0.5}, {"word": "7"}],
    }  # fmt: skip
    write(tmp_path / "m_clips.json", [{**clip, "emotion": {"label": "joy"}}])
    transcribe(*run, cwd=tmp_path)
    assert read(tmp_path / "m_clips.json")[0]["emotion"] == {"label": "joy"}


def test_clips_of_an_array_are_listed_by_the_command_without_it(spoken, tmp_path):
    records = [{"audio_filepath": str(spoken / name), "duration": 2.0} for name in ("fox.wav", "stereo.wav")]
    manifest = write(tmp_path / "m.json", records)
    run = [manifest, "--backend", "pocketsphinx", "--clips"]
    for shard in (0, 1):
        transcribe(*run, "--num-shards", 2, "--shard-index", shard, cwd=tmp_path)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "output").rglob("*.wav")}
    assert len(made) == 2
    assert not (tmp_path / "m_clips.json").exists()
    merge = [sys.executable, str(REPOSITORY / "scripts/merge_manifest.py"), "--manifest", str(manifest)]
    subprocess.run(merge, check=True, capture_output=True)
    transcribe(*run, cwd=tmp_path)
    assert sorted(made) == sorted(Path(clip["audio_filepath"]) for clip in read(tmp_path / "m_clips.json"))
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "output").rglob("*.wav")}


def test_a_text_file_becomes_a_record_a_sentence(tmp_path):
    (tmp_path / "book.txt").write_text("\ufeffDr. Li paid $3.50. 12 34\nWhy? 😀\n\nThe end", encoding="utf-8")
    said = transcribe(tmp_path / "book.txt", tmp_path, "--sentiment-model", "m")
    assert f"next: python scripts/tag_emotion.py {tmp_path}/book.json --model m" in said
    path = str(tmp_path / "book.txt")
    texts = ["Dr. Li paid $3.50.", "12 34 Why?", "😀", "The end"]
    assert read(tmp_path / "book.json") == [
        {"id": f"book_{n:05d}", "text": text, "text_filepath": path, "sentence": n}
        for n, text in enumerate(texts)
    ]
    assert "there already" in transcribe(tmp_path / "book.txt", tmp_path, status=2)


def test_a_folder_of_text_keeps_its_paths_apart(tmp_path):
    folder = tmp_path / "texts"
    for name, text in {"a/x.txt": "One. Two.", "b/x.txt": "Three", "empty.txt": " \n"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "latin.txt").write_bytes("déjà".encode("latin-1"))
    said = transcribe(folder, cwd=tmp_path)
    records = read(tmp_path / "metadata/texts.json")
    assert [(record["id"], record["text"]) for record in records] == [
        ("a/x_00000", "One."), ("a/x_00001", "Two."), ("b/x_00000", "Three")]  # fmt: skip
    assert not {"audio_filepath", "duration"} & set().union(*records)
    assert "text files left out: 1" in said
    assert "latin.txt: byte 1 is not UTF-8" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He met Mr. J. R. Smith. They left.", ["He met Mr. J. R. Smith.", "They left."]),
        ("Wait... what? “Yes!” she said.", ["Wait... what?", "“Yes!” she said."]),
        ("It is I. You know.", ["It is I.", "You know."]),
        ("你好吗？我很好。", ["你好吗？", "我很好。"]),
        ("  \n ", []),
        ("no stop", ["no stop"]),
    ],
)
def test_sentences_end_where_readers_end_them(text, expected):
    assert sentences.split(text) == expected
    assert [text[start:end] for start, end in sentences.spans(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the birch canoe\nglue the sheet\n", ["the birch canoe", "glue the sheet"]),
        ("It was a\nlong line. And\nthe next.\n\nNew", ["It was a long line.", "And the next.", "New"]),
        ("word " * 10_000, [("word " * 10_000).strip()]),
    ],
)
def test_lines_are_utterances_unless_they_are_running_text(text, expected, tmp_path):
    (tmp_path / "t.txt").write_text(text)
    assert list(sentences.sentences_of(str(tmp_path / "t.txt"))) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no.json"], "no such file or folder"),
        (["a.doc"], "found another kind of file"),
        (["nothing/"], "found neither audio nor text"),
        (["m.json"], "whisperx is not in this environment"),
        (["m.json", "--backend", "pocketsphinx", "--whisper-model", "medium"], "its package only"),
        (["m.json", "--backend", "pocketsphinx", "--vad", "pyannote"], "no pyannote; leave it out"),
        (["m.json", "--backend", "pocketsphinx", "--language", "kl"], "'kl' is none of Whisper's"),
        (["m.json", "--min-speakers", "0"], "not at least 1"),
    ],
)  # fmt: skip
def test_a_bad_call_says_so(words, said, tmp_path):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "a.doc").write_text("x")
    write(tmp_path / "m.json", [{"id": "x"}])
    assert said in transcribe(*words, status=2, cwd=tmp_path)


def test_a_folder_is_not_listed_by_each_task_of_an_array(spoken, tmp_path, monkeypatch):
    monkeypatch.setenv("AMELA_LAUNCHER", "slurm/transcribe.slurm")
    for name, value in {"JOB_ID": 7, "ARRAY_JOB_ID": 7, "ARRAY_TASK_ID": 0, "ARRAY_TASK_COUNT": 2}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    said = transcribe(spoken, cwd=tmp_path, status=2)
    assert f"manifest_tools.py convert {spoken} metadata/NAME.json" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("keeps", "lang"), [(True, {}), (False, {"lang": "en"})])
def test_a_language_that_is_there_stays_unless_overwritten(keeps, lang, tmp_path):
    path = write_wav(tmp_path / "a.wav", np.zeros(RATE))
    model = WordTranscriber(lambda *_: [Piece(0.0, 1.0, 0.0, 1.0)], Echo()), "model", None, keeps
    (fields,) = transcribing.process(model, [{"audio_filepath": str(path), "lang": "de"}])
    assert {name: value for name, value in fields.items() if name == "lang"} == lang
    assert fields["whisperx_text"] == "en 1.0"


class Echo:
    """A recogniser that says how long a clip is, and in which language it was told to hear it."""

    calls: tuple = ()

    def detect(self, samples):
        return "fr" if samples.max() > 0.5 else "en"

    def recognise(self, clips, lang):
        self.calls += ((lang, len(clips)),)
        return [[{"text": f" {lang} {len(clip) / RATE:.1f} "}] for clip in clips]


def test_records_of_one_language_are_recognised_together(tmp_path):
    """Their pieces fill one batch; an error is its record's own, numbers are finite, words may lack times."""
    levels = (0.1, 0.9, 0.1)
    records = [{"audio_filepath": str(write_wav(tmp_path / f"{n}.wav", np.full(2 * RATE, level)))}
               for n, level in enumerate(levels)]  # fmt: skip
    records += [{"audio_filepath": str(tmp_path / "missing.wav")}, {"id": "text"}]
    echo = Echo()

    def align(segments, _, lang):
        if lang == "fr":
            raise ValueError("no such sound")
        words = [{"word": "en", "start": np.float64(0.5), "end": np.float64(0.75), "score": float("nan")},
                 {"word": "2.0"}]  # fmt: skip
        return [{**segment, "words": words} for segment in segments]

    pieces = [Piece(0.0, 1.0, 0.1, 0.9), Piece(1.0, 1.5, 1.0, 1.5)]
    found = WordTranscriber(lambda *_: pieces, echo, align=align).records(records)
    assert echo.calls == (("en", 4), ("fr", 2))
    assert found[0] == found[2]
    assert found[0]["text"] == "en 1.0 en 0.5"
    assert found[0]["segments"][0] == {
        "start_s": 0.0, "end_s": 1.0, "text": "en 1.0",
        "words": [{"word": "en", "start_s": 0.5, "end_s": 0.75}, {"word": "2.0"}],
    }  # fmt: skip
    assert [str(one).split(": ")[-1] for one in found if isinstance(one, Exception)] == [
        "no such sound", "No such file or directory",
        "no audio_filepath in the record; wanted audio"]  # fmt: skip


def test_a_broken_gpu_is_no_error_of_a_record(tmp_path):
    path = write_wav(tmp_path / "a.wav", np.zeros(RATE))
    broken = WordTranscriber(
        lambda *_: (_ for _ in ()).throw(RuntimeError("CUDA failed with error 700")), Echo()
    )
    with pytest.raises(RuntimeError, match="CUDA failed"):
        broken.records([{"audio_filepath": str(path)}])
