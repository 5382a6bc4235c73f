"""Look at manifests and make new ones of them; no command changes the manifest it reads.

    manifest_tools.py convert /data/cv/validated.tsv metadata/cv.json --audio-dir /data/cv/clips
    manifest_tools.py join metadata/corpus.json metadata/with_speakers.json --table speakers.csv --by stem
    manifest_tools.py filter metadata/corpus.json metadata/short.json --where 'duration < 30 and lang == "en"'
    manifest_tools.py split metadata/corpus.json --parts train=0.9,dev=0.05,test=0.05 --by speaker
    manifest_tools.py sample metadata/corpus.json metadata/listen.json --records 50
    manifest_tools.py window metadata/corpus.json metadata/windows.json --window-s 30 --at-silence
    manifest_tools.py explode metadata/corpus.json metadata/utterances.json --field speech
    manifest_tools.py semitones metadata/corpus.json metadata/semitones.json --by speaker
    manifest_tools.py stats metadata/corpus.json --by speaker
    manifest_tools.py validate metadata/corpus.json --check-files

Records stream through: ten million lines need little more memory than ten thousand.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator

from amela.errors import OK, CallError, run_main
from amela.expression import Expression
from amela.manifest import Record, read_records
from amela.pieces import Cutter, check_window
from amela.tally import Tally, check_output, print_some, write_tallied
from amela.tool_parser import tool_parser


def main() -> int:
    """Parse the command line, do what it names and return the exit status."""
    runs = {"convert": convert, "join": join, "filter": keep, "split": split, "sample": sample,
            "window": window, "explode": explode, "semitones": semitones, "stats": stats,
            "validate": validate}
    args = tool_parser(__doc__, runs).parse_args()
    return int(args.run(args))


def write(args: argparse.Namespace, records: Iterable[Record], read: Tally | None = None) -> int:
    """Write the output manifest, say what is in it and return the exit status."""
    check_output(args.output, args.manifest, args.overwrite)
    write_tallied(args.output, records, read)
    return OK


def duration_of(path: str) -> float:
    """The length of an audio file in s by its header; ValueError or OSError where it cannot be read."""
    from media.audio import probe

    try:
        return probe(path).duration_s
    except ImportError as exc:
        raise CallError(f"opening audio needs soundfile ({exc}); wanted an environment that has it, e.g. "
                        "envs/.built/local/bin/python") from exc


def convert(args: argparse.Namespace) -> int:
    """Make a manifest of another list of audio."""
    from amela.convert import convert_list, with_durations
    from media.audio import scan_audio

    records = convert_list(args.manifest, scan_audio, args.audio_dir)
    return write(args, records if args.no_durations else with_durations(records, duration_of, args.workers))


def join(args: argparse.Namespace) -> int:
    """Add the columns of a table; name what found no partner."""
    from amela.tables import Table

    table = Table(args.table, args.by, args.column, args.columns.split(",") if args.columns else None)
    read = Tally()
    write(args, table.join(read.read(args.manifest), args.replace_fields))
    print(f"joined by {args.by} = column {table.key_column}: {read.records - table.unmatched_records:,} of "
          f"{read.records:,} records, {len(table.used):,} of {len(table):,} rows; "
          f"fields: {', '.join(table.columns)}")
    print_some(f"records of {args.manifest} without a row", table.unmatched_records, table.unmatched)
    unused = table.unused()
    print_some(f"rows of {args.table} without a record", len(unused), unused)
    print_some("one row for several recordings (use --by path)", len(table.ambiguous), table.ambiguous)
    for name, count in table.kept.items():
        print(f"{name}: {count:,} records had another value and kept it (--replace-fields replaces it)")
    return OK


def keep(args: argparse.Namespace) -> int:
    """Write the records that match; name fields that stand in no record, mostly a slip of the pen."""
    where = Expression(args.where)
    read, unseen = Tally(), set(where.names)

    def matching() -> Iterator[Record]:
        for _, record in read.read(args.manifest):
            if unseen:
                unseen.difference_update(record)
            if where.matches(record):
                yield record

    try:
        return write(args, matching(), read)
    finally:
        for name in sorted(unseen if read.records else ()):
            print(f"note: no record read has the field `{name}`")


def split(args: argparse.Namespace) -> int:
    """Write the parts and a line on each."""
    from amela.parts import by_value, parse_targets, share_out, write_parts

    base, ending = os.path.splitext(args.manifest)
    by = args.each or args.by
    if by == "audio_filepath" and "speaker" in next(read_records(args.manifest))[1]:
        print("note: the records have `speaker`; give --by speaker where no speaker may stand in two parts")
    name_of: Callable[[Record], str] = by_value(args.each) if args.each else share_out(
        args.manifest, parse_targets(args.parts), by, args.seed)

    def path_of(name: str) -> str:
        path = f"{base}_{name}{ending}"
        check_output(path, args.manifest, args.overwrite)
        return path

    parts = write_parts(args.manifest, name_of, path_of, by)
    hours = sum(part.hours for part in parts.values())
    for name in sorted(parts):
        part = parts[name]
        share = f" ({part.hours / hours:.1%})" if hours else ""
        print(f"{part.path}: {part.records:,} records, {part.hours:,.2f} h{share}, {part.groups} values of "
              f"{by}")
    return OK


def sample(args: argparse.Namespace) -> int:
    """Take random records."""
    from amela.parts import sample as drawn

    return write(args, drawn(args.manifest, args.records, args.hours, args.each, args.seed))


def window(args: argparse.Namespace) -> int:
    """Cut long recordings into records; say how."""
    check_window(args.window_s, args.overlap_s)
    read, cutter = Tally(), Cutter(args.manifest)
    records = cutter.windows(read.read(args.manifest), args.window_s, args.overlap_s, args.at_silence)
    write(args, records, read)
    counts = cutter.counts
    print(f"{counts['whole']:,} records passed whole, the others became {counts['pieces']:,}"
          + (f", {counts['hard']:,} of them cut where no silence was" if args.at_silence else ""))
    print_left(cutter)
    return OK


def explode(args: argparse.Namespace) -> int:
    """Make a record of each item of a list field; say what gave none."""
    read, cutter = Tally(), Cutter(args.manifest)
    write(args, cutter.explode(read.read(args.manifest), args.field), read)
    print_some(f"records without {args.field}", cutter.counts["without"])
    print_some("items of no length, left out", cutter.counts["empty"])
    print_left(cutter)
    return OK


def semitones(args: argparse.Namespace) -> int:
    """Add the pitch of each record's speaker, and the record's own re that."""
    from amela.semitones import speaker_medians, with_semitones

    medians = speaker_medians((record for _, record in read_records(args.manifest)), args.by)
    if not medians:
        raise CallError(f"{args.manifest}: no record has both `{args.by}` and `f0_median_hz`; wanted them: "
                        "extract_features.py adds the pitch, `join` the speakers of a table")
    read = Tally()
    write(args, with_semitones((record for _, record in read.read(args.manifest)), medians, args.by), read)
    print(f"pitch of {len(medians):,} values of {args.by}")
    return OK


def print_left(cutter: Cutter) -> None:
    """Name the fields that pieces do not have from their parents."""
    if cutter.left:
        print(f"left behind, as they tell of the whole record: {', '.join(sorted(cutter.left))}")


def stats(args: argparse.Namespace) -> int:
    """Print the figures of a manifest."""
    from amela.survey import as_text, survey

    figures = survey(args.manifest, args.by)
    print(json.dumps(figures, ensure_ascii=False, indent=1) if args.json else as_text(figures))
    return OK


def validate(args: argparse.Namespace) -> int:
    """Print the faults of a manifest and their number."""
    from amela.check import faults

    found = 0
    probe = duration_of if args.check_files else None
    for fault in faults(args.manifest, probe, args.tolerance_s, args.workers):
        found += 1
        if found <= args.show:
            print(fault)
    if found:
        shown = f", the first {args.show} above" if found > args.show else ""
        raise CallError(f"{args.manifest}: {found:,} faults{shown}")
    print(f"{args.manifest}: no fault found" + ("" if args.check_files else " (audio not opened: "
                                                                            "--check-files)"))
    return OK


if __name__ == "__main__":
    run_main(main)
