"""Train a language model on units: an LSTM (or GPT-2) that predicts the next unit of speech.

    python scripts/train_lstm.py metadata/corpus.json output/corpus_units_2000
    sbatch --array=0-15 slurm/train.slurm metadata/corpus.json output/corpus_units_2000

Each row of the manifest (JSON lines, or a table with `file_id` or `audio_filepath`) finds its units by
`units_filepath`, else `file_id`, else path and stem. The run's folder,
checkpoints/lstm_r{lr}_h{hidden}_e{emb}_l{layers}_b{batch}_d{dropout}/<dataset>_s<seed>/, holds config.json,
files.json (which file is in which part), metrics.jsonl, best.pt and last.pt. The same command goes on where a
run stopped, in the middle of an epoch too. With --grid it trains the points of a grid, one an array task.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from amela import grid, slurm, training_files
from amela.cli import Parser, add_device, not_negative, parser, positive, ratio
from amela.errors import BAD_CALL, OK, STOPPED, CallError, run_main
from amela.files import make_folder, write_aside
from amela.leaving import leave
from amela.log import error, log
from amela.run_folder import RunFolder
from amela.signals import Stop
from amela.trained import digest_of

GPT_UNITS, LSTM_UNITS = 2048, 4096
UNITS = 2000  # of mHuBERT's k-means


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    flags = parser(__doc__)
    where = flags.add_speed_argument
    where("manifest_file", nargs="?", metavar="MANIFEST", help="JSON lines, or a CSV with a header")
    where("tokens_folder", nargs="?", metavar="TOKENS_DIR",
          help="folder of unit files (.pt) or Parquet parts")  # fmt: skip
    where("--manifest", metavar="PATH", help="the same as MANIFEST")
    where("--tokens-dir", metavar="DIR", help="the same as TOKENS_DIR")
    where("--dataset", metavar="NAME", help="name of the data in the run's folder (default: the manifest's)")
    where("--checkpoints", default="checkpoints", metavar="DIR", help="folder of all runs")
    where("--grid", metavar="GRID", help="`default` or a JSON file, a list of values for each setting")
    _add_model(flags)
    _add_training(flags)
    args = flags.parse_args()
    args.flags = flags
    args.manifest = args.manifest or args.manifest_file
    args.tokens_dir = args.tokens_dir or args.tokens_folder
    if not (args.manifest and args.tokens_dir):
        raise CallError("wanted a manifest and a folder of units: train_lstm.py MANIFEST TOKENS_DIR")
    args.dataset = args.dataset or Path(args.manifest).stem
    return args


def _add_model(flags: Parser) -> None:
    add = flags.add_argument
    add("--arch", choices=["lstm", "gpt2"], default="lstm", help="kind of model")
    add("--vocab-size", type=positive, metavar="K", help=f"units 0..K-1 (default: settings.json or {UNITS})")
    add("--embedding-dim", type=positive, default=256, help="width of the embedding (gpt2: the hidden size)")
    add("--hidden-size", type=positive, default=512, help="width of the layers")
    add("--num-layers", type=positive, default=2, help="layers")
    add("--dropout", type=ratio, default=0.1, help="share of activations left out in training")
    add(
        "--max-units",
        type=positive,
        help="longer files are cut into parts of so many units; the block length of --batching stream, the "
        f"positions of gpt2 (default: {LSTM_UNITS}; {GPT_UNITS} for gpt2 and stream)",
    )


def _add_training(flags: Parser) -> None:
    add, add_speed = flags.add_argument, flags.add_speed_argument
    add("--seed", type=not_negative, default=42, help="of split, order, weights and dropout")
    add("--train-ratio", type=ratio, default=0.9, help="share of the files that is trained on")
    add("--split-by", metavar="FIELD", help="keep records of one value together, e.g. speaker")
    add("--skip-missing", action="store_true", help="leave out records that have no unit file")
    add("--batching", choices=["staircase", "padded", "packed", "stream"], default="staircase",
        help="how sequences of different lengths go through the model; only stream changes what is learnt "
        "(gpt2: padded)")  # fmt: skip
    add("--batch-size", type=positive, default=32, help="sequences a batch")
    add("--batch-tokens", type=not_negative, default=0, help="units a batch, instead of sequences; 0: off")
    add("--group-by-length", action=argparse.BooleanOptionalAction, default=True, help="batch like lengths")
    add("--grad-accum-steps", type=positive, default=1, help="batches of one optimizer step")
    add("--learning-rate", type=float, default=0.001, help="of AdamW, at the top of the schedule")
    add("--schedule", choices=["constant", "inverse-sqrt", "cosine", "linear", "plateau"], default="constant",
        help="of the learning rate after the warm-up")  # fmt: skip
    add("--warmup-steps", type=not_negative, default=0, help="steps of linear rise; 1000 suits inverse-sqrt")
    add("--weight-decay", type=float, default=0.0, help="of matrices")
    add("--beta1", type=ratio, default=0.9, help="of AdamW")
    add("--beta2", type=ratio, default=0.98, help="of AdamW")
    add("--clip", "--max-grad-norm", type=float, default=1.0, help="largest norm of the gradient; 0: none")
    add("--precision", choices=["fp32", "bf16", "fp16"], default="fp32", help="numbers of the forward pass")
    for name in ("bf16", "fp16"):
        add(f"--use-{name}", dest="precision", action="store_const", const=name, help=f"--precision {name}")
    add("--resume-from-checkpoint", metavar="FILE",
        help="begin a new run with the weights (only) of this best.pt or last.pt")  # fmt: skip
    add("--num-epochs", type=positive, default=100, help="epochs at most")
    add("--max-steps", type=not_negative, default=0, help="optimizer steps instead of epochs; 0: off")
    add("--early-stopping", type=not_negative, default=10,
        help="evaluations without gain that end the run; 0: never")  # fmt: skip
    add("--eval-steps", type=not_negative, default=0, help="steps between evaluations; 0: each epoch")
    add("--log-steps", type=positive, default=50, help="steps between lines of metrics")
    add_speed("--save-steps", type=positive, default=500,
              help="steps between checkpoints, beside each evaluation")  # fmt: skip
    add_speed("--load-on-the-fly", action="store_true", help="read unit files when they are needed")
    add_device(add_speed)
    add_speed("--deterministic", action="store_true", help="only kernels that give the same bits each time")
    add_speed("--wandb", metavar="PROJECT",
              help="log to Weights & Biases too; WANDB_MODE=offline without network")  # fmt: skip


def pin_weights(args: argparse.Namespace) -> None:
    """Make the hash of the weights to begin with the setting, not their path."""
    if args.resume_from_checkpoint:
        args.settings["resume_from_checkpoint"] = digest_of(Path(args.resume_from_checkpoint))


def find_vocabulary(args: argparse.Namespace) -> None:
    """Fill in the number of units, or check it against what the folder of units says."""
    from media.units import UnitFolder, UnitsError

    try:
        found = UnitFolder(args.tokens_dir).vocabulary()
    except UnitsError as exc:
        raise CallError(str(exc)) from exc
    asked = args.vocab_size
    if found and asked not in (None, found):
        raise CallError(
            f"--vocab-size {asked}: {args.tokens_dir}/settings.json says {found} units; leave it out"
        )
    args.vocab_size = args.settings["vocab_size"] = asked or found or UNITS


def settings_of(args: argparse.Namespace, point: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run; CallError for a point that names none of them, or what does not fit
    together.
    """
    unknown = [name for name in point if name not in args.settings]
    if unknown:
        raise CallError(
            f"{args.grid}: no setting is called {unknown[0]!r}; wanted some of {', '.join(args.settings)}"
        )
    try:
        settings = {
            **args.settings,
            **{name: args.flags.checked(name, value) for name, value in point.items()},
        }
    except argparse.ArgumentError as exc:
        raise CallError(f"{args.grid}: {exc}") from exc
    stream = settings["batching"] == "stream"
    if settings["arch"] == "gpt2":
        if settings["batching"] == "packed":
            raise CallError("--batching packed: gpt2 knows no packed sequences; wanted padded or stream")
        settings["batching"] = "stream" if stream else "padded"
        settings["embedding_dim"] = settings["hidden_size"]
    settings["max_units"] = settings["max_units"] or (
        GPT_UNITS if stream or settings["arch"] == "gpt2" else LSTM_UNITS
    )
    return settings


