"""Train a model that hears emotion, with speech recognition (CTC) and prominence of words as further tasks.

    python scripts/train_ser.py --audio-base-path wavs --train-jsonl train.jsonl --val-jsonl val.jsonl \\
        --test-jsonl test.jsonl --tokenizer-path ser.model --use-alpha-ser --use-alpha-asr --use-alpha-prosody
    sbatch slurm/ser.slurm …           sbatch --array=0-4 slurm/ser_ablation.slurm …     one alpha a task

The loss is alpha_ser · L_SER + alpha_asr · L_ASR + alpha_prosody · L_prosody; a head is there only if its
flag is. The run's folder, SAVE_DIR/<name>_s<seed>/, holds config.json, metrics.jsonl, best.pt, last.pt,
curves.png, test_metrics.json and summary.txt; SAVE_DIR/best_model.pt is the best of the run that ended
last, of an ablation that of its best alpha.
The same command goes on where a run stopped, in the middle of an epoch too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from amela import ablation, slurm
from amela.cli import parser
from amela.errors import OK, STOPPED, CallError, run_main
from amela.files import make_folder, write_aside
from amela.leaving import leave
from amela.log import log
from amela.run_folder import RunFolder
from amela.ser_flags import HEADS, add_ser
from amela.signals import Stop

ALONE_FACTOR = 0.2  # of the learning rates at alpha 0: Cai et al. 2021 take 1e-5 there instead of 5e-5
CURVES = {
    "losses of heads, validation": {"valid_ser": "SER", "valid_ctc": "CTC", "valid_prosody": "prominence"},
    "emotion, validation": {"valid_ua": "UA", "valid_accuracy": "WA", "valid_macro_f1": "macro-F1"},
    "words, validation": {"valid_wer": "WER", "valid_cer": "CER", "valid_empty_share": "empty hypotheses"},
    "blank of CTC": {
        "blank_share": "mean p, training", "argmax_blank_share": "likeliest, training",
        "valid_blank_share": "mean p, validation", "valid_argmax_blank_share": "likeliest, validation",
    },
    "prominence, validation": {"valid_prosody_f1": "F1"},
}  # fmt: skip
SEED_NAMES = ("best_model.pt", "{backbone}_best_model.pt")


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    flags = parser(__doc__)
    add_ser(flags)
    args = flags.parse_args()
    args.wandb = args.wandb_project if args.use_wandb else args.wandb
    heads = [head for head in HEADS if getattr(args, f"use_alpha_{head}")]
    if not args.learning_rate:
        raise CallError("--head_lr 0: wanted a number above 0")
    if not heads and not args.run_ablation_study:
        raise CallError(
            "no head, so no loss; wanted some of --use_alpha_ser, --use_alpha_asr, --use_alpha_prosody"
        )
    for head in HEADS:
        args.settings[f"use_alpha_{head}"] = head in (heads or HEADS)
    args.settings["eval_epochs"] = True
    args.settings["best_by"] = "ua" if args.settings["use_alpha_ser"] else "loss"
    if args.settings["use_alpha_ser"]:
        args.settings["accuracy_is"] = (
            "share of utterances whose emotion is right (WA), of the validation set"
        )
    return args


def settings_of(args: argparse.Namespace, alpha_asr: float | None = None) -> dict[str, Any]:
    """Return the settings of a run, that of an alpha of the ablation where one is given."""
    settings = dict(args.settings)
    if alpha_asr is not None:
        settings.update(alpha_asr=alpha_asr, num_epochs=args.ablation_epochs)
        if alpha_asr == 0:
            for name in ("learning_rate", "backbone_lr"):
                settings[name] *= ALONE_FACTOR
    return settings


def folder_of(args: argparse.Namespace, settings: dict[str, Any], below: str = "") -> Path:
    """Return the folder of a run: named by backbone, heads and alphas, and a mark of all settings."""
    alphas = [f"{head}{settings[f'alpha_{head}']:g}" for head in HEADS if settings[f"use_alpha_{head}"]]
    mark = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    name = "_".join([settings["backbone"], *alphas, mark])
    name = (
        f"{args.experiment_name}_{name}" if below and args.experiment_name else args.experiment_name or name
    )
    return Path(args.save_dir) / below / f"{name}_s{settings['seed']}"


def train(args: argparse.Namespace, settings: dict[str, Any], folder: Path, stop: Stop) -> Any:
    """Train one run to its end and test it, or until a signal; returns how it ended, as running.run."""
    from media import hub, ser_data
    from networks import running, ser_backbones, ser_run
    from networks.device import DeviceError

    run = RunFolder(folder, slurm.here())
    try:
        settings = {**settings, "precision": ser_run.precision(args)}
    except DeviceError as exc:
        raise CallError(str(exc)) from exc

    def prepare() -> tuple[dict[str, Any], Any]:
        data, emotions, tokenizer = read(args)
        about = ser_backbones.described(hub.folder_of(args.model, args.revision))
        found = {
            "backbone_model": hub.name_of(args.model),
            "backbone_about": about,
            "emotions": emotions,
            "vocab_size": tokenizer.vocab_size,
            "tokenizer_sha256": digest(tokenizer.model_path),
        }
        return run.freeze({**settings, **found}, {}), data

    def build(config: dict[str, Any], data: Any, group: Any, device: Any) -> Any:
        weights = hub.folder_of(args.model, args.revision)
        return ser_run.build_task(config, data, weights, args.tokenizer_path, group, device, args, log)

    def gone(gained: bool) -> None:
        leave(stop, slurm.here(), gained, "step")

    bad = (ser_data.SerDataError, *ser_run.BAD_INPUT)
    outside = running.Outside(run, stop, write_aside, log, gone, CallError, bad)
    ended = running.run(outside, args, prepare, build)
    if ended.result is not None and ended.first:
        try:
            finish(args, folder)
        except bad as exc:
            raise CallError(
                f"{exc}; {folder}/best.pt is trained: mend that and give the same command again, or test "
                "it by evaluate_ser.py"
            ) from exc
    return ended


def digest(path: str) -> str:
    """Return the hash of a file; CallError where it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as exc:
        raise CallError(f"{path}: {exc.strerror}; wanted a file") from exc


