"""encode.py, sts.py and synthesize.py as people run them: files, fields, errors, kills, other array sizes."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from pyarrow import parquet

import golden
from amela.deals import read_deals
from amela.manifest import record_key
from amela.merge import merge
from amela.state import stage_folder
from arrays import Task, do_harm
from small_vocoder import make_vocoder

SCRIPTS = Path(__file__).parents[2] / "scripts"
UNITS = golden.UNITS
sys.path.insert(0, str(SCRIPTS))

import encode  # noqa: E402
import networks.encoder  # noqa: E402
import networks.griffinlim  # noqa: E402
import networks.vocoder  # noqa: E402, F401 (loaded once: tasks are forks)
import sts  # noqa: E402

ROUNDS = int(os.environ.get("AMELA_ROUNDS", "200")) // 25
JOBS = itertools.count(5000)
torch.set_num_threads(1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recordings in data/corpus/ and a manifest of them, one of which is damaged; it is the
    working folder.
    """
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(3)
    records = []
    for index in range(14):
        path = tmp_path / "data" / "corpus" / "ab"[index % 2] / f"r{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = chance.normal(0, 0.1, chance.integers(2000, 9000))
        soundfile.write(path, samples, 16_000)
        records.append({"audio_filepath": str(path), "duration": round(len(samples) / 16_000, 4)})
    records.append({**records[0], "offset": 0.05, "duration": 0.0602})
    (tmp_path / "data/corpus/bad.wav").write_bytes(b"RIFF but no sound")
    records.append({"audio_filepath": str(tmp_path / "data/corpus/bad.wav"), "duration": 1.0})
    soundfile.write(tmp_path / "data/corpus/short.wav", np.zeros(300), 16_000)
    records.append({"audio_filepath": str(tmp_path / "data/corpus/short.wav"), "duration": 0.0188})
    (tmp_path / "corpus.json").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def models(stage: str, folder: Path) -> list[str]:
    """The flags that name small models; a vocoder of random weights for the codebook's units."""
    flags = [
        "--encoder",
        str(golden.SMALL / "bn.pt"),
        "--kmeans",
        str(golden.SMALL / "bn.km"),
        "--layer",
        "2",
    ]
    flags += ["--device", "cpu", "--max-error-rate", "1"]
    return flags if stage == "encode" else [*flags, "--vocoder", str(make_vocoder(folder / "voice", UNITS))]


def models_without_weights(folder: Path) -> list[str]:
    """The flags of the encoder mfcc and the vocoder griffinlim, with a codebook of random centres."""
    from networks.codebook import Codebook, write_codebook

    chance = np.random.default_rng(4)
    made_of = {"encoder": "mfcc", "encoder_revision": "mfcc-1", "layer": None, "hop_s": 0.01}
    centers, log_mels = chance.normal(0, 10, (UNITS, 39)), chance.normal(-3, 1, (UNITS, 80))
    arrays = centers.astype(np.float32), log_mels.astype(np.float32), np.ones(UNITS, int)
    with open(folder / "mfcc.npz", "wb") as file:
        write_codebook(file, Codebook(*arrays, made_of))
    return [
        "--encoder",
        "mfcc",
        "--kmeans",
        str(folder / "mfcc.npz"),
        "--device",
        "cpu",
        "--max-error-rate",
        "1",
    ]


