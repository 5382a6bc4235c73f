"""Look at manifests and make new ones of them; no command changes the manifest it reads.

    manifest_tools.py convert /data/corpus.csv metadata/corpus.json
    manifest_tools.py join metadata/corpus.json metadata/with_speakers.json --table speakers.csv --by stem
    manifest_tools.py filter metadata/corpus.json metadata/short.json --where 'duration < 30 and lang == "en"'
    manifest_tools.py split metadata/corpus.json --parts train=0.9,dev=0.05,test=0.05 --by speaker
    manifest_tools.py sample metadata/corpus.json metadata/listen.json --records 50
    manifest_tools.py window metadata/corpus.json metadata/windows.json --window-s 30 --at-silence
    manifest_tools.py explode metadata/corpus.json metadata/utterances.json --field speech
    manifest_tools.py stats metadata/corpus.json --by speaker
    manifest_tools.py validate metadata/corpus.json --check-files

Records stream through: ten million lines need no more memory than ten thousand.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Callable, Iterable, Iterator
from urllib.parse import quote

from amela import cli, expression
from amela.check import faults
from amela.convert import convert, with_durations
from amela.errors import OK, CallError, run_main
from amela.manifest import Record, read_records
from amela.parts import parse_targets, sample, split, write_parts
from amela.pieces import Cutter
from amela.survey import as_text, survey
from amela.tables import Table
from amela.tally import Tally, check_output, print_some, write_tallied


def main() -> int:
    """Parse the command line, do what it names and return the exit status."""
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", help="COMMAND --help says more")
    for add in (add_convert, add_join, add_filter, add_split, add_sample, add_window, add_explode, add_stats, add_validate):
        add(commands)
    args = parser.parse_args()
    return int(args.run(args))


def write(args: argparse.Namespace, records: Iterable[Record], read: Tally | None = None) -> int:
    """Write the output manifest, say what is in it and return the exit status."""
    check_output(args.output, args.manifest, args.overwrite)
    write_tallied(args.output, records, read)
    return OK


def add_command(commands: Any, name: str, run: Any, text: str, output: bool = True) -> cli.Parser:
    """Add a subcommand with its positional arguments."""
    parser: cli.Parser = commands.add_parser(name, description=text, help=text.split("\n")[0])
    parser.add_argument("manifest", help="file or folder to convert" if name == "convert" else "manifest to read")
    if output:
        parser.add_argument("output", help="manifest to write")
    if output or name == "split":
        parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    parser.set_defaults(run=run)
    return parser


def add_convert(commands: Any) -> None:
    """convert SOURCE OUTPUT."""
    parser = add_command(commands, "convert", run_convert, "Make a manifest of another list of audio.\nA JSON array, JSON "
                         "lines, CSV or TSV, a Kaldi folder (wav.scp), lhotse cuts, or a folder of audio with texts beside "
                         "it: found by looking.\nUsual column names (path, sentence, client_id, locale …) become ours; relative paths count from "
                         "the list's folder; durations that are missing are read from the audio's headers.")
    parser.add_argument("--no-durations", action="store_true", help="leave missing durations out, do not open the audio")
    parser.add_argument("--workers", type=cli.positive, default=8, metavar="N", help="files looked at once")


def run_convert(args: argparse.Namespace) -> int:
    """Write the manifest, with durations."""
    from media.audio import scan_audio

    records = convert(args.manifest, scan_audio)
    return write(args, records if args.no_durations else with_durations(records, duration_of, args.workers))


def duration_of(path: str) -> float:
    """The length of an audio file in s by its header; ValueError or OSError where it cannot be read."""
    from media.audio import probe

    try:
        return probe(path).duration_s
    except ImportError as exc:
        raise CallError(f"opening audio needs soundfile ({exc}); wanted an environment that has it, e.g. "
                        "envs/.built/local/bin/python") from exc


def add_join(commands: Any) -> None:
    """join MANIFEST OUTPUT --table CSV."""
    parser = add_command(commands, "join", run_join, "Add the columns of a CSV or TSV table to the records as fields.\n"
                         "What has no partner, on either side, is counted and named; a field that a record has stays.")
    parser.add_argument("--table", required=True, metavar="CSV", help="table with a header line")
    parser.add_argument("--by", choices=["path", "id", "stem"], default="stem",
                        help="what names a record in the table: its path (relative ones count from the table's folder), "
                        "its id, or the file name without folder and ending")
    parser.add_argument("--column", metavar="NAME", help="column that holds it, where its name is not a usual one")
    parser.add_argument("--columns", metavar="A,B", help="take only these columns (default: all others)")
    parser.add_argument("--replace-fields", action="store_true", help="the table wins over a field that a record has")


def run_join(args: argparse.Namespace) -> int:
    """Write the joined manifest and name what found no partner."""
    table = Table(args.table, args.by, args.column, args.columns.split(",") if args.columns else None)
    tally = Tally()
    write(args, table.join(tally.read(args.manifest), args.replace_fields))
    print(f"joined by {args.by} = column {table.key_column}: {tally.records - table.unmatched_records:,} of {tally.records:,} "
          f"records, {len(table.used):,} of {len(table):,} rows; fields: {', '.join(table.columns)}")
    print_some(f"records of {args.manifest} without a row", table.unmatched_records, table.unmatched)
    unused = table.unused()
    print_some(f"rows of {args.table} without a record", len(unused), unused)
    print_some("one row for several recordings (use --by path)", len(table.ambiguous), table.ambiguous)
    for name, count in table.kept.items():
        print(f"{name}: {count:,} records had another value and kept it (--replace-fields to replace it)")
    return OK


def add_filter(commands: Any) -> None:
    """filter MANIFEST OUTPUT --where EXPRESSION."""
    parser = add_command(commands, "filter", run_filter, "Keep the records for which an expression holds.\n\nIn it: "
                         + expression.HELP + ".")
    parser.add_argument("--where", required=True, metavar="EXPR", help="""e.g. 'duration > 1 and lang == "en"'""")


def run_filter(args: argparse.Namespace) -> int:
    """Write the records that match; name fields that stood in no record, which is mostly a slip of the pen."""
    where = expression.Expression(args.where)
    tally = Tally()
    unseen = set(where.names)

    def matching() -> Iterator[Record]:
        for _, record in tally.read(args.manifest):
            if unseen:
                unseen.difference_update(record)
            if where.matches(record):
                yield record

    try:
        return write(args, matching(), tally)
    finally:
        for name in sorted(unseen if tally.records else ()):
            print(f"note: no record read has the field `{name}`")


def add_split(commands: Any) -> None:
    """split MANIFEST --parts …"""
    parser = add_command(commands, "split", run_split, "Divide a manifest into parts by hours.\nThe parts share no "
                         "recording, or no speaker (--by speaker), or value of another field. Writes MANIFEST_train.json … beside it. The same seed gives the same parts, "
                         "in whatever order the lines stand.", output=False)
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--parts", metavar="NAME=SHARE,…", help="shares of the hours (records where no duration is known), "
                       "hours, or the rest: train=0.9,dev=0.05,test=0.05 or train=rest,dev=2h,test=2h")
    kinds.add_argument("--each", metavar="FIELD", help="a manifest for each value of this field instead")
    parser.add_argument("--by", metavar="FIELD", default="audio_filepath",
                        help="records that agree in this field stay together: speaker, parent …")
    parser.add_argument("--seed", type=int, default=0, help="another number gives other parts")


def run_split(args: argparse.Namespace) -> int:
    """Write the parts and a line on each."""
    base, ending = os.path.splitext(args.manifest)
    by = args.each or args.by
    if by == "audio_filepath" and "speaker" in next(read_records(args.manifest))[1]:
        print("note: the records have `speaker`; give --by speaker where no speaker may stand in two parts")
    name_of = split(args.manifest, parse_targets(args.parts), by, args.seed) if args.parts else file_name_of(args.each)

    def path_of(name: str) -> str:
        path = f"{base}_{name}{ending}"
        check_output(path, args.manifest, args.overwrite)
        return path

    parts = write_parts(args.manifest, name_of, path_of, by)
    hours = sum(part.hours for part in parts.values())
    for name in sorted(parts):
        part = parts[name]
        share = f" ({part.hours / hours:.1%})" if hours else ""
        print(f"{part.path}: {part.records:,} records, {part.hours:,.2f} h{share}, {part.groups} values of {by}")
    return OK


def file_name_of(field: str) -> Callable[[Record], str]:
    """A function that makes a part of a file name of a record's field; two values never make the same."""
    return lambda record: quote(str(record.get(field, "none")), safe="")


