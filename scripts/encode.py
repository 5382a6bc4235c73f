"""Encode the records of a manifest as discrete units: adds `units_filepath` and `unit_count`.

    sbatch --array=0-15 slurm/encode.slurm metadata/corpus.json
    python scripts/encode.py metadata/corpus.json --encoder hubert.pt --kmeans km.bin --layer 9 --dedup

The encoder is a fairseq HuBERT file, or a Hugging Face folder of HuBERT, wav2vec 2.0 or WavLM, by path or
name, or `mfcc`, which needs no file; the codebook one of fit_kmeans.py, a joblib file of scikit-learn, .npy,
.npz or .pt. Every weight must have its place, or the
file is refused. Files go to output/<dataset>_<encoder>_<kmeans>_<vocabulary>/, dataset being the manifest's
name, and mirror the audio's path below the folder named like the dataset, else the whole path. Format pt: a
1-D int16 tensor a record; parquet: parts of many records (file_id, units, hop_s), for file systems that
dislike small files. --dedup drops repetitions and writes how long each unit lasts, in frames:
`durations_filepath`, or in the same part.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
from typing import Any

from amela.cli import add_device, cpus, positive, seconds, stage_parser
from amela.errors import CallError, run_main
from amela.manifest import record_key
from amela.outputs import check_collisions, claim_folder, relative_target, write_output
from amela.stage import run_shard
from networks import catalogue

PARQUET_RECORDS = 512  # at most in one part; a part holds at most an hour or so of audio too


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` names the models and pins their revisions."""
    parser = stage_parser(__doc__, batch_size=None, workers=None)
    add, add_speed = parser.add_argument, parser.add_speed_argument
    add("--encoder", default=catalogue.MHUBERT, metavar="M", help=catalogue.ENCODER_HELP)
    add("--kmeans", default="kmeans-expresso", metavar="K", help="name or file of the codebook")
    add(
        "--layer",
        type=positive,
        metavar="L",
        help="features of this layer, from 1 (default: the named encoder's, else 12)",
    )
    add(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        default="float32",
        help="numbers of the encoder",
    )
    add("--chunk-s", type=seconds, default=100.0, help="longer recordings are cut here, in seconds")
    add("--dedup", action="store_true", help="drop repetitions of a unit and keep durations")
    add("--format", choices=["pt", "parquet"], default="pt", help="a file a record, or parts of many")
    add(
        "--output",
        metavar="DIR",
        help="folder of the files (default: output/<dataset>_<encoder>_<kmeans>_<vocabulary>)",
    )
    add_device(add_speed)
    args = parser.parse_args()
    resolve(args)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Find the models, pin their revisions, and fill in what depends on the machine."""
    try:
        args.layer = catalogue.layer_of(args.encoder, args.layer)
        args.encoder_path = catalogue.find_encoder(args.encoder)
        args.kmeans_path = catalogue.find_kmeans(args.encoder, args.kmeans)
        revisions = {
            "encoder_revision": catalogue.revision_of(args.encoder_path),
            "kmeans_revision": catalogue.revision_of(args.kmeans_path),
        }
    except catalogue.NotHereError as error:
        raise CallError(str(error)) from error
    args.dataset = os.path.basename(args.manifest).removesuffix(".json")
    names = {name: catalogue.short_name(getattr(args, name)) for name in ("encoder", "kmeans")}
    args.settings.update(layer=args.layer, **names, **revisions)
    args.batch_size = args.batch_size or (PARQUET_RECORDS if args.format == "parquet" else 1)
    args.workers = args.workers or (1 if catalogue.may_have_gpu(args.device) else cpus())


def load(args: argparse.Namespace) -> Any:
    """Return the function that makes a batch's files and fields."""
    from networks.codebook import check_encoder
    from networks.encoder import Encoder
    from networks.weights import WeightsError

    try:
        check_encoder(args.kmeans_path, args.settings)
        encoder = Encoder(
            args.encoder_path, args.layer, args.kmeans_path, args.device, args.dtype, args.chunk_s
        )
    except WeightsError as error:
        raise CallError(str(error)) from error
    names = [args.dataset, args.settings["encoder"], args.settings["kmeans"], str(encoder.kmeans.vocabulary)]
    folder = args.output or os.path.join("output", "_".join([*names, *(["dedup"] * args.dedup)]))
    folder = os.path.abspath(folder)
    if not args.only:
        settings = {**args.settings, "hop_s": encoder.hop_s, "vocabulary": encoder.kmeans.vocabulary}
        settings["chunk_frames"] = encoder.chunk_frames  # by which the time of a unit is known
        settings.pop("output")
        claim_folder(folder, settings, anew=args.fresh or args.overwrite)
    return Writer(args, folder), encoder


