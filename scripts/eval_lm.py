"""Score language models of units: perplexity beside n-grams, and minimal pairs.

    python scripts/eval_lm.py checkpoints/*/corpus_s42
    python scripts/eval_lm.py RUN --manifest metadata/other.json --tokens-dir output/other_units_2000 --scores
    python scripts/eval_lm.py RUN --pairs sLM21/lexical/dev --tokens-dir output/lexical_units_2000

A RUN is the folder of train_lstm.py, or its best.pt. Without a manifest it is scored on its own held-out
files, where nats a unit are its validation loss. Beside each run stand a unigram and a Kneser-Ney 5-gram of
the files that it was trained on. Prints a table; writes output/NAME_lm.csv and .json, with --scores a row a
file in NAME_lm_scores.csv. With --pairs (gold.csv of ZeroSpeech 2021 or BabySLM) it writes NAME_pairs.csv, a
row a pair, NAME_pairs_scores.csv, a row a group, and the files that are handed in there.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from amela import training_files
from amela.cli import parser, positive, seconds
from amela.errors import OK, CallError, run_main
from amela.files import make_folder, write_aside
from amela.log import log
from amela.manifest import read_records
from amela.rows import as_text, write_csv, write_json
from amela.tables import read_table
from media.minimal_pairs import FORMATS

DEV, TEST = "dev", "test"
SHOWN = 5


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    flags = parser(__doc__)
    add = flags.add_argument
    add("runs", nargs="+", metavar="RUN", help="folders of runs, or checkpoints in them")
    add("--manifest", metavar="PATH", help="score the units of these records (JSON lines or a CSV)")
    add("--tokens-dir", metavar="DIR", help="folder of the units of the manifest's or the pairs' recordings; "
        "alone: score all in it")  # fmt: skip
    add("--pairs", metavar="PATH", help="a gold.csv, or its folder: accuracy on its minimal pairs")
    add("--format", choices=list(FORMATS), help="of the pairs (default: seen from the columns)")
    add("--ngram", nargs="*", type=positive, default=[1, 5], metavar="N",
        help="units of the n-grams beside each run; none: `--ngram` alone (default: 1 5)")  # fmt: skip
    add("--scores", action="store_true", help="write sum and mean log-probability of each file too")
    add("--arpa", action="store_true", help="write each n-gram model as NAME_Ngram.arpa too")
    add("--hop-s", type=seconds, metavar="S", help="seconds from unit to unit (default: from settings.json)")
    add("--skip-missing", action="store_true", help="leave out records or pairs that have no units")
    add("--name", help="of what is written (default: that of manifest, pairs, folder or data)")
    add("--output", default="output", metavar="DIR", help="folder of what is written")
    flags.add_speed_argument("--device", default="auto", help="cpu, cuda (default: a GPU where there is one)")
    args = flags.parse_args()
    if args.manifest and not args.tokens_dir:
        raise CallError("--manifest wants the folder of its units: --tokens-dir DIR")
    if args.pairs and args.manifest:
        raise CallError("--pairs and --manifest: wanted one of them")
    if args.format and not args.pairs:
        raise CallError("--format is that of --pairs GOLD_CSV")
    return args


def open_systems(args: argparse.Namespace) -> tuple[list[Any], list[list[Any]]]:
    """Return the runs, and for each its network and its n-grams; those of the same files are counted once."""
    paths = [os.path.join(given, "best.pt") if os.path.isdir(given) else given for given in args.runs]
    lists = [os.path.join(os.path.dirname(path), training_files.FILES) for path in paths]
    for wanted in (*paths, *lists):
        if not os.path.isfile(wanted):
            raise CallError(f"{wanted}: no such file; wanted the folder of a run of train_lstm.py")
    import torch

    from networks import systems
    from networks.checkpoints import CheckpointError

    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    runs, found = [], []
    counted: dict[tuple[str, int], list[Any]] = {}
    for path, listed in zip(paths, lists):
        files = [record for _, record in read_records(listed)]
        try:
            run = systems.open_run(path, files, device, write_aside)
        except CheckpointError as error:
            raise CallError(str(error)) from error
        mark = (training_files.digest(listed), run.config["vocab_size"])
        if mark[0] != run.config["files_sha256"]:
            raise CallError(f"{listed}: these are not the files that {path} was trained on; wanted its own")
        if mark not in counted:
            counted[mark] = systems.ngrams(run, args.ngram)
        runs.append(run)
        found.append([run.network, *counted[mark]])
    return runs, found


def held_out(args: argparse.Namespace, run: Any) -> tuple[list[str], list[str], Any]:
    """Return (names, sources, pieces) of what a run is scored on."""
    from media.units import UnitFolder
    from networks.systems import pieces_of

    if not args.tokens_dir:
        names = [str(file["id"]) for file in run.files]
        return names, [file["units_filepath"] for file in run.files], run.parts[1]
    folder = UnitFolder(args.tokens_dir)
    if args.manifest:
        rows = training_files.with_units(args.manifest, folder.find, args.skip_missing)
        named = [(key, source) for key, _, source in rows]
    else:
        named = folder.all()
    if not named:
        raise CallError(f"{args.tokens_dir}: found no units in it, wanted .pt files or Parquet parts")
    pieces = pieces_of([source for _, source in named], run.config["vocab_size"], run.config["max_units"])
    filled = {file for file, _ in pieces.pieces}
    empty = [name for number, (name, _) in enumerate(named) if number not in filled]
    if len(empty) == len(named):
        raise CallError(f"{args.tokens_dir}: none of the {len(named)} files has a unit: nothing to score")
    if empty:
        log(f"{len(empty)} of {len(named)} files have no unit and are left out: {some(empty)}")
    return [name for name, _ in named], [source for _, source in named], pieces


def perplexities(args: argparse.Namespace) -> int:
    """Score whole files: print the table, write it, and the sums of each file if asked for."""
    from media.units import hop_of

    runs, systems_of = open_systems(args)
    from networks.systems import by_file, figures

    rows, scores = [], []
    for run, compared in zip(runs, systems_of):
        names, sources, pieces = held_out(args, run)
        cut = len(pieces.pieces) - len({file for file, _ in pieces.pieces})
        if cut:
            log(f"{run.name}: files beyond {run.config['max_units']} units are read in pieces ({cut} cuts)")
        hop_s = args.hop_s or hop_of(sources[pieces.pieces[0][0]])
        if not hop_s:
            log(f"{run.name}: no bits a second, as no settings.json says how long a unit lasts: give --hop-s")
        for system in compared:
            tallies = by_file(system, pieces)
            kept = {"run": run.name, "model": system.model}
            rows.append({**kept, **figures([*tallies.values()], hop_s)})
            scores += [
                {**kept, "id": names[file], "units": tally.units, "sum": -tally.nats,
                 "mean": -tally.nats / tally.units} for file, tally in sorted(tallies.items())
            ]  # fmt: skip
            if args.arpa and system.ngram and system.run == run.name:
                write_arpa(args, system)
    paths = [write_csv(f"{args.stem}_lm.csv", rows), write_json(f"{args.stem}_lm.json", rows)]
    if args.scores:
        paths.append(write_csv(f"{args.stem}_lm_scores.csv", scores))
    print(as_text(rows, TITLES), *paths, sep="\n")
    return OK


TITLES = {
    "run": "run",
    "model": "model",
    "units": "units",
    "nats_per_unit": "nats/unit",
    "perplexity": "perplexity",
    "perplexity_changes": "at changes",
    "perplexity_new": "which new",
    "bits_per_s": "bits/s",
    "repetitions": "repeated",
}


def write_arpa(args: argparse.Namespace, system: Any) -> None:
    """Write an n-gram model for other programs."""
    from networks import arpa

    path = f"{args.stem}_{system.run.replace(os.sep, '_')}_{system.model}.arpa"
    with write_aside(path) as file:
        arpa.write(file, system.ngram)
    log(path)


def read_pairs(args: argparse.Namespace) -> tuple[str, str, list[Any], list[str]]:
    """Return (path of the gold.csv, format, pairs, a sentence on each id that is no pair)."""
    from media import minimal_pairs

    gold = os.path.join(args.pairs, "gold.csv") if os.path.isdir(args.pairs) else args.pairs
    rows = [row for _, row in read_table(gold)]
    try:
        form = minimal_pairs.format_of(rows, args.format)
        pairs, problems = minimal_pairs.pair_up(rows, FORMATS[form])
    except minimal_pairs.PairsError as error:
        raise CallError(f"{gold}: {error}") from error
    if not pairs:
        raise CallError(f"{gold}: found no pair of a correct and an incorrect recording: {some(problems)}")
    return gold, form, pairs, problems


def units_of_pairs(args: argparse.Namespace, gold: str, pairs: list[Any]) -> dict[str, str]:
    """Return the source of each recording of the pairs that has a file with units in it, by its name."""
    from media import units

    folder = units.UnitFolder(args.tokens_dir or os.path.dirname(os.path.abspath(gold)))
    found = {}
    for name in dict.fromkeys(row["filename"] for pair in pairs for row in pair):
        source = folder.find({"file_id": name}, name)
        if source and len(units.read(source)):
            found[name] = source
    return found


def accuracies(args: argparse.Namespace) -> int:
    """Score minimal pairs: print the accuracies, write every pair, every group, and what is handed in."""
    gold, form, pairs, problems = read_pairs(args)
    sources = units_of_pairs(args, gold, pairs)
    lacking = [row["filename"] for pair in pairs for row in pair if row["filename"] not in sources]
    whole = [pair for pair in pairs if all(row["filename"] in sources for row in pair)]
    problems += [f"no units for {name}" for name in dict.fromkeys(lacking)]
    log(f"{gold}: {form}, {len(pairs)} pairs, {len(whole)} of them with units, {len(problems)} problems")
    if problems and not (args.skip_missing and whole):
        raise CallError(
            f"{gold}: {some(problems)}; wanted two members a pair with a file of units each: encode them, "
            "check --tokens-dir, or leave such pairs out by --skip-missing"
        )
    from networks import pair_scores
    from networks.systems import pieces_of

    each: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    names = list(sources)
    for run, compared in zip(*open_systems(args)):
        pieces = pieces_of([*sources.values()], run.config["vocab_size"], run.config["max_units"])
        for system in compared:
            kept = {"run": run.name, "model": system.model}
            scores = pair_scores.score_files(system, pieces, names)
            rows = pair_scores.pair_rows(whole, scores)
            each += [{**kept, **row} for row in rows]
            groups += [{**kept, **row} for row in pair_scores.group_rows(whole, rows, form)]
            write_submissions(args, gold, FORMATS[form], kept, scores)
    each += [{**dict.fromkeys(each[0], ""), "error": problem} for problem in problems]
    paths = [write_csv(f"{args.stem}_pairs.csv", each), write_csv(f"{args.stem}_pairs_scores.csv", groups)]
    titles = {name: name for name in ("run", "model", "by", "n", "sum", "mean")}
    print(as_text([row for row in groups if not row["value"]], titles), *paths, sep="\n")
    return OK


def write_submissions(args: argparse.Namespace, gold: str, kind: str, kept: dict[str, str],
                      scores: dict[str, dict[str, float]]) -> None:  # fmt: skip
    """Write NAME_pairs/RUN_MODEL_POOLING/KIND/dev.txt, lines of a name and a score."""
    split = os.path.basename(os.path.dirname(os.path.abspath(gold)))
    for pooling in ("sum", "mean"):
        folder = f"{kept['run'].replace(os.sep, '_')}_{kept['model']}_{pooling}"
        path = os.path.join(f"{args.stem}_pairs", folder, kind)
        with write_aside(make_folder(path) / f"{split if split in (DEV, TEST) else DEV}.txt") as file:
            for name, score in scores.items():
                print(name, score[pooling], file=file)


def some(names: list[str]) -> str:
    """Return the first of many, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def default_name(args: argparse.Namespace) -> str:
    """Return the name of what is written: that of the data; of pairs, of the two folders they lie in."""
    if args.pairs:
        folder = args.pairs if os.path.isdir(args.pairs) else os.path.dirname(args.pairs)
        return "_".join(part for part in os.path.abspath(folder).split(os.sep)[-2:] if part)
    given = args.manifest or args.tokens_dir or args.runs[0]
    return os.path.splitext(os.path.basename(os.path.abspath(given)))[0]


def main() -> int:
    """Evaluate; returns the exit status."""
    from media.units import UnitsError

    args = parse_args()
    args.stem = os.path.join(make_folder(args.output), args.name or default_name(args))
    try:
        return accuracies(args) if args.pairs else perplexities(args)
    except UnitsError as error:
        raise CallError(str(error)) from error


if __name__ == "__main__":
    run_main(main)
