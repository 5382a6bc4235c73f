"""Made-up emotional utterances, tiny backbones, and runs of train_ser.py on them as a user starts them."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Callable
from unittest import mock

import numpy as np
import soundfile
import torch
from tiny_models import make_encoder

import train_ser
from amela.errors import BAD_CALL, CallError
from media.sentencepiece_tokenizer import SentencePieceTokenizer

WORDS = ("go", "stay", "tell", "her", "now", "again")
PIECES = 30
EMOTIONS = 3  # heard as the pitch of a tone
KINDS = {
    "whisper": ("whisper", {"max_source_positions": 150}),
    "xlsr": ("wav2vec2", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "mms": ("wav2vec2", {"feat_extract_norm": "group"}),
    "wav2vec2-bert": ("wav2vec2-bert", {}),
}
STILL = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0}
HEADS = ("--use_alpha_ser", "--use_alpha_asr", "--use_alpha_prosody")
SMALL = (
    "--device",
    "cpu",
    "--num_workers",
    "1",
    "--dropout",
    "0.1",
    "--log_steps",
    "1",
    "--head_lr",
    "0.003",
)


def backbone(folder: Path, kind: str) -> Path:
    """Write a tiny random backbone of one of the four kinds."""
    name, config = KINDS[kind]
    return make_encoder(folder, name, **config)


def wave(seed: int, seconds: float, emotion: int) -> np.ndarray:
    """Return a tone with noise, its pitch that of an emotion."""
    times = np.arange(int(seconds * 16_000)) / 16_000
    noise = np.random.default_rng(seed).normal(0, 0.02, len(times))
    return (0.3 * np.sin(2 * np.pi * 200 * (1 + emotion) * times) + noise).astype(np.float32)


def write_data(folder: Path, **sizes: int) -> None:
    """Write json_data/ser_audio_features_wav_SPLIT.jsonl as Prosody-SER has them, AUDIO/ and a tokenizer."""
    (folder / "AUDIO").mkdir(parents=True)
    (folder / "json_data").mkdir()
    texts = []
    for split, size in {"train": 8, "val": 4, "test": 4, **sizes}.items():
        with open(folder / f"json_data/ser_audio_features_wav_{split}.jsonl", "w") as file:
            for number in range(size):
                random = np.random.default_rng([len(split), number])
                emotion, count = number % EMOTIONS, 0 if number == 3 else int(random.integers(1, 4))
                words = [WORDS[index] for index in random.integers(len(WORDS), size=count)]
                name = f"{split}_{number}.wav"
                sound = wave(number, 0.5 + 0.1 * (number % 5), emotion)
                soundfile.write(folder / "AUDIO" / name, sound, 16_000)
                marks = [int(index) for index in random.integers(2, size=count)]
                line = {
                    "audio_filepath": name,
                    "words": words,
                    "prosody_annotations": marks,
                    "emotion": emotion,
                }
                print(json.dumps(line), file=file)
                texts.append(" ".join(words))
    tokenizer = SentencePieceTokenizer(PIECES, str(folder / "akan_mtl_tokenizer"), log=lambda _: None)
    tokenizer.train_tokenizer(texts)


def data_flags(folder: Path = Path()) -> list[str]:
    """Return the flags that name the data of `write_data`, as the documentation of Prosody-SER types them."""
    of = {"train": "train", "val": "val", "test": "test"}
    found = ["--audio_base_path", str(folder / "AUDIO"), "--tokenizer_path",
             str(folder / "akan_mtl_tokenizer.model")]  # fmt: skip
    for flag, split in of.items():
        found += [f"--{flag}_jsonl", str(folder / f"json_data/ser_audio_features_wav_{split}.jsonl")]
    return found


def call(main: Callable[[], int], folder: Path, *flags: object) -> tuple[int, str]:
    """Run a script in a folder, within this process; return its status and what went wrong."""
    torch.set_num_threads(1)  # as in processes of their own
    with contextlib.chdir(folder), mock.patch.object(sys, "argv", ["script.py", *map(str, flags)]):
        try:
            return main(), ""
        except CallError as error:
            return BAD_CALL, str(error)


def run(folder: Path, *flags: object, ok: int = 0) -> str:
    """Run train_ser.py in a folder; it must end with the status `ok`. Return what went wrong."""
    status, said = call(train_ser.main, folder, *flags)
    assert status == ok, said
    return said


def lines(run_folder: Path, name: str) -> list[dict]:
    """Return the lines of a run's metrics that hold `name`."""
    found = map(json.loads, (run_folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in found if name in line]
