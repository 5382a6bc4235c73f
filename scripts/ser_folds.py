"""Corpora of emotional speech as manifests, folds that keep voices apart, and the table over folds and seeds.

    python scripts/ser_folds.py read iemocap /data/IEMOCAP_full_release metadata/iemocap.json
    python scripts/ser_folds.py split metadata/iemocap.json output/iemocap_folds --by session --folds 5
    sbatch --array=0-4 slurm/ser_folds.slurm output/iemocap_folds checkpoints/iemocap --use-alpha-ser …
    python scripts/ser_folds.py collect checkpoints/iemocap

`read` knows iemocap, ravdess and crema-d, and the folds of EmoBox. `split` puts each speaker (or session, or
another field) into the test set of one fold, others into its validation set, and the rest into its training
set. `collect` gives mean and standard deviation over folds and seeds of each setting, and names the best
alpha, by UA on validation sets.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from amela import ser_table
from amela.cli import Parser, not_negative, parser, positive
from amela.errors import OK, CallError, run_main
from amela.folds import deal_groups
from amela.log import log
from amela.manifest import Record, read_records, write_manifest

LAYOUTS = ("iemocap", "ravdess", "crema-d", "emobox")
THREADS = 16  # headers are waited for


def parse_args() -> argparse.Namespace:
    """Return the arguments; `command` says which of the three."""
    flags = parser(__doc__)
    commands = flags.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    add = commands.add_parser("read", help="a corpus → a manifest, or EmoBox's folds").add_argument
    add("layout", choices=LAYOUTS, help="how the corpus lies")
    add("root", type=Path, help="its folder; of emobox its data/CORPUS")
    add("output", help="manifest to write; of emobox the folder of folds")
    add("--audio-base", default="", metavar="DIR", help="emobox: where its downloads/ is")
    add("--seed", type=not_negative, default=42, help="emobox: of the utterances to validate on, one of ten")
    add = commands.add_parser("split", help="a manifest → folds that keep groups apart").add_argument
    add("manifest", help="with `emotion` and the field of --by")
    add("output", type=Path, help="folder of fold_1/train.json …")
    add("--by", default="speaker", metavar="FIELD", help="what is kept together: speaker, session …")
    add("--folds", type=positive, default=5, metavar="N", help="how many; 10 of 10 speakers is one left out")
    add("--seed", type=not_negative, default=42, help="of the order of the groups")
    add = commands.add_parser("collect", help="the table over folds, seeds and alphas").add_argument
    add("folder", type=Path, help="what the runs lie below")
    return flags.parse_args()


def read(args: argparse.Namespace) -> None:
    """Write the manifest of a corpus, or the folds of EmoBox."""
    from media import ser_layouts

    root = Path(os.path.abspath(args.root))  # manifests hold no relative paths
    try:
        if args.layout == "emobox":
            for name, splits in ser_layouts.emobox_folds(root):
                write_fold(
                    Path(args.output) / name, based(with_validation(splits, args.seed), args.audio_base)
                )
            return
        records = list(unique(ser_layouts.READERS[args.layout](root)))
    except ser_layouts.LayoutError as exc:
        raise CallError(str(exc)) from exc
    if not records:
        raise CallError(f"{root}: found no utterance of an emotion that {args.layout} has")
    count = write_manifest(args.output, with_durations(records))
    speakers = {record["speaker"] for record in records}
    log(f"{args.output}: {count} utterances, {len(speakers)} speakers; {table(records)}")


def unique(records: Iterable[Record]) -> Iterable[Record]:
    """Yield records but those whose id was there before: some archives hold all of it twice."""
    seen: set[str] = set()
    for record in records:
        if record["id"] not in seen:
            seen.add(record["id"])
            yield record


def with_durations(records: list[Record]) -> list[Record]:
    """Return the records with the durations of their files; CallError for files that are not there."""
    from media.audio import AudioError, probe

    def measure(record: Record) -> Record:
        return {"audio_filepath": record["audio_filepath"],
                "duration": probe(record["audio_filepath"]).duration_s, **record}  # fmt: skip

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(measure, records))
    except AudioError as exc:
        raise CallError(f"{exc}; the corpus is not whole") from exc


def with_validation(splits: dict[str, list[Record]], seed: int) -> dict[str, list[Record]]:
    """Return the splits of EmoBox with a validation set, taken from its training set where it has none."""
    if "valid" in splits:
        return splits
    groups = deal_groups([record["id"] for record in splits["train"]], 10, seed)
    valid = set(groups[0])
    return {
        "train": [record for record in splits["train"] if record["id"] not in valid],
        "valid": [record for record in splits["train"] if record["id"] in valid],
        "test": splits["test"],
    }


def based(splits: dict[str, list[Record]], base: str) -> dict[str, list[Record]]:
    """Return the splits with absolute paths, below `base`."""
    return {
        name: [
            {**one, "audio_filepath": os.path.abspath(os.path.join(base, one["audio_filepath"]))}
            for one in split
        ]
        for name, split in splits.items()
    }


def split(args: argparse.Namespace) -> None:
    """Write the folds of a manifest: fold k is tested on the k-th group of groups, validated on the next."""
    records = [record for _, record in read_records(args.manifest)]
    without = [record for record in records if record.get(args.by) in (None, "")]
    if without:
        raise CallError(
            f"{args.manifest}: {len(without)} records have no {args.by!r}, the first is "
            f"{without[0].get('id') or without[0].get('audio_filepath')}; wanted it in each, or another --by"
        )
    names = sorted({str(record[args.by]) for record in records})
    least = max(3, args.folds)
    if args.folds < 3:
        raise CallError(f"--folds {args.folds}: wanted at least 3: to test, to validate and to train on")
    if len(names) < least:
        raise CallError(
            f"{args.manifest}: found {len(names)} values of {args.by!r}, wanted at least {least} "
            f"for {args.folds} folds: to test, to validate and to train on; lower --folds, or another --by"
        )
    if (args.output / f"fold_{args.folds + 1}").exists():
        raise CallError(f"{args.output}: holds a split into more folds; remove it, or name another folder")
    dealt = deal_groups(names, args.folds, args.seed)
    for number in range(args.folds):
        test, valid = set(dealt[number]), set(dealt[(number + 1) % args.folds])
        parts: dict[str, list[Record]] = {"train": [], "valid": [], "test": []}
        for record in records:
            value = str(record[args.by])
            parts["test" if value in test else "valid" if value in valid else "train"].append(record)
        write_fold(args.output / f"fold_{number + 1}", parts)


def write_fold(folder: Path, splits: dict[str, list[Record]]) -> None:
    """Write the manifests of a fold, and say what is in them."""
    for name in ("train", "valid", "test"):
        write_manifest(folder / f"{name}.json", splits[name])
        log(f"{folder / name}.json: {len(splits[name])} utterances; {table(splits[name])}")


def table(records: list[Record]) -> str:
    """Return how many records there are of each emotion, as text."""
    from media.ser_data import label_of

    labels = [str(label_of(record.get("emotion"))) for record in records]
    return ", ".join(f"{label} {labels.count(label)}" for label in sorted(set(labels)))


def main() -> int:
    """Do what was asked for; returns the exit status."""
    args = parse_args()
    work: dict[str, Any] = {
        "read": read,
        "split": split,
        "collect": lambda args: ser_table.show(args.folder, print),
    }
    work[args.command](args)
    return OK


if __name__ == "__main__":
    run_main(main)
