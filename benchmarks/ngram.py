"""Counting, estimating and querying n-gram models of units, beside lmplz and Python dictionaries.

    envs/.built/train/bin/python benchmarks/ngram.py --units 5000000

The units: 2,000 different ones, Markov, each repeated 2.5 times on average, in files of 500. lmplz (kenlm)
takes part where it is on PATH or --lmplz says where; its time has reading text and writing ARPA in it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from common import SCRIPTS, print_machine, print_table, run_command

LENGTH, VOCABULARY, ORDER = 500, 2000, 5


def corpus(count: int) -> list:
    """Return files of units."""
    import numpy as np

    random = np.random.default_rng(0)
    follows = random.integers(0, VOCABULARY, (VOCABULARY, 30))
    files = -(-count // LENGTH)
    units = np.empty((files, LENGTH), np.int64)
    units[:, 0] = random.integers(0, VOCABULARY, files)
    for at in range(1, LENGTH):
        same = random.random(files) < 0.6
        drawn = follows[units[:, at - 1], np.minimum(random.geometric(0.2, files) - 1, 29)]
        units[:, at] = np.where(same, units[:, at - 1], drawn)
    return list(units)


def work(what: str, count: int, text: str) -> float:
    """Do one of the things to measure; return its seconds, without making the corpus."""
    files = corpus(count)
    sys.path.insert(0, str(SCRIPTS))
    from networks import ngram

    if what == "text":
        Path(text).write_text("".join(" ".join(map(str, units)) + "\n" for units in files))
    model = ngram.fit(files, VOCABULARY, ORDER) if what == "query" else None
    started = time.perf_counter()
    if model:
        for units in files[: len(files) // 10]:
            model.score(units)
    elif what == "fit":
        ngram.fit(files, VOCABULARY, ORDER)
    elif what == "dictionaries":
        counts: list[Counter] = [Counter() for _ in range(ORDER)]
        for units in map(tuple, files):
            for n, count_of in enumerate(counts, start=1):
                count_of.update(units[at : at + n] for at in range(len(units) - n + 1))
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=5_000_000, help="units to count")
    parser.add_argument("--lmplz", default=shutil.which("lmplz"), help="kenlm's program")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        print(work(args.work[0], args.units, args.work[1]))
        return
    print_machine()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        text = str(Path(folder) / "units.txt")
        again = [sys.executable, __file__, "--units", args.units, "--work"]
        base = run_command([*again, "text", text]).peak_mb
        for name, what in [("ours: count and estimate", "fit"), ("ours: query (a tenth)", "query"),
                           ("dictionaries: count only", "dictionaries")]:  # fmt: skip
            run = run_command([*again, what, text])
            count = args.units / (10 if what == "query" else 1)
            rows.append(
                [name, run.output.strip()[:6], f"{count / float(run.output):,.0f}", f"{run.peak_mb:,.0f}"]
            )
        if args.lmplz:
            words = [args.lmplz, "-o", ORDER, "--discount_fallback", "-S", "2G", "-T", folder, "--text", text]
            run = run_command([*words, "--arpa", Path(folder) / "units.arpa"])
            rows.append(
                ["lmplz", f"{run.wall_s:.4f}"[:6], f"{args.units / run.wall_s:,.0f}", f"{run.peak_mb:,.0f}"]
            )
    columns = ["5-grams", "wall s", "units/s", "peak MB"]
    print_table(f"{args.units:,} units in files of {LENGTH} (making them: {base:,.0f} MB)", columns, rows)


if __name__ == "__main__":
    main()
