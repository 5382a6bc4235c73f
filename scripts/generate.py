"""Let a language model babble: sequences of units, drawn at a grid of settings.

    python scripts/generate.py checkpoints/lstm_r0.001_h512_e256_l2_b32_d0.1/corpus_s42
    sbatch slurm/generate.slurm RUN_FOLDER output/babble --temperature 0.8 1.0 --samples 20

Writes output/<run>_generated/tokens/temp0.8_topk50_topp0.9_00001.pt …, generation_log.csv and
generation_report.json: entropy, repetition and distinct n-grams of the units, beside those of the units that
were trained on. The samples are listed in metadata/<run>_generated.json, which synthesize.py, vad.py and
asr.py take next. A sample depends on the model, its setting, its number and the seed alone; the same command
goes on after a stop, and one with other settings adds to the list. After an array (`--array=0-3`) give it
once more without: that merges, and writes log and report.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from amela import samples, slurm, trained
from amela.cli import add_device, cpus, not_negative, positive, ratio, seconds, stage_parser
from amela.errors import OK, CallError, run_main
from amela.files import write_aside
from amela.log import log
from amela.manifest import Record, read_records, record_key
from amela.outputs import claim_folder, relative_target, write_output
from amela.samples import SPEC
from amela.stage import run_shard
from amela.training_files import FILES
from networks import catalogue

REPORT = "generation_report.json"
SHOWN = ("samples", "units", "unit_entropy_bits", "repetition", "distinct_1", "distinct_2", "distinct_3",
         "mean_log_probability", "words_a_second")  # fmt: skip


def parse_args() -> argparse.Namespace:
    """Return the arguments; what changes a sample stands in its record: the model alone is a setting."""
    parser = stage_parser(
        __doc__, batch_size=64, workers=None, manifest="folder of a training run, or its best.pt"
    )
    add = parser.add_speed_argument
    add("output", nargs="?", metavar="OUTPUT_DIR", help="folder of the files (default: see above)")
    add("--temperature", type=temperature, nargs="+", default=[0.8, 1.0, 1.2], metavar="T",
        help="flattens (above 1) or sharpens the probabilities; 0: the likeliest unit each time")  # fmt: skip
    add("--top-k", type=count_or_none, nargs="+", default=[50, 100, None], metavar="K",
        help="draw from the K likeliest units, or `none` (default: 50 100 none)")  # fmt: skip
    add("--top-p", type=share_or_none, nargs="+", default=[0.9, 0.95, None], metavar="P",
        help="draw from the likeliest that reach probability P, or `none` (default: 0.9 0.95 none)",
    )  # fmt: skip
    add("--samples", type=positive, default=5, metavar="N", help="samples of each prompt at each setting")
    add("--max-length", type=positive, default=500, metavar="N", help="units of a sample, its prompt too")
    add("--seed", type=not_negative, default=42, help="of the random streams")
    add("--prompt-units", nargs="+", metavar="U", help="begin with these units, or those of one .pt file")
    add(
        "--prompts", metavar="MANIFEST", help="begin with the units of each record, in folders of their names"
    )
    add("--prompt-s", type=seconds, default=3.0, help="as much of each record of --prompts, in seconds")
    add("--hop-s", type=seconds, default=0.02, help="seconds that a unit lasts, for --prompt-s")
    add_device(add)
    add("--figures", action="store_true", help="only write log and report of the samples that are merged")
    args = parser.parse_args()
    if args.output and args.output.isdigit():  # RUN_FOLDER NUM_TASKS, as with the other stages
        args.output, args.num_tasks = None, int(args.output)
    args.workers = args.workers or (1 if catalogue.may_have_gpu(args.device) else cpus())
    return args


def temperature(text: str) -> float:
    """Read a number of at least 0."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of at least 0")
    return number


def count_or_none(text: str) -> int | None:
    """Read an integer of at least 1, or `none`."""
    return None if text.lower() == "none" else positive(text)


