"""Add `words` and `letters` to each record: how many its text has. The stage to copy for a new one."""

from __future__ import annotations

import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))

from amela.cli import stage_parser
from amela.errors import run_main
from amela.stage import run_shard


def load(args):
    """Return the model: here what the flags ask for."""
    return args


def process(args, batch):
    """Return the fields of each record; the words `bad`, `crash` and `huge` do what they say."""
    time.sleep(args.seconds * len(batch))
    if sum(record["text"].count("huge") for record in batch) > 1:
        raise MemoryError("out of memory")
    fields = []
    for record in batch:
        words = record["text"].split()
        if "bad" in words and not args.mended:
            raise ValueError(f"{record['id']}: a bad word")
        if "crash" in words:
            os.kill(os.getpid(), signal.SIGSEGV)
        fields.append({"words": len(words), "letters": {"all": sum(map(len, words)), "scale": args.scale}})
    return fields


def main() -> int:
    """Run the stage."""
    parser = stage_parser(__doc__, batch_size=4)
    parser.add_argument("--scale", type=float, default=1.0, help="a setting that stands in the result")
    parser.add_speed_argument("--seconds", type=float, default=0.0, help="time a record takes, s")
    parser.add_speed_argument("--mended", action="store_true", help="let bad words pass")
    args = parser.parse_args()
    return run_shard(args, stage="toy", fields=("words", "letters"), load=load, process=process)


if __name__ == "__main__":
    run_main(main)
