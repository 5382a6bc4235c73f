"""Speak files of units: unit files → 16 kHz WAV.

    sbatch slurm/synthesize.slurm output/generated/tokens            → output/generated/speech/
    sbatch --array=0-3 slurm/synthesize.slurm metadata/corpus.json   adds `synthesis_filepath`,
    `synthesis_duration` (s)

A folder is searched for .pt files, its sub-folders too; their list becomes metadata/<folder>_units.json, so
that a run that was stopped goes on. A manifest has `units_filepath` (a .pt, or a part in Parquet). Units
without repetitions are spelt out by `durations_filepath`, by the durations in the part or in the folder that
`encode.py --dedup` left beside theirs, or by a vocoder that predicts them; else each lasts one frame. Without
--output, files of a folder `tokens` go to `speech` beside it, those of another to <folder>_speech, those of a
manifest to output/<manifest>_speech.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from amela import slurm
from amela.cli import add_device, cpus, stage_parser
from amela.errors import CallError, run_main
from amela.manifest import Record, read_records, record_key, write_manifest
from amela.outputs import check_collisions, claim_folder, relative_target, write_output
from amela.stage import run_shard
from media.units import UnitFolder
from networks import catalogue

SAMPLE_RATE = 16_000  # Hz


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` names the vocoder and pins its revision."""
    parser = stage_parser(__doc__, batch_size=1, workers=None)
    add, add_speed = parser.add_argument, parser.add_speed_argument
    add(
        "--encoder",
        default=catalogue.MHUBERT,
        metavar="M",
        help="name of the encoder that the units came from",
    )
    add("--kmeans", default="kmeans-expresso", metavar="K", help="name of their codebook")
    add("--vocoder", metavar="V", help=catalogue.VOCODER_HELP)
    add("--speaker", metavar="NAME", help="voice, of the vocoder's speakers.txt (default: the first)")
    add("--style", metavar="NAME", help="style, of the vocoder's styles.txt (default: the first)")
    add("--output", metavar="DIR", help="folder of the files (default: see above)")
    add_device(add_speed)
    args = parser.parse_args()
    resolve(args)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Find the vocoder, pin its revision, and fill in what depends on the machine."""
    try:
        path = catalogue.find_vocoder(args.encoder, args.kmeans, args.vocoder)
        source = catalogue.find_kmeans(args.encoder, args.kmeans) if path == catalogue.GRIFFINLIM else path
        revision = catalogue.revision_of(source)
    except catalogue.NotHereError as error:
        raise CallError(str(error)) from error
    args.vocoder_path, args.kmeans_path = path, source
    if path == catalogue.GRIFFINLIM:
        revision = f"{catalogue.revision_of(path)} {revision}"
    for name in ("encoder", "kmeans"):  # they only named the vocoder
        args.settings.pop(name)
    args.settings.update(vocoder=catalogue.short_name(args.vocoder_path), vocoder_revision=revision)
    args.workers = args.workers or (1 if catalogue.may_have_gpu(args.device) else cpus())


def list_folder(args: argparse.Namespace) -> None:
    """Write the manifest of a folder's unit files, and make it the one to work on; records there are kept."""
    folder = os.path.abspath(args.manifest)
    if slurm.in_batch_job() and slurm.here().is_array:
        raise CallError(
            f"{folder}: an array over a folder would list it once a task; wanted one task, or a manifest"
        )
    paths = sorted(str(path) for path in Path(folder).rglob("*.pt") if not path.name.startswith("."))
    if not paths:
        raise CallError(f"{folder}: no .pt file in it; wanted files of units")
    parent, name = os.path.split(folder)
    where = os.path.basename(parent) if name == "tokens" else name
    args.output = args.output or os.path.join(parent, "speech" if name == "tokens" else f"{name}_speech")
    manifest = os.path.join("metadata", f"{where}_units.json")
    kept: dict[str, Record] = {}
    if os.path.exists(manifest):
        kept = {record_key(record): record for _, record in read_records(manifest)}
    ids = {os.path.relpath(path, folder)[: -len(".pt")]: path for path in paths}
    if any(
        record.get("units_filepath") != ids.get(key, record.get("units_filepath"))
        for key, record in kept.items()
    ):
        raise CallError(
            f"{manifest}: lists units of another folder, wanted those of {folder}: rename or remove it"
        )
    new = [{"id": key, "units_filepath": path} for key, path in ids.items() if key not in kept]
    if UnitFolder(folder).settings().get("dedup"):
        args.lacks = None if os.path.isdir(f"{folder}_durations") else f"{folder}_durations"
        for record in [] if args.lacks else new:
            record["durations_filepath"] = os.path.join(f"{folder}_durations", f"{record['id']}.pt")
    if new or any(key not in ids for key in kept):
        write_manifest(manifest, [*(record for key, record in kept.items() if key in ids), *new])
    args.manifest = manifest


