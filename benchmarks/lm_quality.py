"""How well an LSTM learns a language whose entropy is known, beside a Kneser-Ney 5-gram of the same files.

    envs/.built/train/bin/python benchmarks/lm_quality.py --seeds 3

Each seed is another language (tests/envs/toy_language.py), corpus and run. Held-out nats a unit and
perplexity; the distance to the language's own; accuracy on minimal pairs of words, of word order, and of
agreement over distance. Everything is scored by eval_lm.py.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import sys
import tempfile
from pathlib import Path

from common import ROOT, SCRIPTS, print_machine, print_table, run_command

sys.path.insert(0, str(ROOT / "tests/envs"))
import toy_language as toy

PAIRS = ("words", "order", "agreement")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def rows_of(folder: Path, run: Path, table: str, *flags: str) -> dict[str, list[dict[str, str]]]:
    """Return the rows of a table that eval_lm.py writes, by model."""
    name = f"{flags[1].split('/')[0] if flags else 'held-out'}"
    words = [
        sys.executable,
        SCRIPTS / "eval_lm.py",
        run,
        *flags,
        "--name",
        name,
        "--output",
        folder / "output",
    ]
    run_command(words, cwd=folder, env=ONE_THREAD)
    found: dict[str, list[dict[str, str]]] = {}
    with open(folder / "output" / f"{name}_{table}.csv", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["model"], []).append(row)
    return found


def measure(folder: Path, seed: int) -> dict[str, dict[str, float]]:
    """Return {model: {nats, words, order, agreement}} of one seed; `true` has nats only."""
    language = toy.write_corpus(folder, toy.FILES, seed)
    toy.write_word_pairs(folder / "lexical", language, seed)
    toy.write_sentence_pairs(folder / "syntactic", language, seed)
    train = [sys.executable, SCRIPTS / "train_lstm.py", "corpus.json", "units", *toy.RECIPE]
    run_command([*train, "--seed", seed, "--device", "cpu"], cwd=folder, env=ONE_THREAD)
    (run,) = folder.glob("checkpoints/*_*/corpus_s*")
    found = {"true": {"nats": toy.true_nats(run, language)}}
    for model, (row,) in rows_of(folder, run, "lm").items():
        found[model] = {"nats": float(row["nats_per_unit"])}
    for kind in ("lexical", "syntactic"):
        flags = ["--pairs", f"{kind}/dev", "--tokens-dir", f"{kind}/units"]
        for model, rows in rows_of(folder, run, "pairs_scores", *flags).items():
            for row in rows:
                name = "words" if kind == "lexical" and row["by"] == "all" else row["value"]
                if name in PAIRS:
                    found[model][name] = float(row["sum"])
    return found


def main() -> None:
    """Print a row a model: mean over the seeds, and their standard deviation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="languages, corpora and runs")
    seeds = range(parser.parse_args().seeds)
    print_machine()
    results = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(Path(folder), seed))
    rows = []
    for model in ("true", "lstm", "5-gram", "1-gram"):
        of_seeds = [result[model] for result in results]
        nats = [found["nats"] for found in of_seeds]
        gaps = [found["nats"] - result["true"]["nats"] for found, result in zip(of_seeds, results)]
        below = [
            1 - math.exp(found["nats"] - result["5-gram"]["nats"]) for found, result in zip(of_seeds, results)
        ]
        cells = [
            spread(nats),
            spread([*map(math.exp, nats)]),
            spread(gaps),
            spread([100 * share for share in below], 1),
        ]
        cells += [
            spread([100 * found[name] for found in of_seeds], 1) if name in of_seeds[0] else ""
            for name in PAIRS
        ]
        rows.append([model, *cells])
    columns = [
        "model",
        "nats/unit",
        "perplexity",
        "nats above true",
        "% below 5-gram",
        *(f"{name} %" for name in PAIRS),
    ]
    print_table(f"held-out files, mean ± standard deviation over {len(seeds)} seeds", columns, rows)


def spread(values: list[float], digits: int = 3) -> str:
    """Return mean ± standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.{digits}f} ± {deviation:.{digits}f}"


if __name__ == "__main__":
    main()
