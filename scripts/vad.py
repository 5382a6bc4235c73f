"""Find speech: a folder of audio → a manifest with `duration` and `speech`, a table (.csv), and RTTM if
asked.

    python scripts/vad.py DIR [NAME]       → metadata/<dirname>_<dd-mm-yy>.json and .csv, or NAME.json and
    .csv python scripts/vad.py MANIFEST [NAME]  → adds `speech` (and `duration` where it is missing) to the
    manifest sbatch slurm/vad.slurm DIR [NAME]      one task, as many worker processes as it has CPUs sbatch
    --array=0-15 slurm/vad.slurm MANIFEST

DIR is searched for wav, flac, mp3, ogg, opus and m4a, its sub-folders too, and listed once: a run that was
stopped goes on with the same files. It may be one such file. Files that cannot be read stand in the table,
with the reason, and not in the manifest. NAME is a name or a path without ending. Rules, in this order:
--threshold, --offset-ms, --min-silence-s (or --adaptive-merge), --min-speech-s, --pad-s. Engines: ten
(TEN-VAD; its licence is not open source) and silero (Silero VAD, MIT, faster).
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from amela import slurm
from amela.cli import cpus, ratio, stage_parser
from amela.deals import cuts, find_results, read_deals
from amela.errors import OK, TOO_MANY_ERRORS, CallError, run_main
from amela.files import make_folder, write_aside
from amela.inputs import is_kind
from amela.listing import Listing, take_listing
from amela.log import log
from amela.manifest import Record, read_records, record_key, scan, write_manifest
from amela.stage import run_shard
from amela.state import stage_folder
from media.audio import AUDIO_SUFFIXES, scan_audio
from media.engines import ENGINES, OFFSET_MS
from media.errors import EngineError

TASKS_OF_NEXT_STAGE = 16


def not_negative_number(text: str) -> float:
    """Read a number of at least 0."""
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text} is not at least 0")
    return number


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` has the engine that will run and its version."""
    parser = stage_parser(__doc__, workers=cpus())
    add, add_speed = parser.add_argument, parser.add_speed_argument
    add_speed("name", nargs="?", help="name of what is written, or its path, without ending")
    add(
        "--engine",
        choices=ENGINES,
        help="ten, or silero (default: ten; over a folder silero where ten cannot run)",
    )
    add("--threshold", type=ratio, default=0.5, help="probability from which a frame is speech, 0 to 1")
    add(
        "--offset-ms",
        type=float,
        default=OFFSET_MS,
        help="how much earlier than the engine says, in milliseconds",
    )
    add(
        "--min-silence-s",
        type=not_negative_number,
        default=0.1,
        help="shorter silences are speech, in seconds",
    )
    add("--min-speech-s", type=not_negative_number, default=0.1, help="shorter speech is silence, in seconds")
    add(
        "--pad-s",
        type=not_negative_number,
        default=0.0,
        help="added on both sides of each segment, in seconds",
    )
    add(
        "--adaptive-merge",
        action="store_true",
        help="join over silences shorter than merge-max-s minus merge-decay times the seconds of the speech "
        "before (but at least min-silence-s), as AMELA does",
    )
    add("--merge-max-s", type=not_negative_number, default=0.3, help="for --adaptive-merge, in seconds")
    add("--merge-decay", type=not_negative_number, default=0.1, help="for --adaptive-merge, seconds a second")
    add(
        "--level-db",
        type=float,
        metavar="DB",
        help="bring the loud parts of each file to this level first, in dB below full scale (RMS), e.g. -23",
    )
    add_speed("--rttm", action="store_true", help="write the speech as RTTM too, beside the table")
    args = parser.parse_args()
    if args.name and args.name.isdigit() and not os.path.isdir(args.manifest):
        args.name, args.num_tasks = None, int(args.name)
    return args


