"""Arrays on a real SLURM (tests/cluster.py): cost of a task, fan-out, imbalance foreseen and found.

    python benchmarks/fan_out.py

The work is sleep, so that 16 tasks fan out on two cores as on 16 nodes; what our own code costs is real.
Peers for the cost of a task: SLURM's bare task, and submitit's where it is installed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from common import ROOT, SCRIPTS, Run, compare, print_machine, print_table, run_command

sys.path.insert(0, str(ROOT / "tests"))
from cluster import Cluster

TASKS = 16
RECORD_S = 0.1  # that a record takes in the table of fan-out
SLEEPY = """
import time
from amela.cli import stage_parser
from amela.errors import run_main
from amela.stage import run_shard

def process(args, batch):
    time.sleep(sum(record["work_s"] for record in batch))
    return [{"slept": True} for record in batch]

def main():
    args = stage_parser("sleeps").parse_args()
    return run_shard(args, stage="sleepy", fields=("slept",), load=lambda args: args, process=process)

run_main(main)
"""
SUBMITIT = """
import submitit
executor = submitit.SlurmExecutor("logs")
executor.update_parameters(time=5, job_name="peer", array_parallelism=99)
print([job.result() for job in executor.map_array(abs, range({tasks}))])
"""


def make_checkout(folder: Path) -> Path:
    """Return a copy of the code with the stage that sleeps."""
    for name in ("scripts", "slurm"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "site.env"))
    for name in ("logs", "metadata", "envs/.built"):
        (folder / name).mkdir(parents=True)
    (folder / "scripts/sleepy.py").write_text(SLEEPY)
    launcher = (ROOT / "tests/data/toy_stage.slurm").read_text()
    (folder / "slurm/sleepy.slurm").write_text(launcher.replace("toy_stage", "sleepy"))
    (folder / "envs/.built/toy").symlink_to(sys.prefix)
    return folder


def write_manifest(path: Path, seconds: list[float]) -> None:
    """Write a manifest whose records take that long; a new name each time, so that nothing is done before."""
    lines = (
        json.dumps({"id": f"r{i}", "duration": round(s * 100, 3), "work_s": s}) for i, s in enumerate(seconds)
    )
    path.write_text("".join(line + "\n" for line in lines))


def run_array(cluster: Cluster, here: Path, tasks: int, name: str, *arguments: str) -> Run:
    """Submit, wait, and return the wall time from sbatch to the last end as SLURM reports it."""
    submit = f"job=$(sbatch --parsable --array=0-{tasks - 1} {name} {' '.join(arguments)})"
    wait = "while squeue -h -j $job 2>/dev/null | grep -q .; do sleep 0.05; done"
    return run_command(["bash", "-c", f"{submit} && {wait}"], env=cluster.env, cwd=here)


def beats(here: Path, manifest: str) -> list[dict]:
    """Return the last heartbeat of each task."""
    folder = here / f"metadata/.amela/{manifest}/sleepy/beats"
    return [json.loads(path.read_text()) for path in folder.glob("*.json")]


def task_cost(cluster: Cluster, here: Path) -> None:
    """A task that has nothing to do, against SLURM's own and submitit's."""
    write_manifest(here / "metadata/none.json", [0.0])
    run_command([sys.executable, "scripts/sleepy.py", "metadata/none.json"], cwd=here)
    (here / "bare.sh").write_text("#!/bin/bash\ntrue\n")
    manifest = "metadata/none.json"
    alone = {"SLURM_SUBMIT_DIR": str(here), "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "sleepy"}
    cases = {
        f"SLURM alone, {TASKS} tasks": lambda: run_array(cluster, here, TASKS, "-o /dev/null bare.sh"),
        f"our launcher and run loop, {TASKS} tasks": lambda: run_array(
            cluster, here, TASKS, "slurm/sleepy.slurm", manifest, "--force"
        ),
        "of it: batch file with prologue, python --help": lambda: run_command(
            ["bash", "slurm/sleepy.slurm", "--help"], env=alone, cwd=here
        ),
        "of it: python alone, --help": lambda: run_command(
            [sys.executable, "scripts/sleepy.py", "--help"], cwd=here
        ),
        "of it: python alone, deal, open and close an empty shard": lambda: run_command(
            [sys.executable, "scripts/sleepy.py", manifest], cwd=here
        ),
    }
    if find_spec("submitit"):
        code = SUBMITIT.format(tasks=TASKS)
        cases[f"submitit (waits by its own polling), {TASKS} tasks"] = lambda: run_command(
            [sys.executable, "-c", code], env=cluster.env, cwd=here
        )
    found = compare(cases, rounds=5)
    rows = [
        [name, f"{run.wall_s:.3f}", f"{run.wall_s / (TASKS if 'tasks' in name else 1):.3f}"]
        for name, run in found.items()
    ]
    print_table("What a task without work costs (medians of 5)", ["case", "wall s", "s a task"], rows)


def fan_out(cluster: Cluster, here: Path, records: int = 320) -> None:
    """The same work on 1 to 16 tasks."""
    rows = []
    for tasks in (1, 2, 4, 8, 16):
        name = f"fan{tasks}.json"
        write_manifest(here / f"metadata/{name}", [RECORD_S] * records)
        run = run_array(cluster, here, tasks, "slurm/sleepy.slurm", f"metadata/{name}")
        last = beats(here, name)
        inside = max(beat["time"] for beat in last) - min(beat["started"] for beat in last)
        ideal = records * RECORD_S / tasks
        rows.append([tasks, f"{ideal:.2f}", f"{inside:.2f}", f"{ideal / inside:.3f}", f"{run.wall_s:.2f}"])
    columns = ["tasks", "ideal s", "first start to last end s", "efficiency", "sbatch to last end s"]
    print_table(f"Fan-out: {records} records of {RECORD_S} s, one run each", columns, rows)


def imbalance(cluster: Cluster, here: Path, records: int = 480) -> None:
    """Predicted by the deal, and found: the busiest task over the mean."""
    rows = []
    for label, spread in (("alike", 0.3), ("as in real corpora", 1.0), ("a few very long", 1.8)):
        chance = random.Random(2)
        raw = [chance.lognormvariate(0, spread) for _ in range(records)]
        seconds = [value * 48 / sum(raw) for value in raw]
        for flags in ([], ["--balance", "duration"]):
            name = f"imbalance_{spread}_{len(flags)}.json"
            write_manifest(here / f"metadata/{name}", seconds)
            run_array(cluster, here, TASKS, "slurm/sleepy.slurm", f"metadata/{name}", *flags)
            (deal,) = (here / f"metadata/.amela/{name}/sleepy/deals").glob("[0-9]*.json")
            with open(deal) as file:
                predicted = json.loads(file.readline())["imbalance"]
            busy = [beat["time"] - beat["started"] for beat in beats(here, name)]
            found = max(busy) / (sum(busy) / len(busy))
            rows.append([label, " ".join(flags) or "round robin", f"{predicted:.3f}", f"{found:.3f}"])
    title = f"Imbalance of {TASKS} tasks, {records} records: the longest shard over the mean"
    print_table(title, ["durations", "deal", "predicted", "found"], rows)


def help_times() -> None:
    """How soon each script answers --help."""
    scripts = sorted(path for path in SCRIPTS.glob("*.py"))
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    cases = {path.name: (lambda path=path: run_command([python, path, "--help"])) for path in scripts}
    found = compare(cases, rounds=5)
    rows = [
        [name, f"{run.wall_s:.3f}", f"{run.cpu_s:.3f}", f"{run.peak_mb:.0f}"] for name, run in found.items()
    ]
    print_table(
        f"--help on a bare {python} (wanted: below 0.15 s)", ["script", "wall s", "CPU s", "peak MB"], rows
    )


def main() -> None:
    """Print the four tables."""
    print_machine()
    os.environ.pop("AMELA_ENVS", None)
    with tempfile.TemporaryDirectory() as folder, Cluster(nodes=4, cpus=16) as cluster:
        here = make_checkout(Path(folder) / "amela")
        task_cost(cluster, here)
        fan_out(cluster, here)
        imbalance(cluster, here)
    help_times()


if __name__ == "__main__":
    main()
