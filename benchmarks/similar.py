"""Neighbours by cosine: find_similar.py's search beside scikit-learn's and faiss-cpu's, one core each.

    envs/.built/oracles/bin/python benchmarks/similar.py
    envs/.built/oracles/bin/python benchmarks/similar.py --rows 1000000 --queries 512 --widths 128

Random vectors of length 1; the ten nearest of each, itself left out. CPU seconds of a sample of queries, in
blocks of 1024 as the stage hands them over, and what all rows would take at that rate. Without faiss or
scikit-learn in the environment their rows are left out, and that is said.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile

from common import SCRIPTS, Run, compare, print_machine, print_table, run_command

BEGIN = """
import sys, time
sys.path.insert(0, {scripts!r})
import numpy as np
rows, width, count, k = {rows}, {width}, {queries}, 10
def memory_mb():
    return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) * 1024 / 1e6
chance = np.random.default_rng(0)
vectors = np.lib.format.open_memmap({path!r}, "w+", np.float32, (rows, width))
for first in range(0, rows, 65536):
    block = chance.standard_normal((min(65536, rows - first), width)).astype(np.float32)
    vectors[first : first + 65536] = block / np.linalg.norm(block, axis=1, keepdims=True)
queries = np.arange(rows) if count >= rows else np.sort(chance.choice(rows, count, replace=False))
"""
CASES = {
    "ours": """
import torch
from networks.nearest import Nearest
torch.set_num_threads(1)
nearest = Nearest(vectors, torch.device("cpu"))
def ask(part):
    return nearest.of(part, among, [part[at : at + 1] for at in range(len(part))], k)
among = np.arange(rows)
""",
    "faiss-cpu IndexFlatIP": """
import faiss
faiss.omp_set_num_threads(1)
index = faiss.IndexFlatIP(width)
index.add(np.ascontiguousarray(vectors))
def ask(part):
    return index.search(np.ascontiguousarray(vectors[part]), k + 1)
""",
    "scikit-learn NearestNeighbors(brute, cosine)": """
from sklearn.neighbors import NearestNeighbors
model = NearestNeighbors(n_neighbors=k + 1, algorithm="brute", metric="cosine", n_jobs=1).fit(vectors)
def ask(part):
    return model.kneighbors(vectors[part])
""",
}
END = """
ask(queries[:64])
began = time.process_time()
for first in range(0, len(queries), 1024):
    ask(queries[first : first + 1024])
print(time.process_time() - began, memory_mb())
"""
CORPUS = """
import json, sys
sys.path.insert(0, {scripts!r})
import numpy as np
from amela.outputs import write_output
from media.frames import store
chance = np.random.default_rng(0)
with open({manifest!r}, "w") as file:
    for first in range(0, {rows}, 4096):
        names = range(first, min({rows}, first + 4096))
        arrays = chance.standard_normal((len(names), {width})).astype(np.float32)
        items = [(str(name), {{}}, {{"embedding": array}}, {{}}) for name, array in zip(names, arrays)]
        for name, source in zip(names, store(items, {folder!r}, "parquet", str, write_output)):
            print(json.dumps({{"id": str(name), "embedding_filepath": source}}), file=file)
"""
PACKAGES = {"faiss-cpu IndexFlatIP": "faiss", "scikit-learn NearestNeighbors(brute, cosine)": "sklearn"}
ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def case_of(case: str, rows: int, width: int, queries: int, path: str):
    """Return a function that measures one search: CPU seconds in `cpu_s`, anonymous memory in `peak_mb`."""
    begin = BEGIN.format(scripts=str(SCRIPTS), rows=rows, width=width, queries=queries, path=path)

    def measure() -> Run:
        run = run_command([sys.executable, "-c", begin + CASES[case] + END], env=ONE_CORE)
        spent_s, memory_mb = map(float, run.output.split()[-2:])
        return Run(run.wall_s, spent_s, memory_mb)

    return measure


def whole_stage(rows: int, width: int) -> Run:
    """Return what the command takes for a corpus of embeddings, reading and merge included, on one CPU."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = f"{folder}/corpus.json"
        made_of = {
            "scripts": str(SCRIPTS),
            "manifest": manifest,
            "rows": rows,
            "width": width,
            "folder": folder,
        }
        run_command([sys.executable, "-c", CORPUS.format(**made_of)])
        flags = ["--by", "embedding", "--within", "corpus", "--device", "cpu"]
        one_cpu = {**ONE_CORE, "SLURM_CPUS_PER_TASK": "1"}
        return run_command([sys.executable, SCRIPTS / "find_similar.py", manifest, *flags], env=one_cpu)


def main() -> None:
    """Print a table a width, and one of the whole command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=4096)
    parser.add_argument("--widths", type=int, nargs="+", default=[26, 78, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-stage", action="store_true", help="leave the whole command out")
    args = parser.parse_args()
    print_machine()
    here = [case for case in CASES if case not in PACKAGES or importlib.util.find_spec(PACKAGES[case])]
    for case in CASES.keys() - here:
        print(f"{case}: left out, its package is not in this environment")
    for width in args.widths:
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            cases = {case: case_of(case, args.rows, width, args.queries, file.name) for case in here}
            runs = compare(cases, rounds=args.rounds, warm_up=0)
        ours, table = runs["ours"].cpu_s, []
        for case, run in runs.items():
            whole_s = run.cpu_s * args.rows / min(args.queries, args.rows)
            table.append(
                [case, f"{run.cpu_s:.2f}", f"{whole_s:.0f}", f"{run.cpu_s / ours:.2f}", f"{run.peak_mb:.0f}"]
            )
        title = f"{args.rows:,} vectors of {width}, {min(args.queries, args.rows):,} ask for their 10 nearest"
        print_table(title, ["search", "CPU s", "all rows, CPU s", "× ours", "memory MB"], table)
    if not args.no_stage:
        run = whole_stage(args.rows, args.widths[-1])
        title = f"find_similar.py --by embedding --within corpus, {args.rows:,} of {args.widths[-1]}"
        row = [f"{run.wall_s:.0f}", f"{run.cpu_s:.0f}", f"{run.peak_mb:.0f}"]
        print_table(title, ["s", "CPU s", "peak MB"], [row])


if __name__ == "__main__":
    main()