def process(model: Any, batch: list[dict[str, Any]]) -> list[Any]:
    """Return the fields of each record whose files are written, or the exception of its audio."""
    from media.audio import AudioError, record_window, stream_mono
    from networks.encoder import TooShortError, deduplicate

    writer, encoder = model
    found: list[Any] = []
    for record in batch:
        try:
            units = encoder.units(stream_mono(**record_window(record)))
        except (AudioError, TooShortError) as error:
            found.append(error)
            continue
        except KeyError as error:
            found.append(ValueError(f"no {error} in the record; wanted audio"))
            continue
        found.append((record, *deduplicate(units)) if writer.dedup else (record, units))
    return writer.write(found, encoder.hop_s)


class Writer:
    """Writes units to files, whole or not at all, and returns the fields that name them."""

    def __init__(self, args: argparse.Namespace, folder: str) -> None:
        self.folder, self.dataset, self.dedup = folder, args.dataset, args.dedup
        self.parquet, self.only = args.format == "parquet", args.only

    def write(self, found: list[Any], hop_s: float) -> list[Any]:
        """Return a dict of fields for each (record, units[, durations]); exceptions pass through."""
        if self.only:
            return [one if isinstance(one, Exception) else {"unit_count": len(one[1])} for one in found]
        if self.parquet:
            return self._part(found, hop_s)
        return [one if isinstance(one, Exception) else self._file(*one) for one in found]

    def _file(self, record: dict[str, Any], units: Any, durations: Any = None) -> dict[str, Any]:
        from networks.unit_files import write_pt

        name = relative_target(record, self.dataset) + ".pt"
        fields = {"units_filepath": os.path.join(self.folder, name), "unit_count": len(units)}
        values = {"units_filepath": units}
        if durations is not None:
            fields["durations_filepath"] = os.path.join(f"{self.folder}_durations", name)
            values["durations_filepath"] = durations
        for field, content in values.items():
            with write_output(str(fields[field])) as file:
                write_pt(file, content)
        return fields

    def _part(self, found: list[Any], hop_s: float) -> list[Any]:
        """Write one part of the whole batch, named by what is in it."""
        from networks.unit_files import write_parquet

        rows = [
            {"file_id": record_key(record), "units": units, "hop_s": hop_s}
            | ({"durations": durations[0]} if durations else {})
            for record, units, *durations in (one for one in found if not isinstance(one, Exception))
        ]
        memory = io.BytesIO()
        write_parquet(memory, rows)
        name = f"part-{hashlib.sha256(memory.getbuffer()).hexdigest()[:16]}.parquet"
        path = os.path.join(self.folder, name)
        if rows:
            with write_output(path) as file:
                file.write(memory.getbuffer())
        return [
            one if isinstance(one, Exception) else {"units_filepath": path, "unit_count": len(one[1])}
            for one in found
        ]


def main() -> int:
    """Encode this task's shard; returns the exit status."""
    args = parse_args()
    if args.format == "pt" and not args.only:
        check_collisions(args.manifest, lambda record: relative_target(record, args.dataset))
    fields = ("units_filepath", "unit_count", "durations_filepath")
    return run_shard(args, stage="encode", fields=fields, load=load, process=process)


if __name__ == "__main__":
    run_main(main)
