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
from amela.cli import Parser, not_negative, parser, positive, ratio
from amela.errors import BAD_CALL, OK, STOPPED, CallError, run_main
from amela.files import make_folder, write_aside
from amela.leaving import leave
from amela.log import error, log
from amela.run_folder import RunFolder
from amela.signals import Stop
from amela.trained import digest_of
from amela.training_flags import add_training

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
    _add_data(flags)
    add_training(flags)
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


def _add_data(flags: Parser) -> None:
    add, add_speed = flags.add_argument, flags.add_speed_argument
    add("--train-ratio", type=ratio, default=0.9, help="share of the files that is trained on")
    add("--split-by", metavar="FIELD", help="keep records of one value together, e.g. speaker")
    add("--skip-missing", action="store_true", help="leave out records that have no unit file")
    add("--batching", choices=["staircase", "padded", "packed", "stream"], default="staircase",
        help="how sequences of different lengths go through the model; only stream changes what is learnt "
        "(gpt2: padded)")  # fmt: skip
    add("--batch-tokens", type=not_negative, default=0, help="units a batch, instead of sequences; 0: off")
    add("--resume-from-checkpoint", metavar="FILE",
        help="begin a new run with the weights (only) of this best.pt or last.pt")  # fmt: skip
    add_speed("--load-on-the-fly", action="store_true", help="read unit files when they are needed")


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
    from media import units
    from networks import running, unit_lm
    from networks.unit_task import Source, UnitTask

    run = RunFolder(folder, slurm.here())

    def prepare() -> tuple[dict[str, Any], list[Any]]:
        source, found = (
            Source(_cache(args), settings["vocab_size"], write_aside),
            units.UnitFolder(args.tokens_dir),
        )
        files = training_files.choose_files(run.path, args.manifest, settings, found.find, source.counts)
        return run.freeze(settings, training_files.facts(run.path, files)), files

    def build(config: dict[str, Any], files: list[Any], group: Any, device: Any) -> UnitTask:
        model = unit_lm.build(config).to(device)
        if args.resume_from_checkpoint:
            unit_lm.take_weights(model, args.resume_from_checkpoint, config)
        source = Source(_cache(args), config["vocab_size"], write_aside)
        return UnitTask(model, *source.parts(files, config["max_units"]), config, group, device)

    def gone(gained: bool) -> None:
        leave(stop, slurm.here(), gained, "step")

    outside = running.Outside(run, stop, write_aside, log, gone, CallError, (units.UnitsError,))
    return STOPPED if running.run(outside, args, prepare, build).result is None else OK


def _cache(args: argparse.Namespace) -> str:
    return "" if args.load_on_the_fly else str(make_folder(Path(args.checkpoints) / "units"))


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
