"""What a model of train_multimodal.py makes of each record: adds `multimodal_filepath` and `multimodal`.

    sbatch --array=0-15 slurm/embed_multimodal.slurm metadata/corpus.json --model checkpoints/MODEL/corpus_s42
    python scripts/embed_multimodal.py metadata/corpus.json --model checkpoints/MODEL/corpus_s42

Records have been through extract_features.py, and have a `text` where the model reads one. `multimodal` holds
`emotion` {label, score, scores} as audio and text let the model expect it (what the record says of it is
hidden), `prosody` in the units of the record's fields, `text` as the model gives it back, and
`text_from_rest`: what it makes of the text when that is hidden, token for token. Arrays (width,) float32:
`embedding`, the mean state of audio and text, and the vectors `prosody_control` and `emotion_control`, which
steer a synthesizer. Records go through one at a time, so padding never changes a number.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from amela.cli import add_device, cpus, stage_parser
from amela.errors import CallError, run_main
from amela.manifest import record_key
from amela.outputs import check_collisions, claim_folder, relative_target, write_output
from amela.stage import run_shard
from amela.trained import find_run

PART_RECORDS = 64  # handed over at once, and so in one part
TRAINER = "train_multimodal.py"


def parse_args() -> argparse.Namespace:
    """Return the arguments; `settings` has the hash of the checkpoint, not its path."""
    from networks.catalogue import may_have_gpu

    parser = stage_parser(__doc__, batch_size=None, workers=None)
    add, add_speed = parser.add_argument, parser.add_speed_argument
    add("--model", required=True, metavar="RUN", help="run folder of train_multimodal.py, or its best.pt")
    add_speed("--tokenizer", metavar="DIR", help="folder of train_tokenizer.py (default: the run's own)")
    add(
        "--format",
        choices=["parquet", "npz"],
        default="parquet",
        help="parts of many records, or a file each",
    )
    add("--output", metavar="DIR", help="folder of the files (default: output/<dataset>_multimodal)")
    add_device(add_speed)
    args = parser.parse_args()
    args.run = find_run(args.model, TRAINER)
    args.settings["model"] = args.run.sha256
    args.dataset = os.path.basename(args.manifest).removesuffix(".json")
    name = "_".join([args.dataset, "multimodal", *filter(None, [args.field])])
    args.folder = os.path.abspath(args.output or os.path.join("output", name))
    args.batch_size = args.batch_size or (PART_RECORDS if args.format == "parquet" else 1)
    args.workers = args.workers or (1 if may_have_gpu(args.device) else cpus())
    return args


def load(args: argparse.Namespace) -> Any:
    """Return the embedder, and the arguments that say where its arrays go."""
    from media.dataset import DatasetError
    from media.token_settings import TokenizerError
    from media.tokens import load_tokenizer
    from networks.checkpoints import CheckpointError
    from networks.device import DeviceError, choose
    from networks.encoder import prepare_device
    from networks.fusion_embedding import FusionEmbedder

    folder = Path(args.tokenizer or args.run.folder)
    try:
        has = args.tokenizer or (folder / "tokenizer.json").exists()
        tokenizer = load_tokenizer(folder) if has else None
        embedder = FusionEmbedder(args.run.checkpoint, tokenizer, prepare_device(choose(args.device)))
    except (DatasetError, TokenizerError, CheckpointError, DeviceError) as error:
        raise CallError(str(error)) from error
    if not args.only:
        settings = {name: value for name, value in args.settings.items() if name != "output"}
        claim_folder(args.folder, settings, anew=args.fresh or args.overwrite)
    return embedder, args


def process(model: Any, batch: list[dict[str, Any]]) -> list[Any]:
    """Return the fields of each record whose arrays are written, or what is wrong with the record."""
    from media.frames import store

    embedder, args = model
    found = [_of_record(embedder, record) for record in batch]
    said = [one if isinstance(one, Exception) else {"model": args.run.name, **one[0]} for one in found]
    if args.only:
        return [one if isinstance(one, Exception) else {"multimodal": one} for one in said]
    items = [
        one if isinstance(one, Exception) else (record_key(record), record, one[1], {"model": args.run.name})
        for record, one in zip(batch, found)
    ]
    sources = store(
        items, args.folder, args.format, lambda record: relative_target(record, args.dataset), write_output
    )
    return [
        source if isinstance(source, Exception) else {"multimodal_filepath": source, "multimodal": one}
        for source, one in zip(sources, said)
    ]


def _of_record(embedder: Any, record: dict[str, Any]) -> Any:
    try:
        return embedder.of_record(record_key(record), record)
    except ValueError as error:  # of this record: others are not worse for it
        return error


def main() -> int:
    """Embed this task's shard; returns the exit status."""
    args = parse_args()
    if args.format == "npz" and not args.only:
        check_collisions(args.manifest, lambda record: relative_target(record, args.dataset))
    fields = ("multimodal_filepath", "multimodal")
    return run_shard(args, stage="multimodal", fields=fields, load=load, process=process)


if __name__ == "__main__":
    run_main(main)
