"""transcribe.py with real whisperx, pyannote, transformers: tiny random models built here, no network."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "scripts"), str(TESTS / "envs")]
os.environ.update(HF_HUB_OFFLINE="1", PYANNOTE_METRICS_ENABLED="0")  # before whisperx: nothing asks a network

import whisper_models  # noqa: E402

from media import aligners, audio, speech_pieces, whisper_names, word_backends  # noqa: E402
from media.errors import EngineError  # noqa: E402
from media.whisper_ct2 import Recogniser as Ct2  # noqa: E402
from media.whisper_pipeline import Recogniser as Pipeline  # noqa: E402
from speech import SENTENCES, speak, write_wav  # noqa: E402

SCRIPTS = TESTS.parent / "scripts"
RATE = 16_000


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Whisper for transformers and for CTranslate2, an aligner, a diarization pipeline."""
    folder = tmp_path_factory.mktemp("models")
    whisper = whisper_models.build_whisper(folder / "hf")
    return {
        "hf": whisper,
        "ct2": whisper_models.convert(whisper, folder / "ct2"),
        "aligner": whisper_models.build_aligner(folder / "aligner"),
        "diarizer": whisper_models.build_diarizer(folder / "diarizer"),
    }


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two voices at 16 kHz, one as 44.1 kHz stereo, a talk of 50 s, silence, 20 ms, and no sound."""
    import soxr

    folder = tmp_path_factory.mktemp("speech")
    pause = np.zeros(RATE)
    voices = [speak(SENTENCES[0], "slt"), pause, speak(SENTENCES[1], "kal16")]
    talk = np.concatenate([part for voice in ("slt", "rms") for text in SENTENCES * 2
                           for part in (speak(text, voice), pause)])  # fmt: skip
    stereo = soxr.resample(speak(SENTENCES[2], "awb"), RATE, 44_100)
    (folder / "corrupt.wav").write_bytes(b"RIFF but no sound")
    return {
        "two": write_wav(folder / "two.wav", np.concatenate(voices)),
        "stereo": write_wav(folder / "stereo.flac", np.stack([stereo, stereo], axis=1), 44_100),
        "talk": write_wav(folder / "talk.wav", talk),
        "silence": write_wav(folder / "silence.wav", np.zeros(5 * RATE)),
        "tiny": write_wav(folder / "tiny.wav", 0.1 * np.sin(np.arange(320))),
        "corrupt": folder / "corrupt.wav",
    }


def record_of(path: Path, **fields: object) -> dict:
    try:
        return {"audio_filepath": str(path), "duration": round(audio.probe(path).duration_s, 6), **fields}
    except audio.AudioError:
        return {"audio_filepath": str(path), "duration": 1.0, **fields}


def write(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


def command_of(models: dict[str, Path], manifest: Path, *words: object) -> list[str]:
    told = [str(word) for word in words]
    for flag, name in (("--model", "ct2"), ("--align-model", "aligner"), ("--diarize-model", "diarizer")):
        told += [] if flag in told else [flag, str(models[name])]
    return [str(SCRIPTS / "transcribe.py"), str(manifest), "--device", "cpu", "--offline", *told]


def run(models, manifest, *words, status=0) -> subprocess.CompletedProcess:
    done = subprocess.run([sys.executable, *command_of(models, manifest, *words)],
                          capture_output=True, text=True, timeout=300, cwd=manifest.parent)  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done


def numbers(value: object) -> list[float]:
    """All numbers in a value."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def test_text_pieces_and_words_are_those_of_whisperx_itself(models, recordings, tmp_path):
    """The stage against whisperx.load_model, transcribe and align, by their own voice activity model."""
    import whisperx

    manifest = write(tmp_path / "m.json", [record_of(recordings["talk"])])
    run(models, manifest, "--language", "en", "--no-diarize")
    (ours,) = read(manifest)
    samples = audio.load_mono(recordings["talk"])
    model = whisperx.load_model(str(models["ct2"]), "cpu", compute_type="float32", language="en", threads=1)
    theirs = model.transcribe(samples, batch_size=4)
    assert len(theirs["segments"]) > 1
    aligners.Aligner(str(models["aligner"]), "cpu", True, print)  # lets whisperx split sentences offline
    aligner = whisperx.load_align_model("en", "cpu", model_name=str(models["aligner"]))
    said = [{**one, "text": " ".join(one["text"].split())} for one in theirs["segments"]]
    aligned = whisperx.align([one for one in said if one["text"]], *aligner, samples, "cpu")["segments"]
    found = [segment for segment in ours["whisperx"] if segment.get("aligned", True)]
    assert len(found) > 1
    words = [(word["word"], word["start_s"], word["end_s"]) for one in found for word in one["words"]]
    expected = [(word["word"], round(float(word["start"]), 3), round(float(word["end"]), 3))
                for one in aligned for word in one["words"]]  # fmt: skip
    assert words == expected


