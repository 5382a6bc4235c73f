"""The real launchers on a real SLURM: arrays, signals, requeue, cancelling, a lost node, the property."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from amela.merge import merge
from conftest import copy_code
from toy import BAD, reference, results_of, write_toy_manifest

TOY = "slurm/toy_stage.slurm"
BEAT = {
    "AMELA_BEAT_S": "1"
}  # so that tasks killed without a word count as gone after three seconds, not ninety


@pytest.fixture(scope="module")
def limited(cluster, tmp_path_factory):
    """Submit, before all other tests, a job that runs into its time limit; the last test looks at it."""
    folder = tmp_path_factory.mktemp("limited")
    here = copy_code(folder / "amela")
    write_toy_manifest(here / "metadata/x.json")
    # SLURM looks at time limits every 30 s; this asks for the signal a minute after the start.
    array = ["--array=0-1", "--time=2", "--signal=B:USR1@60", "--nodelist=n4"]
    return here, cluster.sbatch(*array, TOY, "metadata/x.json", "--seconds=0.8", cwd=here)


@pytest.fixture
def here(checkout, limited):
    """A checkout with a manifest of 240 texts, three of which are bad records."""
    write_toy_manifest(checkout / "metadata/x.json")
    return checkout


def log(here: Path, job: str, task: int, kind: str = "out") -> str:
    return (here / f"logs/toy_stage_{job}_{task}.{kind}").read_text()


def wait_for_text(cluster, here: Path, job: str, task: int, text: str) -> None:
    path = here / f"logs/toy_stage_{job}_{task}.out"
    cluster.wait(lambda: path.exists() and text in path.read_text(), 30, f"{text!r} in {path.name}")


def processes(job: str) -> dict[int, list[int]]:
    """Process ids by array task of a job, the batch process first, seen from outside the namespaces."""
    found: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            env = dict(
                entry.partition("=")[::2]
                for entry in (folder / "environ").read_text(errors="replace").split("\0")
            )
            if env.get("SLURM_ARRAY_JOB_ID") == job and "toy_stage.py" in (folder / "cmdline").read_text():
                found.setdefault(int(env["SLURM_ARRAY_TASK_ID"]), []).append(int(folder.name))
        except OSError:
            continue
    return {task: sorted(pids) for task, pids in found.items()}


def test_sbatch_takes_every_launcher(cluster, here):
    for path in sorted((here / "slurm").glob("*.slurm")):
        cluster.run("sbatch", "--test-only", path, cwd=here)


def test_array_with_throttle_gives_the_bytes_of_one_process(cluster, here):
    job = cluster.sbatch("--array=0-15%4", TOY, "metadata/x.json", "--seconds=0.02", cwd=here)
    most = 0
    while "PENDING" in (states := list(cluster.tasks(job).values())):
        most = max(most, states.count("RUNNING"))
        time.sleep(0.05)
    assert set(cluster.wait_for(job).values()) == {"COMPLETED"}
    assert 2 <= most <= 4
    assert merge(here / "metadata/x.json").status == 0
    assert (here / "metadata/x.json").read_bytes() == reference(here)
    header = log(here, job, 3)
    assert f"toy_stage task {job}_3, restart 0, on n" in header
    assert "shard 4 of 16 (deal 1), 15 records left" in header


def test_partial_array_by_the_line_that_the_merge_prints(cluster, here):
    job = cluster.sbatch("--array=0-15", "--hold", TOY, "metadata/x.json", cwd=here)
    for task in (0, 5, 12):
        cluster.run("scancel", f"{job}_{task}")
    cluster.run("scontrol", "release", job)
    cluster.wait(lambda: "COMPLETED" in cluster.tasks(job).values(), 30, "the array")
    cluster.wait_for(job)
    report = merge("metadata/x.json")
    assert report.status == 4
    assert report.stages[0].missing == 45
    assert report.stages[0].finish == f"sbatch --array=0,5,12 {TOY} metadata/x.json"
    rest = cluster.run("bash", "-c", report.stages[0].finish, cwd=here).split()[-1]
    assert sorted(cluster.wait_for(rest)) == sorted(f"{rest}_{task}" for task in (0, 5, 12))
    assert merge("metadata/x.json").status == 0
    assert (here / "metadata/x.json").read_bytes() == reference(here)


def test_usr1_saves_requeues_this_task_alone_and_keeps_the_log(cluster, here):
    job = cluster.sbatch("--array=0-3", TOY, "metadata/x.json", "--seconds=0.05", cwd=here)
    cluster.wait(lambda: results_of(here, 2) >= 4, 30, "results of task 2")
    cluster.run("scancel", "--batch", "--signal=USR1", f"{job}_2")
    wait_for_text(cluster, here, job, 2, "stopped by SIGUSR1: requeued")
    cluster.wait(lambda: cluster.tasks(job)[f"{job}_2"] == "PENDING", 20, "task 2 in the queue again")
    assert set(cluster.wait_for(job).values()) == {"COMPLETED"}
    assert [cluster.field(f"{job}_{task}", "Restarts") for task in range(4)] == ["0", "0", "1", "0"]
    assert "restart 0, on " in log(here, job, 2)
    assert "restart 1, on " in log(here, job, 2)
    assert merge("metadata/x.json").status == 0
    assert (here / "metadata/x.json").read_bytes() == reference(here)


def test_scancel_of_one_task_leaves_the_others_alone(cluster, here):
    job = cluster.sbatch("--array=0-3", TOY, "metadata/x.json", "--seconds=0.05", cwd=here)
    cluster.wait(lambda: results_of(here, 3) >= 4, 30, "results of task 3")
    cluster.run("scancel", f"{job}_3")  # the last task carries the array's id: only the full name is safe
    states = cluster.wait_for(job)
    assert states.pop(f"{job}_3") == "CANCELLED"
    assert set(states.values()) == {"COMPLETED"}
    assert "stopped by SIGTERM: the same command goes on from here" in log(here, job, 3)
    kept = results_of(here, 3)
    assert 4 <= kept < 60
    assert merge("metadata/x.json").stages[0].missing == 60 - kept


def test_scancel_of_the_array_is_final(cluster, here):
    job = cluster.sbatch("--array=0-3", TOY, "metadata/x.json", "--seconds=0.2", cwd=here)
    cluster.wait(lambda: results_of(here, 1) >= 4, 30, "results of task 1")
    cluster.run("scancel", job)
    assert set(cluster.wait_for(job).values()) == {"CANCELLED"}
    time.sleep(8)  # a task that requeued itself would be back after six
    assert set(cluster.tasks(job).values()) == {"CANCELLED"}
    assert not processes(job)


def test_requeue_from_outside_goes_on_where_it_stopped(cluster, here):
    job = cluster.sbatch("--array=0-1", TOY, "metadata/x.json", "--seconds=0.03", cwd=here)
    cluster.wait(lambda: results_of(here, 1) >= 8, 30, "results of task 1")
    cluster.run("scontrol", "requeue", f"{job}_1")
    cluster.wait(lambda: cluster.tasks(job)[f"{job}_1"] == "PENDING", 20, "task 1 in the queue again")
    assert set(cluster.wait_for(job).values()) == {"COMPLETED"}
    left = [int(number) for number in re.findall(r"(\d+) records left", log(here, job, 1))]
    assert left[0] == 120
    assert left[1] <= 112
    assert merge("metadata/x.json").status == 0
    assert (here / "metadata/x.json").read_bytes() == reference(here)


def test_a_lost_node_costs_nothing_but_time(cluster, here):
    job = cluster.sbatch(
        "--array=0-3", "--exclude=n4", TOY, "metadata/x.json", "--seconds=0.05", cwd=here, env=BEAT
    )
    cluster.wait(lambda: results_of(here, 0) >= 4, 30, "results of task 0")
    node = cluster.field(f"{job}_0", "NodeList")
    cluster.power_cut(node)
    try:
        cluster.wait(lambda: cluster.field(f"{job}_0", "Restarts") == "1", 30, "task 0 requeued")
        assert set(cluster.wait_for(job).values()) == {"COMPLETED"}
        assert cluster.field(f"{job}_0", "NodeList") != node
    finally:
        cluster.start_node(node)
        cluster.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
    assert merge("metadata/x.json").status == 0
    assert (here / "metadata/x.json").read_bytes() == reference(here)


def test_missing_environment(cluster, here):
    (here / "envs/.built/toy").unlink()
    job = cluster.sbatch("--array=0-1", TOY, "metadata/x.json", cwd=here)
    assert set(cluster.wait_for(job).values()) == {"FAILED"}
    assert cluster.field(f"{job}_1", "ExitCode") == "2:0"
    assert log(here, job, 1, "err").startswith("ERROR: no environment 'toy' in ")
    assert log(here, job, 1, "err").endswith("type: envs/create.sh toy\n")


def test_missing_logs_folder_is_what_the_readme_says(cluster, here):
    shutil.rmtree(here / "logs")
    job = cluster.sbatch("--array=0-1", TOY, "metadata/x.json", cwd=here)
    assert set(cluster.wait_for(job).values()) == {"FAILED"}
    assert cluster.field(f"{job}_1", "ExitCode") == "0:53"  # and no output anywhere: why logs/ is kept in git


@pytest.mark.parametrize("seed", range(3))
def test_kills_and_resizes_do_not_change_a_byte(cluster, here, seed):
    chance = random.Random(seed)
    wounds: Counter[str] = Counter()
    left = []
    for size, seconds in ((16, 0.4), (5, 0.3), (23, 0.4)):  # slow enough that none of the three gets through
        array = [f"--array=0-{size - 1}", TOY, "metadata/x.json", f"--seconds={seconds}", "--batch-size=2"]
        job = cluster.sbatch(*array, cwd=here, env=BEAT)
        begun = f"logs/toy_stage_{job}_*.out"
        cluster.wait(lambda begun=begun: at_work(here, begun) >= 3, 30, f"tasks of {job} at work")
        end = time.monotonic() + chance.uniform(2.5, 4)
        while time.monotonic() < end:
            wounds[hurt(cluster, job, chance)] += 1
            time.sleep(chance.uniform(0.05, 0.25))
        if size != 23:
            cluster.run("scancel", job)
            cluster.wait_for(job)
            left.append(merge("metadata/x.json", allow_missing=chance.random() < 0.5).stages[0].missing)
    report = finish(cluster, here, job)
    assert (here / "metadata/x.json").read_bytes() == reference(here)
    assert report.stages[0].failed == len(BAD)
    assert 240 > left[0] > left[1] > 0, left
    assert sum(wounds.values()) - wounds["nothing"] >= 15, wounds


def at_work(here: Path, logs: str) -> int:
    """How many tasks have opened their shard, by their logs."""
    return sum("records left" in path.read_text() for path in here.glob(logs))


def finish(cluster, here: Path, job: str):
    """Wait for a job, then type the lines that the merge prints until nothing is missing."""
    for _ in range(6):
        cluster.wait_for(job, seconds=90)
        report = merge("metadata/x.json")
        if report.status != 4:
            return report
        job = cluster.run("bash", "-c", report.stages[0].finish, cwd=here, env=BEAT).split()[-1]
    raise AssertionError(report)


def hurt(cluster, job: str, chance: random.Random) -> str:
    """Do something bad to a random task of a job, its processes or through SLURM; returns what."""
    running = processes(job)
    if not running:
        return "nothing"
    task = chance.choice(sorted(running))
    keeper, *workers = running[task]
    how = chance.choice(["kill keeper", "kill worker", "kill worker", "term", "usr1", "requeue"])
    if how.startswith("kill"):
        with suppress(ProcessLookupError):
            os.kill(chance.choice(workers) if how == "kill worker" and workers else keeper, signal.SIGKILL)
    elif how == "requeue":
        cluster.run("scontrol", "requeue", f"{job}_{task}", check=False)
    else:
        flags = ["--batch", "--signal=USR1"] if how == "usr1" else []
        cluster.run("scancel", *flags, f"{job}_{task}", check=False)
    return how


def test_time_limit_saves_and_requeues(cluster, limited):
    here, job = limited
    logs = [here / f"logs/toy_stage_{job}_{task}.out" for task in (0, 1)]
    saved = "stopped by SIGUSR1: requeued"
    cluster.wait(lambda: all(saved in path.read_text() for path in logs), 150, "the signal before the limit")
    cluster.wait(lambda: "RUNNING" not in cluster.tasks(job).values(), 30, "both tasks in the queue again")
    # once, or on a busy machine twice: the clock of a limit is looked at every 30 s only
    assert all(int(cluster.field(f"{job}_{task}", "Restarts")) >= 1 for task in (0, 1))
    assert results_of(here, 0) >= 40  # of the 75 that fit into a minute
    cluster.run("scancel", job)
