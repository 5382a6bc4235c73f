"""Train a model that joins text, audio, prosody, emotion and speaker: a masked-modality autoencoder.

    python scripts/train_multimodal.py output/corpus_parquet --tokenizer output/corpus_tokenizer
    sbatch slurm/multimodal.slurm --address-file output/flight.json --hidden-dim 512 --latent-dim 128

The data set is a folder of build_parquet.py, or a Flight server (serve_flight.py) that has one:
--address-file, else --host and --port. Of each utterance some modalities, spans of time and tokens are
hidden; the model gives back all of it: mean squared error of the normalised inputs, cross-entropy of the
tokens. The run's folder, checkpoints/multimodal_{fusion}_r{lr}_h{hidden}_z{latent}_l{layers}_t{transformer
layers}_b{batch}/<dataset>_s<seed>/, holds config.json, dataset.json (what the model needs of the data's), the
tokenizer, metrics.jsonl, best.pt and last.pt. The same command goes on where a run stopped, in the middle of
an epoch too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

from amela import slurm
from amela.cli import Parser, parser, positive, ratio, seconds
from amela.errors import OK, STOPPED, CallError, run_main
from amela.files import write_aside
from amela.leaving import leave
from amela.log import log
from amela.run_folder import RunFolder
from amela.signals import Stop
from amela.trained import digest_of
from amela.training_flags import add_training

MODALITIES = ("text", "mel", "mfcc", "contour", "prosody", "emotion", "speaker")
AUDIO_STRIDE = 4  # frames of one token: 40 ms at the usual hop
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
SHORT = {
    "learning_rate": "r",
    "hidden_dim": "h",
    "latent_dim": "z",
    "num_layers": "l",
    "transformer_layers": "t",
    "batch_size": "b",
}


def modalities(text: str) -> list[str]:
    """Read a list of modalities; return it in their own order, each once."""
    names = set(text.split(","))
    unknown = names - set(MODALITIES)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no modality {', '.join(sorted(unknown))}; there are {', '.join(MODALITIES)}"
        )
    return [name for name in MODALITIES if name in names]


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    flags = parser(__doc__)
    _add_source(flags)
    _add_model(flags)
    _add_task(flags)
    add_training(flags)
    flags.set_defaults(batch_size=8, num_epochs=10, learning_rate=1e-5)
    args = flags.parse_args()
    for name in ("hidden_dim", "latent_dim"):
        width = getattr(args, name)
        if width % args.num_heads or width % 2:
            raise CallError(
                f"--{name.replace('_', '-')} {width} --num-heads {args.num_heads}: wanted an even width that "
                "the heads divide"
            )
    args.source = args.data or args.address_file or f"grpc://{args.host}:{args.port}"
    args.name = args.dataset or _name_of(args.source)
    if args.resume_from:
        args.settings["resume_from"] = digest_of(Path(args.resume_from))
    return args


def _name_of(source: str) -> str:
    """Return the name of the data: that of their folder, where the address file stands too."""
    path = Path(source).resolve()
    return "flight" if "://" in source else path.parent.name if path.suffix == ".json" else path.name


def _add_source(flags: Parser) -> None:
    add = flags.add_speed_argument
    add("data", nargs="?", metavar="DATA", help="folder of build_parquet.py (default: a Flight server)")
    add("--address-file", metavar="FILE", help="where serve_flight.py writes its address; waited for")
    add("--host", default="127.0.0.1", help="of the Flight server, where there is no address file")
    add("--port", type=positive, default=9090, help="of the Flight server")
    add("--token-file", metavar="FILE", help="token of the server (default: AMELA_FLIGHT_TOKEN)")
    add("--wait-s", type=seconds, default=300.0, help="wait for the server, also when it is gone, in seconds")
    add("--dataset", "--file-list", metavar="NAME",
        help="which data set of a server that has several; name of the data in the run's folder")  # fmt: skip
    add("--tokenizer", metavar="DIR", help="folder of train_tokenizer.py, checked against the data, and kept "
        "with the run for embed_multimodal.py")  # fmt: skip
    add("--checkpoint-dir", "--checkpoints", default="checkpoints", metavar="DIR", help="folder of all runs")


def _add_model(flags: Parser) -> None:
    add = flags.add_argument
    add("--fusion", choices=["latent", "concat", "cross"], default="latent",
        help="latent: multimodal latent attention; concat: self-attention over all tokens; cross: text and "
        "the others look at each other")  # fmt: skip
    add("--hidden-dim", type=positive, default=4096, help="width of the model")
    add("--latent-dim", type=positive, default=1024, help="width of the latent (fusion latent only)")
    add("--num-heads", type=positive, default=32, help="heads of each attention")
    add("--num-layers", type=positive, default=4, help="fusion layers")
    add("--transformer-layers", type=positive, default=12, help="layers of the text encoder")
    add("--max-seq-length", type=positive, default=512, help="tokens of text and context; the rest is cut")
    add("--window-size", type=positive, default=512,
        help=f"how far a token of the fusion looks, in steps of {AUDIO_STRIDE} frames")  # fmt: skip
    add("--num-speakers", type=positive, default=10,
        help="rows of the speaker embedding; the speakers behind them count as unknown")  # fmt: skip
    add("--causal", action=argparse.BooleanOptionalAction, default=True, help="look at earlier times only")
    add("--dropout", type=ratio, default=0.1, help="share of activations left out in training")


def _add_task(flags: Parser) -> None:
    add = flags.add_argument
    add("--modalities", type=modalities, metavar="A,B",
        help=f"what the model reads, of {','.join(MODALITIES)} (default: what the data set has; mfcc only "
        "where it has no mel)")  # fmt: skip
    add("--reconstruct", type=modalities, metavar="A,B",
        help="what it gives back, for the loss (default: all that it reads but the speaker)")  # fmt: skip
    add("--text-loss", choices=["ce", "none"], default="ce", help="cross-entropy of tokens, or none")
    add("--mask-rate", type=ratio, default=0.3, help="chance of a modality, a token, a step to be hidden")
    add("--audio", choices=["real", "shuffled", "zero"], default="real",
        help="ablation, in training and validation: show each utterance its own mel, mfcc, contour and "
        "prosody, those of another of its batch, or zeros; the targets stay")  # fmt: skip
    add("--resume-from", "--resume-from-checkpoint", metavar="FILE",
        help="begin a new run with the weights (only) of this best.pt or last.pt")  # fmt: skip


def settings_of(args: argparse.Namespace, data: dict[str, Any], digest: str) -> dict[str, Any]:
    """Return the settings of a run with what the data set decides; CallError where they do not fit."""
    from networks.fusion_rows import shape_of
    from networks.fusion_task import accuracy_is

    for split in ("train", "valid"):
        if not data["splits"].get(split, {}).get("rows"):
            raise CallError(f"{args.source}: found no row in {split}, wanted some in train and in valid")
    reads = args.modalities or _those_of(data)
    gives = [
        name
        for name in args.reconstruct or reads
        if name != "speaker" and not (name == "text" and args.text_loss == "none")
    ]
    if not gives or set(gives) - set(reads):
        raise CallError(
            f"--reconstruct {','.join(gives) or '(nothing)'}: wanted some of --modalities {','.join(reads)}, "
            "but for the speaker, and text only with --text-loss ce"
        )
    if len(data["speakers"]) > args.num_speakers and "speaker" in reads:
        beyond = len(data["speakers"]) - args.num_speakers
        log(f"warning: {beyond} of {len(data['speakers'])} speakers are beyond --num-speakers and unknown")
    config = {
        **args.settings,
        "arch": "multimodal",
        "modalities": reads,
        "reconstruct": gives,
        "widths": shape_of(data, reads),
        "vocab_size": data["vocab_size"] or 0,
        "audio_stride": AUDIO_STRIDE,
        "retrieves": "text" in reads and bool({"mel", "mfcc", "contour", "prosody"} & set(gives)),
        "dataset_sha256": digest,
        "tokenizer_sha256": data["tokenizer_sha256"],
    }
    return {**config, "accuracy_is": accuracy_is(config)}


def _those_of(data: dict[str, Any]) -> list[str]:
    """Return the modalities that a data set has."""
    arrays = data["arrays"]
    has = {
        "text": bool(data["vocab_size"]),
        "mel": "mel" in arrays,
        "mfcc": "mfcc" in arrays and "mel" not in arrays,
        "contour": {"f0_hz", "voicing", "energy_db"} <= set(arrays),
        "prosody": any(data["statistics"]["prosody"]["count"]),
        "emotion": bool(data["emotion_names"]),
        "speaker": bool(data["speakers"]),
    }
    return [name for name in MODALITIES if has[name]]


def keep_tokenizer(args: argparse.Namespace, data: dict[str, Any], folder: Path) -> None:
    """Copy the tokenizer into the run's folder; CallError where it is not that of the data."""
    from media.tokens import TokenizerError, load_tokenizer

    if not args.tokenizer:
        return
    try:
        found = load_tokenizer(args.tokenizer).sha256
    except TokenizerError as exc:
        raise CallError(str(exc)) from exc
    if found != data["tokenizer_sha256"]:
        wanted = data["tokenizer_sha256"]
        raise CallError(
            f"{args.tokenizer}: found a tokenizer of hash {found[:12]}…, and the data set was made with "
            f"{f'that of {wanted[:12]}…' if wanted else 'none'}: give that one, or build the data set anew"
        )
    source = Path(args.tokenizer) if os.path.isdir(args.tokenizer) else Path(args.tokenizer).parent
    for name in TOKENIZER_FILES:
        with open(source / name, "rb") as content, write_aside(folder / name, "wb") as file:
            shutil.copyfileobj(content, file)


