"""asr.py with real NeMo code: tiny random models built on the spot, real speech, no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "scripts"), str(TESTS / "envs")]
os.environ["HF_HUB_OFFLINE"] = "1"  # before NeMo: nothing here may ask a network

import nemo_models  # noqa: E402

from media import any_vad, audio, canary, hub, nemo_asr, transcribing  # noqa: E402
from speech import SENTENCES, real_speech, speak, write_wav  # noqa: E402

SCRIPT = TESTS.parent / "scripts" / "asr.py"
PROMPT, TOKENS = "Transcribe the following: ", 24


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """All three, built before any is restored: a restore leaves paths behind in NeMo that break the next
    build.
    """
    folder = tmp_path_factory.mktemp("models")
    salm = nemo_models.build_salm(folder)
    return (
        salm,
        nemo_models.build_ctc(folder / "ctc.nemo"),
        nemo_models.build_multitask(folder / "multitask.nemo"),
    )


@pytest.fixture(scope="module")
def salm(models):
    return models[0]


@pytest.fixture(scope="module")
def ctc(models):
    return models[1]


@pytest.fixture(scope="module")
def multitask(models):
    return models[2]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Speech of 2 to 20 s as 16 kHz mono files, and all of it four times over as one of more than 100 s."""
    folder = tmp_path_factory.mktemp("speech")
    real = real_speech()
    if real is not None:
        clips = [audio.load_mono(path) for path in sorted((real / "asr").glob("*.wav"))]
    else:
        clips = [
            speak(sentence, voice).astype(np.float32) for sentence in SENTENCES for voice in ("slt", "rms")
        ]
    paths = [write_wav(folder / f"clip_{index}.wav", clip) for index, clip in enumerate(clips)]
    pause = np.zeros(8000, np.float32)
    return paths, write_wav(
        folder / "long.wav", np.concatenate([part for clip in clips * 4 for part in (pause, clip)])
    )


def record_of(path, **more):
    return {"audio_filepath": str(path), "duration": audio.probe(path).duration_s, **more}


