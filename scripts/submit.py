"""Submit a whole workflow: each step is a job that waits for the one before. Again, it does what is missing.

    python scripts/submit.py corpus /data/corpus              VAD → ASR array → merge → export → report
    python scripts/submit.py corpus /data/corpus --shards 64 --at-once 8 --snapshot
    python scripts/submit.py asr metadata/corpus.json --asr-args "--backend pocketsphinx"
    python scripts/submit.py units metadata/corpus.json       encode array → merge → grid of runs → table
    python scripts/submit.py annotate /data/corpus            words, speakers, features, emotion, IPA, codes …
    python scripts/submit.py multimodal /data/corpus          … → tokenizer → Parquet → Flight, training
    python scripts/submit.py babble checkpoints/RUN/corpus_s42   generate → synthesize → VAD → ASR → report
    python scripts/submit.py corpus /data/corpus --dry-run    the sbatch lines, which are a script you can run

Arguments of a step's script: --STEP-args "…"; of its sbatch: --STEP-sbatch "--time=1-0 --partition=gpu".
Where there is no sbatch, the same batch files run here, one step after the other. Steps that ran out of time
or memory get more of it.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from amela import multimodal
from amela.annotate import ANNOTATE, PARTS, annotate_places, annotate_steps
from amela.cli import Parser, parser, positive
from amela.errors import CallError, run_main
from amela.submission import Plan, Submission
from amela.trained import run_name
from amela.workflow import Step, Wish, folder_name
from media.audio import AUDIO_SUFFIXES
from media.sentences import TEXT_SUFFIXES

REPOSITORY = Path(__file__).resolve().parents[1]

AFTER_ASR = (
    Step(
        "asr_eval",
        "{manifest}",
        after_ok=("merge",),
        makes="output/{name}_global_metrics.csv",
        on_request=True,
    ),
    Step(
        "export",
        "{manifest} {field_flag}",
        after_ok=("merge",),
        makes="output/{name}",
        defaults="--format textgrid rttm",
    ),
    Step(
        "report",
        "{manifest} {field_flag}",
        after_ok=("merge",),
        after_any=("asr_eval",),
        makes="output/{name}_report.html",
    ),
)
WORKFLOWS = {
    "corpus": (
        Step("vad", "{folder} {stem}", makes="{manifest}"),
        Step("asr", "{manifest} {field_flag}", stage="asr", after_ok=("vad",)),
        Step("merge", "--manifest {manifest} --stage asr {field_flag}", merges="asr", after_any=("asr",)),
        *AFTER_ASR,
    ),
    "asr": (
        Step("asr", "{manifest} {field_flag}", stage="asr"),
        Step("merge", "--manifest {manifest} --stage asr {field_flag}", merges="asr", after_any=("asr",)),
        *AFTER_ASR,
    ),
    "units": (
        Step("encode", "{manifest} --output output/{name}_units", stage="encode"),
        Step("merge", "--manifest {manifest} --stage encode", merges="encode", after_any=("encode",)),
        Step("train", "{manifest} output/{name}_units", trains=True, after_ok=("merge",)),
        Step("grid", "collect {name}", makes="output/{name}_grid.csv", after_any=("train",)),
    ),
    "babble": (
        Step("generate", "{folder} output/{name}", merges="generate"),
        Step("synthesize", "{manifest} --output output/{name}", merges="synthesize", after_ok=("generate",)),
        Step("vad", "{manifest}", merges="vad", after_ok=("synthesize",)),
        Step("asr", "{manifest} {field_flag}", stage="asr", after_ok=("vad",)),
        Step("merge", "--manifest {manifest} --stage asr {field_flag}", merges="asr", after_any=("asr",)),
        Step(
            "generate.figures",
            "{folder} output/{name} --figures",
            after_ok=("merge",),
            makes="output/{name}/generation_report.json",
        ),
        AFTER_ASR[-1],
    ),
    "annotate": ANNOTATE,
    "multimodal": multimodal.MULTIMODAL,
}
SKIPPED = {"annotate": PARTS, "multimodal": multimodal.CAN_BE_SKIPPED}
FROM_FOLDER = {
    "corpus": "folder of audio",
    "annotate": "folder of audio, or manifest",
    "multimodal": multimodal.WANTED,
    "babble": "run folder of train_lstm.py",
}  # the others: a manifest
SKIP = "leave these out, of: {}; without transcribe the records stay as they are"
SHARDS = {"babble": 1}  # minutes of speech; where nothing stands here, the first array's batch file says it


def parse_args() -> argparse.Namespace:
    """Return the arguments; each workflow has --STEP-args and --STEP-sbatch of its steps."""
    arguments = parser(__doc__)
    workflows = arguments.add_subparsers(
        dest="workflow", required=True, metavar="WORKFLOW", parser_class=Parser
    )
    for name, steps in WORKFLOWS.items():
        text = " → ".join(step.name for step in steps)
        one = workflows.add_parser(name, help=text, description=f"{name}: {text}")
        add = one.add_argument
        add("source", help=FROM_FOLDER.get(name, "manifest"))
        add("--name", help="of the manifest, metadata/NAME.json (default: after the folder)")
        if name in SKIPPED:
            skip = SKIP.format(", ".join(SKIPPED[name]))
            add("--skip", nargs="+", default=[], choices=SKIPPED[name], metavar="STEP", help=skip)
        else:
            add("--field", help="write the text to this field, where `text` is a human reference")
        add(
            "--shards",
            type=positive,
            default=SHARDS.get(name),
            metavar="N",
            help="tasks of each array (default: what its batch file says, 1 to babble; without sbatch: what "
            "runs here at once)",
        )
        add("--at-once", type=positive, metavar="N", help="most tasks of an array that run at the same time")
        add(
            "--snapshot",
            action="store_true",
            help="run a copy of the code: later edits do not reach queued tasks",
        )
        add("--wait", action="store_true", help="come back when all is done, with the highest exit status")
        add("--local", action="store_true", help="run it on this machine although there is an sbatch")
        add("--dry-run", action="store_true", help="print the lines and submit nothing")
        for step in steps:
            instead = f" (default: {step.defaults})" if step.defaults else ""
            instead += f" (here, without SLURM: {step.local})" if step.local else ""
            unless = "; without them it is left out" if step.on_request else ""
            add(
                f"--{step.flag}-args",
                metavar="ARGS",
                default="",
                help=f"for the script of {step.launcher}{instead}{unless}",
            )
            add(
                f"--{step.flag}-sbatch",
                metavar="OPTIONS",
                default="",
                help=f"for the sbatch of {step.launcher}",
            )
    return arguments.parse_args(joined(sys.argv[1:]))


def joined(words: list[str]) -> list[str]:
    """Return the words with `--asr-args --timestamps` as one, or argparse takes the second for its own."""
    whole: list[str] = []
    for word in words:
        if whole and re.fullmatch(r"--[\w-]+[-_](args|sbatch)", whole[-1]):
            whole[-1] += f"={word}"
        else:
            whole.append(word)
    return whole


def site_environment() -> dict[str, str]:
    """Return the environment for sbatch: this one and what slurm/site.env says of SBATCH_*."""
    if not Path("slurm/site.env").exists():
        return dict(os.environ)
    command = "set -a; source slurm/site.env >&2; env -0"
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise CallError(
            f"slurm/site.env: bash stops in it with status {done.returncode}; see its message above"
        )
    pairs = (entry.partition("=")[::2] for entry in os.fsdecode(done.stdout).split("\0"))
    return {**os.environ, **{name: value for name, value in pairs if name.startswith("SBATCH_")}}


def places(args: argparse.Namespace) -> dict[str, str]:
    """Return what stands in the steps' arguments: the folder, the manifest, its path without ending, …."""
    source, annotate = Path(args.source), args.workflow == "annotate"
    if args.workflow == "multimodal":
        args.kind = multimodal.kind_of(args.source, AUDIO_SUFFIXES, TEXT_SUFFIXES)
        from_folder = args.kind in (multimodal.AUDIO, multimodal.TEXT)
    else:
        from_folder = args.workflow in FROM_FOLDER and not (annotate and source.is_file())
        _check_source(args, source, from_folder)
    if from_folder:
        name = f"{run_name(source)}_generated" if args.workflow == "babble" else folder_name(args.source)
        stem = f"metadata/{args.name or (os.path.splitext(name)[0] if source.is_file() else name)}"
    else:
        stem = args.source.removesuffix(".json")
    field = "" if args.workflow in SKIPPED else args.field or ""
    return {
        "folder": os.path.abspath(args.source) if from_folder else "",
        "manifest": f"{stem}.json" if from_folder else args.source,
        "stem": stem,
        "name": Path(stem).name,
        "field": field,
        "field_flag": f"--field={field}" if field else "",
    }