def test_every_kind_of_record_gets_a_result_or_its_own_error(models, recordings, tmp_path):
    names = ("two", "stereo", "silence", "tiny", "corrupt")
    records = [record_of(recordings[name], id=name) for name in names]
    records += [record_of(recordings["two"], id="part", offset=1.0) | {"duration": 2.0}]
    manifest = write(tmp_path / "m.json", records)
    done = run(models, manifest, "--max-error-rate", "0.5", "--min-speakers", 2, "--max-speakers", 2)
    found = {record["id"]: record for record in read(manifest)}
    assert "whisperx" not in found["corrupt"]
    assert "corrupt.wav" in done.stderr
    for name in ("silence", "tiny"):
        assert (found[name]["whisperx"], found[name]["whisperx_text"], found[name]["lang"]) == ([], "", None)
    for name in ("two", "stereo", "part"):
        record = found[name]
        assert record["whisperx"]
        assert record["lang"] in whisper_names.LANGUAGES
        assert record["whisperx_model"].startswith("whisperx ct2 ")
        assert record["whisperx_text"] == " ".join(segment["text"] for segment in record["whisperx"])
        for segment in record["whisperx"]:
            assert 0 <= segment["start_s"] <= segment["end_s"] <= record["duration"] + 0.001
            words = [word["word"] for word in segment["words"]]
            assert segment["text"].split() == words or "aligned" in segment
            assert all(segment["start_s"] <= word["start_s"] <= word["end_s"] <= segment["end_s"] + 0.001
                       for word in segment["words"] if "start_s" in word)  # fmt: skip
        assert all(map(math.isfinite, numbers(record["whisperx"])))
    speakers = {word.get("speaker") for one in found["two"]["whisperx"] for word in one["words"]}
    assert speakers <= {"SPEAKER_00", "SPEAKER_01", None}
    assert speakers & {"SPEAKER_00", "SPEAKER_01"}
    assert {one.get("speaker") for one in found["two"]["whisperx"]} & {"SPEAKER_00", "SPEAKER_01"}


