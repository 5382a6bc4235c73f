"""Build the data set that multimodal models are trained on: Parquet parts of train, valid and test.

    python scripts/build_parquet.py metadata/corpus.json output/corpus_parquet --tokenizer output/tokenizer
    sbatch --array=0-7 slurm/build_parquet.slurm metadata/corpus.json output/corpus_parquet

A record becomes a row: text and its tokens, the arrays of `features_filepath`, prosody, emotion, speaker.
OUT/dataset.json, written last, says what the columns hold, how the records were split, and mean and standard
deviation of train. No recording, and where there are speakers enough no speaker, stands in two splits; a
field `split` of the manifest wins. Killed at any time, the same command goes on. Records that cannot be read
are named in OUT/errors.jsonl.
"""

from __future__ import annotations

import argparse
import json
from array import array
from typing import Any

from amela import cli, slurm
from amela.dataset_build import AbandonedError, Task, TooManyError, collect, void
from amela.dataset_plan import Plan, open_plan, packed
from amela.errors import OK, STOPPED, CallError, run_main
from amela.files import write_aside
from amela.leaving import leave
from amela.log import log
from amela.manifest import (
    Record,
    check_duplicates,
    hash_key,
    open_manifest,
    parse_record,
    read_lines,
    record_key,
)
from amela.parts import deal_shares, draw
from amela.signals import Stop

FEATURES = ("mel", "mfcc", "pitch", "energy")


def features(text: str) -> str:
    """Read a list of features; return it in their own order."""
    names = set(text.split(","))
    if names - set(FEATURES):
        raise argparse.ArgumentTypeError(f"{text}: there are {', '.join(FEATURES)}, joined by commas")
    return ",".join(name for name in FEATURES if name in names)


def parse_args() -> argparse.Namespace:
    """Return the arguments."""
    parser = cli.parser(__doc__)
    add, add_speed = parser.add_argument, parser.add_speed_argument
    add_speed("manifest", help="JSON lines, a record an utterance or a sentence")
    add_speed("output", metavar="OUT", help="folder of the data set")
    add_speed("--tokenizer", metavar="DIR", help="of train_tokenizer.py (default: no tokens)")
    add("--text-field", metavar="NAME", help="field with the text (default: whisperx_text, else text)")
    add("--features", type=features, metavar="A,B",
        help=f"any of {', '.join(FEATURES)}, joined by commas (default: those that there are)")  # fmt: skip
    add("--split-by", metavar="FIELD",
        help="records that agree in it stay together, e.g. speaker; hash: those of a recording (default: "
        "speaker, where all records have one and there are 10 groups of them, else hash)")  # fmt: skip
    add("--ratios", type=cli.ratio, nargs=3, default=[0.8, 0.1, 0.1], metavar=("TRAIN", "VALID", "TEST"),
        help="shares of the hours (of the records, where a duration is unknown); 0 for none")  # fmt: skip
    add("--seed", type=int, default=0, help="another number gives another split")
    add(
        "--part-mb",
        type=cli.positive,
        default=128,
        metavar="MB",
        help="size of a part before compression, in MB",
    )
    add_speed("--fresh", action="store_true", help="build all anew")
    add_speed("--max-error-rate", type=cli.ratio, default=0.1, metavar="R",
              help="stop with status 3 when more than this share of the records fails")  # fmt: skip
    args = parser.parse_args()
    if abs(sum(args.ratios) - 1) > 1e-6 or not args.ratios[0]:
        raise CallError(
            f"--ratios {' '.join(map(str, args.ratios))}: wanted three shares of 1 in all, the first above 0"
        )
    return args


def load(args: argparse.Namespace) -> Any:
    """Return the tokenizer, or None; its hash becomes a setting."""
    args.settings["tokenizer_sha256"] = None
    if not args.tokenizer:
        return None
    from media.token_settings import TokenizerError
    from media.tokens import load_tokenizer

    try:
        tokenizer = load_tokenizer(args.tokenizer)
    except TokenizerError as exc:
        raise CallError(str(exc)) from exc
    args.settings["tokenizer_sha256"] = tokenizer.sha256
    return tokenizer


