"""The folder of a training run: one task at a time, one frozen config, one result."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from amela import beats, provenance
from amela.changes import changes
from amela.errors import CallError, StoppedError
from amela.files import StrPath, attempt_name, link_first, make_folder, read_when_whole, write_aside
from amela.log import log
from amela.slurm import Place, in_batch_job

CONFIG, DONE = "config.json", "done.json"
LOCK_S = 60  # beats decide; the lock only keeps two tasks from looking at the same moment


def state_of(path: StrPath) -> str:
    """Return done, running, stale (it beat, and its process is gone), stopped, or missing: not begun."""
    folder = Path(path)
    if (folder / DONE).exists():
        return "done"
    found = beats.read_beats(folder)
    if found:
        return beats.RUNNING if any(map(beats.is_alive, found)) else "stale"
    return "stopped" if (folder / CONFIG).exists() else "missing"


class RunFolder:
    """A run's folder, `taken` by one task at a time: another one is refused while the first beats.

    The same array and task id (a requeued task) takes over: SLURM has ended the attempt before it.
    """

    def __init__(self, path: StrPath, place: Place) -> None:
        self.path = make_folder(path)
        job = place.job if in_batch_job() else None  # in an interactive allocation each run is one of its own
        self.beat: dict[str, Any] = {"job": job, "task": place.task, "started": time.time()}
        self.beat_path = self.path / "beats" / f"{attempt_name()}.json"
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None

    def take(self) -> None:
        """Begin to beat; CallError while another task is at work here."""
        from filelock import FileLock, Timeout

        try:
            with FileLock(str(self.path / ".lock"), timeout=LOCK_S):
                self._take()
        except (Timeout, OSError):  # no locks here: the beats alone
            self._take()
        self._beating = threading.Thread(target=self._beat_on, daemon=True)
        self._beating.start()

    def _take(self) -> None:
        for other in beats.read_beats(self.path):
            own = self.beat["job"] and (other["job"], other["task"]) == (self.beat["job"], self.beat["task"])
            if other["path"] != str(self.beat_path) and not own and beats.is_alive(other):
                raise CallError(
                    f"{self.path}: job {other['job'] or '(none)'} is training here (process {other['pid']} "
                    f"on {other['host']}); wait for it or end it; one that was killed counts as gone after "
                    f"{beats.STALE_AFTER * float(other['every_s']):.0f} s; "
                    "--seed or --dataset makes a run of its own"
                )
            Path(other["path"]).unlink(missing_ok=True)
        beats.write_beat(self.beat_path, {**self.beat, "state": beats.RUNNING})

    def _beat_on(self) -> None:
        while not self._ended.wait(beats.BEAT_S):
            try:
                beats.write_beat(self.beat_path, {**self.beat, "state": beats.RUNNING})
            except (CallError, StoppedError, OSError):  # the work itself will say so
                continue

    def release(self) -> None:
        """Stop beating: the next task may come."""
        self._ended.set()
        if self._beating:
            self._beating.join()
            self.beat_path.unlink(missing_ok=True)

    def freeze(self, settings: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
        """Save the settings as config.json, or check them against those there; return the config.

        CallError with the difference where they are not the same. Versions are recorded, and warned about.
        """
        path = self.path / CONFIG
        now: dict[str, Any] = json.loads(json.dumps({**settings, **facts}))
        made_by = provenance.versions()
        text = json.dumps({**now, "made_by": made_by}, indent=1) + "\n"
        if link_first(path, text.encode()):
            return now
        then: dict[str, Any] = json.loads(read_when_whole(path))
        before = then.pop("made_by")
        changed = changes(then, now)
        if changed:
            raise CallError(
                f"{path}: the settings differ from those of this run ({changed}): give the "
                "same ones, or another name (--dataset, --experiment-name) or --seed for a new run"
            )
        for name, version in before.items():
            if made_by.get(name) != version:
                log(f"warning: {name} was {version} when this run began and is {made_by.get(name)} now")
        return now

    def result(self) -> dict[str, Any] | None:
        """Return what `finish` wrote, None while the run is not finished."""
        try:
            found: dict[str, Any] = json.loads((self.path / DONE).read_text())
        except FileNotFoundError:
            return None
        return found

    def finish(self, result: dict[str, Any]) -> None:
        """Write done.json: the run is finished."""
        with write_aside(self.path / DONE) as file:
            json.dump(result, file, indent=1)
            file.write("\n")