def run(name: str, *arguments: object, status: int = 0) -> str:
    """Run a script; return what it printed."""
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == status, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def records_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def files_of(folder: Path) -> dict[str, bytes]:
    """The bytes of all files that have their final name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")}  # fmt: skip


def test_encode_writes_units_that_torch_loads(here: Path) -> None:
    said = run("encode", "corpus.json", *models("encode", here), "--workers", 2)
    assert "bad.wav" in said
    assert "400" in said  # samples that short.wav lacks
    records = records_of(here / "corpus.json")
    folder = here / f"output/corpus_bn_bn_{UNITS}"
    for record in records[:-2]:
        units = torch.load(record["units_filepath"], weights_only=True)
        assert units.dtype == torch.int16
        assert units.dim() == 1
        assert len(units) == record["unit_count"]
        assert int(units.max()) < UNITS
        assert Path(record["units_filepath"]).is_relative_to(folder)
    assert records[1]["units_filepath"] == str(folder / "b/r1.pt")
    assert records[14]["units_filepath"] == str(folder / "a/r0_50-110.pt")
    assert all("units_filepath" not in record for record in records[-2:])
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["hop_s"], settings["chunk_s"], settings["dtype"], settings["layer"]) == (
        0.02,
        100.0,
        "float32",
        2,
    )
    manifest = (here / "corpus.json").read_bytes()
    run("encode", "corpus.json", *models("encode", here))  # nothing left to do
    assert (here / "corpus.json").read_bytes() == manifest


def test_parquet_and_dedup_say_the_same(here: Path) -> None:
    for name in ("raw", "short", "parts"):
        shutil.copy(here / "corpus.json", here / f"{name}.json")
    run("encode", "raw.json", *models("encode", here))
    run("encode", "short.json", *models("encode", here), "--dedup")
    run("encode", "parts.json", *models("encode", here), "--dedup", "--format", "parquet")
    from networks.unit_files import read_parquet, read_pt

    raw, short, parts = (records_of(here / f"{name}.json")[:15] for name in ("raw", "short", "parts"))
    assert len({record["units_filepath"] for record in parts}) == 1
    for one, other, third in zip(raw, short, parts):
        units, durations = read_pt(other["units_filepath"]), read_pt(other["durations_filepath"])
        assert np.array_equal(np.repeat(units, durations), read_pt(one["units_filepath"]))
        key = one["audio_filepath"] + ("@0.05+0.0602" if "offset" in one else "")
        row, lengths = read_parquet(third["units_filepath"], key)
        assert np.array_equal(row, units)
        assert np.array_equal(lengths, durations)
        assert third["unit_count"] == other["unit_count"] == len(units)


def test_sts_is_encode_then_synthesize(here: Path) -> None:
    shutil.copy(here / "corpus.json", here / "two.json")
    run("sts", "corpus.json", "corpus", *models("sts", here), "--speaker", "two")
    run("encode", "two.json", *models("encode", here))
    voice = [
        "--vocoder",
        make_vocoder(here / "voice", UNITS),
        "--speaker",
        "two",
        "--device",
        "cpu",
        "--max-error-rate",
        1,
    ]
    run("synthesize", "two.json", *voice)
    ours, theirs = records_of(here / "corpus.json")[:15], records_of(here / "two.json")[:15]
    assert ours[1]["sts_filepath"] == str(here / "output/corpus/b/r1.wav")
    for one, other in zip(ours, theirs):
        sound, rate_hz = soundfile.read(one["sts_filepath"], dtype="int16")
        assert rate_hz == 16_000
        assert len(sound) == 320 * other["unit_count"] == round(one["sts_duration"] * rate_hz)
        assert np.array_equal(sound, soundfile.read(other["synthesis_filepath"], dtype="int16")[0])


def test_sts_leaves_what_is_there_and_makes_what_changed(here: Path) -> None:
    flags = models("sts", here)
    run("sts", "corpus.json", "corpus", *flags)
    made = here / "output/corpus/a/r0.wav"
    before, merged = made.stat().st_mtime_ns, (here / "corpus.json").read_bytes()
    shutil.rmtree(here / ".amela")
    (here / "output/corpus/b/r1.wav").unlink()
    records = [
        {k: v for k, v in record.items() if not k.startswith("sts")}
        for record in records_of(here / "corpus.json")
    ]
    (here / "corpus.json").write_text("".join(json.dumps(record) + "\n" for record in records))
    run("sts", "corpus.json", "corpus", *flags)
    assert (here / "corpus.json").read_bytes() == merged
    assert made.stat().st_mtime_ns == before
    assert (here / "output/corpus/b/r1.wav").exists()
    said = run("sts", "corpus.json", "corpus", *flags, "--speaker", "two", status=2)
    assert "speaker" in said
    run("sts", "corpus.json", "corpus", *flags, "--speaker", "two", "--fresh")
    assert made.stat().st_mtime_ns != before


def test_sts_says_where_the_dataset_is_not_in_the_path(here: Path) -> None:
    said = run("sts", "corpus.json", "elsewhere", *models("sts", here))
    assert "no folder 'elsewhere' in the path" in said
    assert not list((here / "output/elsewhere").rglob("*.wav"))


def test_sts_never_replaces_the_recordings(here: Path) -> None:
    folder = here / "data/corpus"
    before = files_of(folder)
    said = run("sts", "corpus.json", "corpus", *models("sts", here), "--output", folder)
    assert "would replace the recording; wanted another --output" in said
    assert before.items() <= files_of(folder).items()


def test_two_records_of_one_file_are_refused_before_anything_is_made(here: Path) -> None:
    lines = (here / "corpus.json").read_text()
    twin = {"audio_filepath": str(here / "data/corpus/a/r0.flac")}
    (here / "corpus.json").write_text(lines + json.dumps(twin) + "\n")
    for name, extra in (("encode", []), ("sts", ["corpus"])):
        said = run(name, "corpus.json", *extra, *models(name, here), status=2)
        assert "r0.flac" in said
        assert "line 1" in said
    assert not (here / "output").exists()


def test_one_record_is_shown_and_nothing_written(here: Path) -> None:
    path = here / "data/corpus/a/r0.wav"
    for name, extra in (("encode", []), ("sts", ["corpus"])):
        shown = json.loads(run(name, "corpus.json", *extra, *models(name, here), "--only", path))
        assert shown
    assert not (here / "output").exists()
    assert not (here / ".amela").exists()


def test_a_folder_of_units_is_spoken(here: Path) -> None:
    tokens = here / "runs/tokens"
    (tokens / "deep").mkdir(parents=True)
    (here / "metadata").mkdir()
    for name, values in (("one", [1, 2, 3]), ("deep/two", [UNITS - 1] * 600), ("bad", [UNITS]), ("none", [])):
        torch.save(torch.tensor(values, dtype=torch.int16), tokens / f"{name}.pt")
    (tokens / "torn.pt").write_bytes((tokens / "one.pt").read_bytes()[:100])
    flags = ["--vocoder", make_vocoder(here / "voice", UNITS), "--device", "cpu", "--max-error-rate", 1]
    said = run("synthesize", tokens, *flags)
    assert f"found unit {UNITS}, wanted 0 to {UNITS - 1}" in said
    assert "no units" in said
    assert "torn.pt: damaged" in said
    sounds = {str(path.relative_to(here / "runs/speech")): soundfile.info(path).frames
              for path in (here / "runs/speech").rglob("*.wav")}  # fmt: skip
    assert sounds == {"one.wav": 960, "deep/two.wav": 600 * 320}
    torch.save(torch.tensor([5]), tokens / "new.pt")
    run("synthesize", tokens, *flags)
    assert (here / "runs/speech/new.wav").exists()


def test_models_that_do_not_belong_together_are_refused(here: Path) -> None:
    np.save(here / "other.npy", np.zeros((7, golden.WIDTH), np.float32))
    flags = models("sts", here)
    flags[flags.index("--kmeans") + 1] = str(here / "other.npy")
    assert "the codebook has 7" in run("sts", "corpus.json", "corpus", *flags, status=2)
    np.save(here / "other.npy", np.zeros((7, 5), np.float32))
    shutil.copy("corpus.json", "again.json")  # as the first call froze its settings
    assert "width 5" in run("sts", "again.json", "corpus", *flags, status=2)
    said = run("encode", "corpus.json", "--device", "cpu", status=2)
    assert "get_models.py units" in said


def uninterrupted(stage: str, argv: list, here: Path) -> tuple[bytes, Any]:
    """The merged bytes and the files of one process; everything is put back as it was."""
    shutil.copy("corpus.json", "original.json")
    run(stage, *argv)
    merged, files = (here / "corpus.json").read_bytes(), files_of(here / "output")
    if "parquet" in argv:
        files = contents_of("corpus.json")
    start_anew()
    return merged, files


def contents_of(manifest: str) -> list[dict]:
    """The records of a manifest with the units that Parquet has of them, in place of the part's name."""
    from networks.unit_files import read_parquet

    records = [json.loads(line) for line in Path(manifest).read_text().splitlines()]
    for record in records:
        if "units_filepath" in record:
            path = record.pop("units_filepath")
            record["units"] = read_parquet(path, record_key(record))[0].tolist()
    return records


