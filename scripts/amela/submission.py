"""One run of submit.py: what is missing, what to ask for, and handing it to SLURM, to local_sbatch.py, or to the printer."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amela.batch_file import options_of, read_directives
from amela.causes import ask_slurm, causes, final_states, grown, in_queue
from amela.cli import cpus
from amela.errors import CallError
from amela.files import make_folder, write_aside
from amela.snapshot import take_snapshot
from amela.state import manifest_folder
from amela.workflow import Call, Step, Wish, calls, default_shards, missing_steps, stage_summary

DEFAULT_MAX_ARRAY_SIZE = 1001  # SLURM's own, where the controller does not say
WAIT_POLL_S = 10.0


class Submission:
    """A workflow on one manifest; what was submitted before is kept beside the manifest's state, in submit.json."""

    def __init__(
        self,
        steps: Sequence[Step],
        values: dict[str, str],
        wishes: dict[str, Wish],
        env: dict[str, str],
        on_cluster: bool,
    ) -> None:
        self.steps, self.values, self.wishes, self.env, self.on_cluster = (
            steps,
            values,
            wishes,
            env,
            on_cluster,
        )
        self.path = manifest_folder(values["manifest"]) / "submit.json"
        self.before: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        source = self.before.get("source", values["source"])
        if source != values["source"]:
            raise CallError(
                f"{values['manifest']} was made of {source}, found {values['source']}; wanted another --name"
            )

    def go(self, args: argparse.Namespace) -> int:
        """Submit, run or print what is missing; return the exit status."""
        queued = (
            in_queue([job for jobs in self.before.get("jobs", {}).values() for job in jobs])
            if self.on_cluster
            else []
        )
        if queued:
            print(
                f"still in the queue: {' '.join(queued)}; nothing submitted (`squeue --me`, or scancel them first)"
            )
            return 0
        missing = missing_steps(self.steps, self.values, self.wishes)
        if not missing:
            print(f"nothing is missing: {self.values['manifest']} and all that is made of it are up to date")
            return 0
        for step in missing:
            self._ask_for_more(step)
        if args.snapshot and not args.dry_run:
            code = take_snapshot(Path.cwd(), Path("output/code").resolve())
            self.env["AMELA_CODE"] = str(code)
            print(f"the jobs run the code in {os.path.relpath(code)}")
        todo = calls(
            missing, self.values, self.wishes, self._shards(args), args.at_once, self._max_array_size()
        )
        if args.dry_run:
            print("\n".join(self.lines(todo)))
            return 0
        if not self.on_cluster:
            return self._run_here(todo)
        self._submit(todo)
        return self._wait(todo) if args.wait else 0

    def _shards(self, args: argparse.Namespace) -> int:
        if args.shards or self.on_cluster:
            return args.shards or default_shards(self.steps)
        wanted = int(
            next(
                (
                    read_directives(Path(step.launcher)).get("cpus-per-task", "1")
                    for step in self.steps
                    if step.stage
                ),
                1,
            )
        )
        return max(1, cpus() // wanted)

    def _max_array_size(self) -> int:
        if not self.on_cluster:
            return sys.maxsize
        for line in (ask_slurm("scontrol", "show", "config") or "").splitlines():
            if line.startswith("MaxArraySize"):
                return int(line.partition("=")[2])
        return DEFAULT_MAX_ARRAY_SIZE

    def _ask_for_more(self, step: Step) -> None:
        """Add time or memory to a step whose last jobs ran out of it, unless the user says how much."""
        jobs = self.before.get("jobs", {}).get(step.name, [])
        if not jobs or not self.on_cluster:
            return
        summary = (
            stage_summary(Path(self.values["manifest"]), step.stage, self.values["field"])
            if step.stage
            else None
        )
        why = causes(final_states(jobs), summary)
        if not why:
            return
        asked = {**read_directives(Path(step.launcher)), **self.before.get("asked", {}).get(step.name, {})}
        more = {
            name: value
            for name, value in grown(asked, why).items()
            if name not in options_of(self.wishes[step.name].sbatch)
        }
        self.wishes[step.name].sbatch += [f"--{name}={value}" for name, value in more.items()]
        told = ", ".join(f"{count} {cause}" for cause, count in sorted(why.items()))
        changes = ", ".join(f"--{name} {asked[name]} → {value}" for name, value in more.items())
        print(
            f"{step.name}: tasks of job {' '.join(jobs)} that did not complete: {told}; "
            + (changes or "the same again")
        )

    def lines(self, todo: list[Call]) -> list[str]:
        """Return the calls as lines of a bash script."""
        if not self.on_cluster:
            return [
                shlex.join(["python", "scripts/local_sbatch.py", *call.command({}, dependencies=False)])
                for call in todo
            ]
        ids = {call.name: f"${call.name}" for call in todo}
        lines = []
        for call in todo:
            words = [
                word if word.startswith("--dependency=") else shlex.quote(word) for word in call.command(ids)
            ]
            lines.append(f"{call.name}=$(sbatch --parsable {' '.join(words)})")
        return lines

    def _submit(self, todo: list[Call]) -> None:
        """Hand all calls to sbatch; what was submitted is noted at once, also where a later call fails."""
        ids: dict[str, str] = {}
        new = {
            "source": self.values["source"],
            "jobs": dict(self.before.get("jobs", {})),
            "asked": dict(self.before.get("asked", {})),
            "submitted": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "code": self.env.get("AMELA_CODE", str(Path.cwd())),
        }
        for call in todo:
            new["jobs"].pop(call.step, None)
        for call in todo:
            done = subprocess.run(
                ["sbatch", "--parsable", *call.command(ids)], env=self.env, capture_output=True, text=True
            )
            if done.returncode != 0:
                earlier = (
                    f"; already submitted: {' '.join(ids.values())} (scancel them, or run this again later)"
                    if ids
                    else ""
                )
                raise CallError(f"sbatch {call.launcher}: {done.stderr.strip()}{earlier}")
            ids[call.name] = done.stdout.strip().splitlines()[-1].partition(";")[0]
            new["jobs"].setdefault(call.step, []).append(ids[call.name])
            new["asked"][call.step] = {
                name: value for name, value in options_of(call.options).items() if name in ("time", "mem")
            }
            make_folder(self.path.parent)
            with write_aside(self.path) as file:
                json.dump(new, file, indent=2)
            print(f"{call.name:12} job {ids[call.name]}  sbatch {shlex.join(call.command(ids))}")
        self.before = new
        print(
            f"watch: squeue --me; tail -f logs/*_{next(iter(ids.values()))}*.out; python scripts/status.py {self.values['manifest']}"
        )

    def _wait(self, todo: list[Call]) -> int:
        """Return the highest exit status once no job of this submission is in the queue; 1 for jobs that never ran."""
        jobs = {call.name: job for call in todo for job in self.before["jobs"][call.step]}
        while in_queue(list(jobs.values())):
            time.sleep(WAIT_POLL_S)
        worst = 0
        for name, job in jobs.items():
            states = final_states([job])
            bad = {state for state in states.values() if state.split()[0] != "COMPLETED"}
            print(f"{name:12} job {job}  {', '.join(sorted(bad)) if bad else 'completed'}")
            worst = max(worst, 1 if bad or not states else 0)
        return worst

    def _run_here(self, todo: list[Call]) -> int:
        """Run the calls one after the other with local_sbatch.py; return the highest status."""
        statuses: dict[str, int] = {}
        script = str(Path(sys.argv[0]).with_name("local_sbatch.py"))
        for call in todo:
            failed = [name for name in call.after_ok if statuses[name] != 0]
            if failed:
                print(f"{call.name}: not run, as {' and '.join(failed)} failed", flush=True)
                statuses[call.name] = statuses[failed[0]]
                continue
            print(f"— {call.name}: {shlex.join(call.command({}, dependencies=False))}", flush=True)
            statuses[call.name] = _run_foreground(
                [sys.executable, script, *call.command({}, dependencies=False)], self.env
            )
            if statuses[call.name] == 75:
                print("stopped: the same command goes on from here", flush=True)
                return 75
        return max(statuses.values())


def _run_foreground(command: list[str], env: dict[str, str]) -> int:
    """Run a command that handles Ctrl-C itself, and wait for it however often that comes."""
    process = subprocess.Popen(command, env=env)
    status: int | None = None
    while status is None:
        try:
            status = process.wait()
        except KeyboardInterrupt:  # the terminal sent it to both
            continue
    return status if status >= 0 else 128 - status