def array_names(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the names of the arrays that are wanted."""
    from media.dataset_rows import FEATURES as ARRAYS

    features = args.features.split(",") if args.features else FEATURES
    return tuple(name for feature in features for name in ARRAYS[feature])


def make_plan(args: argparse.Namespace, around: int) -> Record:
    """Read the manifest once; return how its records are split and cut into parts, and their kind."""
    from media.dataset_splits import speakers_of, split_lines
    from media.dataset_survey import SurveyError, cut_parts

    log(f"{args.manifest}: reading it, to plan the data set")
    try:
        survey = read_survey(args)
        survey.check(all_arrays=args.features is not None)
        splits, how = split_lines(survey, args.split_by, args.ratios, deal_shares)
    except SurveyError as exc:
        raise CallError(f"{args.manifest}:{exc}") from exc
    return {
        "split_by": how,
        "feeling": survey.feeling,
        "speakers": speakers_of(survey, splits),
        "kind": survey.kind,
        "first": f"line {survey.first.get('kind', 0) + 1} of the manifest",
        "parts": cut_parts(survey, splits, args.part_mb * 2**20, around),
        "splits": packed(splits.tobytes()),
    }


def read_survey(args: argparse.Namespace) -> Any:
    """Return what stands in the manifest; CallError for a bad line and an id given twice."""
    from media.dataset_survey import Survey

    survey = Survey(array_names(args), args.split_by, lambda value: draw(args.seed, value))
    keys = array("q")
    with open_manifest(args.manifest) as file:
        start = 0
        for line, raw in enumerate(read_lines(file, args.manifest)):
            record = None if raw.isspace() else parse_record(raw, args.manifest, line)
            survey.add(line, file.tell() - start, record)
            start = file.tell()
            keys.append(hash_key(record_key(record)) if record else 0)
    if not survey.records:
        raise CallError(f"{args.manifest}: found no record, wanted one JSON object a line")
    repeated = len(check_duplicates(args.manifest, keys))
    if repeated:
        log(f"{args.manifest}: {repeated:,} records stand there a second time, and become rows a second time")
    return survey


def finish(args: argparse.Namespace, plan: Plan, builder: Any) -> int:
    """Write dataset.json where all parts are there; returns the exit status."""
    from media.dataset import DATASET, DatasetError

    built = collect(plan, args.max_error_rate)
    if built is None:
        return OK
    try:
        dataset = builder.dataset(args.output, built, args.settings)
    except DatasetError as exc:
        raise CallError(str(exc)) from exc
    with write_aside(plan.out / DATASET) as file:
        json.dump(dataset.content(), file, indent=1, allow_nan=False)
        file.write("\n")
    for name, split in dataset.splits.items():
        size = sum(part["bytes"] for part in split["parts"])
        log(f"{name}: {split['rows']:,} rows in {len(split['parts']):,} parts, {size / 1e6:,.1f} MB")
    lacking = [f"{count:,} {name.replace('_', ' ')}" for name, count in dataset.counts.items()
               if name.startswith("without") and count]  # fmt: skip
    hours = dataset.counts["frames"] * (dataset.hop_s or 0) / 3600
    log(f"arrays: {', '.join(dataset.arrays) or 'none'}, {hours:.2f} h; split {dataset.split_by}")
    log(f"records: {', '.join(lacking) or 'none lacks anything'}")
    log(str(plan.out / DATASET))
    return OK


def main() -> int:
    """Build this task's parts, and write dataset.json where it was the last; returns the exit status."""
    place, stop = slurm.here(), Stop().listen()
    args = parse_args()
    tokenizer = load(args)
    around = tokenizer.config["context_window_size"] if tokenizer else 0
    plan = open_plan(
        args.output, args.manifest, args.settings, slurm.job_name(place), args.fresh,
        lambda: make_plan(args, around),
    )  # fmt: skip
    from media.dataset_builder import Builder
    from media.dataset_rows import MixedError

    builder = Builder(plan.content, array_names(args), tokenizer, args.text_field)
    task = Task(plan, args.manifest, args.max_error_rate, stop)
    mine = plan.parts[place.task :: place.last + 1] if place.is_array else plan.parts
    try:
        with stop:
            task.build(mine, builder.write)
        return finish(args, plan, builder)
    except MixedError as exc:
        raise CallError(f"{args.manifest}:{exc}") from exc
    except AbandonedError:
        leave(stop, place, task.gained > 0, "part")
        return STOPPED
    except TooManyError as trouble:
        return void(plan, trouble)


if __name__ == "__main__":
    run_main(main)
