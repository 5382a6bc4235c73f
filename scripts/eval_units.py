"""Score discrete units: usage, bitrate, what they say of phones and of speakers; and input files for ABX.

    python scripts/eval_units.py metadata/corpus.json --phones alignments/ --abx
    python scripts/eval_units.py metadata/corpus.json --units-dir output/corpus_a_km100 output/corpus_b_km500

Units are found by `units_filepath`, or, in each folder of --units-dir, as train_lstm.py finds them. Prints a
row a folder and writes output/NAME_units.csv and .json. With --phones (a CTM, a table of file, start, end,
phone, a folder of TextGrids, or a field of the records, a list of {start_s, end_s, phone}) the phone at the
centre of each unit is counted: output/NAME_FOLDER_phones.csv and .png. With `speaker` in the records it is
measured how well units tell speakers. --abx writes output/NAME_abx/: items, a tensor of units a recording,
and prints the line to type.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from amela import cli
from amela.errors import OK, CallError, run_main
from amela.files import make_folder, write_aside
from amela.log import log, printable
from amela.manifest import Record, read_records, record_key
from amela.outputs import write_output
from media.abx import HEADER, KINDS, FileNames, command_lines, item_lines
from media.phone_labels import LONGER_S, PhoneLabels, Phones, PhonesError
from media.unit_frames import HOP_S, UnitFrames
from media.unit_report import draw, table
from media.unit_scores import Sample, UnitCounts, phone_scores, speaker_scores
from media.units import UnitsError

NAMED = 5  # how many of the records left out are named


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("manifest", help="JSON lines")
    add("--units-dir", nargs="+", action="extend", metavar="DIR",
        help="folders of units, to be compared (default: the one of `units_filepath`)")  # fmt: skip
    add("--phones", metavar="FIELD|FILE|DIR", help="phone labels: see above")
    add("--tier", default="phones", help="tier of the TextGrids; `SPEAKER - TIER` is found too")
    add("--vocab-size", type=cli.positive, metavar="K", help="units 0..K-1 (default: settings.json says it)")
    add("--hop-s", type=cli.seconds, metavar="S", help=f"seconds a unit (default: settings.json; {HOP_S})")
    add("--abx", action="store_true", help="write items and tensors for ABX tools; wants --phones")
    add("--name", help="of the files in --output (default: the manifest's)")
    add("--output", default="output", metavar="DIR", help="folder of the files")
    add("--seed", type=int, default=0, help="of the sample of utterances and of the folds, for speakers")
    args = parser.parse_args()
    args.name = args.name or Path(args.manifest).name.rsplit(".", 1)[0]
    if args.abx and not args.phones:
        raise CallError("--abx: the items are made of phones; wanted --phones too")
    return args


def open_folders(args: argparse.Namespace) -> list[UnitFrames]:
    """Return the folders of --units-dir, or the one that the records name."""
    paths = args.units_dir
    if not paths:
        given = (record.get("units_filepath") for _, record in read_records(args.manifest))
        first = next((path for path in given if isinstance(path, str)), None)
        if first is None:
            raise CallError(f"{args.manifest}: no record has `units_filepath`; wanted it, or --units-dir DIR")
        above = list(Path(first).parents)
        paths = [next((str(path) for path in above if (path / "settings.json").exists()), str(above[0]))]
    names = [os.path.basename(os.path.realpath(path)) for path in paths]
    labels = [name if names.count(name) == 1 else f"{name}_{number}" for number, name in enumerate(names)]
    try:
        return [
            UnitFrames(path, label, args.vocab_size, args.hop_s, bool(args.units_dir))
            for path, label in zip(paths, labels)
        ]
    except UnitsError as error:
        raise CallError(str(error)) from error


class LeftOut:
    """What was left out and why: counted, the first ones named."""

    def __init__(self) -> None:
        self.reasons: dict[str, list[str]] = {}
        self.counts: dict[str, int] = {}

    def add(self, reason: str, what: str) -> None:
        """Note one more."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.reasons.setdefault(reason, [])
        if len(self.reasons[reason]) < NAMED:
            self.reasons[reason].append(printable(what))

    def tell(self, records: int) -> None:
        """Log each reason with its count and first names."""
        for reason, names in self.reasons.items():
            count = self.counts[reason]
            more = f" and {count - len(names)} more" if count > len(names) else ""
            log(f"{reason}: {count} of {records}: {'; '.join(names)}{more}")


