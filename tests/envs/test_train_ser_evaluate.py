"""evaluate_ser.py as a user starts it: the same figures as the training's test, and a language model."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import ser_runs as ser
import torch

import evaluate_ser
from media.sentencepiece_tokenizer import SentencePieceTokenizer
from networks.ser_task import BLANK, SerTask

FAVOURED = 7  # a piece that the unsure model below takes for any other


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and checkpoints/ of an epoch of all heads and of one without words."""
    folder = tmp_path_factory.mktemp("runs") / "data"
    ser.write_data(folder)
    ser.backbone(folder / "xlsr", "xlsr")
    once = [
        *ser.SMALL,
        *ser.data_flags(),
        "--backbone",
        "xlsr",
        "--backbone_model",
        "xlsr",
        "--num_epochs",
        1,
    ]
    ser.run(folder, *once, *ser.HEADS, "--experiment_name", "all")
    ser.run(folder, *once, "--use_alpha_ser", "--save_dir", "deaf")
    return folder


def evaluated(folder: Path, out: Path, *flags: object) -> tuple[int, str]:
    """Run evaluate_ser.py; return its status and what went wrong."""
    typed = [
        "--checkpoint_path",
        "checkpoints/best_model.pt",
        "--audio_base_path",
        "AUDIO",
        "--device",
        "cuda",
    ]
    typed += ["--tokenizer_path", "akan_mtl_tokenizer.model", "--output_dir", out]
    typed += ["--test_jsonl", "json_data/ser_audio_features_wav_test.jsonl"]
    return ser.call(evaluate_ser.main, folder, *typed, *flags)


def test_it_falls_back_to_the_cpu(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And writes what the documentation says, the same figures as the training's own test."""
    assert not torch.cuda.is_available() or os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    assert evaluated(folder, tmp_path / "eval") == (0, "")
    assert "warning: PyTorch finds no GPU here; going on with --device cpu" in "".join(capfd.readouterr())
    made = {path.name for path in (tmp_path / "eval").iterdir()}
    assert made == {"test_metrics.json", "eval_config.json", "summary.txt", "predictions.json",
                    "confusion.png", "recall.png"}  # fmt: skip
    tested = (tmp_path / "eval/test_metrics.json").read_bytes()
    assert tested == (folder / "checkpoints/all_s42/test_metrics.json").read_bytes()


def unsure(task: SerTask, batch: Any) -> tuple[dict, Any]:
    """Hear, for each piece that was said, another one a little better."""
    sums, heard = HEAR(task, batch)
    rows = []
    for frames, words in zip(batch.frames, batch.words):
        shares = torch.full((frames, task.config["vocab_size"]), 1e-4)
        shares[:, BLANK] = 1.0
        pieces = [piece for word in words for piece in word]
        for place, piece in enumerate(pieces):
            frame = place * frames // len(pieces)
            shares[frame, BLANK], shares[frame, FAVOURED], shares[frame, piece] = 1e-4, 0.5, 0.4
        rows.append((shares / shares.sum(1, keepdim=True)).log())
    heard.log_probs = torch.cat(rows)
    return sums, heard


HEAR = SerTask.hear


def test_a_language_model_puts_words_right(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of texts without sound; files name it, and without it nothing does."""
    monkeypatch.setattr(SerTask, "hear", unsure)
    test = (folder / "json_data/ser_audio_features_wav_test.jsonl").read_text()
    texts = [{"text": " ".join(json.loads(line)["words"])} for line in test.splitlines()]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in 3 * texts))
    flags = ["--lm_jsonl", tmp_path / "texts.jsonl", "--lm_order", 4]
    found = {}
    for name, of in {"plain": [], "none": [*flags, "--lm_weight", 0], "lm": flags}.items():
        assert evaluated(folder, tmp_path / name, *of) == (0, "")
        found[name] = json.loads((tmp_path / name / "test_metrics.json").read_text())
    assert found["plain"]["wer"] == found["none"]["wer"] >= 1
    assert found["lm"]["wer"] < 0.5
    said = {"lm_jsonl": str(tmp_path / "texts.jsonl"), "lm_order": 4, "lm_weight": 0.5}
    assert found["lm"]["language_model"] == said
    assert said.items() <= json.loads((tmp_path / "lm/eval_config.json").read_text()).items()
    assert "language model: 4-gram of the pieces of " in (tmp_path / "lm/summary.txt").read_text()
    for name in ("summary.txt", "eval_config.json", "test_metrics.json"):
        assert not re.search("lm_order|language model:", (tmp_path / "plain" / name).read_text())


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (
            ["--lm_jsonl", "texts.jsonl", "--decode_method", "greedy"],
            "--decode_method greedy: .* wanted beam",
        ),
        (["--lm_jsonl", "gone.jsonl"], r"gone.jsonl: .*wanted JSON lines"),
        (["--lm_jsonl", "empty.jsonl"], r"empty.jsonl: no words in it"),
        (["--lm_jsonl", "bad.jsonl"], r"bad.jsonl:2: words 'go', wanted a list of words"),
        (["--lm_jsonl", "texts.jsonl", "--checkpoint_path", "deaf/best_model.pt"], r"no head of words"),
        (["--tokenizer_path", "other.model"], r"other.model: found \d+ pieces that are not those"),
        (["--device", "tpu"], r"--device tpu: PyTorch knows no such device"),
        (["--checkpoint_path", "other.pt"], r"other.pt: found another checkpoint, wanted one of train_ser"),
        (["--checkpoint_path", "part.pt"], r"part.pt: its weights are not those of its config: Missing"),
        (["--checkpoint_path", "gone.pt"], r"gone.pt: No such file or directory; wanted a checkpoint"),
    ],
)
def test_bad_input_is_named(folder: Path, tmp_path: Path, flags: list[str], complaint: str) -> None:
    (folder / "texts.jsonl").write_text('{"text": "go now"}\n')
    (folder / "empty.jsonl").write_text('{"text": " "}\n{"words": [""]}\n')
    (folder / "bad.jsonl").write_text('{"text": "go"}\n{"words": "go"}\n')
    torch.save([1, 2], folder / "other.pt")
    part = torch.load(folder / "checkpoints/best_model.pt", weights_only=True)
    del part["model"]["mix"]
    torch.save(part, folder / "part.pt")
    other = SentencePieceTokenizer(12, str(folder / "other"), log=lambda _: None)
    other.train_tokenizer(["go to"])
    status, said = evaluated(folder, tmp_path / "eval", *flags)
    assert (status, bool(re.search(complaint, said))) == (2, True), said
