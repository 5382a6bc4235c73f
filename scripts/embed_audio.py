"""Embed the records of a manifest: adds `embedding_filepath` and `embedding_model`.

    sbatch --array=0-15 slurm/embed.slurm metadata/corpus.json --model microsoft/wavlm-large --layer 12
    python scripts/embed_audio.py metadata/corpus.json --pool mean

The model is a wav2vec 2.0, HuBERT, WavLM or Whisper (its encoder) by hub id or folder, or a fairseq HuBERT
file. Without --layer an embedding is what the whole encoder gives, after its last norm; with it the output of
that layer, before any norm that follows, as encode.py takes it. Arrays are `embedding` (frames, width)
float16, a frame every `hop_s`, or with --pool mean (width,) float32, in Parquet parts or a .npz each
(media.frames). Recordings go through one at a time, so padding never changes a number, and are cut every
--chunk-s without losing a frame.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from amela.cli import add_hub_model, cpus, positive, seconds, stage_parser
from amela.errors import CallError, run_main
from amela.manifest import record_key
from amela.outputs import check_collisions, claim_folder, relative_target, write_output
from amela.stage import run_shard

PART_RECORDS = 64  # handed over at once, and so in one part, unless it grows beyond
PART_BYTES = 128 * 2**20


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` names the model and pins its revision."""
    from media import hub
    from networks.catalogue import may_have_gpu

    parser = stage_parser(__doc__, batch_size=None, workers=None)
    add = parser.add_argument
    add_hub_model(parser, "facebook/wav2vec2-base-960h", "hub id, folder, or fairseq file")
    add("--layer", type=positive, metavar="L", help="output of this layer, from 1 (default: of all)")
    add("--pool", choices=["none", "mean"], default="none", help="keep all frames, or their mean")
    add("--chunk-s", type=seconds, default=30.0, help="longer recordings are cut here, in seconds")
    add(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        default="float32",
        help="numbers of the encoder",
    )
    add(
        "--format",
        choices=["parquet", "npz"],
        default="parquet",
        help="parts of many records, or a file each",
    )
    add("--output", metavar="DIR", help="folder of the files (default: output/<dataset>_<model>_embeddings)")
    args = parser.parse_args()
    hub.pin(args, CallError)
    args.dataset = os.path.basename(args.manifest).removesuffix(".json")
    name = os.path.basename(args.settings["model"])
    args.folder = os.path.abspath(args.output or f"output/{args.dataset}_{name}_embeddings")
    args.batch_size = args.batch_size or (PART_RECORDS if args.format == "parquet" else 1)
    args.workers = args.workers or (1 if may_have_gpu(args.device) else cpus())
    return args


def load(args: argparse.Namespace) -> Any:
    """Return the embedder, and the arguments that say where its arrays go."""
    import numpy as np

    from media import hub
    from networks.device import DeviceError
    from networks.embedding import Embedder
    from networks.weights import WeightsError

    path = hub.folder_of(args.model, args.revision)
    try:
        embedder = Embedder(path, args.layer, args.device, args.dtype, args.chunk_s, args.pool, np.float16)
    except (WeightsError, DeviceError) as error:
        raise CallError(str(error)) from error
    if not args.only:
        settings = {**args.settings, "hop_s": embedder.hop_s, "width": embedder.width}
        settings.pop("output")
        claim_folder(args.folder, settings, anew=args.fresh or args.overwrite)
    return embedder, args


def process(model: Any, batch: list[dict[str, Any]]) -> list[Any]:
    """Return the fields of each record whose arrays are written, or the exception of its audio."""
    embedder, args = model
    name = args.settings["model"]
    notes = {"hop_s": embedder.hop_s, "model": name, "layer": str(args.layer or "all"), "pool": args.pool}
    results: list[Any] = []
    waiting: list[Any] = []  # for one part, which must not outgrow the memory where recordings are long
    for number, record in enumerate(batch, 1):
        embedding = embedder.of_record(record)
        if not isinstance(embedding, Exception):
            embedding = (record_key(record), record, {"embedding": embedding}, notes)
        waiting.append(embedding)
        held = sum(one[2]["embedding"].nbytes for one in waiting if not isinstance(one, Exception))
        if held > PART_BYTES or number == len(batch):
            results += write(waiting, args)
            waiting = []
    return [
        one if isinstance(one, Exception) else {"embedding_filepath": one, "embedding_model": name}
        for one in results
    ]


def write(found: list[Any], args: argparse.Namespace) -> list[Any]:
    """Write arrays and return their sources, with --only their shapes; exceptions pass through."""
    from media.frames import store

    if args.only:
        return [one if isinstance(one, Exception) else str(one[2]["embedding"].shape) for one in found]
    return store(
        found, args.folder, args.format, lambda record: relative_target(record, args.dataset), write_output
    )


def main() -> int:
    """Embed this task's shard; returns the exit status."""
    args = parse_args()
    if args.format == "npz" and not args.only:
        check_collisions(args.manifest, lambda record: relative_target(record, args.dataset))
    fields = ("embedding_filepath", "embedding_model")
    return run_shard(args, stage="embed", fields=fields, load=load, process=process)


if __name__ == "__main__":
    run_main(main)
