"""What can be typed after `manifest_tools.py`: the commands, their arguments and help texts."""

from __future__ import annotations

from typing import Any, Callable

from amela import cli, expression

TEXTS = {
    "convert": """Make a manifest of another list of audio.
A JSON array, JSON lines, CSV or TSV, a Kaldi folder (wav.scp), lhotse cuts, or a folder of audio with
texts beside it: found by looking. Usual column names (path, sentence, client_id, locale …) become ours;
missing durations are read from the audio's headers.""",
    "join": """Add the columns of a CSV or TSV table to the records as fields.
What has no partner, on either side, is counted and named; a field that a record has stays.""",
    "filter": f"Keep the records for which an expression holds.\n\nIn it: {expression.HELP}.",
    "split": """Divide a manifest into parts by hours.
The parts share no recording, or no speaker (--by speaker), or value of another field. Writes
MANIFEST_train.json … beside it. The same seed gives the same parts, in whatever order the lines stand.""",
    "sample": """Take random records, in the manifest's order.
Exactly so many, or hours within the last recording; the same seed takes the same.""",
    "window": """Cut long recordings into records.
Each has offset, duration, id and parent; no audio is written. Records that are short enough pass as they
are. Texts and files made from the whole recording stay behind.""",
    "explode": """Make a record of each item of a list field.
Each has its own id, parent, offset and duration; the item's other keys (text, words, speaker) become its
fields, times counted from its start.""",
    "semitones": """Add pitch relative to the speaker's.
f0_speaker_median_hz is the median of the f0_median_hz (extract_features.py) of a speaker's records, each
weighing as much as it has of voice; f0_median_semitones is how far the record's own lies above it. Of frames:
12 log2(f0_hz / f0_speaker_median_hz).""",
    "stats": "Count records, hours, fields and durations.",
    "validate": """Name every fault of a manifest as FILE:LINE.
JSON, paths, times, speech, keys given twice; with --check-files the audio too. Status 2 if there is one.""",
}


def tool_parser(doc: str | None, runs: dict[str, Callable[[Any], int]]) -> cli.Parser:
    """Return the parser; `args.run` is that of `runs` which the command names."""
    parser = cli.parser(doc)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", help="COMMAND --help says more")
    for name, text in TEXTS.items():
        command: cli.Parser = commands.add_parser(name, description=text, help=text.split("\n", 1)[0])
        command.set_defaults(run=runs[name])
        if name == "convert":
            command.add_argument("manifest", metavar="source", help="file or folder to convert")
        else:
            command.add_argument("manifest", help="manifest to read")
        if name not in ("split", "stats", "validate"):
            command.add_argument("output", help="manifest to write")
        if name not in ("stats", "validate"):
            command.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
        _ADD[name](command)
    return parser


def _convert(command: cli.Parser) -> None:
    command.add_argument(
        "--audio-dir",
        metavar="DIR",
        help="folder from which relative paths count (default: that of the list)",
    )
    command.add_argument("--no-durations", action="store_true", help="leave missing durations out")
    command.add_argument("--workers", type=cli.positive, default=8, metavar="N", help="files opened at once")


def _join(command: cli.Parser) -> None:
    add = command.add_argument
    add("--table", required=True, metavar="CSV", help="table with a header line")
    add(
        "--by",
        choices=["path", "id", "stem"],
        default="stem",
        help="what names a record in the table: its path (relative ones count from the table's folder), its "
        "id, or "
        "the file name without folder and ending",
    )
    add("--column", metavar="NAME", help="column that holds it, where its name is not a usual one")
    add("--columns", metavar="A,B", help="take only these columns (default: all others)")
    add("--replace-fields", action="store_true", help="the table wins over a field that a record has")


def _filter(command: cli.Parser) -> None:
    command.add_argument(
        "--where", required=True, metavar="EXPR", help="""e.g. 'duration > 1 and lang == "en"'"""
    )


def _split(command: cli.Parser) -> None:
    kinds = command.add_mutually_exclusive_group(required=True)
    kinds.add_argument(
        "--parts",
        metavar="NAME=SHARE,…",
        help="shares of the hours (of the records where no duration is known), hours, or the "
        "rest: "
        "train=0.9,dev=0.05,test=0.05 or train=rest,dev=2h,test=2h",
    )
    kinds.add_argument("--each", metavar="FIELD", help="a manifest for each value of this field instead")
    command.add_argument(
        "--by",
        metavar="FIELD",
        default="audio_filepath",
        help="records that agree in this field stay together: speaker, parent …",
    )
    command.add_argument("--seed", type=int, default=0, help="another number gives other parts")


def _sample(command: cli.Parser) -> None:
    amount = command.add_mutually_exclusive_group(required=True)
    amount.add_argument("--records", type=cli.positive, metavar="N", help="how many records")
    amount.add_argument("--hours", type=float, metavar="H", help="how many hours")
    command.add_argument(
        "--each", metavar="FIELD", help="so many of each value of this field, or all where there are fewer"
    )
    command.add_argument("--seed", type=int, default=0, help="another number takes others")


def _window(command: cli.Parser) -> None:
    add = command.add_argument
    add("--window-s", type=float, default=30.0, metavar="S", help="longest duration of a record, seconds")
    add("--overlap-s", type=float, default=0.0, metavar="S", help="shared by neighbours, seconds")
    add(
        "--at-silence",
        action="store_true",
        help="cut where the field `speech` (vad.py) has a silence, the longest in the second half of the "
        "window; at "
        "its end only where there is none",
    )


def _explode(command: cli.Parser) -> None:
    command.add_argument("--field", required=True, help="speech, asr_segments, whisperx.segments …")


def _semitones(command: cli.Parser) -> None:
    command.add_argument(
        "--by", metavar="FIELD", default="speaker", help="records that agree in it are one speaker's"
    )


def _stats(command: cli.Parser) -> None:
    command.add_argument("--by", metavar="FIELD", help="records and hours of each value of this field too")
    command.add_argument("--json", action="store_true", help="print one JSON object instead")


def _validate(command: cli.Parser) -> None:
    add = command.add_argument
    add(
        "--check-files",
        action="store_true",
        help="open each audio file: is it there, readable, and as long as `duration` says?",
    )
    add("--tolerance-s", type=float, default=0.1, metavar="S", help="how far durations may differ, seconds")
    add("--workers", type=cli.positive, default=8, metavar="N", help="files opened at once")
    add("--show", type=cli.positive, default=50, metavar="N", help="how many faults to print")


_ADD = {
    "convert": _convert,
    "join": _join,
    "filter": _filter,
    "split": _split,
    "sample": _sample,
    "window": _window,
    "explode": _explode,
    "semitones": _semitones,
    "stats": _stats,
    "validate": _validate,
}
