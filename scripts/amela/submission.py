"""One run of submit.py: what is missing, what to ask for, and who runs it: SLURM or this machine."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from amela.batch_file import options_of, parse_array, read_directives
from amela.causes import ask_slurm, causes, final_states, grown, in_queue
from amela.cli import cpus
from amela.errors import OK, CallError
from amela.files import make_folder, write_aside
from amela.local_run import lines_here, run_here
from amela.snapshot import take_snapshot
from amela.state import manifest_folder
from amela.workflow import Call, Step, Wish, calls, first_array, missing_steps

DEFAULT_MAX_ARRAY_SIZE = 1001  # SLURM's own, where the controller does not say
LONGEST_POLL_S = 30.0  # between two looks at the queue while waiting


class Plan(NamedTuple):
    """What the user wants: a workflow on one manifest."""

    steps: tuple[Step, ...]
    values: dict[
        str, str
    ]  # for the steps' arguments; `folder` is "" for a workflow that starts from a manifest
    wishes: dict[str, Wish]
    env: dict[str, str]
    on_cluster: bool
    embedded: bool = False  # without a cluster, what nobody gave arguments to runs in the environment `local`


class Submission:
    """A plan and what was submitted for its manifest before, which stands in submit.json beside its state."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.manifest = plan.values["manifest"]
        self.path = manifest_folder(self.manifest) / "submit.json"
        self.before: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.folder = plan.values["folder"] or self.before.get("folder", "")
        if self.before.get("folder", "") not in ("", self.folder):
            found = f"was made of {self.before['folder']}, found {self.folder}"
            raise CallError(f"{self.manifest} {found}; wanted another --name for another folder")

    def go(self, args: argparse.Namespace) -> int:
        """Submit, run or print what is missing; return the exit status."""
        plan = self.plan
        beside = {step.name for step in plan.steps if step.beside}  # what nothing waits for
        noted = self.before.get("jobs", {}).items()
        jobs = [job for name, jobs in noted if name not in beside for job in jobs]
        queued = in_queue(jobs) if plan.on_cluster else []
        if queued:
            print(f"still in the queue: {' '.join(queued)}; nothing submitted (scancel them to begin anew)")
            return OK
        here = not plan.on_cluster
        missing = missing_steps(plan.steps, plan.values, plan.wishes, here)
        if not missing:
            print(f"nothing is missing: {self.manifest} and all that is made of it are up to date")
            return OK
        for step in missing:
            self._ask_for_more(step)
        sizes = self._shards(args), args.at_once, self._array_size()
        todo = calls(missing, plan.values, plan.wishes, *sizes, here)
        if args.dry_run:
            print("\n".join(self._lines(todo)))
            return OK
        if args.snapshot:
            code = take_snapshot(Path.cwd(), Path("output/code").resolve())
            plan.env["AMELA_CODE"] = str(code)
            print(f"the jobs run the code in {os.path.relpath(code)}")
        if here:
            return run_here(todo, plan.env, plan.embedded)
        ids = self._submit(todo)
        return _wait(todo, ids) if args.wait else OK

    def _shards(self, args: argparse.Namespace) -> int:
        """Return the number of shards: as asked, else by the batch file; on one machine what fits at once."""
        options = first_array(self.plan.steps)
        if args.shards:
            return int(args.shards)
        if self.plan.on_cluster:
            return parse_array(options.get("array", "0-15")).indices[-1] + 1
        return max(1, cpus() // int(options.get("cpus-per-task", "1")))

    def _array_size(self) -> int:
        """Return the most tasks that one array may have."""
        if not self.plan.on_cluster:
            return sys.maxsize
        settings = (ask_slurm("scontrol", "show", "config") or "").splitlines()
        sizes = [int(line.partition("=")[2]) for line in settings if line.startswith("MaxArraySize")]
        return sizes[0] if sizes else DEFAULT_MAX_ARRAY_SIZE

    def _ask_for_more(self, step: Step) -> None:
        """Add time or memory to a step whose last jobs ran out of it, unless the user says how much."""
        jobs = self.before.get("jobs", {}).get(step.name, [])
        if not jobs or not self.plan.on_cluster:
            return
        summary = step.summary(self.plan.values) if step.stage else None
        why = causes(final_states(jobs), summary)
        if not why:
            return
        wish = self.plan.wishes[step.name]
        asked = {**read_directives(Path(step.launcher)), **self.before["asked"].get(step.name, {})}
        more = {
            name: value for name, value in grown(asked, why).items() if name not in options_of(wish.sbatch)
        }
        wish.sbatch += [f"--{name}={value}" for name, value in more.items()]
        told = ", ".join(f"{count} {cause}" for cause, count in sorted(why.items()))
        changes = ", ".join(f"--{name} {asked[name]} → {value}" for name, value in more.items())
        which = f"{step.name}: tasks of job {' '.join(jobs)} that did not complete"
        print(f"# {which}: {told}; {changes or 'the same again'}")

    def _lines(self, todo: list[Call]) -> list[str]:
        """Return the calls as lines of a bash script."""
        if not self.plan.on_cluster:
            return lines_here(todo, self.plan.embedded)
        ids = {call.name: f"${call.name}" for call in todo}
        lines = []
        for call in todo:
            command = ["sbatch --parsable", *call.dependency(ids), shlex.join(call.words())]
            lines.append(f"{call.name}=$({' '.join(command)})")
        return lines

    def _submit(self, todo: list[Call]) -> dict[str, str]:
        """Hand all calls to sbatch and return their job ids; each is noted at once: a later one may fail."""
        ids: dict[str, str] = {}
        done_again = {call.step.name for call in todo}
        jobs = {name: old for name, old in self.before.get("jobs", {}).items() if name not in done_again}
        asked = dict(self.before.get("asked", {}))
        for call in todo:
            words = ["sbatch", *call.dependency(ids), *call.words()]
            parsable = [words[0], "--parsable", *words[1:]]
            done = subprocess.run(parsable, env=self.plan.env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                earlier = f"already submitted: {' '.join(ids.values())}" if ids else "to run it here: --local"
                raise CallError(f"sbatch {call.step.launcher}: {done.stderr.strip()}; {earlier}")
            ids[call.name] = done.stdout.strip().splitlines()[-1].partition(";")[0]
            print(f"{call.name:12} job {ids[call.name]}  {shlex.join(words)}")
            jobs.setdefault(call.step.name, []).append(ids[call.name])
            options = options_of(call.options)
            asked[call.step.name] = {name: options[name] for name in ("time", "mem") if name in options}
            self._note(jobs, asked)
        first = next(iter(ids.values()))
        print(f"watch: squeue --me; tail -f logs/*_{first}*.out; python scripts/status.py {self.manifest}")
        return ids

    def _note(self, jobs: dict[str, list[str]], asked: dict[str, dict[str, str]]) -> None:
        """Write down what was submitted last of each step, for the next run of submit.py."""
        make_folder(self.path.parent)
        code = self.plan.env.get("AMELA_CODE", str(Path.cwd()))
        when = time.strftime("%Y-%m-%dT%H:%M:%S")
        noted = {"folder": self.folder, "code": code, "when": when, "jobs": jobs, "asked": asked}
        with write_aside(self.path) as file:
            json.dump(noted, file, indent=2)


def _wait_until_gone(jobs: list[str]) -> None:
    poll_s = 1.0
    while in_queue(jobs):
        time.sleep(poll_s)
        poll_s = min(poll_s * 1.2, LONGEST_POLL_S)


def _wait(todo: list[Call], ids: dict[str, str]) -> int:
    """Return 0 once nothing is in the queue any more and all is complete, else 1.

    Whether the tasks of an array were good enough is for the merge to say, so only single jobs count. What
    runs beside a step is ended when all others have.
    """
    beside = [ids[call.name] for call in todo if call.step.beside]
    _wait_until_gone([job for job in ids.values() if job not in beside])
    if beside:
        ask_slurm("scancel", *beside)
        _wait_until_gone(beside)
    worst = OK
    for call in todo:
        counts = Counter(state.split()[0].lower() for state in final_states([ids[call.name]]).values())
        told = [f"{count} {state}" if call.is_array else state for state, count in sorted(counts.items())]
        print(f"{call.name:12} job {ids[call.name]}  {', '.join(told) or 'never ran'}")
        if not (call.is_array or call.step.beside) and set(counts) != {"completed"}:
            worst = 1
    return worst