def test_an_array_gives_what_one_process_gives(models, recordings, tmp_path, checkout):
    """Through the launcher, three tasks, then the merge: the same bytes."""
    names = ("two", "stereo", "tiny") * 2
    records = [record_of(recordings[name], id=f"{name}{k}") for k, name in enumerate(names)]
    manifest = write(checkout / "metadata" / "m.json", records)
    alone = write(tmp_path / "m.json", records)
    run(models, alone, "--language", "en")
    words = command_of(models, manifest, "--language", "en")[1:]
    array = [sys.executable, "scripts/local_sbatch.py", "--array=0-2", "--gres=none", "--cpus-per-task=1",
             "slurm/transcribe.slurm", *words]  # fmt: skip
    env = {**os.environ, "AMELA_ENVS": str(checkout / "envs/.built"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(array, cwd=checkout, capture_output=True, text=True, timeout=400, env=env)
    logs = "".join(path.read_text()[-2000:] for path in (checkout / "logs").glob("*.err"))
    assert done.returncode == 0, done.stdout + logs
    assert len(list((checkout / "logs").glob("*.out"))) == 3
    merge = [sys.executable, "scripts/merge_manifest.py", "--manifest", str(manifest)]
    subprocess.run(merge, cwd=checkout, check=True, capture_output=True)
    assert manifest.read_bytes() == alone.read_bytes()


def test_a_language_without_an_aligner_keeps_its_segments(models, recordings, tmp_path):
    """A folder of aligners by language that has English only; one that is none; an unknown language."""
    folder = tmp_path / "aligners"
    folder.mkdir()
    (folder / "en").symlink_to(models["aligner"])
    (folder / "de").mkdir()  # nothing in it
    records = [record_of(recordings["two"], id=lang, lang=lang) for lang in ("en-GB", "de", "kl", "cy")]
    manifest = write(tmp_path / "m.json", records)
    done = run(models, manifest, "--language", "manifest", "--align-model", folder, "--no-diarize",
               "--max-error-rate", 0.6)  # fmt: skip
    english, german, greenlandic, welsh = read(manifest)
    assert english["lang"] == "en-GB"  # it is the record's own
    assert any(word["end_s"] > 0 for segment in english["whisperx"] for word in segment["words"])
    assert welsh["whisperx"]
    assert all(one["aligned"] is False and one["words"] == [] and one["text"] for one in welsh["whisperx"])
    assert "whisperx" not in german
    assert "the aligner of language de" in done.stderr
    assert "whisperx" not in greenlandic
    assert "'kl' is none of Whisper's" in done.stderr
    assert done.stdout.count("no aligner for language cy") == 1


def test_words_keep_their_digits_and_a_hopeless_segment_stays(models, recordings):
    aligner = aligners.Aligner(str(models["aligner"]), "cpu", offline=True, log=lambda _: None)
    samples = audio.load_mono(recordings["two"])
    said = [{"text": "glue 42 sheets. No!", "start": 0.2, "end": 2.2},
            {"text": "letter " * 300, "start": 2.2, "end": 2.3}]  # fmt: skip
    first, second, hopeless = aligner.align(said, samples, "en")
    assert [word["word"] for word in first["words"]] == ["glue", "42", "sheets."]
    assert [word["word"] for word in second["words"]] == ["No!"]
    assert hopeless == {**said[1], "words": [], "aligned": False}
    assert "aligned" not in first


def test_aligners_are_loaded_once_a_language(models, monkeypatch):
    from whisperx import alignment

    loads = []
    real = alignment.load_align_model

    def load(lang, *args, **options):
        loads.append(lang)
        return real(lang, *args, **options)

    monkeypatch.setattr(alignment, "load_align_model", load)
    aligner = aligners.Aligner(str(models["aligner"]), "cpu", offline=True, log=lambda _: None)
    samples = np.zeros(RATE, np.float32)
    for lang in ("en", "de", "en", "de", "en"):
        aligner.align([{"text": "a", "start": 0.0, "end": 1.0}], samples, lang)
    assert loads == ["en", "de"]


def test_the_languages_that_both_recognisers_hear_agree(models, recordings):
    """CTranslate2's and transformers' detection by the same weights; and texts depend on what is heard."""
    clips = [audio.load_mono(recordings["two"])[:RATE], audio.load_mono(recordings["talk"])[: 20 * RATE]]
    ct2 = Ct2(str(models["ct2"]), "cpu", "float32", 2, 1)
    pipeline = Pipeline(str(models["hf"]), "cpu", "float32", 2)
    assert [ct2.detect(clip) for clip in clips] == [pipeline.detect(clip) for clip in clips]
    for recogniser in (ct2, pipeline):
        first, second = recogniser.recognise(clips, "en")
        assert first != second
        assert recogniser.recognise(clips[:1], "en") == [first]


@pytest.mark.parametrize("vad", ["pyannote", "silero", "manifest"])
def test_each_vad_finds_the_speech_between_the_pauses(vad, recordings):
    path = recordings["talk"]
    samples = audio.load_mono(path)
    told = [{"start_s": 0.0, "end_s": 12.0}, {"start_s": 14.0, "end_s": 49.0}]  # one longer than a piece
    pieces = speech_pieces.load(vad, 30.0, "cpu")({"speech": told}, samples)
    assert len(pieces) > 1
    assert all(piece.end_s - piece.start_s <= 30.0 + 0.1 for piece in pieces)
    assert all(one.end_s <= two.start_s + 0.001 for one, two in zip(pieces, pieces[1:]))
    assert sum(piece.end_s - piece.start_s for piece in pieces) > 0.6 * len(samples) / RATE
    assert speech_pieces.load(vad, 30.0, "cpu")({"speech": []}, np.zeros(2 * RATE, np.float32)) == []


def test_transformers_pipeline_end_to_end(models, recordings, tmp_path):
    records = [record_of(recordings[name]) for name in ("two", "silence", "stereo")]
    manifest = write(tmp_path / "m.json", records)
    done = run(models, manifest, "--backend", "transformers", "--model", models["hf"], "--vad", "silero",
               "--no-diarize")  # fmt: skip
    two, silence, stereo = read(manifest)
    assert silence["whisperx"] == []
    assert two["whisperx_text"] != stereo["whisperx_text"] != ""
    assert two["whisperx_model"].startswith("transformers hf ")
    assert "Whisper did not predict" not in done.stderr  # no warning a record in the logs


def test_clips_are_the_segments_of_the_recording(models, recordings, tmp_path):
    records = [record_of(recordings["stereo"], id="s"), record_of(recordings["talk"])]
    manifest = write(tmp_path / "m.json", records)
    run(models, manifest, "--clips", "--language", "en", "--no-diarize", tmp_path / "clips")
    clips, records = read(tmp_path / "m_clips.json"), read(manifest)
    assert len(clips) == sum(len(record["whisperx"]) for record in records)
    whole = audio.load_mono(recordings["stereo"], 44_100)
    clip = clips[0]
    assert (clip["parent"], clip["parent_filepath"]) == ("s", str(recordings["stereo"]))
    cut = whole[round(clip["start_s"] * 44_100) :][: round(clip["duration"] * 44_100)]
    assert audio.probe(clip["audio_filepath"]).sample_rate_hz == 44_100
    assert np.abs(audio.load_mono(clip["audio_filepath"], 44_100) - cut).max() < 1e-3
    assert clip["words"][0]["start_s"] <= 0.1
    assert "offset" not in clip


def test_a_model_that_is_not_there_ends_the_call(models, recordings, tmp_path):
    manifest = write(tmp_path / "m.json", [record_of(recordings["two"])])
    assert "not in the cache" in run(models, manifest, "--model", "large-v3", status=2).stderr
    said = run(models, manifest, "--diarize-model", models["aligner"], status=2).stderr
    assert "config.yaml" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "hf"}, "wanted a model of CTranslate2"),
        ({"compute_type": "float16"}, "--compute-type of this device"),
        ({"align_model": "", "language": "nl"}, "the aligner of language nl .* wanted --align-model DIR"),
        ({"align_model": "diarizer", "language": "en"}, None),  # a folder of languages, without this one
        ({"backend": "transformers", "model": "ct2"}, "wanted a Whisper of transformers"),
    ],
)
def test_a_model_that_is_none_says_what_was_wanted(options, said, models):
    asked = {"backend": "whisperx", "model": "ct2", "language": "auto", "compute_type": "default",
             "vad": "manifest", "align": True, "align_model": "aligner", "diarize": False,
             "diarize_model": "", "min_speakers": None, "max_speakers": None, **options}  # fmt: skip
    for name in ("model", "align_model"):
        asked[name] = str(models.get(asked[name], asked[name]))
    choice = word_backends.Choice(**asked)
    heard: list[str] = []
    if said is None:
        word_backends.load(choice, choice.settings(), "cpu", 1, 1, heard.append)
        assert any("no aligner for language en" in line for line in heard)
    else:
        with pytest.raises(EngineError, match=said):
            word_backends.load(choice, choice.settings(), "cpu", 1, 1, heard.append)


def test_short_names_are_those_of_faster_whisper_and_of_whisper():
    from faster_whisper.tokenizer import _LANGUAGE_CODES
    from faster_whisper.utils import _MODELS

    assert {name: whisper_names.repo_of(name, "whisperx") for name in _MODELS} == _MODELS
    assert sorted(whisper_names.LANGUAGES) == sorted(_LANGUAGE_CODES)
    assert whisper_names.repo_of("large-v3", "transformers") == "openai/whisper-large-v3"
