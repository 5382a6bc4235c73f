"""The flags that every trainer has; a trainer's own defaults by `flags.set_defaults`."""

from __future__ import annotations

import argparse

from amela.cli import Parser, add_device, amount, not_negative, positive, ratio


def add_training(flags: Parser) -> None:
    """Add how to train: what the loop of networks/training.py reads, and running.py beside it."""
    add, add_speed = flags.add_argument, flags.add_speed_argument
    add("--seed", type=not_negative, default=42, help="of split, order, weights and dropout")
    add("--batch-size", type=positive, default=32, help="sequences a batch")
    add("--group-by-length", action=argparse.BooleanOptionalAction, default=True, help="batch like lengths")
    add("--grad-accum-steps", "--gradient-accumulation-steps", type=positive, default=1,
        help="batches of one optimizer step")  # fmt: skip
    add("--learning-rate", type=amount, default=0.001, help="of AdamW, at the top of the schedule")
    add("--schedule", choices=["constant", "inverse-sqrt", "cosine", "linear", "plateau"], default="constant",
        help="of the learning rate after the warm-up")  # fmt: skip
    add("--warmup-steps", type=not_negative, default=0, help="steps of linear rise; 1000 suits inverse-sqrt")
    add("--weight-decay", type=amount, default=0.0, help="of matrices")
    add("--beta1", type=ratio, default=0.9, help="of AdamW")
    add("--beta2", type=ratio, default=0.98, help="of AdamW")
    add("--clip", "--max-grad-norm", type=amount, default=1.0, help="largest norm of the gradient; 0: none")
    add("--precision", choices=["fp32", "bf16", "fp16"], default="fp32", help="numbers of the forward pass")
    for name in ("bf16", "fp16"):
        add(f"--use-{name}", dest="precision", action="store_const", const=name, help=f"--precision {name}")
    add("--num-epochs", type=positive, default=100, help="epochs at most")
    add("--max-steps", type=not_negative, default=0, help="optimizer steps instead of epochs; 0: off")
    add("--early-stopping", type=not_negative, default=10,
        help="evaluations without gain that end the run; 0: never")  # fmt: skip
    add("--eval-steps", type=not_negative, default=0, help="steps between evaluations; 0: each epoch")
    add("--log-steps", type=positive, default=50, help="steps between lines of metrics")
    add_speed("--save-steps", type=positive, default=500,
              help="steps between checkpoints, beside each evaluation")  # fmt: skip
    add_speed("--checkpoint-epochs", type=not_negative, default=0, metavar="N",
              help="keep checkpoint_epoch_K.pth of every N-th epoch; 0: of none")  # fmt: skip
    add_device(add_speed)
    add_speed("--deterministic", action="store_true", help="only kernels that give the same bits each time")
    add_speed("--wandb", metavar="PROJECT",
              help="log to Weights & Biases too; WANDB_MODE=offline without network")  # fmt: skip
