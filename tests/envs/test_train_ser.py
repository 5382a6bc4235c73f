"""train_ser.py as a user starts it: the documented commands, ablation, resume, two processes, bad input."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ser_runs as ser
import torch
import training_runs as runs

import evaluate_ser
import train_ser
from amela import ablation
from amela.cli import parser
from amela.errors import CallError
from amela.ser_flags import add_ser
from amela.slurm import Place

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
README = SCRIPTS.parent / "README.md"
COMMANDS = Path(__file__).resolve().parents[1] / "data/prosody_ser_commands.sh"
PUBLISHED = {
    name: shlex.split(command.replace("\\\n", ""))  # as a shell reads it
    for name, command in re.findall(
        r"^# (\w+)\npython -m sample_code\.scripts\.\w+(.*?)(?:\n\n|\Z)",
        COMMANDS.read_text(),
        re.DOTALL | re.MULTILINE,
    )
}
DATA = PUBLISHED["ser"][:-3]  # without what it says of heads
SMALL = [*ser.HEADS, *ser.SMALL, "--backbone", "xlsr", "--backbone_model", "xlsr", "--num_epochs", "3",
         "--batch_size", "3", "--gradient_accumulation_steps", "1", "--save_steps", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "data"
    ser.write_data(folder)
    for kind in ser.KINDS:
        ser.backbone(folder / kind, kind)
    return folder


def one_run(folder: Path) -> Path:
    (found,) = [path.parent for path in folder.rglob("done.json")]
    return found


def test_flags_have_the_documented_defaults() -> None:
    flags = parser(None)
    add_ser(flags)
    args = flags.parse_args(PUBLISHED["ser"])
    bare = flags.parse_args(["--audio_base_path=a", "--train_jsonl=b", "--val_jsonl=c", "--test_jsonl=d",
                             "--tokenizer_path=e"])  # fmt: skip
    assert (args.backbone, args.batch_size, args.vocab_size, args.num_epochs) == ("whisper", 64, 16000, 5)
    wanted = {
        "backbone": "whisper", "vocab_size": 4000, "alpha_ser": 1.0, "alpha_asr": 0.1, "alpha_prosody": 0.1,
        "use_alpha_ser": False, "use_alpha_asr": False, "use_alpha_prosody": False,
        "ctc_entropy_weight": 0.01, "ctc_blank_penalty": 50.0, "ctc_blank_threshold": 0.3,
        "ctc_label_smoothing": 0.0,
        "ctc_confidence_penalty": 0.0, "batch_size": 8, "num_epochs": 100, "grad_accum_steps": 4,
        "gradient_checkpointing": False, "backbone_lr": 1e-5, "learning_rate": 5e-5, "warmup_ratio": 0.1,
        "save_dir": "checkpoints", "early_stopping": 10, "checkpoint_epochs": 5, "eval_steps": 500,
        "log_steps": 100, "use_wandb": False, "wandb_project": "mtl-akan-speech", "experiment_name": None,
        "use_amp": True, "num_workers": 4, "pin_memory": True, "prefetch_factor": 2,
        "retrain_tokenizer": False, "run_ablation_study": False,
        "ablation_alphas": [0.0, 0.001, 0.01, 0.1, 1.0], "ablation_epochs": 5,
    }  # fmt: skip
    assert {name: getattr(bare, name) for name in wanted} == wanted
    for name in ("use_amp", "pin_memory", "gradient_checkpointing", "use_wandb", "use_alpha_ser"):
        for spelling in (f"--no-{name}", f"--no_{name}", f"--no-{name.replace('_', '-')}"):
            assert getattr(flags.parse_args([*DATA, f"--{name}", spelling]), name) is False
        assert getattr(flags.parse_args([*DATA, f"--no-{name}", f"--{name}"]), name) is True


@pytest.fixture
def here(folder: Path, tmp_path: Path) -> Path:
    """A folder to type the published commands in, with their data and, below it, their absolute paths."""
    here = tmp_path / "here"
    here.mkdir()
    for name in ("AUDIO", "json_data", "akan_mtl_tokenizer.model"):
        (here / name).symlink_to(folder / name)
    colab = here / "content/drive/MyDrive/AKAN-SPEECH-EMOTION-DATA"
    shutil.copytree(folder / "AUDIO", colab / "AUDIO")
    shutil.copytree(folder / "json_data", colab / "AUDIO", dirs_exist_ok=True)
    (here / "path/to/your/audio").mkdir(parents=True)
    (here / "path/to/your/audio/files").symlink_to(folder / "AUDIO")
    for split in ("train", "val", "test"):
        whole = folder / f"json_data/ser_audio_features_wav_{split}.jsonl"
        (here / f"path/to/{split}.jsonl").symlink_to(whole)
    return here


def typed(name: str, here: Path) -> list[str]:
    """Return the words of a published command; absolute paths are looked for below `here`."""
    return [f"{here}{word}" if word.startswith("/") else word for word in PUBLISHED[name]]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_commands_are_understood(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", *PUBLISHED[name]])
    args = (evaluate_ser if name == "evaluate" else train_ser).parse_args()
    assert args.tokenizer_path == "akan_mtl_tokenizer.model"
    epochs = {"colab": 100, "hpc": 50, "ablation": 10, "evaluate": None}
    assert getattr(args, "num_epochs", None) == epochs.get(name, 5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("basic", "whisper"),
        ("full", "whisper"),
        ("full", "xlsr"),
        ("full", "mms"),
        ("full", "wav2vec2-bert"),
        ("ser_asr", "whisper"),
        ("ser", "whisper"),
        ("colab", "whisper"),
        ("hpc", "whisper"),
    ],
)
def test_published_commands_run(
    folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    """And so does the published evaluation of what they leave."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    flags = typed(name, here)
    other = ["--backbone", kind] if kind != "whisper" else []
    ser.run(here, *flags, *other, "--backbone_model", folder / kind, "--num_epochs", 1, "--device", "cpu",
            "--checkpoint_interval", 1)  # fmt: skip
    run = one_run(here / "checkpoints")
    made = {path.name for path in run.iterdir()}
    assert {"config.json", "metrics.jsonl", "best.pt", "last.pt", "curves.png", "summary.txt",
            "test_metrics.json", "checkpoint_epoch_1.pth"} <= made  # fmt: skip
    assert (here / "checkpoints/best_model.pt").read_bytes() == (run / "best.pt").read_bytes()
    tested = json.loads((here / f"checkpoints/{kind}_final_results.json").read_text())
    there = {"ua": "ser", "wer": "asr", "prosody_f1": "prosody"}
    assert {head for figure, head in there.items() if figure in tested} == {
        head for head in there.values() if f"--use_alpha_{head}" in flags
    }
    summary = (run / "summary.txt").read_text()
    assert "alphas: ser 1" in summary
    assert ("CTC: " in summary) == ("--use_alpha_asr" in flags)
    assert any(path.name.startswith("offline-run") for path in run.rglob("*")) == ("--use_wandb" in flags)
    config = json.loads((run / "config.json").read_text())
    assert config["vocab_size"] <= ser.PIECES  # that of the tokenizer
    assert (config["best_by"], config["eval_steps"], config["eval_epochs"]) == ("ua", 500, True)
    if name == "basic":
        assert ser.call(evaluate_ser.main, here, *PUBLISHED["evaluate"]) == (0, "")
        again = json.loads((here / "eval_results/test_metrics.json").read_text())
        assert again == tested
        assert (here / "eval_results/summary.txt").read_text() == summary
        assert "lm_jsonl" not in json.loads((here / "eval_results/eval_config.json").read_text())


