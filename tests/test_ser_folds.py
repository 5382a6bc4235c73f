"""ser_folds.py: public corpora as manifests, folds that keep groups apart, the table over folds and seeds."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

REPOSITORY = Path(__file__).resolve().parents[1]


def run(folder: Path, *arguments: object, ok: int = 0) -> str:
    """Run ser_folds.py in a folder; return what it said."""
    command = [sys.executable, str(REPOSITORY / "scripts/ser_folds.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def sound(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(8000, np.float32), 16_000)


def made(manifest: Path) -> list[tuple[Any, ...]]:
    return [tuple(one.get(name) for name in ("id", "speaker", "emotion", "text", "duration"))
            for one in records(manifest)]  # fmt: skip


def test_iemocap(tmp_path: Path) -> None:
    root = tmp_path / "IEMOCAP_full_release"
    for session in (1, 2):
        dialog = f"Ses0{session}F_impro01"
        top = root / f"Session{session}"
        for name in ("F000", "F001", "M000"):
            sound(top / f"sentences/wav/{dialog}/{dialog}_{name}.wav")
        (top / "dialog/EmoEvaluation").mkdir(parents=True)
        (top / "dialog/transcriptions").mkdir(parents=True)
        (top / f"dialog/EmoEvaluation/{dialog}.txt").write_text(
            "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
            f"[6.2901 - 8.2357]\t{dialog}_F000\tneu\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t()\n"
            f"[10.0100 - 11.3925]\t{dialog}_F001\tfru\t[2.5000, 2.5000, 2.5000]\n"
            f"[14.8872 - 18.0175]\t{dialog}_M000\texc\t[2.5000, 3.5000, 2.5000]\n"
        )
        (top / f"dialog/transcriptions/{dialog}.txt").write_text(
            f"{dialog}_F000 [006.2901-008.2357]: Excuse me.\n{dialog}_M000 [014.8872-018.0175]: Yes!\n"
        )
    said = run(tmp_path, "read", "iemocap", root, "iemocap.json")
    assert "4 utterances, 4 speakers; happiness 2, neutral 2" in said
    assert made(tmp_path / "iemocap.json")[:2] == [
        ("Ses01F_impro01_F000", "Ses1F", "neutral", "Excuse me.", 0.5),
        ("Ses01F_impro01_M000", "Ses1M", "happiness", "Yes!", 0.5),
    ]
    assert {one["session"] for one in records(tmp_path / "iemocap.json")} == {"Session1", "Session2"}


def test_ravdess_and_crema_d(tmp_path: Path) -> None:
    for actor, name in (
        (12, "03-01-06-01-02-01-12"),
        (1, "03-01-08-02-01-02-01"),
        (1, "03-02-01-01-01-01-01"),
    ):
        sound(tmp_path / f"ravdess/Actor_{actor:02}/{name}.wav")
        sound(
            tmp_path / f"ravdess/audio_speech_actors_01-24/Actor_{actor:02}/{name}.wav"
        )  # the archive's double
    run(tmp_path, "read", "ravdess", "ravdess", "ravdess.json")
    assert made(tmp_path / "ravdess.json") == [
        ("03-01-08-02-01-02-01", "actor_01", "surprise", "Kids are talking by the door.", 0.5),
        ("03-01-06-01-02-01-12", "actor_12", "fear", "Dogs are sitting by the door.", 0.5),
    ]
    for name in ("1001_DFA_ANG_XX", "1002_IEO_SAD_HI"):
        sound(tmp_path / f"crema/AudioWAV/{name}.wav")
    run(tmp_path, "read", "crema-d", "crema", "crema.json")
    assert made(tmp_path / "crema.json") == [
        ("1001_DFA_ANG_XX", "1001", "anger", "Don't forget a jacket.", 0.5),
        ("1002_IEO_SAD_HI", "1002", "sadness", "It's eleven o'clock.", 0.5),
    ]
    assert "found no folders Session1" in run(tmp_path, "read", "iemocap", "crema", "x.json", ok=2)


def test_odd_names_are_no_utterances(tmp_path: Path) -> None:
    """What a Mac leaves beside a file, copies, codes that no corpus has; nothing left is an error."""
    for name in (
        "03-01-06-01-02-01-12",
        "._03-01-06-01-02-01-12",
        "03-01-09-01-02-01-12",
        "03-01-06-01-03-01-12",
    ):
        sound(tmp_path / f"ravdess/Actor_12/{name}.wav")
    run(tmp_path, "read", "ravdess", "ravdess", "ravdess.json")
    assert [one[0] for one in made(tmp_path / "ravdess.json")] == ["03-01-06-01-02-01-12"]
    for name in ("1001_DFA_ANG_XX", "1001_DFA_ANG_XX (1)", "1001_DFA_XXX_XX", "1040_ITH_SAD_X"):
        sound(tmp_path / f"crema/AudioWAV/{name}.wav")
    run(tmp_path, "read", "crema-d", "crema", "crema.json")
    assert [one[0] for one in made(tmp_path / "crema.json")] == ["1001_DFA_ANG_XX", "1040_ITH_SAD_X"]
    sound(tmp_path / "other/1001_DFA_XXX_XX.wav")
    assert "found no utterance of an emotion" in run(tmp_path, "read", "crema-d", "other", "o.json", ok=2)


def test_folds_of_emobox(tmp_path: Path) -> None:
    root = tmp_path / "data/iemocap"
    for fold in (1, 2):
        (root / f"fold_{fold}").mkdir(parents=True)
        for split, size in (("train", 20), ("test", 4)):
            of_all = {"dataset": "iemocap", "type": "raw", "sample_rate": 16000, "length": 1.5, "emo": "hap"}
            names = [(f"{split}{number}", f"downloads/iemocap/{number}.wav") for number in range(size)]
            lines = [
                {"key": key, "wav": path, "task": "category", "channel": 1, **of_all} for key, path in names
            ]
            path = root / f"fold_{fold}/iemocap_{split}_fold_{fold}.jsonl"
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (root / "label_map.json").write_text('{"hap": "Happy"}')
    run(tmp_path, "read", "emobox", root, "folds", "--audio-base", "EmoBox")
    sizes = {
        name: len(records(tmp_path / f"folds/fold_2/{name}.json")) for name in ("train", "valid", "test")
    }
    assert sizes == {"train": 18, "valid": 2, "test": 4}  # its folds have no validation set
    one = records(tmp_path / "folds/fold_1/test.json")[0]
    assert one["audio_filepath"] == str(tmp_path / "EmoBox/downloads/iemocap/0.wav")
    assert (one["emotion"], one["duration"]) == ("Happy", 1.5)
    with open(root / "fold_1/iemocap_test_fold_1.jsonl", "a") as file:
        file.write('\n{"key": "x", "length": 1.0, "emo": "hap"}\n')
    said = run(tmp_path, "read", "emobox", root, "folds", ok=2)
    assert "iemocap_test_fold_1.jsonl:6: KeyError('wav'); wanted an object with key, wav, length, emo" in said


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    lines = [
        {"audio_filepath": f"/{speaker}/{number}.wav", "duration": 1.0, "emotion": number % 2}
        | {"speaker": f"s{speaker}", "session": speaker // 2}
        for speaker in range(10)
        for number in range(4)
    ]
    path = tmp_path / "all.json"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(("by", "folds"), [("speaker", 5), ("speaker", 10), ("session", 5), ("speaker", 3)])
def test_folds_keep_groups_apart(manifest: Path, tmp_path: Path, by: str, folds: int) -> None:
    run(tmp_path, "split", manifest, "folds", "--by", by, "--folds", folds)
    tested: list[str] = []
    for number in range(1, folds + 1):
        splits = {
            name: records(tmp_path / f"folds/fold_{number}/{name}.json")
            for name in ("train", "valid", "test")
        }
        groups = {name: {one[by] for one in split} for name, split in splits.items()}
        assert all(groups.values())
        assert not groups["train"] & groups["test"]
        assert not groups["train"] & groups["valid"]
        assert not groups["valid"] & groups["test"]
        assert sum(map(len, splits.values())) == 40
        tested += [one["audio_filepath"] for one in splits["test"]]
    assert len(tested) == len(set(tested)) == 40  # each is tested once
    before = (tmp_path / "folds/fold_1/test.json").read_bytes()
    run(tmp_path, "split", manifest, "folds", "--by", by, "--folds", folds)
    assert (tmp_path / "folds/fold_1/test.json").read_bytes() == before


def test_too_few_groups_are_refused(manifest: Path, tmp_path: Path) -> None:
    assert "wanted at least 11" in run(tmp_path, "split", manifest, "folds", "--folds", 11, ok=2)
    assert "--folds 2: wanted at least 3" in run(tmp_path, "split", manifest, "folds", "--folds", 2, ok=2)
    run(tmp_path, "split", manifest, "folds", "--folds", 4)
    assert "holds a split into more folds" in run(tmp_path, "split", manifest, "folds", "--folds", 3, ok=2)
    assert "40 records have no 'film'" in run(tmp_path, "split", manifest, "folds", "--by", "film", ok=2)


def test_the_table_by_hand(tmp_path: Path) -> None:
    """Mean and deviation over folds; the best alpha is that of the validation sets, not of the test sets."""
    figures = {0.1: [(0.6, 0.50), (0.8, 0.54)], 0.01: [(0.5, 0.90), (0.7, 0.70)]}  # UA: validation, test
    for alpha, of_runs in figures.items():
        for fold, (valid, test) in enumerate(of_runs):
            run_folder = tmp_path / f"runs/fold_{fold}/a{alpha}"
            run_folder.mkdir(parents=True)
            config = {
                "alpha_asr": alpha,
                "seed": fold,
                "data_sha256": [fold],
                "made_by": {},
                "backbone": "xlsr",
            }
            (run_folder / "config.json").write_text(json.dumps(config))
            (run_folder / "done.json").write_text(json.dumps({"ua": valid, "best_loss": 1.0}))
            tested = {"ua": test, "wa": 0.5, "macro_f1": 0.5, "wer": None}
            (run_folder / "test_metrics.json").write_text(json.dumps(tested))
    said = run(tmp_path, "collect", "runs")
    assert "alpha_asr 0.1, 2 runs: ua 0.520 ± 0.028, wa 0.500 ± 0.000" in said
    assert "best by UA on the validation sets (0.700): alpha_asr 0.1" in said
    with open(tmp_path / "runs/ser_table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["alpha_asr"] for row in rows] == ["0.1", "0.01"]
    assert float(rows[1]["ua"]) == pytest.approx(0.8)
    assert float(rows[1]["ua_sd"]) == pytest.approx(0.2 / np.sqrt(2))
    assert (rows[0]["runs"], rows[0]["wer"], rows[0].get("seed")) == ("2", "", None)
    path = tmp_path / "runs/fold_1/a0.1/config.json"  # of a run that had one more setting
    path.write_text(json.dumps({**json.loads(path.read_text()), "focal_gamma": 2.0}))
    assert "focal_gamma 2.0, 1 runs: ua 0.540" in run(tmp_path, "collect", "runs")
