"""Encode the records of a manifest with an audio codec: adds `codes_filepath` and `codes`, which says what
they are.

    sbatch --array=0-15 slurm/codec.slurm metadata/corpus.json
    python scripts/encode_codec.py metadata/corpus.json --codec dac_44khz --codebooks 9 --format npy

Codecs: encodec_24khz (default), encodec_48khz (stereo), dac_16khz, dac_24khz, dac_44khz, nemo (environment
asr), and mulaw, which needs no model and is no neural codec: 8 bit a sample. A record is its whole file, or
the part that its `offset` and `duration` name (`manifest_tools.py explode` makes such records); it is
resampled and mixed down, or for encodec_48khz doubled, as the codec wants. Any length goes through in the
memory of some seconds.

Codes are (frames T, codebooks K) int16. Format parquet: parts of many records, with the codes' shape, their
rate, bandwidth, source length and, for encodec_48khz, the loudness of each segment (`scales`); npy: the
codes of each record in a file, what they are in `codes` alone. Files go to
output/<dataset>_<codec>_<bandwidth>kbps/, dataset being the manifest's name.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from amela.cli import add_device, add_offline, cpus, positive, stage_parser
from amela.errors import CallError, run_main
from amela.manifest import Record, record_key
from amela.outputs import check_collisions, claim_folder, relative_target, write_output
from amela.stage import run_shard
from media import codecs
from networks.catalogue import may_have_gpu

PARQUET_RECORDS = 64  # at most in one part, which one worker makes; some minutes of speech


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` names the model and pins its revision."""
    parser = stage_parser(__doc__, batch_size=None, workers=None)
    add, add_speed = parser.add_argument, parser.add_speed_argument
    add("--codec", choices=list(codecs.MODELS), default=codecs.ENCODEC, help="the codec")
    add("--model", metavar="M", help=codecs.MODEL_HELP)
    add(
        "--bandwidth-kbps",
        type=float,
        metavar="B",
        help="of EnCodec, in kilobits a second: 1.5 (24 kHz only), 3, 6, 12 or 24 (default: 6)",
    )
    add("--codebooks", type=positive, metavar="K", help="of DAC, the first K of its codebooks (default: all)")
    add(
        "--format",
        choices=["parquet", "npy"],
        default="parquet",
        help="parts of many records, or a file a record",
    )
    add("--output", metavar="DIR", help="folder of the files (default: see above)")
    add_device(add_speed)
    add_offline(add_speed)
    args = parser.parse_args()
    resolve(args)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Find the model, pin its revision, and fill in what depends on the machine."""
    from media import hub

    if args.format == "npy" and args.codec == codecs.ENCODEC_48KHZ:
        raise CallError(
            f"--format npy --codec {args.codec}: its scales have no room there; wanted --format parquet"
        )
    if args.offline:
        hub.go_offline()
    try:
        args.model_path, revision = codecs.find_model(args.codec, args.model)
    except (hub.ModelError, codecs.CodecError) as error:
        raise CallError(str(error)) from error
    args.dataset = os.path.basename(args.manifest).removesuffix(".json")
    args.settings.update(model=codecs.name_of(args.codec, args.model), model_revision=revision)
    args.batch_size = args.batch_size or (PARQUET_RECORDS if args.format == "parquet" else 1)
    gpu = args.codec != codecs.MULAW and may_have_gpu(args.device)
    args.workers = args.workers or (1 if gpu else cpus())


def load(args: argparse.Namespace) -> Any:
    """Return the codec, what holds for all its codes, and where files go."""
    from networks.codecs import open_codec

    try:
        codec = open_codec(args.codec, args.model_path, args.device, args.bandwidth_kbps, args.codebooks)
    except ValueError as error:  # CodecError, WeightsError: the latter's module loads torch
        raise CallError(str(error)) from error
    kbps = codecs.bandwidth_kbps(codec, codec.codebooks)
    notes = {
        "codec": args.codec,
        "model": args.settings["model"],
        "sample_rate_hz": codec.sample_rate_hz,
        "frame_rate_hz": codec.sample_rate_hz / codec.hop,
        "bandwidth_kbps": kbps,
        "codebook_size": codec.codebook_size,
    }
    if codec.segment:
        notes.update(
            segment_s=codec.segment / codec.sample_rate_hz, stride_s=codec.stride / codec.sample_rate_hz
        )
    folder = os.path.abspath(
        args.output or os.path.join("output", f"{args.dataset}_{args.codec}_{kbps:g}kbps")
    )
    if not args.only:
        settings = {name: value for name, value in args.settings.items() if name != "output"}
        claim_folder(folder, {**settings, **notes}, anew=args.fresh or args.overwrite)
    return args, codec, notes, folder


def process(model: Any, batch: list[Record]) -> list[Any]:
    """Return the fields of each record whose codes are written, or the exception of its audio."""
    args, codec, notes, folder = model
    found: list[Any] = []
    for record in batch:
        try:
            found.append(encode(record, codec, notes))
        except (ValueError, KeyError) as error:  # AudioError among them
            found.append(
                ValueError(f"no {error} in the record; wanted audio")
                if isinstance(error, KeyError)
                else error
            )
    return write(found, args, folder)


def encode(
    record: Record, codec: Any, notes: dict[str, Any]
) -> tuple[str, Record, dict[str, Any], dict[str, Any]]:
    """Return the record's key, itself, its arrays and what is to be noted of them."""
    from media.channels import source_samples, stream_record

    codes, scales, samples = codec.encode(stream_record(record, codec.sample_rate_hz, codec.channels))
    length, rate_hz = source_samples(record)
    about = {
        **notes,
        "frames": len(codes),
        "codebooks": codes.shape[1],
        "samples": samples,
        "source_samples": length,
        "source_rate_hz": rate_hz,
    }
    return (
        record_key(record),
        record,
        {"codes": codes} if scales is None else {"codes": codes, "scales": scales},
        about,
    )


def write(found: list[Any], args: argparse.Namespace, folder: str) -> list[Any]:
    """Return the fields of each item of `encode`, its codes written; exceptions pass through."""
    from media.frames import store

    if args.only:
        sources: list[Any] = [one if isinstance(one, Exception) else None for one in found]
    elif args.format == "parquet":
        sources = store(
            found, folder, "parquet", lambda record: relative_target(record, args.dataset), write_output
        )
    else:
        sources = [one if isinstance(one, Exception) else write_npy(one, args, folder) for one in found]
    return [
        source if isinstance(source, Exception) else {"codes_filepath": source, "codes": one[3]}
        for one, source in zip(found, sources)
    ]


def write_npy(item: tuple[str, Record, dict[str, Any], Any], args: argparse.Namespace, folder: str) -> str:
    """Write the codes of an item of `encode` to a file of their own and return its path."""
    import numpy as np

    path = os.path.join(folder, relative_target(item[1], args.dataset) + ".npy")
    with write_output(path) as file:
        np.save(file, item[2]["codes"], allow_pickle=False)
    return path


def main() -> int:
    """Encode this task's shard; returns the exit status."""
    args = parse_args()
    if args.format == "npy" and not args.only:
        check_collisions(args.manifest, lambda record: relative_target(record, args.dataset))
    fields = ("codes_filepath", "codes")
    return run_shard(args, stage="encode_codec", fields=fields, load=load, process=process)


if __name__ == "__main__":
    run_main(main)