def add_sample(commands: Any) -> None:
    """sample MANIFEST OUTPUT --records N | --hours H."""
    parser = add_command(commands, "sample", run_sample, "Take random records, in the manifest's order.\n"
                         "Exactly so many, or hours within the last recording; the same seed takes the same.")
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--records", type=cli.positive, metavar="N", help="how many records")
    amount.add_argument("--hours", type=float, metavar="H", help="how many hours")
    parser.add_argument("--each", metavar="FIELD", help="so many of each value of this field, or all where there are fewer")
    parser.add_argument("--seed", type=int, default=0, help="another number takes others")


def run_sample(args: argparse.Namespace) -> int:
    """Write the sample."""
    return write(args, sample(args.manifest, args.records, args.hours, args.each, args.seed))


def add_window(commands: Any) -> None:
    """window MANIFEST OUTPUT --window-s S."""
    parser = add_command(commands, "window", run_window, "Cut long recordings into records.\nEach has offset, duration, "
                         "id and parent; no audio is written. Records that are short enough pass as they are. Texts and files made "
                         "from the whole recording stay behind.")
    parser.add_argument("--window-s", type=float, default=30.0, metavar="S", help="longest duration of a record, seconds")
    parser.add_argument("--overlap-s", type=float, default=0.0, metavar="S", help="shared by neighbours, seconds")
    parser.add_argument("--at-silence", action="store_true", help="cut where the field `speech` (vad.py) has a silence, the "
                        "longest in the second half of the window; at its end only where there is none")


