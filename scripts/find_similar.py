"""Find the utterances that are most like each of a manifest's: adds `similar`, a list of {key, score}.

    python scripts/find_similar.py metadata/corpus.json --top-k 5
    python scripts/find_similar.py metadata/corpus.json --within corpus --by units --table models/units.npz

Each utterance becomes one vector: means and standard deviations of MFCC, of the sound or of the arrays that
extract_features.py made; an embedding of embed_audio.py; or units or codes through a table, summed over
frames and levels. `score` is the cosine, the highest first, exact to its six decimals; equal ones stand in
the manifest's order. Looked for among the same speaker's utterances, or --within corpus. What overlaps is
never found: a segment not its recording, its parent, nor a stretch that shares sound with it. A record
without speaker, or without what the vector is made of, gets an error. The vectors of all records lie in a
nameless file beside the manifest while it runs, in memory only as pages that are in use: 4 bytes a number.
Records that are added later are not found by those done before: --fresh.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from amela.cli import add_device, cpus, positive, stage_parser
from amela.errors import CallError, run_main
from amela.log import log
from amela.manifest import hash_key, read_records, record_key
from amela.stage import run_shard
from networks import catalogue

SOURCES = ("audio", "features", "embedding", "units", "codes")
TABLED = ("units", "codes")
BATCH = 1024


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` says what vectors are made of, and pins the table."""
    parser = stage_parser(__doc__, batch_size=BATCH)
    add = parser.add_argument
    add("--top-k", type=positive, default=10, metavar="K", help="how many are found for each")
    add("--within", choices=["speaker", "corpus"], default="speaker", help="where they are looked for")
    add(
        "--by",
        choices=SOURCES,
        help="what vectors are made of (default: features where the first record has them, else audio)",
    )
    add(
        "--table",
        metavar="FILE[:NAME]",
        help="embeddings of units or codes: a codebook of fit_kmeans.py, .npy, or a tensor of a model, * for "
        "its levels; of EnCodec and DAC the file is enough",
    )
    add_device(parser.add_speed_argument)
    args = parser.parse_args()
    resolve(args)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Choose what vectors are made of, and pin the table's revision."""
    from media import hub

    if args.by is None:
        _, first = next(iter(read_records(args.manifest)))
        args.by = "features" if first.get("features_filepath") else "audio"
    args.settings.update(by=args.by)
    if (args.table is not None) != (args.by in TABLED):
        raise CallError("--table belongs to --by units and --by codes, and these need it: a codebook, or a "
                        "model's embeddings")  # fmt: skip
    if args.table:
        path, name = catalogue.split_name(args.table)
        if not os.path.exists(path):
            raise CallError(f"--table {args.table}: no such file, wanted FILE or FILE:NAME of a tensor")
        args.settings.update(table=name, table_revision=hub.revision_of(path))


class Table:
    """The vectors of a manifest's records, whose they are, and what was wrong with the others."""

    def __init__(self, args: argparse.Namespace) -> None:
        import numpy as np
        import torch

        from networks.tables import read_table
        from networks.utterance_vectors import maker, write_vectors
        from networks.utterances import Utterances

        folder = os.path.dirname(os.path.realpath(args.manifest))
        keys, vectors = (tempfile.TemporaryFile(dir=folder) for _ in range(2))  # noqa: SIM115 (as long as the table)
        self.who = Utterances(keys, hash_key)
        make = maker(args.by, read_table(args.table) if args.table else None)
        torch.set_num_threads(1)  # the threads are given to records
        threads = cpus() if args.by == "audio" else 1  # the others are read from few files
        width, self.problems = write_vectors(make, self._records(args.manifest), vectors, threads, log)
        torch.set_num_threads(cpus())
        self.who.finish()
        if not width:
            raise CallError(f"{args.manifest}: no record gives a vector; the first: {self.problems[0]}")
        self.vectors = np.memmap(vectors, np.float32, "r+").reshape(self.who.count, width)
        self.there = np.ones(self.who.count, bool)
        self.there[list(self.problems)] = False

    def _records(self, manifest: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for _, record in read_records(manifest):
            key = record_key(record)
            self.who.add(key, record)
            yield key, record


def load(args: argparse.Namespace) -> Any:
    """Return (table of vectors, what finds the nearest in it, arguments)."""
    import numpy as np

    from networks.nearest import Nearest, normalise, standardise
    from networks.utterance_vectors import STANDARDISED
    from networks.weights import WeightsError

    if args.within == "speaker" and not any(
        record.get("speaker") for _, record in read_records(args.manifest)
    ):
        raise CallError(f"{args.manifest}: no record has a `speaker`; wanted it (manifest_tools.py join), or "
                        "--within corpus")  # fmt: skip
    try:
        table = Table(args)
    except WeightsError as error:
        raise CallError(str(error)) from error
    rows = np.flatnonzero(table.there)
    if args.by in STANDARDISED:
        standardise(table.vectors, rows)
    normalise(table.vectors, rows)
    return table, Nearest(table.vectors, device_of(args.device)), args


def device_of(name: str) -> Any:
    """Return the torch device of --device."""
    import torch

    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def process(model: Any, batch: list[dict[str, Any]]) -> list[Any]:
    """Return `similar` of each record, or why it has no neighbours."""
    import numpy as np

    table, nearest, args = model
    rows = table.who.rows([record_key(record) for record in batch])
    by_speaker = args.within == "speaker"
    found: list[Any] = [problem_of(table, row, by_speaker) for row in rows]
    speakers = table.who.speakers[rows] if by_speaker else np.zeros(len(rows), np.int64)
    asking = np.array([one is None for one in found])
    for speaker in np.unique(speakers[asking]):
        places = np.flatnonzero(asking & (speakers == speaker))
        among = table.who.of_speaker(speaker) if by_speaker else np.arange(table.who.count)
        among = among[table.there[among]]
        barred = [table.who.overlapping(row) for row in rows[places]]
        for place, (near, cosines) in zip(places, nearest.of(rows[places], among, barred, args.top_k)):
            found[place] = {"similar": [
                {"key": table.who.key(row), "score": float(cosine)} for row, cosine in zip(near, cosines)
            ]}  # fmt: skip
    return found


def problem_of(table: Table, row: int, by_speaker: bool) -> ValueError | None:
    """Return why nothing is looked for, None where something is."""
    if row < 0:
        return ValueError("the record is no longer in the manifest; wanted one that stays while this runs")
    if by_speaker and not table.who.speakers[row]:
        return ValueError("no `speaker` in the record, wanted it (manifest_tools.py join) or --within corpus")
    return table.problems.get(int(row))


def main() -> int:
    """Find the neighbours of this task's shard; returns the exit status."""
    args = parse_args()
    return run_shard(args, stage="similar", fields=("similar",), load=load, process=process)


if __name__ == "__main__":
    run_main(main)
