"""Why tasks ended that did not complete, and what to ask for instead: more time or memory, or the same."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter

from amela.errors import CallError
from amela.slurm import CALL_LIMIT_S
from amela.summary import StageSummary

CAUSE_OF_STATE = {
    "TIMEOUT": "time",
    "DEADLINE": "time",
    "OUT_OF_MEMORY": "memory",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "CANCELLED": "cancelled",
    "PREEMPTED": "preempted",
}
RUNNING_STATES = (
    "PENDING",
    "RUNNING",
    "COMPLETING",
    "CONFIGURING",
    "SUSPENDED",
    "REQUEUED",
    "RESIZING",
    "SIGNALING",
    "STAGE_OUT",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "SPECIAL_EXIT",
    "STOPPED",
)
MORE_TIME = 2.0
MORE_MEMORY = 1.5
UNITS_OF_MEMORY = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}


def ask_slurm(*command: str) -> str | None:
    """Return what a client command prints; None where it is missing, fails, or has no answer in time."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def in_queue(jobs: list[str]) -> list[str]:
    """Return those of the jobs' tasks that wait or run, as squeue names them (`7_[4-15]`)."""
    found = []
    for job in jobs:  # one at a time: squeue fails as a whole when one id is no longer known
        text = ask_slurm("squeue", "--noheader", "--format=%i", "--jobs", job)
        found += (text or "").split()
    return found


def final_states(jobs: list[str]) -> dict[str, str]:
    """Return the state of each task, by `job_task`: from accounting, else from the controller."""
    if not jobs:
        return {}
    text = ask_slurm(
        "sacct",
        "--allocations",
        "--noheader",
        "--parsable2",
        "--format=JobID,State",
        "--jobs",
        ",".join(jobs),
    )
    if text:
        return dict(line.split("|")[:2] for line in text.splitlines() if "|" in line)
    states: dict[str, str] = {}
    for job in jobs:
        for line in (ask_slurm("scontrol", "--oneliner", "show", "job", job) or "").splitlines():
            words = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
            task = f"{job}_{words['ArrayTaskId']}" if "ArrayTaskId" in words else job
            states[task] = words["JobState"]
    return states


def causes(states: dict[str, str], summary: StageSummary | None) -> Counter[str]:
    """Return how many tasks ended why: time, memory, node, cancelled, preempted, failed or unknown.

    SLURM's states are believed; where it knows nothing, the last heartbeats tell which tasks stopped at the
    time limit. A task that went silent may have lost its node or its memory: that stays unknown.
    """
    known = Counter(
        CAUSE_OF_STATE.get(state.split()[0], "failed")
        for state in states.values()
        if state.split()[0] not in ("COMPLETED", *RUNNING_STATES)
    )
    if known or states or summary is None:
        return known
    for shard in summary.shards:
        if shard.left and shard.beat:
            stopped = shard.state == "stopped" and shard.beat.get("signal") == signal.SIGUSR1
            known["time" if stopped else "unknown"] += 1
    return known


def grown(asked: dict[str, str], why: Counter[str]) -> dict[str, str]:
    """Return `time` and `mem` to ask for after the causes; only what changes."""
    more = {}
    if why["time"] and asked.get("time"):
        more["time"] = format_time(parse_time_s(asked["time"]) * MORE_TIME)
    if why["memory"] and asked.get("mem"):
        more["mem"] = f"{round(parse_memory_mb(asked['mem']) * MORE_MEMORY)}M"
    return more


def parse_time_s(text: str) -> int:
    """Return seconds of SLURM's `minutes`, `minutes:s`, `h:m:s`, `days-h`, `days-h:m` or `days-h:m:s`."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if match is None:
        raise CallError(f"--time={text}: not understood; wanted e.g. 90 (minutes), 12:00:00 or 2-00:00:00")
    days, first, second, third = (int(part or 0) for part in match.groups())
    if match[1] is not None:
        return ((days * 24 + first) * 60 + second) * 60 + third
    if match[4] is not None:
        return (first * 60 + second) * 60 + third
    return first * 60 + second


def format_time(seconds: float) -> str:
    """Return seconds as SLURM's days-h:m:s."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}-{hour:02d}:{minute:02d}:{second:02d}" if days else f"{hour:02d}:{minute:02d}:{second:02d}"


def parse_memory_mb(text: str) -> float:
    """Return megabytes of SLURM's `64G`, `900M` or `900`."""
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", text.upper())
    if match is None:
        raise CallError(f"--mem={text}: not understood; wanted e.g. 64G")
    return int(match[1]) * UNITS_OF_MEMORY[match[2] or "M"]
