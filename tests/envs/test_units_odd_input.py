"""Recordings, names and calls that encode.py, sts.py and synthesize.py meet in the field."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from test_units_stages import models, records_of, run

from amela.manifest import record_key
from golden import UNITS
from media.units import UnitFolder, read
from networks.unit_files import read_parquet
from small_vocoder import make_vocoder

RATE_HZ = 16_000


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def noise(seconds: float, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (round(seconds * RATE_HZ), channels))


def write_manifest(name: str, paths: list[str]) -> None:
    Path(name).write_text("".join(json.dumps({"audio_filepath": path}) + "\n" for path in paths))


def units_of(record: dict) -> list[int]:
    return torch.load(record["units_filepath"], weights_only=True).tolist()


def test_names_of_any_kind(here: Path) -> None:
    """Spaces, newlines, percent signs, dots, bytes that are no UTF-8, a long name; the same stem twice."""
    names = ["a b%20c.x.wav", "new\nline.wav", "caf\udce9.wav", "é" * 120 + ".wav"]
    names += ["one/same.wav", "two/same.wav"]
    for number, name in enumerate(names):
        path = here / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            soundfile.write(file, noise(0.3, seed=number), RATE_HZ, format="WAV")
    write_manifest("corpus.json", [str(here / "corpus" / name) for name in names])
    shutil.copy("corpus.json", "parts.json")
    flags = models("encode", here)
    run("encode", "corpus.json", *flags)
    run("sts", "corpus.json", "corpus", *models("sts", here))
    run("encode", "parts.json", *flags, "--format", "parquet", "--batch-size", 2)
    records, parts = records_of(here / "corpus.json"), records_of(here / "parts.json")
    folder = UnitFolder(os.path.dirname(parts[0]["units_filepath"]))
    assert len({record["units_filepath"] for record in records}) == len(names)
    for name, record, part in zip(names, records, parts):
        assert record["sts_filepath"] == str(here / "output/corpus" / name)
        with open(record["sts_filepath"], "rb") as file:
            assert soundfile.info(file).frames == 320 * record["unit_count"]
        assert part["unit_count"] == record["unit_count"], name
        assert read_parquet(part["units_filepath"], record_key(part))[0].tolist() == units_of(record)
        assert read(folder.find(part, record_key(part))).tolist() == units_of(record)
    assert units_of(records[4]) != units_of(records[5])


def test_recordings_without_sound_and_of_several_channels(here: Path) -> None:
    both = noise(0.5, 2)
    soundfile.write("both.wav", both, RATE_HZ)
    soundfile.write("mixed.wav", soundfile.read("both.wav")[0].mean(1), RATE_HZ, "FLOAT")
    soundfile.write("right.wav", soundfile.read("both.wav")[0][:, 1], RATE_HZ, "FLOAT")
    soundfile.write("empty.wav", noise(0), RATE_HZ)
    write_manifest("corpus.json", [str(here / f"{name}.wav") for name in ("both", "mixed", "right", "empty")])
    with open("corpus.json", "a") as file:
        print(json.dumps({"audio_filepath": str(here / "both.wav"), "channel": 1}), file=file)
    said = run("encode", "corpus.json", *models("encode", here))
    both, mixed, right, empty, channel = records_of(here / "corpus.json")
    assert units_of(both) == units_of(mixed)
    assert units_of(channel) == units_of(right) != units_of(both)
    assert "units_filepath" not in empty
    assert "empty.wav: holds no samples" in said


def test_from_another_folder_by_links_and_relative_paths(here: Path) -> None:
    """Models, output and manifest by relative names or links: the fields are absolute and the files there."""
    Path("data/corpus").mkdir(parents=True)
    soundfile.write("data/corpus/a.wav", noise(0.3), RATE_HZ)
    Path("link").symlink_to("data")
    Path("real.json").write_text(json.dumps({"audio_filepath": str(here / "link/corpus/a.wav")}) + "\n")
    Path("corpus.json").symlink_to("real.json")
    flags = models("encode", here)
    shutil.copy(flags[1], "encoder.pt")
    flags[1] = "encoder.pt"
    run("encode", "corpus.json", *flags, "--output", "units/")
    (record,) = records_of(here / "real.json")
    assert record["units_filepath"] == str(here / "units/a.pt")
    assert Path("corpus.json").is_symlink()
    assert len(units_of(record)) == record["unit_count"]


def test_a_split_by_hand(here: Path) -> None:
    """DATASET 3 (or --num-shards 3) with --shard-index: each does its third, the merge has all."""
    Path("corpus").mkdir()
    for number in range(6):
        soundfile.write(f"corpus/{number}.wav", noise(0.2, seed=number), RATE_HZ)
    write_manifest("corpus.json", [str(here / f"corpus/{number}.wav") for number in range(6)])
    for index in range(3):
        split = ["3"] if index else ["--num-shards", "3"]
        run("sts", "corpus.json", "corpus", *split, "--shard-index", index, *models("sts", here))
        assert len(list(Path("output/corpus").glob("*.wav"))) == 2 * (index + 1)


def test_a_folder_of_deduplicated_units_is_spoken_as_long_as_it_was(here: Path) -> None:
    """The defect of AMELA's STS: without their durations, units without repetitions are speech in a hurry."""
    soundfile.write("a.wav", noise(1.0), RATE_HZ)
    for name, extra in (("raw", []), ("short", ["--dedup"])):
        write_manifest(f"{name}.json", [str(here / "a.wav")])
        run("encode", f"{name}.json", *models("encode", here), "--output", name, *extra)
    (raw,), (short,) = records_of(here / "raw.json"), records_of(here / "short.json")
    assert short["unit_count"] < raw["unit_count"]
    voice = ["--vocoder", make_vocoder(here / "voice", UNITS), "--device", "cpu"]
    Path("metadata").mkdir()
    run("synthesize", "raw", *voice)
    run("synthesize", "short", *voice)
    one, two = (next(Path(f"{name}_speech").rglob("*.wav")).read_bytes() for name in ("raw", "short"))
    assert one == two
    shutil.rmtree("short_durations")
    Path("metadata/short_units.json").unlink()
    shutil.rmtree("metadata/.amela")
    told = run("synthesize", "short", *voice, "--fresh", status=2)
    assert "short_durations" in told


