"""Manifests of 1 M and 10 M lines: time and peak memory to deal, open a shard of 16, show the status, merge.

    python benchmarks/manifest.py --lines 1000000
    python benchmarks/manifest.py --lines 10000000 --rounds 3

Each step is a process of its own, as on a cluster, interpreter start included. Peers that do the same:
json.loads of everything (the plain script), lhotse and datatrove (`envs/create.sh bench`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ROOT, SCRIPTS, Run, compare, print_machine, print_table, run_command

SHARDS = 16
SHARD = 3  # the one that is opened
ENVS = Path(os.environ.get("AMELA_ENVS", ROOT / "envs/.built"))
PEERS = Path(__file__).with_name("manifest_peers.py")
TARGETS_MB = {"open": 300, "merge": 800}  # at 10 M lines
PEER_MEMORY_GB = 17  # a peer that needs more is stopped, and its row says so


def main() -> None:
    """Make the manifest and the results, run every step in turn with its peers, print a table."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--lines", type=int, default=1_000_000, help="records of the manifest (default: 1000000)")
    add("--rounds", type=int, default=5, help="measured runs of each case, after the warm-up (default: 5)")
    add("--warm-up", type=int, default=1, help="runs before those (default: 1)")
    add("--peers", default=ENVS / "bench/bin/python", help="python that has lhotse and datatrove")
    add("--only-ours", action="store_true", help="leave json.loads of everything out too")
    add("--dir", help="folder for the files, about 2 kB a line (default: a temporary one)")
    add("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        sys.path.insert(0, str(SCRIPTS))
        child(args.child, Path(args.dir or "."), args.lines)
        return
    print_machine()
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        run_all(Path(folder), args)


def run_all(folder: Path, args: argparse.Namespace) -> None:
    """Measure the steps in the order in which a job takes them."""
    def ours(step: str) -> Run:
        command = [sys.executable, __file__, "--child", step, "--dir", folder, "--lines", args.lines]
        if step == "merge":
            run_command([*command[:3], "restore", *command[4:]])  # not measured
        return run_command(command)

    def peer(tool: str, step: str) -> Run:
        python = sys.executable if tool == "json" else args.peers
        cap = f"--as={PEER_MEMORY_GB}000000000"
        command = ["prlimit", cap, python, PEERS, tool, step, folder, args.lines]
        try:
            return run_command(command, timeout_s=7200)
        except RuntimeError as problem:
            print(problem, file=sys.stderr, flush=True)
            return Run(float("inf"), float("inf"), PEER_MEMORY_GB * 1000)

    tools = [] if args.only_ours else ["json", "lhotse", "datatrove"]
    if tools and not Path(args.peers).exists():
        print(f"no {args.peers}: lhotse and datatrove are not compared; `envs/create.sh bench`")
        tools = ["json"]
    ours("make")
    for tool in tools:
        peer(tool, "make")
    rows = []
    for step, doers in (("deal", ["lhotse"]), ("open", tools), ("status", []), ("merge", tools)):
        if step == "status":
            ours("results")
            for tool in tools:
                peer(tool, "results")
        cases = {"amela": lambda step=step: ours(step)}
        cases.update({tool: lambda tool=tool, step=step: peer(tool, step) for tool in doers if tool in tools})
        found = compare(cases, args.rounds, args.warm_up)
        for name, run in found.items():
            if run.wall_s == float("inf"):
                rows.append([f"{step}: {name}", "stopped", "", f"> {run.peak_mb:.0f}", "", ""])
                continue
            ratio = f"{run.wall_s / found['amela'].wall_s:.1f}"
            target = TARGETS_MB.get(step) if name == "amela" and args.lines == 10_000_000 else None
            cells = [f"{run.wall_s:.2f}", f"{run.cpu_s:.2f}", f"{run.peak_mb:.0f}"]
            rows.append([f"{step}: {name}", *cells, f"< {target}" if target else "", ratio])
            print(*rows[-1], file=sys.stderr, flush=True)  # the table comes in an hour
    size_mb = (folder / "m.json").stat().st_size / 1e6
    columns = ["step", "wall s", "CPU s", "peak MB", "target", "time / ours"]
    title = f"{args.lines:,} lines, {size_mb:,.0f} MB; {SHARDS} shards; medians of {args.rounds}"
    print_table(title, columns, rows)


def child(step: str, folder: Path, lines: int) -> None:
    """Do one step of ours in this process."""
    steps = {"make": make, "deal": deal, "open": open_one, "results": results, "status": status,
             "restore": restore, "merge": merge}
    steps[step](folder, lines)


def make(folder: Path, lines: int) -> None:
    """Write a manifest like that of a corpus of utterances, 4 to 34 s each; 227 bytes a line."""
    with open(folder / "m.json", "w") as file:
        for n in range(lines):
            speaker, duration_s = f"s{n % 7439:05d}", 4 + n * 7919 % 3001 / 100
            file.write(
                f'{{"audio_filepath": "/data/corpora/large/{speaker}/{n % 97:02d}/utterance_{n:09d}.flac", '
                f'"duration": {duration_s:.2f}, "speaker": "{speaker}", "lang": "en", "speech": '
                '[{"start_s": 0.32, "end_s": 1.9}, {"start_s": 2.11, "end_s": 3.9}]}\n'
            )


def stage_arguments(folder: Path) -> argparse.Namespace:
    """What `asr.py m.json --num-shards 16 --shard-index 3` parses."""
    from amela.cli import stage_parser

    return stage_parser("").parse_args(
        [str(folder / "m.json"), "--num-shards", str(SHARDS), "--shard-index", str(SHARD)])


def deal(folder: Path, lines: int) -> None:
    """Make the deal, from nothing each time."""
    from amela.dealing import take_deal
    from amela.shards import ask
    from amela.slurm import Place
    from amela.state import stage_folder

    args = stage_arguments(folder)
    state = stage_folder(args.manifest, "asr")
    shutil.rmtree(state, ignore_errors=True)
    place = Place(None, None, None, None, None, 0)
    assert take_deal(state, args, ask(args, place), "local-1", place, "text").header["todo"] == lines


def open_one(folder: Path, lines: int) -> None:
    """Open a shard as a task does: read the deal and the manifest, keep what is left of the shard."""
    from amela.deals import read_deals
    from amela.spool import open_shard
    from amela.state import stage_folder

    state = stage_folder(folder / "m.json", "asr")
    spool = open_shard(folder / "m.json", state, read_deals(state)[-1], SHARD, None)
    assert abs(len(spool) - lines / SHARDS) < 1


def results(folder: Path, _lines: int) -> None:
    """Write what 16 tasks would have left: a text for each record (not measured), and their last heartbeats.
    """
    from amela.deals import read_deals
    from amela.manifest import read_records, record_key
    from amela.results import ResultsWriter
    from amela.state import stage_folder

    state = stage_folder(folder / "m.json", "asr")
    latest = read_deals(state)[-1]
    writers = []
    for shard in range(SHARDS):
        header = {"deal": latest.number, "generation": 0, "shard": shard, "attempt": f"local-{shard}"}
        writers.append(ResultsWriter(state / f"results/task_{shard:04d}.local-{shard}.jsonl", header, 0))
    for line, record in read_records(folder / "m.json"):
        text = "the quick brown fox jumps over the lazy dog and runs away from it"
        model = {"backend": "canary", "model": "nvidia/canary-qwen-2.5b", "revision": "abc"}
        fields = {"fields": {"text": text, "asr": model}}
        writers[line % SHARDS].write(line, record_key(record), fields)
    for writer in writers:
        writer.close()
    shutil.copy(folder / "m.json", folder / "m.json.before")
    shutil.copytree(folder / ".amela", folder / ".amela.before")


def status(folder: Path, _lines: int) -> None:
    """Show the status."""
    command = [sys.executable, SCRIPTS / "status.py", folder / "m.json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def restore(folder: Path, _lines: int) -> None:
    """Put everything back as it was before the merge."""
    shutil.rmtree(folder / ".amela")
    shutil.copytree(folder / ".amela.before", folder / ".amela", copy_function=hard_link)
    shutil.copy(folder / "m.json.before", folder / "m.json")


def merge(folder: Path, _lines: int) -> None:
    """Merge all results into the manifest, and make one file of the 16."""
    script = SCRIPTS / "merge_manifest.py"
    command = [sys.executable, script, "--manifest", folder / "m.json", "--stage", "asr"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def hard_link(source: str, target: str) -> None:
    """Give a file a second name: results are never changed, only removed."""
    Path(target).hardlink_to(source)


if __name__ == "__main__":
    main()