def train(args: argparse.Namespace, stop: Stop) -> int:
    """Train the run to its end, or until a signal; returns the exit status."""
    from media.dataset import DatasetError
    from networks import running
    from networks.checkpoints import take_weights
    from networks.flight_dataset import open_reader
    from networks.fusion import SHAPE, MultimodalModel
    from networks.fusion_task import CollapsedError, FusionTask

    sizes = "_".join(f"{letter}{args.settings[name]}" for name, letter in SHORT.items())
    audio = "" if args.audio == "real" else f"_{args.audio}"
    model_name = f"multimodal_{args.fusion}_{sizes}{audio}"
    run = RunFolder(Path(args.checkpoint_dir) / model_name / f"{args.name}_s{args.seed}", slurm.here())

    def reader() -> Any:
        return open_reader(args.source, args.token_file, args.wait_s, args.dataset, log=log)

    def prepare() -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            opened = reader()
            data, digest = opened.dataset, opened.digest
            config = run.freeze(settings_of(args, data, digest), {})
        except DatasetError as exc:
            raise CallError(str(exc)) from exc
        keep_tokenizer(args, data, run.path)
        kept = {name: value for name, value in data.items() if name not in ("splits", "settings")}
        with write_aside(run.path / "dataset.json") as file:
            json.dump(kept, file, indent=1)
        return config, kept

    def build(config: dict[str, Any], data: dict[str, Any], group: Any, device: Any) -> FusionTask:
        model = MultimodalModel(config).to(device)
        if args.resume_from:
            take_weights(model, args.resume_from, config, SHAPE)
        return FusionTask(model, reader(), data, config, group, device, log)

    def gone(gained: bool) -> None:
        leave(stop, slurm.here(), gained, "step")

    bad = (DatasetError, CollapsedError)
    outside = running.Outside(run, stop, write_aside, log, gone, CallError, bad)
    return STOPPED if running.run(outside, args, prepare, build).result is None else OK


def main() -> int:
    """Train; returns the exit status."""
    args = parse_args()
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts
    return train(args, Stop().listen())


if __name__ == "__main__":
    run_main(main)
