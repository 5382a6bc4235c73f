"""train_ser.py on a real SLURM: stopped and lost runs go on bit by bit, ablations and folds as arrays."""

from __future__ import annotations

import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ser_runs as ser
import soundfile
import training_runs as runs

from cluster import Cluster
from conftest import copy_code

SPEAKERS = 10
ALPHAS = (0.0, 0.001, 0.01, 0.1, 1.0)
OPTIONS = ("--gres=none", "--cpus-per-task=1", "--mem=1G")
ALONE = {"OMP_NUM_THREADS": "1", "AMELA_BEAT_S": "1"}  # a lost process counts as gone after three seconds
MODEL = (*ser.SMALL, "--backbone", "xlsr", "--backbone_model", "xlsr", "--gradient_accumulation_steps", "1",
         "--batch_size", "3", "--save_steps", "2", "--checkpoint_interval", "0",
         "--early_stopping_patience", "0")  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout with data as Prosody-SER has them, a manifest of ten voices, and a tiny backbone."""
    folder = copy_code(tmp_path_factory.mktemp("cluster") / "amela")
    ser.write_data(folder)
    ser.backbone(folder / "xlsr", "xlsr")
    with open(folder / "metadata/voices.json", "w") as file:
        for number in range(ser.EMOTIONS * SPEAKERS):
            path, emotion = folder / f"AUDIO/voice_{number}.wav", number % ser.EMOTIONS
            soundfile.write(path, ser.wave(100 + number, 0.5, emotion), 16_000)
            words = np.random.default_rng(number).choice(ser.WORDS, size=3).tolist()
            record = {"audio_filepath": str(path), "duration": 0.5, "speaker": f"s{number // ser.EMOTIONS}"}
            label = ("calm", "joy", "fear")[emotion]
            print(json.dumps({**record, "words": words, "emotion": label}), file=file)
    return folder


def submit(cluster: Cluster, here: Path, *words: object) -> str:
    return cluster.sbatch(*OPTIONS, *words, cwd=here, env=ALONE)


def wait_for_lines(cluster: Cluster, here: Path, metrics: str, count: int) -> None:
    """Wait until the metrics of a run have so many lines, which is in the middle of it."""

    def there() -> bool:
        return any(path.read_text().count("\n") >= count for path in here.glob(metrics))

    cluster.wait(there, 60, f"{count} lines of {metrics}")


def log(here: Path, name: str) -> str:
    return (here / f"logs/{name}.out").read_text()


def completed(cluster: Cluster, here: Path, job: str) -> None:
    """Wait until all tasks of a job have ended well."""
    states = cluster.wait_for(job, seconds=90)
    errors = "".join(path.read_text()[-800:] for path in here.glob(f"logs/*_{job}*.err"))
    assert set(states.values()) == {"COMPLETED"}, f"{states}\n{errors}"


def test_a_run_stopped_or_lost_ends_as_one_left_alone(cluster: Cluster, here: Path) -> None:
    """USR1, as before a time limit, and a power cut: requeued by itself, the same bit by bit, all logged."""
    few_saves = ("--batch_size", 1, "--save_steps", 1000)  # at the end of each epoch, every eight steps
    flags = [*MODEL, *ser.HEADS, *few_saves, "--num_epochs", 12, "--experiment_name", "x", *ser.data_flags()]
    stopped, lost = (
        submit(cluster, here, where, "slurm/ser.slurm", *flags, "--save_dir", name)
        for name, where in (("stopped", "--nodelist=n1"), ("lost", "--exclude=n1"))
    )
    for name, hurt in (
        ("stopped", lambda: cluster.run("scancel", "--batch", "--signal=USR1", stopped)),
        ("lost", lambda: cluster.power_cut(node := cluster.field(lost, "NodeList")) or node),
    ):
        wait_for_lines(cluster, here, f"{name}/x_s42/metrics.jsonl", 12)
        node = hurt()
    try:
        ser.run(here, *flags, "--save_dir", "whole")
        for job in (stopped, lost):
            completed(cluster, here, job)
    finally:
        cluster.start_node(node)
        cluster.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
    assert cluster.field(lost, "NodeList") != node
    assert "stopped by SIGUSR1: requeued" in log(here, f"ser_{stopped}")
    for name, job in (("stopped", stopped), ("lost", lost)):
        assert cluster.field(job, "Restarts") == "1"
        said = log(here, f"ser_{job}")
        assert said.index("restart 0, on ") < said.index("restart 1, on ") < said.index("going on from step")
        runs.assert_same_run(here / "whole/x_s42", here / name / "x_s42")
        for path in ("best_model.pt", "xlsr_final_results.json", "x_s42/summary.txt"):
            assert (here / name / path).read_bytes() == (here / "whole" / path).read_bytes(), path


def test_an_array_of_alphas_finds_the_best_of_all(cluster: Cluster, here: Path) -> None:
    """A task is preempted on the way, which changes nothing in its run."""
    typed = [*MODEL, "--ablation_epochs", 12, *ser.data_flags()]
    array = ["--array=0-4", "slurm/ser_ablation.slurm", *typed, "--ablation_alphas", *ALPHAS]
    job = submit(cluster, here, *array, "--save_dir", "array")
    wait_for_lines(cluster, here, "array/ablation/*_asr0.001_*/metrics.jsonl", 4)
    cluster.run("scontrol", "requeue", f"{job}_1")
    ser.run(here, "--run_ablation_study", *typed, "--ablation_alphas", 0.001, "--save_dir", "whole")
    completed(cluster, here, job)
    assert [cluster.field(f"{job}_{task}", "Restarts") for task in range(5)] == ["0", "1", "0", "0", "0"]
    assert "going on from step" in log(here, f"ser_ablation_{job}_1")
    found, whole = (json.loads((here / name / "ablation/ablation_results.json").read_text())
                    for name in ("array", "whole"))  # fmt: skip
    assert [row["alpha_asr"] for row in found["runs"]] == list(ALPHAS)
    assert found["missing"] == []
    preempted, alone = found["runs"][1], whole["runs"][0]
    assert (preempted["valid"], preempted["test"]) == (alone["valid"], alone["test"])
    runs.assert_same_run(here / preempted["run"], here / alone["run"])
    done = [json.loads((here / row["run"] / "done.json").read_text()) for row in found["runs"]]
    best = max(range(5), key=lambda place: (done[place]["ua"], -done[place]["ser"]))
    assert found["best_alpha_asr"] == ALPHAS[best]
    weights = here / found["runs"][best]["run"] / "best.pt"
    assert (here / "array/best_model.pt").read_bytes() == weights.read_bytes()


def folds(here: Path, *words: object) -> str:
    command = [sys.executable, "scripts/ser_folds.py", *map(str, words)]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True, timeout=60).stdout


def test_an_array_of_folds_gives_mean_and_deviation(cluster: Cluster, here: Path) -> None:
    """Five and ten of them, by voice; a task beyond the folds says so."""
    for count in (5, 10):
        folds(here, "split", "metadata/voices.json", f"folds{count}", "--by", "speaker", "--folds", count)
    flags = [*MODEL, "--use_alpha_ser", "--num_epochs", 4, "--batch_size", 6, "--vocab_size", 24]
    jobs = {
        count: submit(cluster, here, f"--array={indices}", "slurm/ser_folds.slurm", f"folds{count}",
                      f"cv{count}", *flags)
        for count, indices in ((5, "0-5"), (10, "8-9"))
    }  # fmt: skip
    completed(cluster, here, jobs[10])
    states = cluster.wait_for(jobs[5], seconds=90)
    assert states.pop(f"{jobs[5]}_5") == "FAILED"
    assert cluster.field(f"{jobs[5]}_5", "ExitCode") == "2:0"
    said = (here / f"logs/ser_folds_{jobs[5]}_5.err").read_text()
    assert said == "ERROR: no folds5/fold_6: --array goes beyond the folds in folds5\n"
    assert set(states.values()) == {"COMPLETED"}
    for count, names in ((5, (1, 2, 3, 4, 5)), (10, (9, 10))):
        tested = [json.loads(path.read_text()) for path in here.glob(f"cv{count}/fold_*/*/test_metrics.json")]
        assert {path.name for path in here.glob(f"cv{count}/fold_*/")} == {f"fold_{name}" for name in names}
        figures = [one["ua"] for one in tested]
        assert len(figures) == len(names)
        told = folds(here, "collect", f"cv{count}")
        mean, deviation = statistics.fmean(figures), statistics.stdev(figures)
        assert told.startswith(f"{len(names)} runs: ua {mean:.3f} ± {deviation:.3f}, wa "), told
        with open(here / f"cv{count}/ser_table.csv", newline="") as file:
            (row,) = csv.DictReader(file)
        assert float(row["ua_sd"]) == pytest.approx(deviation)