def _check_source(args: argparse.Namespace, source: Path, from_folder: bool) -> None:
    if from_folder and not source.is_dir():
        manifest = "; for a manifest: `submit.py asr MANIFEST`" if source.exists() else ""
        raise CallError(f"{source}: no such folder; wanted a {FROM_FOLDER[args.workflow]}{manifest}")
    if not from_folder and not source.is_file():
        raise CallError(f"{source}: no such manifest; wanted JSON lines, e.g. metadata/corpus.json")


def plan_of(args: argparse.Namespace, on_cluster: bool) -> Plan:
    """Return what is wanted, with the steps left out that are not."""
    values, asked, steps = places(args), wishes(args), WORKFLOWS[args.workflow]
    if args.workflow == "annotate":
        if values["folder"] and "vad" in args.skip:
            raise CallError(
                "--skip vad: vad.py makes the manifest of a folder; wanted a manifest instead of it"
            )
        steps = annotate_steps(args.skip, bool(values["folder"]))
        sentiment = "lexicon" in asked["emotion"].arguments
        values.update(annotate_places(steps, values["stem"], values["manifest"], sentiment))
    if args.workflow != "multimodal":
        return Plan(steps, values, asked, site_environment(), on_cluster)
    steps = multimodal.multimodal_steps(args.kind, args.skip)
    multimodal.fill_places(steps, values, asked["emotion"].arguments, here=not on_cluster)
    return Plan(steps, values, asked, site_environment(), on_cluster, embedded=not on_cluster)