def predicting_vocoder(folder: Path) -> Path:
    """The small vocoder with a duration predictor beside it."""
    from networks.hifigan import DurationPredictor

    path = make_vocoder(folder, UNITS)
    config = json.loads((folder / "config.json").read_text())
    config["dur_predictor_params"] = {
        "encoder_embed_dim": 8,
        "var_pred_hidden_dim": 6,
        "var_pred_kernel_size": 3,
    }
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(3)
    predictor = DurationPredictor(8, 6, 3)
    predictor.proj.bias.data.fill_(1.6)  # about four frames each
    content = torch.load(path, weights_only=True)
    for name, value in predictor.state_dict().items():
        content["generator"][f"dur_predictor.{name}"] = value
    torch.save(content, path)
    return path


def test_a_vocoder_that_predicts_durations_does_not_stretch_frames(here: Path) -> None:
    """Raw units are frames, whose durations are known: sts keeps the time; synthesize predicts for runs."""
    from networks.encoder import deduplicate
    from networks.vocoder import Vocoder

    Path("corpus").mkdir()
    soundfile.write("corpus/a.wav", noise(1.0), RATE_HZ)
    write_manifest("corpus.json", [str(here / "corpus/a.wav")])
    flags = models("sts", here)
    flags[-1] = str(predicting_vocoder(here / "predicting"))
    run("sts", "corpus.json", "corpus", *flags)
    (record,) = records_of(here / "corpus.json")
    assert record["sts_duration"] == pytest.approx(49 * 0.02)
    voice = Vocoder(flags[-1], None, None, "cpu")
    frames = np.array([3, 3, 3, 5, 5, 7])
    spoken = [np.concatenate(list(voice.speak(units))) for units in (frames, deduplicate(frames)[0])]
    assert np.array_equal(*spoken)
    assert len(spoken[0]) > 320 * 6
    assert sum(map(len, voice.speak(frames, np.ones(6, int)))) == 320 * 6


def test_a_chunk_of_no_length_is_refused(here: Path) -> None:
    write_manifest("corpus.json", [str(here / "a.wav")])
    for stage, extra in (("encode", []), ("sts", ["corpus"])):
        for value in ("0", "nan", "inf", "-1"):
            words = ["corpus.json", *extra, f"--chunk-s={value}", *models(stage, here)]
            assert f"{value} is not" in run(stage, *words, status=2)


def test_units_files_that_run_code_or_hold_none_are_errors_of_their_record(here: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(here / "evil"),)

    Path("u").mkdir()
    torch.save(Evil(), "u/evil.pt")
    torch.save(torch.tensor([1, UNITS - 1]), "u/good.pt")
    (here / "u/broken.parquet").write_bytes(b"PAR1 and no more")
    shutil.rmtree(here / "evil", ignore_errors=True)
    records = [{"id": name, "units_filepath": str(here / "u" / name)}
               for name in ("evil.pt", "good.pt", "broken.parquet", "gone.pt")]  # fmt: skip
    Path("corpus.json").write_text("".join(json.dumps(record) + "\n" for record in records))
    voice = ["--vocoder", make_vocoder(here / "voice", UNITS), "--device", "cpu", "--max-error-rate", 1]
    said = run("synthesize", "corpus.json", *voice)
    for text in ("evil.pt: damaged, or no tensor", "broken.parquet: ", "gone.pt: No such file"):
        assert text in said
    assert not (here / "evil").exists()
    assert "synthesis_filepath" in records_of(here / "corpus.json")[1]