def share_or_none(text: str) -> float | None:
    """Read a number from 0 to 1, or `none`."""
    return None if text.lower() == "none" else ratio(text)


def resolve(args: argparse.Namespace) -> dict[str, Any]:
    """Fill in checkpoint, output and manifest; return the settings of the run."""
    run = trained.find_run(args.manifest)
    args.run, args.checkpoint = run.folder, run.checkpoint
    args.settings = {"checkpoint_sha256": run.sha256}
    args.output = os.path.abspath(args.output or os.path.join("output", f"{run.name}_generated"))
    args.manifest = os.path.join("metadata", f"{os.path.basename(args.output)}.json")
    return run.config


def prompts_of(args: argparse.Namespace, config: dict[str, Any]) -> list[samples.Prompt]:
    """Return what samples begin with; CallError for units that the model does not know, or too many."""
    if args.prompts and args.prompt_units:
        raise CallError("found --prompts and --prompt-units, wanted one of them")
    if args.prompts:
        found = list(_prompts_of_manifest(args))
    else:
        found = [samples.Prompt("", _given_units(args.prompt_units or []))]
    for name, units in found:
        bad = [unit for unit in units if not 0 <= unit < config["vocab_size"]]
        where = f"prompt {name}" if name else "--prompt-units"
        if bad:
            raise CallError(f"{where}: found unit {bad[0]}, wanted 0 to {config['vocab_size'] - 1}")
        if len(units) >= args.max_length:
            raise CallError(f"{where}: {len(units)} units; wanted fewer than --max-length {args.max_length}")
    if config["arch"] == "gpt2" and args.max_length > config["max_units"]:
        raise CallError(
            f"--max-length {args.max_length}: this gpt2 was trained on {config['max_units']} positions; "
            "wanted no more"
        )
    return found


def _given_units(words: list[str]) -> list[int]:
    """Return units given as numbers, with or without commas, or as one file."""
    if len(words) == 1 and words[0].endswith(".pt"):
        return _read(words[0])
    try:
        return [int(unit) for word in words for unit in word.split(",") if unit]
    except ValueError:
        raise CallError(
            f"--prompt-units: found {' '.join(words)[:60]!r}, wanted numbers or one .pt file"
        ) from None


def _prompts_of_manifest(args: argparse.Namespace) -> Any:
    from media.units import UnitFolder, UnitsError

    length = max(1, round(args.prompt_s / args.hop_s))
    dataset = os.path.basename(args.prompts).removesuffix(".json")
    for _, record in read_records(args.prompts):
        key, path = record_key(record), str(record.get("units_filepath", ""))
        if not path:
            raise CallError(f"{args.prompts}: {key} has no units_filepath; wanted one, made by encode.py")
        try:
            source = UnitFolder(os.path.dirname(path)).find(record, key)
        except UnitsError as error:
            raise CallError(str(error)) from error
        yield samples.Prompt(relative_target(record, dataset), _read(source or path)[:length])


def _read(source: str) -> list[int]:
    from media import units

    try:
        found: list[int] = units.read(source).tolist()
    except units.UnitsError as error:
        raise CallError(str(error)) from error
    return found


def load(args: argparse.Namespace) -> Any:
    """Return the model, its device, and where files go."""
    from networks import unit_lm
    from networks.checkpoints import CheckpointError
    from networks.device import DeviceError, choose
    from networks.encoder import prepare_device

    try:
        device = prepare_device(choose(args.device))
        model, _ = unit_lm.load(args.checkpoint, str(device))
    except (CheckpointError, DeviceError) as error:
        raise CallError(str(error)) from error
    tokens = os.path.join(args.output, "tokens")
    if not args.only:
        claim_folder(tokens, args.settings, anew=args.fresh or args.overwrite)
    return model, device, tokens, not args.only


