"""Say what to ask SLURM for: try a stage on a sample, print array size, time, memory and GPU-hours.

    python scripts/plan.py asr metadata/corpus.json
    python scripts/plan.py vad /data/corpus -- --engine silero           after -- come options of the stage
    python scripts/plan.py asr metadata/corpus.json --x-realtime 300     nothing is run; the speed is yours

The stage runs in its own environment on copies of a few records, in a temporary folder; the manifest is not
touched. Run it where the tasks will run (a GPU stage: inside `srun --gres=gpu:1 --pty bash`), for its speed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amela.batch_file import read_directives
from amela.cli import parser, positive
from amela.errors import OK, CallError, run_main
from amela.log import log
from amela.manifest import read_records, write_manifest
from media.audio import scan_audio

REPOSITORY = Path(__file__).resolve().parents[1]
MARGIN = 1.3  # of time and memory: nodes differ, and a task that is killed at 96 % helps nobody
ROUND_S, SHORTEST_S = 600, 600
USUAL_ARRAY = 1000  # tasks: SLURM's own default for MaxArraySize is 1001
WORKERS_GAIN = 0.9  # what each further worker process adds, on a CPU


@dataclass
class Corpus:
    """The records to do: how many, their durations in s in manifest order (NaN: unknown), and a sample."""

    records: int
    durations: list[float]
    sample: list[dict[str, Any]]


@dataclass
class Speed:
    """What a stage does: times real time of one worker, s to load, GB of the largest process."""

    x_realtime: float
    load_s: float = 0.0
    memory_gb: float | None = None
    mean_s: float = math.nan  # of the durations in the sample, for records that state none
    measured: str = "given by --x-realtime"


@dataclass
class Plan:
    """What to ask for."""

    tasks: int
    cpus: int
    gpus: int
    audio_h: float
    imbalance: float
    task_s: float
    time: str
    memory: str
    total_h: float
    command: str


def main() -> int:
    """Print the plan and return 0."""
    args = _parse_args()
    launcher = REPOSITORY / "slurm" / f"{args.stage}.slurm"
    directives = read_directives(launcher)
    corpus = _read_corpus(args.source, args.sample)
    if args.x_realtime:
        speed = Speed(args.x_realtime)
    else:
        speed = _measure(launcher, corpus.sample, args.options, bool(_gpus(directives)))
    plan = _plan(args, corpus, speed, directives)
    print(
        json.dumps({"plan": asdict(plan), "speed": asdict(speed)}, indent=1)
        if args.json
        else _text(corpus, speed, plan)
    )
    return OK


def _parse_args() -> argparse.Namespace:
    launchers = sorted((REPOSITORY / "slurm").glob("*.slurm"))
    stages = [path.stem for path in launchers if (REPOSITORY / "scripts" / f"{path.stem}.py").exists()]
    arguments = parser(__doc__)
    add = arguments.add_argument
    add("stage", help="name of a batch file in slurm/: " + ", ".join(stages))
    add("source", help="the manifest, or for vad the folder of audio")
    add("--sample", type=positive, default=16, help="records to try")
    add(
        "--x-realtime",
        type=float,
        metavar="X",
        help="speed of one task in times real time; nothing is run then",
    )
    add(
        "--task-h",
        type=float,
        default=4.0,
        metavar="H",
        help="hours that a task may take, which decides their number",
    )
    add("--json", action="store_true", help="print the plan as JSON")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    args = arguments.parse_args(words[:cut])
    args.options = words[cut + 1 :]
    if args.stage not in stages:
        raise CallError(f"{args.stage}: no slurm/{args.stage}.slurm; wanted one of {', '.join(stages)}")
    if args.task_h <= 0 or (args.x_realtime is not None and args.x_realtime <= 0):
        raise CallError("--task-h and --x-realtime must be above 0")
    return args


def _read_corpus(source: str, size: int) -> Corpus:
    """Read the manifest once, or list the folder; keep `size` records drawn at random, always alike."""
    if os.path.isdir(source):
        found = [{"audio_filepath": path} for path in scan_audio(source)]
        if not found:
            raise CallError(f"{source}: found no audio, wanted wav, flac, mp3, ogg, opus or m4a files in it")
        records = enumerate(found)
    else:
        records = read_records(source)
    draw = random.Random(0)
    durations, sample = [], []
    for number, (_, record) in enumerate(records):
        durations.append(float(record.get("duration") or math.nan))
        if number < size:
            sample.append(record)
        elif (place := draw.randrange(number + 1)) < size:
            sample[place] = record
    return Corpus(len(durations), durations, sample)


def _measure(launcher: Path, sample: list[dict[str, Any]], options: list[str], on_gpu: bool) -> Speed:
    """Run the stage on one record and on all of the sample: the difference is its speed, the rest loading."""
    found = re.search(r"^run_stage (\S+) (\S+)", launcher.read_text(), re.MULTILINE)
    if found is None:
        raise CallError(f"{launcher}: found no line `run_stage ENVIRONMENT SCRIPT`")
    envs = Path(os.environ.get("AMELA_ENVS") or REPOSITORY / "envs" / ".built")
    name = os.environ.get("AMELA_ENV") or found[1]
    python = envs / name / "bin" / "python"
    if not python.exists():
        raise CallError(f"no environment {name!r} in {envs}: envs/create.sh {name}, or give --x-realtime")
    if not on_gpu:
        options = [*options, "--workers", "1"]
    command = [str(python), str(REPOSITORY / "scripts" / found[2])]
    log(f"trying {found[2]} on 1 and on {len(sample)} records")
    with tempfile.TemporaryDirectory(prefix="amela-plan-") as folder:
        one_audio_s, one_s, _ = _run(command, Path(folder, "one.json"), sample[:1], options)
        all_audio_s, all_s, memory_gb = _run(command, Path(folder, "all.json"), sample, options)
    more_audio_s, more_s = all_audio_s - one_audio_s, all_s - one_s
    if more_audio_s <= 0 or more_s < 0.05 * all_s:  # too short to tell loading from work: take all as work
        more_audio_s, more_s = all_audio_s, all_s
    x_realtime = more_audio_s / more_s
    return Speed(
        x_realtime, max(0.0, one_s - one_audio_s / x_realtime), memory_gb, all_audio_s / len(sample),
        f"measured on {len(sample)} records, {all_audio_s:.0f} s of audio",
    )  # fmt: skip


def _run(
    command: list[str], manifest: Path, records: list[dict[str, Any]], options: list[str]
) -> tuple[float, float, float]:
    """Return seconds of audio, seconds of the run, and GB of the largest process of a run of the stage."""
    write_manifest(manifest, records)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    log_path = manifest.with_suffix(".log")
    start = time.monotonic()
    with open(log_path, "wb") as output:
        process = subprocess.Popen(
            [*command, str(manifest), *options], stdout=output, stderr=output, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    run_s = time.monotonic() - start
    if process.returncode:
        sys.stderr.write("".join(log_path.read_text(errors="replace").splitlines(keepends=True)[-15:]))
        raise CallError(
            f"the stage ended with status {process.returncode} on the sample: "
            f"{shlex.join([*command, 'MANIFEST', *options])}"
        )
    audio_s = sum(record.get("duration") or 0.0 for _, record in read_records(manifest))
    unit = 1 if sys.platform == "darwin" else 1024
    return audio_s, run_s, usage.ru_maxrss * unit / 1e9


def _gpus(directives: dict[str, str]) -> int:
    found = re.search(r"gpu(?::\w+)*?(?::(\d+))?$", directives.get("gres", ""))
    return int(found[1] or 1) if found else 0


def _plan(args: argparse.Namespace, corpus: Corpus, speed: Speed, directives: dict[str, str]) -> Plan:
    """Choose the number of tasks so that none takes longer than asked, then time and memory with a margin."""
    cpus, gpus = int(directives.get("cpus-per-task", 1)), _gpus(directives)
    workers = 1 if gpus or args.x_realtime else cpus
    task_speed = speed.x_realtime * (1 + WORKERS_GAIN * (workers - 1))
    known = [value for value in corpus.durations if not math.isnan(value)]
    mean_s = sum(known) / len(known) if known else speed.mean_s
    if math.isnan(mean_s):
        raise CallError(
            f"{args.source}: its records have no `duration`: leave out --x-realtime, or run vad.py first"
        )
    durations = [mean_s if math.isnan(value) else value for value in corpus.durations]
    work_s = sum(durations) / task_speed
    share_s = max(60.0, args.task_h * 3600 / MARGIN - speed.load_s)
    tasks = 1 if os.path.isdir(args.source) else min(corpus.records, max(1, math.ceil(work_s / share_s)))
    longest = max(sum(durations[shard::tasks]) for shard in range(tasks))
    imbalance = longest * tasks / sum(durations)
    task_s = speed.load_s + longest / task_speed
    asked_s = max(SHORTEST_S, math.ceil(task_s * MARGIN / ROUND_S) * ROUND_S)
    time_text = f"{asked_s // 3600:02d}:{asked_s % 3600 // 60:02d}:00"
    memory = directives.get("mem", "")
    if speed.memory_gb:
        memory = f"{max(2, math.ceil(speed.memory_gb * MARGIN * (workers + 1)))}G"
    words = ["sbatch", *([f"--array=0-{tasks - 1}"] if tasks > 1 or "array" in directives else [])]
    words += [
        f"--time={time_text}",
        *([f"--mem={memory}"] if memory else []),
        f"slurm/{args.stage}.slurm",
        args.source,
        *args.options,
    ]
    total_h = tasks * task_s / imbalance / 3600 * (gpus or cpus)
    return Plan(
        tasks,
        cpus,
        gpus,
        sum(durations) / 3600,
        imbalance,
        task_s,
        time_text,
        memory,
        total_h,
        shlex.join(words),
    )


def _text(corpus: Corpus, speed: Speed, plan: Plan) -> str:
    unknown = sum(math.isnan(value) for value in corpus.durations)
    guessed = f", of {unknown:,} records guessed from the sample" if unknown else ""
    per_worker = "" if plan.gpus or speed.memory_gb is None else " a worker"
    rows = [
        ("records", f"{corpus.records:,}, {plan.audio_h:,.2f} h of audio{guessed}"),
        ("speed", f"{speed.x_realtime:,.1f} × real time{per_worker}, {speed.load_s:.0f} s to load; "
                  + speed.measured),
        ("tasks", f"{plan.tasks}, the longest {plan.task_s / 60:,.0f} min (imbalance {plan.imbalance:.2f})"
                  + (": try --balance duration" if plan.imbalance > 1.1 else "")),
        ("each", f"{plan.cpus} CPUs, {plan.gpus} GPUs, {plan.time} h, "
                 + (plan.memory or "memory as the site gives")),
        ("in all", f"{plan.total_h:,.1f} {'GPU' if plan.gpus else 'CPU'}-hours"),
    ]  # fmt: skip
    if plan.tasks > USUAL_ARRAY:
        rows.append(("arrays", "more than many sites allow in one: scripts/submit.py makes several"))
    return "\n".join(f"{name:8} {text}" for name, text in rows) + f"\n\n{plan.command}"


if __name__ == "__main__":
    run_main(main)