def wishes(args: argparse.Namespace) -> dict[str, Wish]:
    """Return what --STEP-args and --STEP-sbatch say, by the steps' names."""
    given = {name: value for name, value in vars(args).items() if name.endswith(("_args", "_sbatch"))}
    found = {}
    for step in WORKFLOWS[args.workflow]:
        prefix = step.flag.replace("-", "_")
        found[step.name] = Wish(shlex.split(given[f"{prefix}_args"]), shlex.split(given[f"{prefix}_sbatch"]))
    return found


def has_cluster(dry_run: bool) -> bool:
    """Tell whether there is a SLURM; CallError where its commands are here and nobody answers them."""
    if shutil.which("sbatch") is None or dry_run:
        return shutil.which("sbatch") is not None
    try:
        command = ["sinfo", "--noheader"]
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as exc:
        done = subprocess.CompletedProcess("sinfo", 1, "", str(exc))
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        remedy = "try later, or type --local to run all of it on this machine"
        raise CallError(f"sbatch is here, but no cluster answers ({said}): {remedy}")
    return True


def main() -> int:
    """Submit, print or run the workflow; return the exit status."""
    args = parse_args()
    if Path.cwd() != REPOSITORY:
        raise CallError(f"{Path.cwd()} is not the repository; type: cd {shlex.quote(str(REPOSITORY))}")
    if not Path("logs").is_dir():
        raise CallError(
            f"no folder logs/ in {REPOSITORY}: every job would fail without a word; type: mkdir logs"
        )
    on_cluster = not args.local and has_cluster(args.dry_run)
    return Submission(plan_of(args, on_cluster)).go(args)


if __name__ == "__main__":
    run_main(main)
