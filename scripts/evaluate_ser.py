"""Test a model of train_ser.py: emotion (UA, WA, macro-F1), words (WER, CER) and prominence, with intervals.

    python scripts/evaluate_ser.py --checkpoint-path checkpoints/best_model.pt --tokenizer-path ser.model \\
        --audio-base-path wavs --test-jsonl test.jsonl --decode-method beam --output-dir eval_results

Writes test_metrics.json, eval_config.json, summary.txt, predictions.json (a line an utterance), and pictures
of the confusion matrix and of each emotion's recall.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from amela.cli import amount, parser, positive
from amela.errors import OK, CallError, run_main
from amela.files import make_folder, write_aside
from amela.log import log
from amela.manifest import write_manifest


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    flags = parser(__doc__)
    add = flags.add_argument
    add("--checkpoint-path", required=True, metavar="FILE", help="best_model.pt, or a checkpoint of a run")
    add("--tokenizer-path", required=True, metavar="FILE", help=".model that it was trained with")
    add(
        "--audio-base-path", required=True, metavar="DIR", help="what relative audio_filepath are relative to"
    )
    add("--test-jsonl", required=True, metavar="FILE", help="utterances, JSON lines")
    add("--batch-size", type=positive, default=8, help="utterances at once")
    add(
        "--decode-method",
        choices=["beam", "greedy"],
        default="beam",
        help="how words are read off the CTC head",
    )
    add("--lm-jsonl", metavar="FILE", help="utterances whose words teach the beam which pieces go together")
    add("--lm-weight", type=amount, default=0.5, help="times the log-probability that it has of a piece")
    add("--lm-order", type=positive, default=3, help="pieces of its longest n-grams")
    add("--output-dir", default="eval_results", metavar="DIR", help="where the results go")
    add("--use-amp", action=argparse.BooleanOptionalAction, default=True, help="mixed precision on a GPU")
    add("--device", default="cuda", help="cuda or cpu; cpu where there is no GPU")
    args = flags.parse_args()
    if args.lm_jsonl is None:
        for name in ("lm_jsonl", "lm_weight", "lm_order"):
            del args.settings[name]
    elif args.decode_method == "greedy":
        raise CallError(
            "--lm_jsonl with --decode_method greedy: the best path has no language model; wanted beam"
        )
    return args


def main() -> int:
    """Test the model; returns the exit status."""
    args = parse_args()
    import torch

    from media import ser_data
    from networks import ser_run
    from networks.checkpoints import CheckpointError
    from networks.device import DeviceError, choose
    from networks.ser_evaluation import evaluate, summary
    from networks.ser_pictures import draw

    if args.device.startswith("cuda") and not torch.cuda.is_available():
        log("warning: PyTorch finds no GPU here; going on with --device cpu")
        args.device = "cpu"
    make_folder(args.output_dir)
    try:
        args.device = choose(args.device)
        model, config = ser_run.load(args.checkpoint_path, args.device)
        tokenizer = ser_run.tokenizer_of(args.tokenizer_path, config)
        (utterances,), _ = ser_data.read_splits([args.test_jsonl], args.audio_base_path, config["emotions"])
        fusion = None
        if args.lm_jsonl is not None:
            fusion = ser_run.fusion_of(args.lm_jsonl, config, tokenizer, args.lm_weight, args.lm_order)
        with ser_run.amp(args.use_amp, args.device):
            metrics, said = evaluate(
                model, config, utterances, tokenizer, args.device, args.batch_size, args.decode_method, fusion
            )
    except (CheckpointError, DeviceError, *ser_run.BAD_INPUT) as exc:
        raise CallError(str(exc)) from exc
    if fusion:
        metrics["language_model"] = {
            name: args.settings[name] for name in ("lm_jsonl", "lm_order", "lm_weight")
        }
    ser_run.write(args.output_dir, metrics, config, write_aside)
    write_json(f"{args.output_dir}/eval_config.json", {**args.settings, "model": config})
    write_manifest(f"{args.output_dir}/predictions.json", said)
    draw(args.output_dir, metrics, write_aside)
    print(summary(metrics, config), end="")
    log(f"{args.output_dir}: test_metrics.json, eval_config.json, summary.txt, predictions.json, pictures")
    return OK


def write_json(path: str, content: dict[str, Any]) -> None:
    """Write a JSON file by rename."""
    with write_aside(path) as file:
        json.dump(content, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    run_main(main)