def run_window(args: argparse.Namespace) -> int:
    """Write the windows and say how they were cut."""
    if not 0 <= args.overlap_s <= args.window_s / 2 or args.window_s <= 0:
        raise CallError(f"found --window-s {args.window_s:g} --overlap-s {args.overlap_s:g}, wanted a window above 0 and an "
                        "overlap of at most half of it")
    tally, cutter = Tally(), Cutter(args.manifest)
    write(args, cutter.windows(tally.read(args.manifest), args.window_s, args.overlap_s, args.at_silence), tally)
    counts = cutter.counts
    print(f"{counts['whole']:,} records passed whole, the others became {counts['pieces']:,}"
          + (f", {counts['hard']:,} of them cut where no silence was" if args.at_silence else ""))
    print_left(cutter)
    return OK


def print_left(cutter: Cutter) -> None:
    """Name the fields that pieces do not have from their parents."""
    if cutter.left:
        print(f"left behind, as they tell of the whole record: {', '.join(sorted(cutter.left))}")


def add_explode(commands: Any) -> None:
    """explode MANIFEST OUTPUT --field FIELD."""
    parser = add_command(commands, "explode", run_explode, "Make a record of each item of a list field.\nEach has its own id, "
                         "parent, offset and duration; the item's other keys (text, words, speaker) become its fields, "
                         "times counted from its start.")
    parser.add_argument("--field", required=True, help="speech, asr_segments, whisperx.segments …")


def run_explode(args: argparse.Namespace) -> int:
    """Write the items and say what gave none."""
    tally, cutter = Tally(), Cutter(args.manifest)
    write(args, cutter.explode(tally.read(args.manifest), args.field), tally)
    for name, what in (("without", f"records without {args.field}"), ("empty", "items of no length, left out")):
        if cutter.counts[name]:
            print(f"{what}: {cutter.counts[name]:,}")
    print_left(cutter)
    return OK


def add_stats(commands: Any) -> None:
    """stats MANIFEST."""
    parser = add_command(commands, "stats", run_stats, "Count records, hours, fields and durations.", output=False)
    parser.add_argument("--by", metavar="FIELD", help="records and hours of each value of this field too")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run_stats(args: argparse.Namespace) -> int:
    """Print the figures."""
    figures = survey(args.manifest, args.by)
    print(json.dumps(figures, ensure_ascii=False, indent=1) if args.json else as_text(figures))
    return OK


def add_validate(commands: Any) -> None:
    """validate MANIFEST."""
    parser = add_command(commands, "validate", run_validate, "Name every fault of a manifest as FILE:LINE.\nJSON, paths, times, "
                         "speech, keys given twice; with --check-files the audio too. Status 2 if there is a fault.",
                         output=False)
    parser.add_argument("--check-files", action="store_true", help="open each audio file: is it there, readable, and as long "
                        "as `duration` says?")
    parser.add_argument("--tolerance-s", type=float, default=0.1, metavar="S", help="how far durations may differ, seconds")
    parser.add_argument("--workers", type=cli.positive, default=8, metavar="N", help="files opened at once")
    parser.add_argument("--show", type=cli.positive, default=50, metavar="N", help="how many faults to print")


def run_validate(args: argparse.Namespace) -> int:
    """Print the faults and their number."""
    found = 0
    for fault in faults(args.manifest, duration_of if args.check_files else None, args.tolerance_s, args.workers):
        found += 1
        if found <= args.show:
            print(fault)
    if found:
        raise CallError(f"{args.manifest}: {found:,} faults" + (f", the first {args.show} above" if found > args.show else ""))
    print(f"{args.manifest}: no fault found" + ("" if args.check_files else " (audio not opened: --check-files)"))
    return OK


if __name__ == "__main__":
    run_main(main)