class Evaluation:
    """One pass over the records: counts of all folders, a sample of utterances, items and tensors for ABX."""

    def __init__(self, args: Any, folders: list[UnitFrames], labels: PhoneLabels | None) -> None:
        self.folders, self.labels, self.left = folders, labels, LeftOut()
        self.counts = [UnitCounts(folder.vocabulary, folder.times.hop_s) for folder in folders]
        self.sample = Sample(len(folders), args.seed)
        self.abx = make_folder(os.path.join(args.output, f"{args.name}_abx")) if args.abx else None
        self.names, self.items, self.item_counts = FileNames(), [], dict.fromkeys(KINDS, 0)
        self.records = 0

    def run(self, manifest: str) -> None:
        """Count all records; those that lack units in a folder, or have bad labels, are left out of all."""
        with ExitStack() as stack:
            if self.abx:
                paths = [self.abx / f"{kind}.item" for kind in KINDS]
                self.items = [stack.enter_context(write_aside(path)) for path in paths]
                for file in self.items:
                    file.write(HEADER)
            for _, record in read_records(manifest):
                self.records += 1
                key = record_key(record)
                try:
                    units = [folder.read(record, key) for folder in self.folders]
                    self._count(record, key, units, self._phones(record, key, units))
                except (UnitsError, PhonesError) as error:
                    self.left.add("left out", str(error))
        self.left.tell(self.records)
        unused = self.labels.unused() if self.labels else []
        if unused:
            log(f"labels of no record: {len(unused)}: {', '.join(unused[:NAMED])}")

    def _phones(self, record: Record, key: str, units: list[Any]) -> Phones | None:
        """Return the phones of a record; PhonesError where they go on behind its units."""
        if self.labels is None:
            return None
        phones = self.labels.of(record, key)
        if phones is None:
            self.left.add("no phone labels", key)
            return None
        end_s = max(folder.times.centres_s(len(one))[-1] for one, folder in zip(units, self.folders))
        # A record that is a window of its recording has only some of the recording's phones.
        if record.get("offset") is None and len(phones.ends_s) and phones.ends_s[-1] > end_s + LONGER_S:
            raise PhonesError(
                f"{key}: phones up to {phones.ends_s[-1]:.2f} s, units up to {end_s:.2f} s; wanted labels of "
                "this recording, in seconds"
            )
        return phones

    def _count(self, record: Record, key: str, units: list[Any], phones: Phones | None) -> None:
        speaker = record.get("speaker")
        if speaker in (None, ""):
            self.left.add("no `speaker`, left out of what is measured of speakers", key)
        name = None if speaker in (None, "") else str(speaker)
        counts = [folder.add(one, name) for folder, one in zip(self.counts, units)]
        if name is not None:
            self.sample.add(name, counts)
        if phones is None or not phones.names:
            return
        for folder, found, one in zip(self.folders, self.counts, units):
            found.add_phones(one, phones.names, phones.at(folder.times.centres_s(len(one))))
        if self.abx and name is not None:
            self._write_abx(record, key, units, phones, name)

    def _write_abx(self, record: Record, key: str, units: list[Any], phones: Phones, speaker: str) -> None:
        from networks.unit_files import write_pt

        name = self.names.new(Path(str(record.get("id") or record.get("audio_filepath") or key)).stem)
        evened = [folder.times.even(one) for folder, one in zip(self.folders, units)]
        sizes = [(folder.times.hop_s, len(one)) for folder, one in zip(self.folders, evened)]
        for kind, file in zip(KINDS, self.items):
            for line in item_lines(kind, name, phones, speaker, sizes):
                file.write(line)
                self.item_counts[kind] += 1
        for folder, one in zip(self.folders, evened):
            with write_output(os.path.join(str(self.abx), folder.label, f"{name}.pt")) as file:
                write_pt(file, one.astype("int32")[:, None])

    def rows(self, seed: int) -> list[dict[str, Any]]:
        """Return a row of scores a folder; CallError where no record has units."""
        if not any(counts.files for counts in self.counts):
            raise CallError(f"no unit of {self.records} records could be scored: see above")
        left = {"left_out": self.left.counts.get("left out", 0)}
        rows = []
        for number, (folder, counts) in enumerate(zip(self.folders, self.counts)):
            row = {"units": folder.label, **counts.usage(), **left}
            if counts.by_phone.rows:
                row.update(phone_scores(counts.by_phone.whole()[1], counts.frames))
            if len(counts.by_speaker.rows) > 1:
                row.update(speaker_scores(counts.by_speaker.whole()[1], self.sample, number, seed))
            rows.append(row)
        return rows


def write_phones(args: argparse.Namespace, label: str, phones: list[str], counts: Any) -> list[str]:
    """Write the counts (phones, units) of a folder as CSV and picture; return the paths."""
    path = os.path.join(args.output, f"{args.name}_{label}_phones")
    with write_aside(f"{path}.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["phone", *range(counts.shape[1])])
        writer.writerows([phone, *row] for phone, row in zip(phones, counts.tolist()))
    with write_aside(f"{path}.png", "wb") as file:
        draw(file, phones, counts, f"{args.name}: {label}")
    return [f"{path}.csv", f"{path}.png"]


def write_rows(args: argparse.Namespace, rows: list[dict[str, Any]], items: dict[str, int]) -> list[str]:
    """Write the scores of all folders as CSV and JSON; return the paths."""
    path = os.path.join(args.output, f"{args.name}_units")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with write_aside(f"{path}.csv") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6f}" if isinstance(v, float) else v for k, v in row.items()})
    with write_aside(f"{path}.json") as file:
        json.dump({"settings": args.settings, "units": rows, "items": items}, file, indent=1)
        file.write("\n")
    return [f"{path}.csv", f"{path}.json"]


def main() -> int:
    """Score the folders, write the files and print the table; returns the exit status."""
    args = parse_args()
    make_folder(args.output)
    try:
        labels = PhoneLabels(args.phones, args.tier) if args.phones else None
        folders = open_folders(args)
    except (UnitsError, PhonesError) as error:
        raise CallError(str(error)) from error
    evaluation = Evaluation(args, folders, labels)
    evaluation.run(args.manifest)
    rows = evaluation.rows(args.seed)
    if labels and not evaluation.counts[0].by_phone.rows:
        raise CallError(f"--phones {args.phones}: no labels for {args.manifest}; compare the names")
    paths = write_rows(args, rows, evaluation.item_counts)
    for folder, counts in zip(folders, evaluation.counts):
        if counts.by_phone.rows:
            paths += write_phones(args, folder.label, *counts.by_phone.whole())
    print(table(rows))
    print("\n".join(paths))
    if evaluation.abx:
        said = ", ".join(f"{count} {kind} items" for kind, count in evaluation.item_counts.items())
        print(f"{evaluation.abx}: {said}; in an environment with fastabx:")
        for folder in folders:
            print("\n".join(command_lines(str(evaluation.abx), folder.label, folder.times.hop_s)))
    return OK


if __name__ == "__main__":
    run_main(main)
