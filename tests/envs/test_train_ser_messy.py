"""train_ser.py on data as people have them: what it trains on, what it refuses, and when."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import ser_runs as ser
import soundfile
import torch
import training_runs as runs

from networks.ser_backbones import load_backbone

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TONE = ser.wave(0, 1.0, 1)
SOUNDS = {  # name: samples, rate
    "silence.wav": (np.zeros(8000, np.float32), 16_000),
    "stereo.wav": (np.stack([TONE, -TONE], 1), 16_000),
    "telephone.wav": (TONE[:4000], 8_000),
    "cd.flac": (TONE, 44_100),
    "some.mp3": (TONE, 16_000),
    "some.ogg": (TONE, 16_000),
    "long.wav": (np.tile(TONE, 8), 16_000),  # three windows of the tiny Whisper
}
WORDS = (["Go,", "now!"], ["", "go"], [""], [], ["日本", "\ud800"], ["go now"], ["stay"] * 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("messy") / "data"
    ser.write_data(folder)
    for kind in ("xlsr", "whisper"):
        ser.backbone(folder / kind, kind)
    for name, (samples, rate_hz) in SOUNDS.items():
        soundfile.write(folder / "AUDIO" / name, samples, rate_hz)
    (folder / "AUDIO/nan.wav").symlink_to(folder / "nan.wav")
    soundfile.write(folder / "AUDIO/short.wav", TONE[:160], 16_000)
    return folder


def typed(kind: str, save_dir: Path, *flags: object) -> list[object]:
    small = ["--backbone", kind, "--backbone_model", kind, "--num_epochs", 2, "--batch_size", 3]
    small += ["--gradient_accumulation_steps", 1, "--save_dir", save_dir, "--experiment_name", "x"]
    return [*ser.HEADS, *ser.SMALL, *ser.data_flags(), *small, *flags]


def broken_nan(folder: Path) -> None:
    soundfile.write(
        folder / "nan.wav", np.where(np.arange(16_000) == 500, np.nan, TONE), 16_000, subtype="FLOAT"
    )


def edited(folder: Path, path: Path, split: str, **fields: object) -> Path:
    """Write a copy of a split whose second line has other fields."""
    lines = (folder / f"json_data/ser_audio_features_wav_{split}.jsonl").read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **fields})
    path.write_text("\n".join(lines) + "\n")
    return path


def numbers(found: object) -> Iterator[float]:
    for one in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from numbers(one)
    if isinstance(found, float):
        yield found


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        ("whisper", ["--batch_size", 99, "--eval_steps", 0, "--early_stopping_patience", 0]),
        ("whisper", ["--precision", "bf16", "--num_workers", 0]),
        ("xlsr", ["--gradient_accumulation_steps", 50, "--class_weights", "balanced"]),
    ],
)
def test_all_of_it_is_trained_on(folder: Path, tmp_path: Path, kind: str, flags: list[object]) -> None:
    """Any format, rate, channels, length, silence; a Windows file; odd words, or none; sets without words."""
    lines = [
        {"audio_filepath": name, "words": words, "emotion": 3.0, "id": "same"}
        | ({"prosody_annotations": [0] * len(words)} if number % 2 else {})
        for number, (name, words) in enumerate(zip(SOUNDS, WORDS))
    ]
    text = "\ufeff\r\n" + "".join(json.dumps(line) + "\r\n\r\n" for line in [*lines, *lines])
    (tmp_path / "train.jsonl").write_text(text)
    (tmp_path / "test.jsonl").write_text(json.dumps({"audio_filepath": "silence.wav", "emotion": 8}))
    data = ["--train_jsonl", tmp_path / "train.jsonl"]
    data += ["--val_jsonl", tmp_path / "test.jsonl", "--test_jsonl", tmp_path / "test.jsonl"]
    data += ["--allow_shared_speakers"]
    ser.run(folder, *typed(kind, tmp_path / "runs", *data, "--num_epochs", 1, *flags))
    run = tmp_path / "runs/x_s42"
    found = [*map(json.loads, (run / "metrics.jsonl").read_text().splitlines())]
    found.append(json.loads((run / "test_metrics.json").read_text()))
    assert len(found) > 2
    assert np.isfinite([*numbers(found)]).all()
    assert (found[-1]["ua"], found[-1]["wer"], found[-1]["prosody_f1"]) == (0.0, None, None)


def test_utterances_of_training_in_the_test_set_are_refused(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Unless they are allowed; an emotion that nobody trains on is said."""
    test = edited(folder, tmp_path / "test.jsonl", "test", audio_filepath="train_3.wav", emotion=8)
    flags = typed("xlsr", tmp_path / "runs", "--test_jsonl", test)
    assert re.search(r"^train and test share 1 utterances \(.*train_3.wav\): ", ser.run(folder, *flags, ok=2))
    ser.run(folder, *flags, "--allow_shared_speakers")
    said = "".join(capfd.readouterr())
    assert "warning: emotions of test that nobody in train has: Fear" in said


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"audio_filepath": "short.wav"}, r"short.wav: 0.010 s of sound, wanted at least 0.025 s"),
        ({"offset": 0.2, "duration": 9}, r"test.jsonl:2: .*0.2 to 9.2 s wanted, the file is"),
        ({"channel": 1}, r"test.jsonl:2: .*channel 1 wanted, the file has 1"),
    ],
)
def test_what_the_test_will_stumble_over_is_said_before_training(
    folder: Path, tmp_path: Path, fields: dict[str, object], complaint: str
) -> None:
    test = edited(folder, tmp_path / "test.jsonl", "test", **fields)
    assert re.search(
        complaint, ser.run(folder, *typed("xlsr", tmp_path / "runs", "--test_jsonl", test), ok=2)
    )
    assert not (tmp_path / "runs/x_s42/metrics.jsonl").exists()