def read(args: argparse.Namespace) -> tuple[dict[str, Any], list[str], Any]:
    """Return (utterances by split, names of the emotions, tokenizer); CallError names what cannot be used."""
    from media import ser_data, ser_sets

    paths = [args.train_jsonl, args.val_jsonl, args.test_jsonl]
    splits, emotions = ser_data.read_splits(paths, args.audio_base_path, args.emotions)
    data = dict(zip(("train", "valid", "test"), splits))
    shared = ser_sets.shared(data)
    if shared and not args.allow_shared_speakers:
        raise CallError(
            f"{'; '.join(shared)}: the figures would be of known voices; --allow_shared_speakers does it"
        )
    for line in [*shared, *ser_sets.class_table(data, emotions)]:
        log(line)
    if not any(one.speaker for one in data["train"]):
        log("note: no utterance names its speaker, so nobody can tell whether the test's voices are new")
    if unknown := ser_sets.unknown_emotions(data, emotions):
        log(f"warning: emotions of test that nobody in train has: {', '.join(unknown)}")
    return data, emotions, tokenizer_of(args, data["train"])


def tokenizer_of(args: argparse.Namespace, train: list[Any]) -> Any:
    """Return the tokenizer; CallError where it is not there, or larger than was asked for."""
    from media.sentencepiece_tokenizer import SentencePieceTokenizer
    from media.token_settings import TokenizerError

    path = args.tokenizer_path
    if args.retrain_tokenizer:
        retrain(args, train)
    found = SentencePieceTokenizer(model_path=path, log=log)
    try:
        found.load_tokenizer()
    except TokenizerError as exc:
        raise CallError(f"{exc}; --retrain_tokenizer makes one of the training set") from exc
    if found.vocab_size > args.vocab_size:
        raise CallError(
            f"{path}: found {found.vocab_size} pieces, --vocab_size says {args.vocab_size}; type "
            f"--vocab_size {found.vocab_size}, or train another by --retrain_tokenizer"
        )
    if found.vocab_size < args.vocab_size:
        log(f"warning: {path} has {found.vocab_size} pieces, not {args.vocab_size}; the CTC head has as many")
    return found


