"""Files of units: how long it takes to read them, and how long a training run on many of them takes to begin.

    envs/.built/train/bin/python benchmarks/unit_files.py reading [--files 10000]
    envs/.built/train/bin/python benchmarks/unit_files.py start [--files 100000]

Lengths are log-normal (mean 250, longest 1100). The files lie among the temporary files, and are removed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import SCRIPTS, print_machine, print_table, run_command
from lstm import UNITS, draw_lengths

sys.path.insert(0, str(SCRIPTS))


@contextmanager
def corpus(files: int, parquet: bool = False) -> Iterator[Path]:
    """Yield a folder with units/*.pt (and parts/*.parquet), corpus.json and parts.json, for a while."""
    import numpy as np

    from networks.unit_files import write_parquet, write_pt

    folder = Path(tempfile.mkdtemp(prefix="amela-bench-"))
    try:
        (folder / "units").mkdir()
        (folder / "parts").mkdir()
        chance, rows = np.random.default_rng(3), []
        with open(folder / "corpus.json", "w") as manifest, open(folder / "parts.json", "w") as in_parts:
            for number, length in enumerate(draw_lengths(files)):
                values = chance.integers(0, UNITS, length).astype(np.int16)
                path = folder / "units" / f"f{number}.pt"
                with open(path, "wb") as file:
                    write_pt(file, values)
                record = {"id": f"f{number}", "units_filepath": str(path), "unit_count": int(length)}
                print(json.dumps(record), file=manifest)
                part = folder / "parts" / f"part-{number // 512}.parquet"
                print(json.dumps({**record, "units_filepath": str(part)}), file=in_parts)
                rows.append({"file_id": f"f{number}", "units": values, "hop_s": 0.02})
                if parquet and (len(rows) == 512 or number == files - 1):
                    with open(part, "wb") as file:
                        write_parquet(file, rows)
                    rows = []
        yield folder
    finally:
        shutil.rmtree(folder)


READER = """
import sys, time
sys.path.insert(0, {scripts!r})
import numpy as np, random
from amela.files import write_aside
from amela.manifest import read_records, record_key
from media.units import UnitFolder
from networks.unit_task import Source
start = time.process_time()
folder = UnitFolder({tokens!r})
records = [(record, record_key(record)) for _, record in read_records({manifest!r})]
names = [folder.find(record, key) for record, key in records]
source = Source({cache!r}, 2000, write_aside)
counts = source.counts(names, [record["unit_count"] for record, _ in records])
files = [dict(units_filepath=name, unit_count=int(n), split="train") for name, n in zip(names, counts)]
train, _ = source.parts(files, 4096)
begun = time.process_time()
print("RESULT begin", begun - start)
for epoch in (1, 2):
    start = time.process_time()
    order = np.random.default_rng(epoch).permutation(len(train.lengths))
    units = sum(len(np.array(train[int(at)])) for at in order)
    print("RESULT epoch", time.process_time() - start)
"""


def reading(args: argparse.Namespace) -> None:
    """Print how long it takes to read all units in random order, twice, from each kind of store."""
    with corpus(args.files, parquet=True) as folder:
        stores = {
            "a .pt each, file by file": ("corpus.json", "units", False),
            "Parquet parts, row by row": ("parts.json", "parts", False),
            "packed from .pt (the default), first run": ("corpus.json", "units", True),
            "packed from .pt, next run": ("corpus.json", "units", True),
            "packed from Parquet, first run": ("parts.json", "parts", True),
            "packed from Parquet, next run": ("parts.json", "parts", True),
        }
        rows = []
        for name, (manifest, tokens, packs) in stores.items():
            code = READER.format(
                scripts=str(SCRIPTS),
                tokens=str(folder / tokens),
                manifest=str(folder / manifest),
                cache=str(folder) if packs else "",
            )
            run = run_command([sys.executable, "-c", code])
            seconds = [
                float(line.split()[-1]) for line in run.output.splitlines() if line.startswith("RESULT")
            ]
            rows.append([name, *(f"{value:.2f}" for value in seconds), f"{run.peak_mb:.0f}"])
    columns = ["store", "begin, CPU s", "first epoch, CPU s", "second epoch, CPU s", "peak MB"]
    print_table(f"{args.files} files of units, one process", columns, rows)


def start(args: argparse.Namespace) -> None:
    """Print how long a run takes to its first step, and in how much memory."""
    with corpus(args.files) as folder:
        small = [
            "--embedding-dim",
            8,
            "--hidden-size",
            8,
            "--num-layers",
            1,
            "--train-ratio",
            0.999,
            "--batch-size",
            4,
        ]
        command = [
            sys.executable,
            SCRIPTS / "train_lstm.py",
            "corpus.json",
            "units",
            *small,
            "--max-steps",
            1,
        ]
        cases = {"first run": ["--seed", 1], "next run on the same units": ["--seed", 2],
                 "units read when needed": ["--seed", 3, "--load-on-the-fly"]}  # fmt: skip
        rows = []
        for name, more in cases.items():
            run = run_command([*command, "--device", "cpu", *more], cwd=folder)
            rows.append([name, f"{run.wall_s:.1f}", f"{run.cpu_s:.1f}", f"{run.peak_mb:.0f}"])
        empty = run_command([sys.executable, "-c", "import torch, pyarrow"])
        rows.append(
            [
                "import torch, pyarrow alone",
                f"{empty.wall_s:.1f}",
                f"{empty.cpu_s:.1f}",
                f"{empty.peak_mb:.0f}",
            ]
        )
    title = f"{args.files} files of units: a whole run of one step of a small model"
    print_table(title, ["run", "wall s", "CPU s", "peak MB"], rows)


def main() -> None:
    """Run the part asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"reading": (reading, 10_000), "start": (start, 100_000)}
    parser.add_argument("part", choices=parts)
    parser.add_argument("--files", type=int, help="files of units (default: 10000 to read, 100000 to start)")
    args = parser.parse_args()
    run, files = parts[args.part]
    args.files = args.files or files
    print_machine()
    run(args)


if __name__ == "__main__":
    main()
