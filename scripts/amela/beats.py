"""Heartbeats: each task replaces one small file every 30 s, so that others see who is at work without SLURM's
help.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from amela.files import StrPath, make_folder, write_aside
from amela.manifest import Record

BEAT_S = float(os.environ.get("AMELA_BEAT_S", "30"))
STALE_AFTER = 3  # beats missed before a task counts as gone
RUNNING = "running"


def whereabouts() -> Record:
    """Return where and when this is, so that others can tell whether this process lives."""
    return {
        "time": time.time(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_space": _pid_space(),
        "process_start": _process_start(os.getpid()),
    }


def write_beat(path: StrPath, beat: Record) -> None:
    """Replace a task's heartbeat; `beat` gets the time and where the task runs."""
    make_folder(Path(path).parent)
    with write_aside(path) as file:
        json.dump({**beat, **whereabouts(), "every_s": BEAT_S}, file)


def read_beats(folder: Path) -> list[Record]:
    """Return the heartbeats of a stage's state with their `path`, the task that started first comes first."""
    beats = []
    for path in (folder / "beats").glob("*.json"):
        try:
            beat = json.loads(path.read_text())
        except (OSError, ValueError):  # removed by a merge just now
            continue
        beats.append({**beat, "path": str(path)})
    return sorted(beats, key=lambda beat: (float(beat["started"]), str(beat["path"])))


def is_alive(beat: Record) -> bool:
    """Tell whether a task still runs: by its process where that can be seen from here, else by the beat's
    age.
    """
    if beat["state"] != RUNNING:
        return False
    if can_see(beat):
        return bool(_process_start(int(beat["pid"])) == beat["process_start"])
    return time.time() - float(beat["time"]) < STALE_AFTER * float(beat["every_s"])


def _pid_space() -> str | None:
    """Return which process table this is: containers and namespaces of one host have their own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _process_start(pid: int) -> str | None:
    """Return when a process started, as the system counts; None where it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except OSError:
        pass
    if os.path.isdir("/proc/self"):
        return None
    try:  # no /proc (macOS): a process with this number is taken for the one that beat
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"


def can_see(beat: Record) -> bool:
    """Tell whether the process of a beat would be visible from here."""
    return bool(beat["host"] == socket.gethostname() and beat["pid_space"] == _pid_space())