def retrain(args: argparse.Namespace, train: list[Any]) -> None:
    """Train the tokenizer on the training set, and put it there by rename: other tasks may be reading it."""
    from media.sentencepiece_tokenizer import SentencePieceTokenizer, train_model
    from media.word_counts import WordCounts

    counts = WordCounts()
    counts.add(" ".join(one.words) for one in train)
    model, tokenizer = train_model(counts.counts, args.vocab_size), SentencePieceTokenizer(log=log)
    tokenizer.take_model(model, args.tokenizer_path)
    vocab = Path(args.tokenizer_path).with_suffix(".vocab")
    for path, content in ((args.tokenizer_path, model), (vocab, tokenizer.vocab().encode())):
        with write_aside(path, "wb") as file:
            file.write(content)


def finish(args: argparse.Namespace, folder: Path) -> None:
    """Test the best of a run, once; draw its curves; in a run alone, publish its best weights."""
    from media import ser_data
    from networks import curves, ser_run

    if not (folder / "summary.txt").exists():
        curves.draw(str(folder), "alpha-weighted", write_aside, CURVES)
        names = json.loads((folder / "config.json").read_text())["emotions"]
        (utterances,), _ = ser_data.read_splits([args.test_jsonl], args.audio_base_path, names)
        ser_run.test(str(folder), utterances, args, write_aside)
    log(f"{folder}: {(folder / 'summary.txt').read_text().splitlines()[0]}")
    if not args.run_ablation_study:
        publish(args, folder)


def publish(args: argparse.Namespace, folder: Path) -> None:
    """Put the best weights of a run, and its test, where Prosody-SER has them."""
    names = [name.format(backbone=args.backbone) for name in SEED_NAMES]
    for name in names:
        copy(folder / "best.pt", Path(args.save_dir) / name)
    copy(folder / "test_metrics.json", Path(args.save_dir) / f"{args.backbone}_final_results.json")
    log(f"{args.save_dir}/{names[0]}: the best of {folder}")


def copy(source: Path, target: Path) -> None:
    """Copy a file by rename."""
    with write_aside(target, "wb") as file:
        file.write(source.read_bytes())


def study(args: argparse.Namespace, stop: Stop) -> int:
    """Train with each alpha of this task; returns the exit status."""
    every = {alpha: settings_of(args, alpha) for alpha in args.ablation_alphas}
    folders = {alpha: folder_of(args, settings, "ablation") for alpha, settings in every.items()}
    first = True
    for alpha in ablation.mine(args.ablation_alphas, slurm.here()):
        log(f"ablation: alpha_asr {alpha:g}, learning rate {every[alpha]['learning_rate']:g}")
        ended = train(args, every[alpha], folders[alpha], stop)
        if ended.result is None:
            return STOPPED
        first = ended.first
    if first:
        best = ablation.report(Path(args.save_dir) / "ablation", folders, log)
        if best is not None:
            publish(args, best)
    return OK


def main() -> int:
    """Train a run, or this task's alphas; returns the exit status."""
    args = parse_args()
    from media import hub
    from networks.ser_backbones import MODELS

    stop = Stop().listen()
    args.model = args.backbone_model or MODELS[args.backbone]
    hub.pin(args, CallError)
    args.settings["data_sha256"] = [
        digest(path) for path in (args.train_jsonl, args.val_jsonl, args.test_jsonl)
    ]
    make_folder(args.save_dir)
    if args.run_ablation_study:
        return study(args, stop)
    settings = settings_of(args)
    ended = train(args, settings, folder_of(args, settings), stop)
    return STOPPED if ended.result is None else OK


if __name__ == "__main__":
    run_main(main)