def run(manifest, *words, status=0, **environment):
    command = [sys.executable, str(SCRIPT), str(manifest), "--device", "cpu", "--offline", *map(str, words)]
    env = {**os.environ, "WANDB_MODE": "disabled", **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_canary_gives_what_nemo_itself_gives_for_the_files(salm, recordings):
    """Our tensors, batched and padded, against NeMo's own way by paths, one file at a time."""
    from nemo.collections.speechlm2.models import SALM

    paths, _ = recordings
    recognise = canary.load(str(salm), "cpu", "float32", PROMPT, TOKENS)
    ours = recognise([audio.load_mono(path) for path in paths])
    model = SALM.from_pretrained(str(salm), strict=True).eval()
    for path, heard in zip(paths, ours):
        turn = {"role": "user", "content": f"{PROMPT}{model.audio_locator_tag}", "audio": [str(path)]}
        ids = model.generate(prompts=[[turn]], max_new_tokens=TOKENS)[0].tolist()
        ids = ids[: ids.index(model.text_eos_id)] if model.text_eos_id in ids else ids
        assert heard["text"] == model.tokenizer.ids_to_text(ids).strip()
    assert len({heard["text"] for heard in ours}) > len(paths) // 2  # the random model does listen


def test_canary_end_to_end(salm, recordings, tmp_path):
    paths, long = recordings
    broken = tmp_path / "broken.wav"
    broken.write_bytes(paths[0].read_bytes()[:2000])
    silence = write_wav(tmp_path / "silence.wav", np.zeros(32_000))
    records = [
        *map(record_of, paths),
        record_of(long),
        {"audio_filepath": str(broken), "duration": 2.0},
        record_of(silence),
    ]
    manifest = write(tmp_path / "m.json", records)
    words = ["--model", salm, "--dtype", "float32", "--max-new-tokens", TOKENS, "--max-error-rate", "0.5"]
    done = run(manifest, *words)
    found = read(manifest)
    assert "padding" in done.stdout
    assert "text" not in found[-2]
    assert str(broken) in done.stderr
    assert (found[-1]["text"], found[-1]["asr"]["flags"]) == ("", ["no_speech"])
    settings = {
        key: found[0]["asr"][key] for key in ("backend", "model", "dtype", "max_duration_s", "prompt")
    }
    assert settings == {
        "backend": "canary",
        "model": "salm",
        "dtype": "float32",
        "max_duration_s": 40.0,
        "prompt": PROMPT,
    }
    assert "sha256" in found[0]["asr"]["revision"]
    long_one = found[len(paths)]
    assert len(long_one["asr_segments"]) >= 2
    assert all(segment["end_s"] - segment["start_s"] <= 40.0 for segment in long_one["asr_segments"])
    assert long_one["text"] == " ".join(segment["text"] for segment in long_one["asr_segments"])
    assert "truncated" in long_one["asr"]["flags"]  # a random model knows no end
    small = write(tmp_path / "small.json", records)
    run(small, *words, "--batch-s", "1", "--batch-size", "3")
    assert read(small) == found  # batches of one, and the same bytes: no batch size shows in a result


def test_bfloat16_holds_the_weights_in_16_bits(salm, recordings):
    import torch

    paths, _ = recordings
    before = torch.get_default_dtype()
    recognise = canary.load(str(salm), "cpu", "bfloat16", PROMPT, TOKENS)
    assert all(
        isinstance(heard["text"], str) for heard in recognise([audio.load_mono(path) for path in paths[:2]])
    )
    model = next(
        cell.cell_contents
        for cell in recognise.__closure__
        if isinstance(cell.cell_contents, torch.nn.Module)
    )
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert torch.get_default_dtype() == before


def test_weights_that_do_not_fit_are_refused(salm, recordings, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(salm, tmp_path / "salm")
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "encoder" in name and name.endswith("weight"))
    del weights[lost]
    save_file(weights, folder / "model.safetensors")
    manifest = write(tmp_path / "m.json", [record_of(recordings[0][0])])
    assert lost in run(manifest, "--model", folder, "--max-new-tokens", TOKENS, status=1).stderr
    assert "text" not in read(manifest)[0]


def test_ctc_with_times_of_words(ctc, recordings, tmp_path):
    paths, long = recordings
    manifest = write(tmp_path / "m.json", [*map(record_of, paths), record_of(long)])
    run(manifest, "--backend", "nemo", "--model", ctc, "--timestamps")
    for record in read(manifest):
        assert record["text"]
        for segment in record["asr_segments"]:
            words = segment["words"]
            assert " ".join(word["word"] for word in words) == " ".join(segment["text"].split())
            assert all(0 <= a["start_s"] <= b["start_s"] for a, b in zip(words, words[1:]))
            assert segment["start_s"] <= words[0]["start_s"]
            assert words[-1]["end_s"] <= segment["end_s"] <= record["duration"] + 0.001
    assert read(manifest)[0]["asr"]["timestamps"] is True


def test_ctc_gives_what_nemo_itself_gives_for_the_files(ctc, recordings):
    from nemo.collections.asr.models import ASRModel

    paths, _ = recordings
    ours = nemo_asr.load(str(ctc), "cpu", "float32", False, "en", "en")(
        [audio.load_mono(path) for path in paths]
    )
    model = ASRModel.restore_from(str(ctc), map_location="cpu").eval()
    theirs = [model.transcribe([str(path)], batch_size=1, verbose=False)[0] for path in paths]
    assert [heard["text"] for heard in ours] == [found.text.strip() for found in theirs]


def test_multitask_is_told_the_languages(multitask, recordings, tmp_path):
    manifest = write(tmp_path / "m.json", [record_of(path) for path in recordings[0][:3]])
    words = ["--backend", "nemo", "--model", multitask]
    run(manifest, *words, "--source-lang", "en", "--target-lang", "de")
    assert [read(manifest)[0]["asr"][key] for key in ("source_lang", "target_lang")] == ["en", "de"]
    done = run(manifest, *words, "--source-lang", "xx", "--fresh", status=2)
    assert "ERROR: the model cannot transcribe as asked" in done.stderr
    assert "source_lang=xx" in done.stderr


def test_a_model_of_the_hub_runs_from_the_cache_at_its_commit(ctc, recordings, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "hub" / "models--lab--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    shutil.copy(ctc, folder / "snapshots" / commit / "tiny.nemo")
    manifest = write(tmp_path / "m.json", [record_of(recordings[0][0])])
    run(manifest, "--backend", "nemo", "--model", "lab/tiny", HF_HUB_CACHE=str(tmp_path / "hub"))
    assert (read(manifest)[0]["asr"]["model"], read(manifest)[0]["asr"]["revision"]) == ("lab/tiny", commit)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--backend", "nemo", "--model", "/no/such.nemo"], "no such model file"),
        (["--model", "nvidia/not-in-the-cache"], "not in the cache"),
    ],
)
def test_a_model_that_is_not_there(words, said, tmp_path):
    assert said in run(tmp_path / "m.json", *words, status=2).stderr


def test_clips_of_any_length_pass(salm, ctc):
    for recognise in (
        canary.load(str(salm), "cpu", "float32", PROMPT, 4),
        nemo_asr.load(str(ctc), "cpu", "float32", True, "en", "en"),
    ):
        for samples in (1, 100, 400, 1600):
            assert isinstance(recognise([np.full(samples, 0.01, np.float32)])[0]["text"], str)


def test_vad_on_the_fly_is_silero_here():
    name, find_speech = any_vad.load()
    assert name == "silero"
    assert find_speech([np.zeros(16_000, np.float32)]) == []
    assert transcribing.Transcriber
    assert hub.is_local("/x.nemo")