def test_sound_of_the_test_that_is_no_number_costs_no_training(folder: Path, tmp_path: Path) -> None:
    """Only decoding finds it, at the end; once mended, the same command tests what is trained."""
    test = edited(folder, tmp_path / "test.jsonl", "test", audio_filepath="nan.wav")
    broken_nan(folder)
    flags = typed("xlsr", tmp_path / "runs", "--test_jsonl", test)
    said = ser.run(folder, *flags, ok=2)
    assert re.search(r"nan.wav: samples that are NaN .*best.pt is trained: .* the same command again", said)
    trained = (tmp_path / "runs/x_s42/metrics.jsonl").read_bytes()
    soundfile.write(folder / "nan.wav", TONE, 16_000)
    ser.run(folder, *flags)
    assert (tmp_path / "runs/x_s42/metrics.jsonl").read_bytes() == trained
    assert (tmp_path / "runs/best_model.pt").exists()


def test_bad_sound_ends_both_processes(folder: Path, tmp_path: Path) -> None:
    """The one that reads it names it, the other one does not wait for ever."""
    broken_nan(folder)
    train = edited(folder, tmp_path / "train.jsonl", "train", audio_filepath="nan.wav")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(SCRIPTS / "train_ser.py")]
    command += map(str, typed("xlsr", tmp_path / "runs", "--train_jsonl", train))
    env = {**runs.environment(), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pair = [
        subprocess.Popen(command, cwd=folder, env={**env, "RANK": rank, "LOCAL_RANK": rank}, text=True,
                         stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for rank in ("0", "1")
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=90)[1] for process in pair]
    finally:
        for process in pair:
            process.kill()
    assert [process.returncode for process in pair] == [2, 2], said
    assert sum("nan.wav: samples that are NaN" in one for one in said) == 1
    assert sum("another process of this run ended" in one for one in said) == 1


def test_a_loss_that_is_no_number_ends_the_run(folder: Path, tmp_path: Path) -> None:
    """With status 2; what was good is kept."""
    wild = ["--head_lr", "1e6", "--clip", 0, "--warmup_steps", 3, "--save_steps", 1, "--num_epochs", 6]
    said = ser.run(folder, *typed("xlsr", tmp_path, *wild, "--eval_steps", 1), ok=2)
    assert re.search(r"is (nan|inf) by step \d+; step \d+ is kept in last.pt, the best in best.pt", said)
    for name in ("last.pt", "best.pt"):
        model = torch.load(tmp_path / "x_s42" / name, weights_only=True)["model"]
        assert all(weight.isfinite().all() for weight in model.values())
    said = ser.run(folder, *typed("xlsr", tmp_path / "at_once", "--head_lr", "1e30"), ok=2)
    assert "nothing was saved yet; lower" in said


@pytest.mark.parametrize(
    "flag",
    ["--alpha_asr", "--head_lr", "--ctc_blank_penalty", "--clip", "--weight_decay", "--ablation_alphas"],
)
@pytest.mark.parametrize("value", ["-0.1", "nan", "inf"])
def test_weights_are_numbers_of_at_least_nothing(folder: Path, flag: str, value: str,
                                                 capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    with pytest.raises(SystemExit, match="2"):
        ser.call(ser.train_ser.main, folder, *ser.data_flags(), flag, value)
    assert f"{value} is not a number of at least 0" in capsys.readouterr().err


def test_whisper_hears_the_same_under_any_precision(folder: Path) -> None:
    backbone = load_backbone(str(folder / "whisper"), False, False)
    plain = backbone.prepare([TONE]).values
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            assert torch.equal(backbone.prepare([TONE]).values, plain)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, "pad -1, blank 0"),
        ({"pad_id": 3}, "pad 3, blank 0"),
        ({"pad_id": 3, "user_defined_symbols": ["<blank>"]}, "pad 3, blank 4"),
        ({"pad_id": 3, "control_symbols": ["<x>", "<blank>"]}, "pad 3, blank 5"),
    ],
)
def test_a_tokenizer_without_our_blank_is_refused(
    folder: Path, tmp_path: Path, settings: dict[str, object], found: str
) -> None:
    """Its fourth piece is one of words: CTC would never say it."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["go stay tell her now again"] * 9), model_writer=model, vocab_size=30,
        model_type="bpe", hard_vocab_limit=False, minloglevel=2, **settings)  # fmt: skip
    (tmp_path / "other.model").write_bytes(model.getvalue())
    flags = typed("xlsr", tmp_path, "--tokenizer_path", tmp_path / "other.model")
    assert f"{found}, wanted unk 0, bos 1, eos 2, pad 3 and the control" in ser.run(folder, *flags, ok=2)