def load(args: argparse.Namespace) -> Any:
    """Return the vocoder and where files go."""
    from networks.vocoder import open_vocoder
    from networks.weights import WeightsError

    try:
        vocoder = open_vocoder(args.vocoder_path, args.kmeans_path, args.speaker, args.style, args.device)
    except WeightsError as error:
        raise CallError(str(error)) from error
    if args.lacks and not vocoder.predicts_durations:
        raise CallError(
            f"{args.lacks}: not there; wanted the durations that `encode.py --dedup` wrote, as units without "
            "repetitions would be spoken in a hurry"
        )
    if not args.only:
        settings = {name: value for name, value in args.settings.items() if name != "output"}
        claim_folder(args.folder, settings, anew=args.fresh or args.overwrite)
    return vocoder, args


def process(model: Any, batch: list[Record]) -> list[Any]:
    """Return the fields of each record whose file is written, or the exception of its units."""
    from networks.vocoder import UnitsError
    from networks.weights import WeightsError

    found: list[Any] = []
    for record in batch:
        try:
            found.append(speak(record, *model))
        except (UnitsError, WeightsError) as error:
            found.append(error)
    return found


def speak(record: Record, vocoder: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Write the speech of a record's units and return its fields."""
    from networks.vocoder import UnitsError, write_wav

    units, durations = read_units(record)
    target = target_of(record, args)
    try:
        chunks = vocoder.speak(units, durations)
        if args.only:
            return {"synthesis_filepath": target, "synthesis_duration": sum(map(len, chunks)) / SAMPLE_RATE}
        with write_output(target) as file:
            samples = write_wav(file, chunks, f"AMELA synthesize {args.settings['vocoder']}")
    except UnitsError as error:
        raise UnitsError(f"{record['units_filepath']}: {error}") from error
    return {"synthesis_filepath": target, "synthesis_duration": round(samples / SAMPLE_RATE, 6)}


def read_units(record: Record) -> tuple[Any, Any]:
    """Return a record's units and, where they were deduplicated, their durations in frames."""
    from networks.unit_files import read_parquet, read_pt
    from networks.vocoder import UnitsError

    path = record.get("units_filepath")
    if not isinstance(path, str):
        raise UnitsError(f"{record_key(record)}: no units_filepath; wanted one, made by encode.py")
    if path.endswith(".parquet"):
        return read_parquet(path, record_key(record))
    durations = record.get("durations_filepath")
    return read_pt(path), None if durations is None else read_pt(durations)


def target_of(record: Record, args: argparse.Namespace) -> str:
    """Return the path of a record's file."""
    return os.path.join(args.folder, relative_target(record, args.dataset) + ".wav")


def main() -> int:
    """Speak this task's shard; returns the exit status."""
    args = parse_args()
    args.lacks = None  # a folder of durations that ought to be there
    if os.path.isdir(args.manifest):
        list_folder(args)
    args.dataset = os.path.basename(args.manifest).removesuffix(".json")
    args.folder = os.path.abspath(args.output or os.path.join("output", f"{args.dataset}_speech"))
    if not args.only:
        check_collisions(args.manifest, lambda record: target_of(record, args))
    fields = ("synthesis_filepath", "synthesis_duration")
    return run_shard(args, stage="synthesize", fields=fields, load=load, process=process)


if __name__ == "__main__":
    run_main(main)