def test_the_tokenizer_of_the_readme(tmp_path: Path) -> None:
    """Typed as it stands there, in one process; a size that does not match is told."""
    block = next(re.finditer(r"```python\n([^`]*SentencePieceTokenizer\([^`]*)```", README.read_text()))[1]
    text = "your_text_data = ['go now', 'stay here now'] * 20\n" + block
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "akan_mtl_tokenizer.model",
        "akan_mtl_tokenizer.vocab",
    }
    trained, loaded = done.stdout.splitlines()
    assert re.search(r"asked for 16000 pieces, has \d+, which is taken", trained)
    assert re.search(r"akan_mtl_tokenizer.model: asked for 16000 pieces, has \d+, which is taken", loaded)


def test_the_ablation(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process, as documented; and as an array, whose last task has the results of all."""
    typed = [*PUBLISHED["ablation"], "--backbone_model", "whisper", "--device", "cpu",
             "--ablation_epochs", 1]  # fmt: skip
    ser.run(folder, *typed, "--save_dir", tmp_path / "one")
    whole = json.loads((tmp_path / "one/ablation/ablation_results.json").read_text())
    assert [row["alpha_asr"] for row in whole["runs"]] == [0.0, 0.001, 0.01, 0.1, 1.0]
    assert whole["missing"] == []
    best = max(whole["runs"], key=lambda row: (row["valid"]["ua"], -row["valid"]["ser"]))
    assert whole["best_alpha_asr"] == best["alpha_asr"]
    model = torch.load(tmp_path / "one/best_model.pt", weights_only=True)
    assert model["config"]["alpha_asr"] == best["alpha_asr"]
    assert model["config"]["use_alpha_prosody"]  # no head flag: all of them
    rates = {json.loads(path.read_text())["alpha_asr"]: json.loads(path.read_text())["learning_rate"]
             for path in tmp_path.glob("one/ablation/*/config.json")}  # fmt: skip
    assert rates == {0.0: pytest.approx(1e-5), **dict.fromkeys((0.001, 0.01, 0.1, 1.0), 5e-5)}

    for task in (1, 0):
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "0")
        monkeypatch.setenv("SLURM_ARRAY_TASK_MAX", "1")
        monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
        ser.run(folder, *typed, "--save_dir", tmp_path / "array")
        found = json.loads((tmp_path / "array/ablation/ablation_results.json").read_text())
        assert found["missing"] == ([0.0, 0.01, 1.0] if task == 1 else [])
        assert (tmp_path / "array/best_model.pt").exists() == (task == 0)
    for row, other in zip(found["runs"], whole["runs"]):
        assert (row["valid"], row["test"]) == (other["valid"], other["test"])


def test_a_part_of_an_ablations_array_is_those_alphas() -> None:
    place = Place("7", 3, 2, 1, 3, 0)  # --array=1,3
    assert ablation.mine([0.0, 0.001, 0.01, 0.1, 1.0], place) == [0.1]
    assert ablation.mine([0.0, 0.001, 0.01, 0.1, 1.0], place._replace(task=1)) == [0.001]
    with pytest.raises(CallError, match="task 3, wanted 0 to 1"):
        ablation.mine([0.1, 1.0], place)


def test_the_whole_loss_of_an_alpha_decides_nothing(tmp_path: Path) -> None:
    """It grows with alpha: of two that are as good, the one whose emotions are surer is the best."""
    runs_of = {0.0: (0.5, 1.4, 1.4), 1.0: (0.5, 1.2, 9.0), 0.1: (0.4, 1.0, 1.0)}  # UA, loss of SER, loss
    folders = {}
    for alpha, (ua, of_ser, loss) in runs_of.items():
        folders[alpha] = tmp_path / f"{alpha:g}"
        folders[alpha].mkdir()
        (folders[alpha] / "done.json").write_text(json.dumps({"ua": ua, "ser": of_ser, "best_loss": loss}))
        (folders[alpha] / "test_metrics.json").write_text("{}")
    assert ablation.report(tmp_path, folders, lambda _: None) == folders[1.0]


def command(folder: Path, *flags: object) -> list[str]:
    return [sys.executable, str(SCRIPTS / "train_ser.py"), *ser.data_flags(folder), *SMALL,
            "--backbone_model", str(folder / "xlsr"), *map(str, flags)]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGUSR1])
def test_a_run_goes_on_bit_by_bit(folder: Path, tmp_path: Path, number: int) -> None:
    ser.run(folder, *SMALL, *ser.data_flags(), "--experiment_name", "x", "--save_dir", tmp_path / "whole")
    flags = ("--experiment_name", "x", "--save_dir", tmp_path / "broken")
    process = subprocess.Popen(command(folder, *flags), cwd=folder, env=runs.environment(),
                               stdout=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    metrics, until = tmp_path / "broken/x_s42/metrics.jsonl", time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        if metrics.exists() and len(metrics.read_text().splitlines()) >= 5:
            break
        time.sleep(0.002)
    process.send_signal(number)
    assert process.wait(timeout=60) == (-9 if number == signal.SIGKILL else 75)
    for beat in (tmp_path / "broken/x_s42/beats").glob("*"):  # it would count as gone after a while
        beat.unlink()
    ser.run(folder, *SMALL, *ser.data_flags(), *flags)
    runs.assert_same_run(tmp_path / "whole/x_s42", tmp_path / "broken/x_s42")
    tested = [(tmp_path / name / "best_model.pt").read_bytes() for name in ("whole", "broken")]
    assert tested[0] == tested[1]


def test_two_processes_train_as_one(folder: Path, tmp_path: Path) -> None:
    """All heads, and an ablation, whose runs are one after the other in the same processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    typed = [
        "--dropout",
        "0",
        "--run_ablation_study",
        "--ablation_alphas",
        "0.1",
        "1",
        "--ablation_epochs",
        "2",
    ]
    typed += ["--batch_size", "4", "--save_dir"]
    backbone = folder / "still"  # no dropout in it: it is drawn by each process
    ser.make_encoder(backbone, "wav2vec2", feat_extract_norm="layer", do_stable_layer_norm=True, **ser.STILL)
    flags = command(folder, *typed, tmp_path / "two", "--backbone_model", backbone)[1:]
    process = subprocess.Popen(
        [*torchrun, *flags], cwd=folder, env=runs.environment(), start_new_session=True
    )
    try:
        assert process.wait(timeout=90) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    ser.run(folder, *flags[1:], "--save_dir", tmp_path / "one")
    two, one = (json.loads((tmp_path / name / "ablation/ablation_results.json").read_text())
                for name in ("two", "one"))  # fmt: skip
    assert two["missing"] == []
    for left, right in zip(two["runs"], one["runs"]):
        assert left["valid"]["loss"] == pytest.approx(right["valid"]["loss"], rel=1e-4)
    for path in (tmp_path / "one/ablation").glob("*/metrics.jsonl"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one").parent
        for left, right in zip(ser.lines(path.parent, "loss"), ser.lines(other, "loss")):
            del left["padding"], right["padding"]  # of two processes' parts
            assert left == pytest.approx(right, rel=1e-3, abs=1e-5)


def test_a_finished_run_is_published_again(folder: Path, tmp_path: Path) -> None:
    typed = [*SMALL, *ser.data_flags(), "--num_epochs", 1, "--save_dir", tmp_path]
    ser.run(folder, *typed)
    (tmp_path / "best_model.pt").unlink()
    ser.run(folder, *typed)
    assert (tmp_path / "best_model.pt").exists()


def test_a_tokenizer_of_the_training_set(folder: Path, tmp_path: Path) -> None:
    typed = [*SMALL, *ser.data_flags(), "--num_epochs", 1, "--save_dir", tmp_path, "--retrain_tokenizer"]
    ser.run(folder, *typed, "--tokenizer_path", tmp_path / "own.model", "--vocab_size", 24)
    assert json.loads((one_run(tmp_path) / "config.json").read_text())["vocab_size"] <= 24
    assert (tmp_path / "own.vocab").read_text().startswith("<unk>\t0\n")


def edited(folder: Path, tmp_path: Path, **fields: object) -> Path:
    """Return a copy of the training set whose third line has other fields."""
    lines = (folder / "json_data/ser_audio_features_wav_train.jsonl").read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **fields})
    path = tmp_path / "edited.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("flags", "fields", "complaint"),
    [
        ([], {"emotion": 9}, r"edited.jsonl:3: emotion 9, wanted one of 9: Neutral, Confusion"),
        ([], {"emotion": "calm"}, r"edited.jsonl:3: emotion 'calm', wanted one of"),
        ([], {"audio_filepath": "gone.wav"}, r"edited.jsonl:3: no file .*gone.wav; check --audio_base_path"),
        ([], {"prosody_annotations": [1] * 9}, r"edited.jsonl:3: \d words and prosody_annotations"),
        ([], {"prosody_annotations": 1}, r"edited.jsonl:3: \d words and prosody_annotations 1"),
        ([], {"duration": "long"}, r"edited.jsonl:3: duration 'long', wanted seconds"),
        (["--vocab_size", 6], {}, r"found \d+ pieces, --vocab_size says 6; type --vocab_size \d+"),
        (["--tokenizer_path", "gone.model"], {}, r"gone.model: .*--retrain_tokenizer makes one"),
        (["--backbone_model", "AUDIO"], {}, r"AUDIO: no weights in this folder; wanted config.json"),
        (["--head_lr", 0], {}, r"--head_lr 0"),
        (["--device", "cuda"], {}, r"cuda"),
        (["--no-use_alpha_ser", "--no-use_alpha_asr", "--no-use_alpha_prosody"], {}, r"no head, so no loss"),
        (["--run_ablation_study", "--ablation_alphas", 1, 1], {}, r"one stands twice"),
    ],
)
def test_bad_input_is_named(
    folder: Path, tmp_path: Path, flags: list[object], fields: dict[str, object], complaint: str
) -> None:
    path = edited(folder, tmp_path, **fields)
    typed = [*SMALL, *ser.data_flags(), "--train_jsonl", path, "--save_dir", tmp_path / "runs", *flags]
    assert re.search(complaint, ser.run(folder, *typed, ok=2))


