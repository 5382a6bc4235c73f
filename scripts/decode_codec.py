"""Decode codes of an audio codec: `codes_filepath` → WAV; adds `decoded_filepath` and `decoded_duration` (s).

    sbatch --array=0-15 slurm/decode_codec.slurm metadata/corpus.json
    python scripts/decode_codec.py metadata/corpus.json --vocos charactr/vocos-encodec-24khz --source-rate

The codec must be the one that made the codes; Vocos decodes those of encodec_24khz, at 1.5 to 12 kbps. The
sound has the length of the source to the sample. Codes of other programs, (frames, codebooks) integers in a
.npy, have no source: they give whole frames. `codes_filepath` may be a list: its sounds follow one another
in one file. --concat makes such a manifest of the records of each parent (metadata/<manifest>_joined.json),
in the order of their offsets, and works on that one. Files go to output/<manifest>_<codec>_decoded/.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from amela import slurm
from amela.cli import add_device, add_offline, cpus, seconds, stage_parser
from amela.errors import CallError, run_main
from amela.manifest import Record, read_records, record_key, write_manifest
from amela.outputs import check_collisions, claim_folder, relative_target, write_output
from amela.stage import run_shard
from media import codecs
from networks.catalogue import may_have_gpu


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` names the model and pins its revision."""
    parser = stage_parser(__doc__, batch_size=1, workers=None)
    add, add_speed = parser.add_argument, parser.add_speed_argument
    add("--codec", choices=list(codecs.MODELS), default=codecs.ENCODEC, help="the codec that made the codes")
    add("--model", metavar="M", help=codecs.MODEL_HELP)
    add(
        "--vocos",
        metavar="V",
        help="folder or hub id of a Vocos that decodes instead, e.g. charactr/vocos-encodec-24khz",
    )
    add("--trim-s", type=seconds, metavar="S", help="only the first S seconds of each record")
    add("--source-rate", action="store_true", help="resample to the rate of the source")
    add_speed("--concat", action="store_true", help="one file a parent: its records, joined")
    add("--output", metavar="DIR", help="folder of the files (default: see above)")
    add_device(add_speed)
    add_offline(add_speed)
    args = parser.parse_args()
    resolve(args)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Find the model, pin its revision, and fill in what depends on the machine."""
    from media import hub

    if args.vocos and (args.codec != codecs.ENCODEC or args.model):
        raise CallError(f"--vocos decodes codes of {codecs.ENCODEC}; wanted no other --codec, and no --model")
    if args.offline:
        hub.go_offline()
    try:
        if args.vocos:
            revision = hub.revision_of(args.vocos)
            args.model_path = hub.folder_of(args.vocos, revision)
        else:
            args.model_path, revision = codecs.find_model(args.codec, args.model)
    except (hub.ModelError, codecs.CodecError) as error:
        raise CallError(str(error)) from error
    args.settings.update(model=codecs.name_of(args.codec, args.vocos or args.model), model_revision=revision)
    gpu = args.codec != codecs.MULAW and may_have_gpu(args.device)
    args.workers = args.workers or (1 if gpu else cpus())


def join(args: argparse.Namespace) -> None:
    """Write the manifest of joined records, one a parent, and make it the one to work on."""
    if slurm.in_batch_job() and slurm.here().is_array:
        raise CallError(
            "--concat in an array would write its manifest once a task; wanted one task, then the array over "
            "the manifest that it wrote"
        )
    parts: dict[str, list[Record]] = {}
    for _, record in read_records(args.manifest):
        if record.get("codes_filepath"):
            parts.setdefault(str(record.get("parent") or record_key(record)), []).append(record)
    if not parts:
        raise CallError(
            f"{args.manifest}: no record has codes_filepath; wanted a manifest after encode_codec.py"
        )
    joined = args.manifest.removesuffix(".json") + "_joined.json"
    new = [
        {
            "id": parent,
            "codes_filepath": [part["codes_filepath"] for part in sorted(records, key=_offset_s)],
            "codes": [part.get("codes") for part in sorted(records, key=_offset_s)],
        }
        for parent, records in parts.items()
    ]
    kept = (
        {record_key(record): record for _, record in read_records(joined)} if os.path.exists(joined) else {}
    )
    if [{**kept.get(str(record["id"]), {}), **record} for record in new] != list(kept.values()):
        write_manifest(joined, new)
    args.manifest = joined


def _offset_s(record: Record) -> float:
    return float(record.get("offset") or 0)


def load(args: argparse.Namespace) -> Any:
    """Return the decoder and where files go."""
    from networks.codecs import open_codec, open_vocos

    try:
        if args.vocos:
            codec = open_vocos(args.model_path, args.device)
        else:
            codec = open_codec(args.codec, args.model_path, args.device)
    except ValueError as error:  # CodecError, WeightsError: the latter's module loads torch
        raise CallError(str(error)) from error
    if not args.only:
        settings = {name: value for name, value in args.settings.items() if name != "output"}
        claim_folder(args.folder, settings, anew=args.fresh or args.overwrite)
    return codec, args


def process(model: Any, batch: list[Record]) -> list[Any]:
    """Return the fields of each record whose file is written, or the exception of its codes."""
    found: list[Any] = []
    for record in batch:
        try:
            found.append(decode(record, *model))
        except ValueError as error:  # CodecError, FramesError
            found.append(error)
    return found


def decode(record: Record, codec: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Write the sound of a record's codes and return its fields."""
    from media.decoded import rate_of, read_codes, sound, write_wav

    given, about = record.get("codes_filepath"), record.get("codes")
    if not given:
        raise codecs.CodecError(
            f"{record_key(record)}: no codes_filepath; wanted one, made by encode_codec.py"
        )
    sources = given if isinstance(given, list) else [given]
    notes = about if isinstance(about, list) else [about] * len(sources)
    parts = [read_codes(source, note, args.codec, codec) for source, note in zip(sources, notes)]
    rate_hz = rate_of(parts) if args.source_rate else codec.sample_rate_hz
    blocks = (block for part in parts for block in sound(part, codec, rate_hz, args.trim_s))
    target = target_of(record, args)
    if args.only:
        return {"decoded_filepath": target, "decoded_duration": sum(map(len, blocks)) / rate_hz}
    with write_output(target) as file:
        samples = write_wav(file, blocks, rate_hz, codec.channels)
    return {"decoded_filepath": target, "decoded_duration": round(samples / rate_hz, 6)}


def target_of(record: Record, args: argparse.Namespace) -> str:
    """Return the path of a record's file."""
    return os.path.join(args.folder, relative_target(record, args.dataset) + ".wav")


def main() -> int:
    """Decode this task's shard; returns the exit status."""
    args = parse_args()
    if args.concat:
        join(args)
    args.dataset = os.path.basename(args.manifest).removesuffix(".json")
    name = f"{args.dataset}_{args.codec}_{'vocos' if args.vocos else 'decoded'}"
    args.folder = os.path.abspath(args.output or os.path.join("output", name))
    if not args.only:
        check_collisions(args.manifest, lambda record: target_of(record, args))
    fields = ("decoded_filepath", "decoded_duration")
    return run_shard(args, stage="decode_codec", fields=fields, load=load, process=process)


if __name__ == "__main__":
    run_main(main)