def choose_engine(args: argparse.Namespace, may_fall_back: bool) -> None:
    """Check that the engine works here, before anything is listed or dealt; write it into the settings."""
    from media.engines import check_engine

    wanted = args.engine or "ten"
    try:
        version = check_engine(wanted)
    except EngineError as error:
        if args.engine or not may_fall_back:
            raise CallError(str(error)) from error
        log(f"WARNING: {error}")
        log("WARNING: going on with --engine silero INSTEAD OF ten: other numbers; say so in your paper")
        wanted = "silero"
        try:
            version = check_engine(wanted)
        except EngineError as second:
            raise CallError(f"{error}; nor can silero run: {second}") from second
    args.engine = wanted
    args.settings.update(engine=wanted, version=version)


def load(args: argparse.Namespace) -> Any:
    """Return the engine, its rules and the level to bring files to."""
    from media.engines import load_engine
    from media.segments import Rules

    merge_max_s = args.merge_max_s if args.adaptive_merge else None
    rules = Rules(
        args.threshold,
        args.offset_ms / 1000,
        args.min_silence_s,
        args.min_speech_s,
        args.pad_s,
        merge_max_s,
        args.merge_decay,
    )
    return load_engine(args.engine), rules, args.level_db


def process(model: Any, batch: list[Record]) -> list[Any]:
    """Return `speech` of each record, `duration` too where it has none, or the AudioError of its file."""
    from media.audio import AudioError, record_window, stream_mono
    from media.engines import find_speech, gain_to, scaled

    engine, rules, level_db = model
    results: list[Any] = []
    for record in batch:
        window = record_window(record)
        try:
            blocks = stream_mono(**window)
            if level_db is not None:
                blocks = scaled(stream_mono(**window), gain_to(blocks, level_db))
            speech, duration_s = find_speech(engine, blocks, rules)
        except AudioError as error:
            results.append(error)
            continue
        known = record.get("duration") is not None
        results.append({"speech": speech} if known else {"duration": round(duration_s, 6), "speech": speech})
    return results


def run(args: argparse.Namespace) -> int:
    """Run the loop over args.manifest."""
    return run_shard(args, stage="vad", fields=("speech", "duration"), load=load, process=process)


def run_manifest(args: argparse.Namespace) -> int:
    """Add the speech to a manifest, as an ordinary map stage; a run of one process writes the table too."""
    if not os.path.exists(args.manifest):
        raise CallError(f"{args.manifest}: no such file or folder; wanted a folder of audio or a manifest")
    choose_engine(args, may_fall_back=False)
    status = run(args)
    alone = args.shard_index is None and not (slurm.in_batch_job() and slurm.here().is_array)
    if status == OK and alone and not (args.limit or args.only):
        stem = args.name or f"{args.manifest.removesuffix('.json')}_vad"
        write_tables(
            args,
            Path(args.manifest),
            Path("metadata") / stem if args.name and "/" not in stem else Path(stem),
            os.path.dirname(os.path.abspath(args.manifest)),
        )
    return status


def run_folder(args: argparse.Namespace) -> int:
    """List a folder, find the speech of its files, and write manifest, table and RTTM."""
    folder = args.manifest
    if slurm.in_batch_job() and slurm.here().is_array:
        raise CallError(
            f"{folder}: an array over a folder would list it once a task; use one task: `sbatch "
            f"slurm/vad.slurm {shlex.quote(folder)}`; or list it first: `python scripts/manifest_tools.py "
            "convert "
            f"{shlex.quote(folder)} metadata/NAME.json`, then `sbatch --array=0-15 slurm/vad.slurm "
            "metadata/NAME.json`"
        )
    for flag in ("num_shards", "num_tasks", "shard_index", "field"):
        if getattr(args, flag) is not None:
            raise CallError(f"--{flag.replace('_', '-')} is for a manifest, found the folder {folder}")
    choose_engine(args, may_fall_back=True)
    job = slurm.job_name(slurm.here()) if slurm.in_batch_job() else None
    listing = take_listing(folder, args.name, scan_audio, args.fresh, job)
    args.manifest = str(listing.manifest)
    status = run(args)
    if args.limit and status == OK:
        log(f"a try-out of {args.limit} files: {short(listing.output)} is written by a run without --limit")
    elif status == OK and not args.only:
        return finish_folder(args, listing, folder)
    elif status == TOO_MANY_ERRORS:
        log(
            f"nothing is lost; to make {short(listing.output)} of the files that can be read, give the same "
            "command with --max-error-rate 1"
        )
    return status