def test_voices_in_train_and_test_are_refused(folder: Path, tmp_path: Path) -> None:
    """Unless they are allowed."""
    paths = []
    for split in ("train", "val", "test"):
        text = (folder / f"json_data/ser_audio_features_wav_{split}.jsonl").read_text()
        lines = [
            {**json.loads(line), "speaker": "b" if split == "val" else "a"} for line in text.splitlines()
        ]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        paths += [f"--{split}_jsonl", tmp_path / f"{split}.jsonl"]
    typed = [*SMALL, *ser.data_flags(), *paths, "--num_epochs", 1, "--save_dir", tmp_path / "runs"]
    said = ser.run(folder, *typed, ok=2)
    assert said.startswith("train and test share 1 speakers (a): the figures would be of known voices")
    ser.run(folder, *typed, "--allow_shared_speakers")


def test_early_stopping_counts_evaluations(folder: Path, tmp_path: Path) -> None:
    typed = [*SMALL, *ser.data_flags(), "--num_epochs", 9, "--head_lr", 1e-12, "--backbone_lr", 0]
    ser.run(folder, *typed, "--eval_steps", 1, "--early_stopping_patience", 3, "--save_dir", tmp_path)
    assert json.loads((one_run(tmp_path) / "done.json").read_text())["ended"] == "no gain in 3 evaluations"
    assert len(ser.lines(one_run(tmp_path), "valid_ua")) < 9


def test_from_scratch_needs_no_weights(folder: Path, tmp_path: Path) -> None:
    """And begins with the same ones each time, which are not those of the folder."""
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text((folder / "xlsr/config.json").read_text())
    typed = [*SMALL, *ser.data_flags(), "--num_epochs", 1, "--backbone_model", bare]
    assert "bare" in ser.run(folder, *typed, "--save_dir", tmp_path / "no", ok=2)
    for name in ("one", "two"):
        ser.run(folder, *typed, "--from_scratch", "--save_dir", tmp_path / name)
    one, two = (ser.lines(one_run(tmp_path / name), "loss") for name in ("one", "two"))
    assert one == two
    ser.run(folder, *typed, "--backbone_model", folder / "xlsr", "--save_dir", tmp_path / "weights")
    assert ser.lines(one_run(tmp_path / "weights"), "loss")[0]["loss"] != one[0]["loss"]
