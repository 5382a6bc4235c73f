"""Embed recordings that have a transcript, paired by the stem of their names, into one file {stem: tensor}.

    python scripts/embed_pairs.py --audio-dir wavs --transcripts-dir texts --verbose
    sbatch slurm/embed_pairs.slurm --audio-dir wavs --transcripts-dir texts

The file is what `torch.load` reads as a dict: of each pair the frames (frames, width) float32 of the encoder,
as embed_audio.py makes them, all frames and not the first alone. a.wav (or .flac, .mp3 …) belongs to a.txt,
in folders below too. What has no partner is named; a transcript without a word is left out with a warning.
Beside the file stands a manifest of the pairs with their texts, and until all is embedded a folder of single
tensors: what is killed goes on with the same command, and pairs that come later are added by it.
"""

from __future__ import annotations

import argparse
import os
import shutil
from typing import Any

from amela import slurm
from amela.cli import add_hub_model, cpus, positive, seconds, stage_parser
from amela.errors import OK, CallError, run_main
from amela.log import error, log
from amela.manifest import Record, read_records, record_key, write_manifest
from amela.outputs import write_output
from amela.pairs import find_pairs
from amela.stage import run_shard


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` pins the model's revision, `manifest` is that of the pairs."""
    parser = stage_parser(__doc__, batch_size=1, workers=None, manifest=None)
    add, add_speed = parser.add_argument, parser.add_speed_argument
    add_speed("--audio-dir", required=True, metavar="DIR", help="folder of recordings")
    add_speed("--transcripts-dir", required=True, metavar="DIR", help="folder of .txt files, UTF-8")
    add_speed("--output-file", default="embeddings/audio_embeddings.pt", metavar="FILE", help="where they go")
    add_speed("--verbose", action="store_true", help="print a line a recording")
    add_hub_model(parser, "facebook/wav2vec2-base-960h", "hub id, folder, or fairseq file")
    add("--layer", type=positive, metavar="L", help="output of this layer, from 1 (default: of all)")
    add("--chunk-s", type=seconds, default=30.0, help="longer recordings are cut here, in seconds")
    args = parser.parse_args()
    if slurm.in_batch_job() and slurm.here().is_array:
        raise CallError(
            "an array would list the folders once a task; wanted one task: sbatch without --array"
        )
    if not args.output_file.endswith(".pt"):
        raise CallError(f"--output-file {args.output_file}: wanted a name that ends in .pt")
    resolve(args)
    return args


def resolve(args: argparse.Namespace) -> None:
    """Pin the model's revision, and fill in where things go."""
    from media import hub
    from networks.catalogue import may_have_gpu

    hub.pin(args, CallError)
    name = f"{args.settings['model']}@{args.revision}"
    args.made_by = f"{name} layer {args.layer or 'all'} chunks {args.chunk_s:g} s"
    args.output_file = os.path.abspath(args.output_file)
    stem = args.output_file.removesuffix(".pt")
    args.manifest, args.parts = f"{stem}.json", f"{stem}.parts"
    args.workers = args.workers or (1 if may_have_gpu(args.device) else cpus())


def list_pairs(args: argparse.Namespace) -> None:
    """Write the manifest of the pairs; what was found of a pair before stays with it."""
    from media.audio import scan_audio

    pairs = find_pairs(args.audio_dir, args.transcripts_dir, scan_audio)
    kept: dict[str, Record] = {}
    if os.path.exists(args.manifest):
        kept = {record_key(record): record for _, record in read_records(args.manifest)}
    records = [{**kept.get(pair["id"], {}), **pair} for pair in pairs]
    if records != list(kept.values()):
        write_manifest(args.manifest, records)


def load(args: argparse.Namespace) -> Any:
    """Return the embedder and the arguments."""
    import numpy as np

    from media import hub
    from networks.device import DeviceError
    from networks.embedding import Embedder
    from networks.weights import WeightsError

    path = hub.folder_of(args.model, args.revision)
    try:
        return Embedder(path, args.layer, args.device, "float32", args.chunk_s, "none", np.float32), args
    except (WeightsError, DeviceError) as exc:
        raise CallError(str(exc)) from exc


def process(model: Any, batch: list[Record]) -> list[Any]:
    """Return what is known of each pair whose tensor is written, or the exception of its audio."""
    from networks.unit_files import write_pt

    embedder, args = model
    results: list[Any] = []
    for record in batch:
        frames = embedder.of_record(record)
        if not isinstance(frames, Exception):
            if args.verbose:
                log(f"{record['id']}: {len(frames)} frames, {len(frames) * embedder.hop_s:.1f} s")
            if not args.only:
                with write_output(part_of(args, record["id"])) as file:
                    write_pt(file, frames)
            frames = {"embedding_frames": len(frames), "embedding_model": args.made_by}
        results.append(frames)
    return results


def part_of(args: argparse.Namespace, stem: str) -> str:
    """Return the path of the tensor of one pair."""
    return os.path.join(args.parts, f"{stem}.pt")


def gather(args: argparse.Namespace) -> None:
    """Write the tensors of all pairs to one file and remove the single ones; tensors are mapped, not read."""
    import torch

    def opened(path: str) -> Any:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)

    before = opened(args.output_file) if os.path.exists(args.output_file) else {}
    tensors = {}
    for _, record in read_records(args.manifest):
        stem, part = record["id"], part_of(args, record["id"])
        if record.get("embedding_model") != args.made_by:  # it failed
            continue
        tensors[stem] = opened(part) if os.path.exists(part) else before.get(stem)
        if tensors[stem] is None or len(tensors[stem]) != record["embedding_frames"]:
            raise CallError(
                f"{args.output_file}: lacks {stem}, which was embedded; give --fresh to begin anew"
            )
    if os.path.isdir(args.parts) or tensors.keys() != before.keys():
        with write_output(args.output_file) as file:
            torch.save(tensors, file)
        shutil.rmtree(args.parts, ignore_errors=True)
    frames = sum(map(len, tensors.values()))
    log(f"{args.output_file}: {len(tensors)} recordings, {frames} frames")


def main() -> int:
    """Embed all pairs and write the file; returns the exit status."""
    args = parse_args()
    list_pairs(args)
    fields = ("embedding_frames", "embedding_model")
    status = run_shard(args, stage="embed_pairs", fields=fields, load=load, process=process)
    if args.only or args.limit or args.shard_index is not None:
        return status
    if status == OK:
        gather(args)
    else:
        error(f"{args.output_file} is not written, as not all is embedded (status {status})")
    return status


if __name__ == "__main__":
    run_main(main)