def start_anew() -> None:
    shutil.rmtree("output")
    shutil.rmtree(".amela")
    shutil.copy("original.json", "corpus.json")


def harmed_array(argv: list, main, size: int, rng: random.Random, log: Path, harm: bool) -> None:
    """Run an array at most three tasks at once, killing, stopping and crippling some."""
    job, waiting, running = next(JOBS), list(range(size)), []
    while waiting or running:
        while waiting and len(running) < 3:
            running.append(Task(argv, job, waiting.pop(0), range(size), log=log, main=main))
        if harm and rng.random() < 0.1:
            do_harm(rng.choice(running), rng)
        for task in list(running):
            status = task.poll()
            if status is not None:
                running.remove(task)
                if status == 75 and rng.random() < 0.7:
                    running.append(task.again())
        assert_whole(Path("output"))  # never half a file under a final name
        os.sched_yield()


def assert_whole(folder: Path) -> None:
    """Each file that has its final name can be read to its end; what else lies there is hidden and ours."""
    for path in folder.rglob("*"):
        if path.name.startswith("."):
            assert path.name.endswith(".tmp")
        elif path.suffix == ".wav":
            assert soundfile.info(path).frames == len(soundfile.read(path)[0]) > 0
        elif path.suffix == ".pt":
            assert len(torch.load(path, weights_only=True)) > 0
        elif path.suffix == ".parquet":
            assert len(parquet.read_table(path)) > 0


