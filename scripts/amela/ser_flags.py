"""The flags of train_ser.py, with the names and defaults of Prosody-SER."""

from __future__ import annotations

import argparse

from amela.cli import Parser, amount, not_negative, positive, ratio
from amela.training_flags import add_training

BACKBONES = ("whisper", "xlsr", "mms", "wav2vec2-bert")
ALPHAS = (0.0, 0.001, 0.01, 0.1, 1.0)
HEADS = ("ser", "asr", "prosody")
SWITCH = argparse.BooleanOptionalAction


def add_ser(flags: Parser) -> None:
    """Add all flags of train_ser.py."""
    _add_data(flags)
    _add_model(flags)
    _add_losses(flags)
    _add_loop(flags)
    _add_ablation(flags)


def _add_data(flags: Parser) -> None:
    where, add = flags.add_speed_argument, flags.add_argument
    where(
        "--audio-base-path", required=True, metavar="DIR", help="what relative audio_filepath are relative to"
    )
    for split in ("train", "val", "test"):
        where(
            f"--{split}-jsonl", required=True, metavar="FILE", help=f"utterances to {USES[split]}, JSON lines"
        )
    where("--tokenizer-path", required=True, metavar="FILE", help=".model of SentencePiece, blank 4")
    where("--retrain-tokenizer", action="store_true", help="train the tokenizer on the training set first")
    add("--vocab-size", type=positive, default=4000, help="pieces of the tokenizer")
    add("--emotions", nargs="+", metavar="NAME",
        help="names of the emotions, in the order of their numbers (default: Prosody-SER's nine for numbers, "
        "those of the training set for names)")  # fmt: skip
    add("--allow-shared-speakers", action="store_true", help="train and test on the same voices all the same")


USES = {"train": "train on", "val": "stop and choose by", "test": "report at the end"}


def _add_model(flags: Parser) -> None:
    add = flags.add_argument
    add("--backbone", choices=BACKBONES, default="whisper", help="kind of speech encoder")
    add(
        "--backbone-model",
        metavar="MODEL",
        help="hub id or folder of it (default: the published one of the kind)",
    )
    add("--revision", default="main", help="branch, tag or commit of a hub model; pinned when a run begins")
    flags.add_speed_argument("--offline", action="store_true", help="never ask the model hub")
    add("--from-scratch", action=SWITCH, default=False,
        help="begin with random weights: of MODEL only config.json is needed")  # fmt: skip
    add("--whisper-trim", action=SWITCH, default=False,
        help="do not fill utterances up to Whisper's 30 s: faster, not what it was trained on")  # fmt: skip
    add("--dropout", type=ratio, default=0.1, help="share of activations left out in the heads")
    add("--gradient-checkpointing", action=SWITCH, default=False,
        help="compute the backbone's layers again for the gradient: less memory, more time")  # fmt: skip


def _add_losses(flags: Parser) -> None:
    add = flags.add_argument
    for head, alpha, what in (("ser", 1.0, "emotion"), ("asr", 0.1, "CTC"), ("prosody", 0.1, "prominence")):
        add(f"--alpha-{head}", type=amount, default=alpha, help=f"weight of the loss of {what}")
        add(f"--use-alpha-{head}", action=SWITCH, default=False, help=f"have the head of {what}")
    add(
        "--ctc-entropy-weight",
        type=amount,
        default=0.01,
        help="times the entropy of frames, in nats: is taken off",
    )
    add("--ctc-entropy-share", action=SWITCH, default=False,
        help="entropy as a share of log V, so that its weight means the same for any vocabulary")  # fmt: skip
    add("--ctc-blank-penalty", type=amount, default=50.0,
        help="times what the mean p of the blank exceeds the threshold by; 1 teaches faster")  # fmt: skip
    add(
        "--ctc-blank-threshold", type=ratio, default=0.3, help="mean probability of the blank without penalty"
    )
    add("--ctc-label-smoothing", type=ratio, default=0.0, help="share of the uniform distribution")
    add("--ctc-confidence-penalty", type=amount, default=0.0, help="times what a frame's best p is too large")
    add("--ctc-confidence-threshold", type=ratio, default=0.95, help="p of a frame's best without penalty")
    add("--prosody-align", choices=["ctc", "uniform"], default="ctc",
        help="frames of a word: where the ASR head hears it, or all words equally long")  # fmt: skip
    add("--class-weights", choices=["none", "balanced"], default="none",
        help="balanced: N / (C n) of an emotion that has n of N utterances, at most 10")  # fmt: skip
    add(
        "--logit-adjustment",
        type=amount,
        default=0.0,
        help="times the log prior, added to logits in training",
    )
    add("--focal-gamma", type=amount, default=0.0, help="of focal loss; 0: cross-entropy")


def _add_loop(flags: Parser) -> None:
    add, add_speed = flags.add_argument, flags.add_speed_argument
    add_training(flags)
    add("--head-lr", dest="learning_rate", type=amount, help="learning rate of the heads (default: 5e-05)")
    add("--backbone-lr", type=amount, default=1e-5, help="learning rate of the backbone")
    add("--warmup-ratio", type=ratio, default=0.1, help="share of all steps in which the rate rises")
    add("--early-stopping-patience", dest="early_stopping", type=not_negative,
        help="evaluations without gain that end the run; 0: never")  # fmt: skip
    add_speed("--checkpoint-interval", dest="checkpoint_epochs", type=not_negative, metavar="N",
              help="keep checkpoint_epoch_K.pth of every N-th epoch; 0: of none")  # fmt: skip
    add_speed(
        "--save-dir", default="checkpoints", metavar="DIR", help="folder of all runs, and of best_model.pt"
    )
    add_speed(
        "--experiment-name", metavar="NAME", help="name of the run's folder (default: after its settings)"
    )
    add_speed("--use-wandb", action=SWITCH, default=False, help="log to Weights & Biases too")
    add_speed("--wandb-project", default="mtl-akan-speech", metavar="NAME", help="there")
    add("--use-amp", action=SWITCH, default=True,
        help="mixed precision on a GPU: bf16 where it has it, else fp16; CPUs compute in fp32")  # fmt: skip
    add_speed("--num-workers", type=not_negative, default=4, help="threads that read audio")
    add("--pin-memory", action=SWITCH, default=True, help="batches in memory that a GPU reads faster")
    add_speed("--prefetch-factor", type=positive, default=2, help="steps that each of them reads ahead")
    flags.set_defaults(
        batch_size=8, num_epochs=100, grad_accum_steps=4, learning_rate=5e-5, schedule="linear",
        early_stopping=10, checkpoint_epochs=5, eval_steps=500, log_steps=100, weight_decay=0.01, beta2=0.999,
    )  # fmt: skip


def _add_ablation(flags: Parser) -> None:
    add = flags.add_speed_argument
    add("--run-ablation-study", action="store_true",
        help="train with each alpha of ASR, all heads on unless some are asked for; in an array each task "
        "does its share of the alphas")  # fmt: skip
    add(
        "--ablation-alphas",
        type=amount,
        nargs="+",
        default=list(ALPHAS),
        metavar="A",
        help="values of --alpha-asr",
    )
    add("--ablation-epochs", type=positive, default=5, metavar="N", help="epochs of each alpha")
