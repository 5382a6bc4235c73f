"""Units, manifests, checkpoints and folders that are not as they should be: said clearly, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import training_runs as runs

SHORT = ["--num-epochs", "1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with units of 30 files and their manifest."""
    folder = tmp_path_factory.mktemp("corpus")
    runs.write_corpus(folder, 30)
    return folder


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "corpus"))


def put(folder: Path, name: str, content: object) -> None:
    torch.save(content, folder / "units" / f"{name}.pt")


def error_of(folder: Path, *flags: str, ok: int = 2) -> str:
    return runs.train(folder, *SHORT, *flags, ok=ok).stderr


BAD_FILES = [
    (torch.tensor([1, 2, runs.UNITS], dtype=torch.int16), ["units 1 to 12, wanted 0 to 11", "--vocab-size"]),
    (torch.tensor([1, -1], dtype=torch.int16), ["found units -1 to 1"]),
    (torch.tensor([[1, 2]], dtype=torch.int16), ["of shape (1, 2), wanted a 1-D array of integers"]),
    (torch.tensor([0.5]), ["found float32"]),
    ({"units": [1, 2]}, ["found dict, wanted a tensor"]),
]


@pytest.mark.parametrize(("content", "said"), BAD_FILES, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("flags", [[], ["--load-on-the-fly"]], ids=["packed", "on-the-fly"])
def test_bad_units_are_named(corpus: Path, content: object, said: list[str], flags: list[str]) -> None:
    put(corpus, "talk7", content)
    told = error_of(corpus, *flags)
    assert all(part in told for part in ["talk7.pt", *said]), told
    assert "Traceback" not in told


def test_a_pickle_that_runs_code_is_refused(corpus: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(corpus / "evil"),)

    put(corpus, "talk7", Evil())
    assert "talk7.pt: no tensor can be read" in error_of(corpus)
    assert not (corpus / "evil").exists()


def test_a_cut_file_is_named(corpus: Path) -> None:
    path = corpus / "units" / "talk3.pt"
    path.write_bytes(path.read_bytes()[:100])
    assert "talk3.pt: no tensor can be read" in error_of(corpus)


def test_empty_files_are_left_out_and_one_unit_is_enough(corpus: Path) -> None:
    put(corpus, "talk1", torch.zeros(0, dtype=torch.int16))
    put(corpus, "talk2", torch.zeros(1, dtype=torch.int16))
    assert "1 files without a unit are left out: /data/talk1.wav" in runs.train(corpus, *SHORT).stdout
    files = [json.loads(line) for line in (runs.run_of(corpus) / "files.json").read_text().splitlines()]
    assert len(files) == 29
    assert {file["unit_count"] for file in files if file["id"] == "/data/talk2.wav"} == {1}


def test_missing_and_ambiguous_units_are_named(corpus: Path) -> None:
    (corpus / "units" / "talk5.pt").unlink()
    told = error_of(corpus)
    assert "no units for 1 of 30 records (/data/talk5.wav)" in told
    assert "--skip-missing" in told
    (corpus / "units" / "a").mkdir()
    shutil.copy(corpus / "units" / "talk6.pt", corpus / "units" / "a" / "talk6.pt")
    (corpus / "units" / "b").mkdir()
    shutil.move(corpus / "units" / "talk6.pt", corpus / "units" / "b" / "talk6.pt")
    told = error_of(corpus, "--skip-missing")
    assert "/data/talk6.wav: found 2 files of that name (a/talk6.pt, b/talk6.pt)" in told


def test_units_are_found_by_each_name(corpus: Path) -> None:
    """units_filepath, file_id, the mirrored path; a table; Parquet parts. One list of units each time."""
    import pyarrow as pa
    import pyarrow.parquet

    deep = corpus / "units" / "deep"
    deep.mkdir()
    for number in range(10):
        (corpus / "units" / f"talk{number}.pt").rename(deep / f"talk{number}.pt")
    rows = [{"id": f"x{n}", "units_filepath": str(deep / f"talk{n}.pt")} for n in range(10)]
    rows += [{"id": f"y{n}", "file_id": f"talk{n}"} for n in range(10, 20)]
    rows += [{"audio_filepath": f"/data/talk{n}.wav"} for n in range(20, 30)]
    write_lines(corpus / "corpus.json", rows)
    packed = {row["id"]: row["unit_count"] for row in files_of(corpus, "one")}
    rows = "".join(f"talk{number},\n" for number in range(30))
    (corpus / "table.csv").write_text(f"file_id,error\n{rows}bad,cut\n")
    table = files_of(corpus, "two", "--manifest", "table.csv")
    assert sorted(packed.values()) == sorted(row["unit_count"] for row in table)
    units = [torch.load(path).tolist() for path in sorted(corpus.glob("units/**/*.pt"))]
    names = [path.stem for path in sorted(corpus.glob("units/**/*.pt"))]
    (corpus / "parts").mkdir()
    for part, half in enumerate((slice(0, 15), slice(15, 30), slice(0, 5))):  # the third is of a dead attempt
        table = pa.table({"file_id": names[half], "units": units[half], "hop_s": [0.02] * len(names[half])})
        pa.parquet.write_table(table, corpus / "parts" / f"part-{part}.parquet")
    rows = [{"id": name, "units_filepath": str(corpus / "parts" / f"part-{number // 15}.parquet")}
            for number, name in enumerate(names)]  # fmt: skip
    write_lines(corpus / "parquet.json", rows)
    found = files_of(corpus, "three", "--manifest", "parquet.json", "--tokens-dir", "parts")
    assert sorted(packed.values()) == sorted(row["unit_count"] for row in found)


def files_of(corpus: Path, name: str, *flags: str) -> list[dict]:
    runs.train(corpus, *SHORT, "--dataset", name, *flags)
    (path,) = corpus.glob(f"checkpoints/*/{name}_s42/files.json")
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_other_settings_are_refused_with_the_difference(corpus: Path) -> None:
    runs.train(corpus, *SHORT)
    told = error_of(corpus, "--clip", "0.5")
    assert "clip: 1.0 before, 0.5 now" in told
    write_lines(corpus / "units" / "settings.json", [{"vocabulary": 500}])
    assert "settings.json says 500 units" in error_of(corpus, "--seed", "2")


def test_a_corrupt_checkpoint_falls_back_to_the_one_before(corpus: Path) -> None:
    flags = ["--num-epochs", "4"]
    runs.stop_at(corpus, 10, signal.SIGUSR1, *flags)
    run = runs.run_of(corpus)
    damage(run / "last.pt")
    done = runs.train(corpus, *flags)
    assert "going on from previous.pt" in done.stdout
    whole = corpus.parent / "whole"
    shutil.copytree(corpus, whole, ignore=shutil.ignore_patterns("checkpoints"))
    runs.train(whole, *flags)
    first, second = (torch.load(path / "best.pt", weights_only=True) for path in (run, runs.run_of(whole)))
    assert runs.same(first["model"], second["model"])
    (run / "done.json").unlink()
    for name in ("last.pt", "previous.pt"):
        damage(run / name)
    told = runs.train(corpus, *flags, ok=2).stderr
    assert "last.pt" in told
    assert "previous.pt" in told
    assert (run / "best.pt").exists()


def damage(path: Path) -> None:
    """Change one byte in the middle of the weights."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_checkpoint_that_runs_code_is_refused(corpus: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(corpus / "evil"),)

    runs.stop_at(corpus, 4, signal.SIGUSR1, "--num-epochs", "9")
    run = runs.run_of(corpus)
    (run / "previous.pt").unlink(missing_ok=True)
    torch.save({"model": Evil()}, run / "last.pt")
    assert "last.pt: found no whole checkpoint" in error_of(corpus, "--num-epochs", "9")
    assert not (corpus / "evil").exists()


def test_units_of_another_vocabulary_or_gone_are_named(corpus: Path) -> None:
    shutil.copytree(corpus / "units", corpus / "other")
    rows = [{"id": f"t{n}", "units_filepath": str(corpus / ("other" if n == 3 else "units") / f"talk{n}.pt")}
            for n in range(9)]  # fmt: skip
    write_lines(corpus / "mixed.json", rows)
    told = error_of(corpus, "--manifest", "mixed.json", "--dataset", "mixed")
    assert "other/talk3.pt: `units_filepath` is not below" in told
    assert "may have another vocabulary" in told
    for flags in ([], ["--load-on-the-fly"]):
        name = f"gone{len(flags)}"
        put(corpus, "talk4", torch.ones(30, dtype=torch.int16))
        runs.stop_at(corpus, 2, signal.SIGUSR1, "--num-epochs", "9", "--dataset", name, *flags, dataset=name)
        (corpus / "units" / "talk4.pt").unlink()
        told = runs.train(corpus, "--num-epochs", "9", "--dataset", name, *flags, ok=2).stderr
        assert "talk4.pt: " in told
        assert "Traceback" not in told


def test_a_moved_folder_and_the_table_of_vad_find_their_units(corpus: Path) -> None:
    """Old paths of a moved repository count for nothing; vad.py's CSV has audio_filepath, and errors."""
    rows = [{"audio_filepath": f"/data/talk{n}.wav", "units_filepath": f"/moved/units/talk{n}.pt"}
            for n in range(9)]  # fmt: skip
    write_lines(corpus / "moved.json", rows)
    lines = [f"/data/talk{n}.wav,1.5,0.4,\n" for n in range(9)]
    header = "audio_filepath,duration,max-spoken,error\n"
    (corpus / "vad.csv").write_text("".join([header, *lines, "/data/bad.wav,,,cut off\n"]))
    found = [files_of(corpus, path[:5], "--manifest", path) for path in ("moved.json", "vad.csv")]
    names = [{Path(file["units_filepath"]).name for file in files} for files in found]
    assert names[0] == names[1] == {f"talk{n}.pt" for n in range(9)}


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good(corpus: Path) -> None:
    told = error_of(corpus, "--learning-rate", "1e38", "--clip", "0", "--num-epochs", "20")
    assert "by step" in told
    assert "lower --learning-rate" in told
    last = runs.run_of(corpus) / "last.pt"
    if last.exists():
        weights = torch.load(last, weights_only=True)["model"]
        assert all(weight.isfinite().all() for weight in weights.values())


@pytest.fixture(scope="module")
def unbroken(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of three epochs that nothing disturbed."""
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("unbroken") / "corpus"))
    runs.train(folder, "--num-epochs", "3")
    return runs.run_of(folder)


@pytest.mark.parametrize("file", ["last.pt", "best.pt", "metrics.jsonl"])
def test_a_write_that_fails_in_its_middle_loses_nothing(corpus: Path, unbroken: Path, file: str) -> None:
    """A limit on the size of files stands for a full disk; with room again, the run is the one unbroken."""
    flags = ["--num-epochs", "3"]
    runs.stop_at(corpus, 4, signal.SIGUSR1, *flags)
    run = runs.run_of(corpus)
    before = (run / "last.pt").read_bytes()
    # those of an unbroken run: best.pt is the smaller one, and so the first to fail
    size = (unbroken / file).stat().st_size
    limit = (run / file).stat().st_size + 60 if file == "metrics.jsonl" else size // 2

    def cramped() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(runs.command(corpus, *flags), cwd=corpus, env=runs.environment(),
    capture_output=True,
                          text=True, preexec_fn=cramped)  # fmt: skip
    assert done.returncode == 75, done.stderr
    assert "ERROR" in done.stderr
    assert "give the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert (run / "last.pt").read_bytes() == before
    runs.train(corpus, *flags)
    for name in ("last.pt", "best.pt"):
        one, two = (torch.load(path / name, weights_only=True) for path in (run, unbroken))
        assert one.pop("config")["files_sha256"] != two.pop("config")["files_sha256"]  # folders of two names
        assert runs.same(one, two)
    assert (run / "metrics.jsonl").read_bytes() == (unbroken / "metrics.jsonl").read_bytes()


def test_the_second_task_in_a_folder_is_refused_while_the_first_beats(corpus: Path) -> None:
    flags = ["--num-epochs", "100000", "--early-stopping", "0"]
    command, environment = runs.command(corpus, *flags), runs.environment()
    first = subprocess.Popen(command, cwd=corpus, env=environment, stdout=subprocess.DEVNULL)
    while runs.last_step(corpus) < 3:
        assert first.poll() is None
        time.sleep(0.02)
    told = runs.train(corpus, *flags, ok=2).stderr
    assert "is training here" in told
    assert first.poll() is None
    first.kill()
    first.wait()
    (beat,) = runs.run_of(corpus).glob("beats/*.json")
    stale = {**json.loads(beat.read_text()), "host": "elsewhere", "job": "7", "task": 3}
    for task, status in (("4", 2), ("3", 75)):  # on another host: only the own task takes over at once
        beat.write_text(json.dumps(stale))
        where = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": task}
        environment = runs.environment(**where, AMELA_LAUNCHER="x")
        again = subprocess.Popen(command, cwd=corpus, env=environment, stdout=subprocess.DEVNULL)
        try:
            assert again.wait(timeout=30 if status == 2 else 12) == 2
            assert status == 2
        except subprocess.TimeoutExpired:
            assert status == 75
            again.terminate()
            assert again.wait() == 75


def test_one_file_cannot_be_split(corpus: Path) -> None:
    write_lines(corpus / "corpus.json", [{"audio_filepath": "/data/talk1.wav"}])
    assert "wanted at least 2" in error_of(corpus)


def test_the_split_keeps_speakers_together(corpus: Path) -> None:
    rows = [{"audio_filepath": f"/data/talk{n}.wav", "speaker": f"s{n % 5}"} for n in range(30)]
    write_lines(corpus / "corpus.json", rows)
    files = files_of(corpus, "speakers", "--split-by", "speaker", "--train-ratio", "0.6")
    sides = {side: {int(Path(file["id"]).stem[4:]) % 5 for file in files if file["split"] == side}
             for side in ("train", "valid")}  # fmt: skip
    assert len(sides["train"]) == 3
    assert sides["train"] | sides["valid"] == set(range(5))
    assert not sides["train"] & sides["valid"]


def test_units_that_were_encoded_again_are_refused(corpus: Path) -> None:
    runs.stop_at(corpus, 2, signal.SIGUSR1, "--num-epochs", "9")
    put(corpus, "talk4", torch.from_numpy(np.zeros(999, np.int16)))
    assert "talk4.pt: found 999 units" in runs.train(corpus, "--num-epochs", "9", ok=2).stderr