def process(model: Any, batch: list[Record]) -> list[Any]:
    """Return the fields of each sample; its file is written."""
    from networks.sampling import Sample, draw
    from networks.unit_files import write_pt

    network, device, tokens, writes = model
    asked = [
        Sample(record["id"], record["sample"], **{name: record.get(name) for name in SPEC})
        for record in batch
    ]
    found = []
    for sample, drawn in zip(asked, draw(network, asked, device)):
        path = os.path.join(tokens, f"{sample.name}.pt")
        if writes:
            with write_output(path) as file:
                write_pt(file, drawn.units)
        mean = round(drawn.mean_log_probability, 5)
        found.append({"units_filepath": path, "unit_count": len(drawn.units), "mean_log_probability": mean})
    return found


def report(args: argparse.Namespace) -> None:
    """Write generation_log.csv and generation_report.json of the samples merged so far; print the figures."""
    records = samples.made(args.manifest)
    if not records:
        raise CallError(
            f"{args.manifest}: no sample is merged into it yet; wanted one: give the command without "
            "--figures"
        )
    log(str(samples.write_log(args.output, records)))
    by_setting: dict[str, list[Record]] = {}
    for record in records:
        by_setting.setdefault(samples.setting_name(record), []).append(record)
    groups = {"all": records, **by_setting}
    rows = {name: _figures(group) for name, group in groups.items()}
    each = max(rows[name]["units"] for name in by_setting)
    rows.update(_of_training(args.run, rows["all"]["units"], each))
    path = os.path.join(args.output, REPORT)
    with write_aside(path) as file:
        json.dump({**args.settings, "figures": rows}, file, indent=1)
        file.write("\n")
    shown = [name for name in SHOWN if any(row.get(name) is not None for row in rows.values())]
    width = max(map(len, rows))
    print(f"{'':{width}}  {'  '.join(shown)}")
    for name, row in rows.items():
        print(f"{name:{width}}  " + "  ".join(f"{_show(row.get(key)):>{len(key)}}" for key in shown))
    log(path)


def _show(value: Any) -> str:
    return "" if value is None else str(value)


def _figures(records: list[Record]) -> dict[str, Any]:
    from media.unit_figures import figures, words_a_second

    drawn = [_read(record["units_filepath"])[len(record.get("prompt", [])) :] for record in records]
    mean = sum(record["mean_log_probability"] for record in records) / len(records)
    return {"samples": len(records), **figures(drawn), "mean_log_probability": round(mean, 4),
            "words_a_second": words_a_second(records)}  # fmt: skip


def _of_training(run: str, *units: int) -> dict[str, Any]:
    """Return the figures of as many units that the model was trained on, {} where they are gone."""
    from media.unit_figures import excerpt, figures

    try:
        files = [record for _, record in read_records(os.path.join(run, FILES)) if record["split"] == "train"]
        taken = [excerpt((_read(file["units_filepath"]) for file in files), number) for number in units]
    except CallError as error:
        log(f"no figures of the training units to compare with: {error}")
        return {}
    rows = [{"samples": len(sequences), **figures(sequences)} for sequences in taken]
    return {f"{row['units']} training units": row for row in rows}


def main() -> int:
    """Generate this task's shard; one process alone writes log and report too."""
    args = parse_args()
    config = resolve(args)
    if not args.figures:
        grid = samples.settings_grid(args.temperature, args.top_k, args.top_p)
        prompts = prompts_of(args, config)
        wanted = samples.samples(args.output, grid, prompts, args.samples, args.max_length, args.seed)
        samples.list_samples(args.manifest, wanted)
        fields = ("units_filepath", "unit_count", "mean_log_probability")
        status = run_shard(args, stage="generate", fields=fields, load=load, process=process)
        alone = not slurm.in_batch_job() or not slurm.here().is_array
        if status != OK or args.only or args.limit or not alone or args.shard_index is not None:
            return status
    report(args)
    return OK


if __name__ == "__main__":
    run_main(main)