def train(args: argparse.Namespace, settings: dict[str, Any], folder: str, stop: Stop) -> int:
    """Train one run to its end, or until a signal; returns the exit status."""
    from media.units import UnitsError
    from networks import distributed
    from networks.checkpoints import CheckpointError
    from networks.device import DeviceError
    from networks.training import DivergedError

    try:
        group, device = distributed.join(args.device)
    except DeviceError as exc:
        raise CallError(str(exc)) from exc
    run = RunFolder(folder, slurm.here())
    try:
        done, config, files = group.first_does(lambda: _open(run, args, settings), CallError)
        if done:
            if group.rank == 0:
                log(f"{folder}: finished before ({done['ended']}), validation loss {done['best_loss']:.4f}")
            return OK
        with stop:
            return _train(args, config, files, run, group, device, stop)
    except (UnitsError, CheckpointError, DivergedError) as exc:
        raise CallError(str(exc)) from exc
    finally:
        run.release()
        group.leave()


def _open(run: RunFolder, args: argparse.Namespace, settings: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Take the folder; return (result of a finished run, config, files), chosen and frozen by the first
    process.
    """
    from media import units
    from networks.unit_task import Source

    run.take()
    source = Source(_cache(args), settings["vocab_size"], write_aside)
    folder = units.UnitFolder(args.tokens_dir)
    files = training_files.choose_files(run.path, args.manifest, settings, folder.find, source.counts)
    config = run.freeze(settings, training_files.facts(run.path, files))
    return run.result(), config, files


def _cache(args: argparse.Namespace) -> str:
    return "" if args.load_on_the_fly else str(make_folder(Path(args.checkpoints) / "units"))


def _train(args: argparse.Namespace, config: dict[str, Any], files: list[Any], run: RunFolder, group: Any,
           device: Any, stop: Stop) -> int:  # fmt: skip
    import torch

    from networks import run_state, tracking, unit_lm, unit_task
    from networks.training import Trainer

    if args.deterministic:  # even to say no loads the compiler, half a second
        torch.use_deterministic_algorithms(True)
    torch.manual_seed(config["seed"])
    model = unit_lm.build(config).to(device)
    if args.resume_from_checkpoint:
        unit_lm.take_weights(model, args.resume_from_checkpoint, config)
    source = unit_task.Source(_cache(args), config["vocab_size"], write_aside)
    task = unit_task.UnitTask(model, *source.parts(files, config["max_units"]), config, group, device)
    report = tracking.wandb_report(args.wandb if group.rank == 0 else None, str(run.path), config)
    options = run_state.options({**config, "save_steps": args.save_steps})
    trainer = Trainer(
        task, options, config, str(run.path), group, device, write_aside, lambda: bool(stop), log, report
    )
    weights = sum(weight.numel() for weight in model.parameters())
    trainer.log(f"{run.path}: {weights:,} weights, {config['train_units']:,} units to train on, {device}")
    before = trainer.state.step
    ended = trainer.run()
    if ended == "stopped":
        if group.rank == 0:
            leave(stop, slurm.here(), trainer.state.step > before, "step")
        return STOPPED
    result = trainer.result(ended)
    if group.rank == 0:
        run.finish(result)
    trainer.log(
        f"finished: {ended}; best validation loss {result['best_loss']:.4f} at step {result['best_step']}"
    )
    return OK


def points_of(args: argparse.Namespace) -> list[tuple[dict[str, Any], str]]:
    """Return (settings, folder) of the runs of this task: one, or its points of a grid."""
    points = grid.read_points(args.grid) if args.grid else [{}]
    settings = [settings_of(args, point) for point in points]
    folders = [
        grid.run_folder(args.checkpoints, args.dataset, one, point) for one, point in zip(settings, points)
    ]
    if not args.grid:
        return list(zip(settings, folders))
    frozen = grid.freeze(args.checkpoints, args.dataset, points, folders)
    numbers = grid.mine(len(points), slurm.here())
    log(f"{frozen}: {len(points)} points, here {', '.join(map(str, numbers))}")
    return [(settings[number], folders[number]) for number in numbers]


def main() -> int:
    """Train this task's runs; returns the exit status of the worst."""
    args = parse_args()
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts
    stop, worst = Stop().listen(), OK
    find_vocabulary(args)
    pin_weights(args)
    for settings, folder in points_of(args):
        try:
            status = train(args, settings, folder, stop)
        except CallError as exc:
            if not args.grid:
                raise
            error(str(exc))  # the other points are not worse for it
            status = BAD_CALL
        if status == STOPPED:
            return status
        worst = max(worst, status)
    return worst


if __name__ == "__main__":
    run_main(main)
