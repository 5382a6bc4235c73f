"""Fit a codebook, k-means on an encoder's features of a corpus, for encode.py and the vocoder griffinlim.

    python scripts/fit_kmeans.py metadata/corpus.json --encoder mfcc
    sbatch slurm/fit_kmeans.slurm metadata/corpus.json --encoder hubert.pt --layer 9 --clusters 500

A seeded sample of the recordings, --hours of them, goes through the encoder; frames lie in a temporary file
beside the output, so memory does not grow with the corpus. scikit-learn's MiniBatchKMeans starts from the
best of three k-means++ draws and sees all frames --passes times, in seeded mini-batches; clusters that are
left empty get a new centre. Writes models/<dataset>_<encoder>_<K>.npz (centers; log_mels, the mean log-mel
spectrum of each unit; counts; settings; no pickle) and beside it a .json: use of the units, inertia a
held-out frame by pass, settings, versions. The same recordings and settings give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
import math
import os
import tempfile
from typing import Any

from amela import provenance
from amela.cli import add_device, parser, positive, seconds
from amela.errors import OK, CallError, run_main
from amela.files import make_folder, write_aside
from amela.log import error, log
from amela.manifest import Record, read_records, record_key
from networks import catalogue

UNKNOWN_S = 10.0  # taken for the duration of a record that has none, to choose the sample
EXAMPLES = 5  # bad recordings that are named
MAX_BAD = 0.1  # of the sample: beyond, the environment or the manifest is broken


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` names the encoder and pins its revision."""
    arguments = parser(__doc__)
    add = arguments.add_argument
    arguments.add_speed_argument("manifest", help="JSON lines with audio_filepath")
    add("--encoder", default=catalogue.MFCC, metavar="M", help=catalogue.ENCODER_HELP)
    add("--layer", type=positive, metavar="L", help="features of this layer, from 1 (default: the named "
        "encoder's, else 12; mfcc has none)")  # fmt: skip
    add("--clusters", type=positive, default=500, metavar="K", help="number of units")
    add("--hours", type=seconds, default=5.0, metavar="H", help="of the corpus that are looked at")
    add("--passes", type=positive, default=10, metavar="N", help="times that all frames are seen")
    add("--seed", type=int, default=42, help="of the sample, the start and the mini-batches")
    add("--dtype", choices=["float32", "bfloat16", "float16"], default="float32",
        help="numbers of the encoder")  # fmt: skip
    add("--chunk-s", type=seconds, default=100.0, help="longer recordings are cut here, in seconds")
    speed = arguments.add_speed_argument
    speed("--output", metavar="FILE", help="codebook (default: models/<dataset>_<encoder>_<K>.npz)")
    add_device(speed)
    args = arguments.parse_args()
    try:
        args.encoder_path = catalogue.find_encoder(args.encoder)
        args.layer = catalogue.layer_of(args.encoder, args.layer)
        revision = catalogue.revision_of(args.encoder_path)
    except catalogue.NotHereError as exc:
        raise CallError(str(exc)) from exc
    dataset, name = os.path.basename(args.manifest).removesuffix(".json"), catalogue.short_name(args.encoder)
    args.settings.update(encoder=name, encoder_revision=revision, layer=args.layer, dataset=dataset)
    args.output = os.path.abspath(args.output or f"models/{dataset}_{name}_{args.clusters}.npz")
    if not args.output.endswith(".npz"):
        raise CallError(f"--output {args.output}: wanted a name that ends in .npz")
    return args


def sample(args: argparse.Namespace) -> list[Record]:
    """Return records of about --hours in all, in the order of a seeded hash of their keys: which ones does
    not depend on where they stand in the manifest.
    """
    chosen: list[tuple[int, str, int, float, Record]] = []  # a heap: the largest hash goes first
    held_s = 0.0
    for line, record in read_records(args.manifest):
        if record.get("audio_filepath") is None:
            continue
        key = record_key(record)
        digest = hashlib.sha256(f"{args.seed} {key}".encode("utf-8", "surrogateescape")).digest()
        duration_s = float(record.get("duration") or UNKNOWN_S)
        heapq.heappush(chosen, (-int.from_bytes(digest[:8], "big"), key, line, duration_s, record))
        held_s += duration_s
        while held_s - chosen[0][3] >= 3600 * args.hours:
            held_s -= heapq.heappop(chosen)[3]
    if not chosen:
        raise CallError(f"{args.manifest}: found no record with audio_filepath, wanted some to fit units on")
    return [record for *_, record in sorted(chosen, reverse=True)]