def finish_folder(args: argparse.Namespace, listing: Listing, folder: str) -> int:
    """Write what was asked for, note that it is finished, and print what to do next."""
    root = os.path.abspath(folder if os.path.isdir(folder) else os.path.dirname(folder))
    counts = write_tables(args, listing.manifest, listing.output.with_suffix(""), root)
    if counts["readable"] == 0:
        raise CallError(
            f"{folder}: none of {counts['files']} files can be read; the reasons stand in "
            f"{short(listing.output.with_suffix('.csv'))}"
        )
    if listing.note().get("counts") == counts and listing.output.exists():
        log(f"{short(listing.output)}: nothing to do, it has all {counts['readable']} readable files")
    else:
        write_output(listing)
        listing.finish(counts)
    tasks = min(TASKS_OF_NEXT_STAGE, counts["readable"])
    log(
        f"{short(listing.output)} and .csv: {counts['readable']} files, {counts['audio_s'] / 3600:.2f} h, "
        f"{100 * counts['speech_s'] / max(counts['audio_s'], 1e-9):.0f} % speech"
        + (f"; {counts['unreadable']} UNREADABLE, see column `error`" if counts["unreadable"] else "")
    )
    log(f"next: sbatch --array=0-{tasks - 1} slurm/asr.slurm {shlex.quote(short(listing.output))}")
    return OK


def write_output(listing: Listing) -> None:
    """Write the manifest of the readable files; fields that later stages gave to records already there are
    kept.
    """
    kept: dict[str, Record] = {}
    if listing.output.exists():
        for _, record in read_records(listing.output):
            if not record.keys() <= {"audio_filepath", "duration", "speech"}:
                kept[record_key(record)] = record
    readable = (record for _, record in read_records(listing.manifest) if "speech" in record)
    write_manifest(listing.output, ({**kept.get(record_key(record), {}), **record} for record in readable))


def write_tables(args: argparse.Namespace, manifest: Path, stem: Path, root: str) -> dict[str, Any]:
    """Write `stem`.csv and, if asked, `stem`.rttm of all records; return counts of files and seconds."""
    from media.vad_table import rttm_of, write_table

    field = args.field or "speech"
    errors = read_errors(manifest, args.field)
    records = (record for _, record in read_records(manifest))
    make_folder(stem.parent)
    with write_aside(stem.with_name(stem.name + ".csv")) as file:
        counts = write_table(file, records, field, lambda record: errors.get(record_key(record), "no result"))
    if args.rttm:
        records = (record for _, record in read_records(manifest))
        with write_aside(stem.with_name(stem.name + ".rttm")) as file:
            file.writelines(rttm_of(records, field, root))
    return counts


def read_errors(manifest: Path, field: str | None) -> dict[str, str]:
    """Return the message of each record that failed, by key."""
    folder = stage_folder(manifest, "vad", field)
    results = find_results(folder, scan(manifest, "").keys, cuts(read_deals(folder)))
    lines = [results.read(place) for places in results.errors.values() for place in places.values()]
    results.close()
    return {line["key"]: line["error"]["message"] for line in lines}


def short(path: Path) -> str:
    """Return a path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def main() -> int:
    """Find the speech of a folder's files or of a manifest's records; returns the exit status."""
    args = parse_args()
    file = os.path.isfile(args.manifest) and is_kind(args.manifest, AUDIO_SUFFIXES)
    return run_folder(args) if file or os.path.isdir(args.manifest) else run_manifest(args)


if __name__ == "__main__":
    run_main(main)