WAYS = {
    "encode": [],
    "encode --dedup": ["--dedup"],
    "encode --format parquet": ["--format", "parquet"],
    "sts": [],
    "sts, mfcc": [],
}


@pytest.mark.parametrize("way", WAYS)
def test_killed_and_resized_runs_make_the_same_bytes_and_files(way: str, here: Path) -> None:
    """Parts in Parquet depend on the split, and with them `units_filepath`: there all else is the same."""
    stage = re.split("[ ,]", way)[0]
    flags = models_without_weights(here) if "mfcc" in way else models(stage, here)
    argv = ["corpus.json", *(["corpus"] if stage == "sts" else []), *flags, "--workers", 1, *WAYS[way]]
    expected, files = uninterrupted(stage, argv, here)
    main = {"encode": encode.main, "sts": sts.main}[stage]
    log = here / "log"
    for seed in range(max(1, ROUNDS // 4) if "mfcc" in way else ROUNDS):
        rng = random.Random(seed)
        harmed = [*argv, "--force", "--batch-size", rng.choice([1, 3])]
        for size in rng.sample([1, 3, 5, 8], rng.randrange(1, 3)):
            harmed_array(harmed, main, size, rng, log, harm=True)
            if rng.random() < 0.5 and read_deals(stage_folder("corpus.json", stage)):
                merge("corpus.json", stage, max_error_rate=1)
        harmed_array(harmed, main, rng.choice([2, 4]), rng, log, harm=False)  # 1 would join the latest deal
        report = merge("corpus.json", stage, max_error_rate=1)
        assert report.status == 0, f"seed {seed}: {report}\n{log.read_text()[-3000:]}"
        if "parquet" in way:
            assert contents_of("corpus.json") == files, f"seed {seed}"
        else:
            assert (here / "corpus.json").read_bytes() == expected, f"seed {seed}"
            assert files_of(here / "output") == files, f"seed {seed}"
        start_anew()