def gather(args: argparse.Namespace, records: list[Record], file: Any) -> tuple[Any, int, int]:
    """Write features and log-mels of each frame of the records to a file, a row (width + bands,) float32
    each; return what made them, the rows and how many recordings could not be read.
    """
    import numpy as np
    import torch

    from media.audio import AudioError, record_window, stream_mono
    from networks.encoder import Features
    from networks.spectra import log_mels

    source = Features(args.encoder_path, args.layer, args.device, args.dtype, args.chunk_s)
    rows = bad = 0
    for number, record in enumerate(records, 1):
        try:
            for samples, found in source.pieces(stream_mono(**record_window(record))):
                sound = torch.from_numpy(samples).double()
                mels = log_mels(sound, source.hop, source.shortest, len(found)).numpy()
                np.concatenate([found.float().cpu().numpy(), mels], 1, dtype=np.float32).tofile(file)
                rows += len(found)
        except AudioError as exc:
            bad += 1
            if bad <= EXAMPLES:
                error(f"left out: {exc}")
        if number % 500 == 0 or number == len(records):
            log(f"{number}/{len(records)} recordings, {rows * source.hop_s / 3600:.2f} h")
    file.flush()
    return source, rows, bad


def write(args: argparse.Namespace, source: Any, table: Any, sampled: dict[str, int]) -> None:
    """Cluster the frames of a table (rows, width + bands) and write the codebook and its description."""
    from networks.clustering import fit
    from networks.codebook import Codebook, write_codebook

    frames, mels = table[:, : source.width], table[:, source.width :]
    fitted = fit(frames, args.clusters, args.passes, args.seed, log)
    log_mels, counts, inertia = sounds_of(frames, mels, fitted.centers)
    settings = {**args.settings, "hop_s": source.hop_s, "vocabulary": args.clusters, "width": source.width}
    with write_aside(args.output, "wb") as file:
        write_codebook(file, Codebook(fitted.centers, log_mels, counts, settings))
    share = counts[counts > 0] / counts.sum()
    described = {
        "settings": settings, **sampled, "frames": len(table), "hours": len(table) * source.hop_s / 3600,
        "dead_units": (counts == 0).nonzero()[0].tolist(),
        "perplexity": math.exp(-float((share * [math.log(one) for one in share]).sum())),
        "inertia_a_frame": inertia, "inertia_a_held_out_frame_by_pass": fitted.inertia,
        "reseeded_by_pass": fitted.reseeded, "counts": counts.tolist(), "made_by": provenance.versions(),
    }  # fmt: skip
    path = args.output.removesuffix(".npz") + ".json"
    with write_aside(path) as file:
        json.dump(described, file, indent=1, ensure_ascii=False)
    again = sum(map(len, fitted.reseeded.values()))
    log(f"{args.output}: {args.clusters} units of {described['hours']:.3g} h, perplexity of their use "
        f"{described['perplexity']:.1f}, {again} empty ones seeded again; more in {path}")  # fmt: skip


def sounds_of(frames: Any, mels: Any, centers: Any) -> tuple[Any, Any, float]:
    """Return the mean log-mels (K, bands) float32 and the frames (K,) of each unit, and inertia a frame."""
    import numpy as np

    from networks.clustering import assign

    sums = np.zeros((len(centers), mels.shape[1]))
    counts, inertia = np.zeros(len(centers), np.int64), 0.0
    for rows, units, far in assign(frames, centers):
        np.add.at(sums, units, mels[rows])
        counts += np.bincount(units, minlength=len(centers))
        inertia += float(far.sum())
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32), counts, inertia / len(frames)


def main() -> int:
    """Fit and write; returns the exit status."""
    args = parse_args()
    records = sample(args)
    folder = make_folder(os.path.dirname(args.output))
    try:
        import numpy as np

        from networks.weights import WeightsError
    except ImportError as exc:
        raise CallError(f"{exc}: wanted the environment units or local: envs/create.sh units") from exc
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            source, rows, bad = gather(args, records, file)
        except WeightsError as exc:
            raise CallError(str(exc)) from exc
        if bad > MAX_BAD * len(records) and bad > 1:
            raise CallError(
                f"{args.manifest}: {bad} of {len(records)} recordings could not be read; see above"
            )
        if rows < args.clusters:
            raise CallError(
                f"{args.manifest}: found {rows} frames, wanted at least --clusters {args.clusters}: give "
                "more speech, or fewer clusters"
            )
        table = np.memmap(file, np.float32, "r").reshape(rows, -1)
        write(args, source, table, {"recordings": len(records), "unreadable": bad})
    return OK


if __name__ == "__main__":
    run_main(main)
