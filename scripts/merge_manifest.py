"""Merge the results of array tasks into the manifest, in its order.

    python scripts/merge_manifest.py --manifest metadata/corpus.json
    python scripts/merge_manifest.py --manifest metadata/corpus.json --stage asr --clean

Prints done, failed and missing of each stage. While anything is missing it writes nothing, prints the sbatch
line that finishes the job and exits with 4 (--allow-missing merges what is there); it exits with 3 where too
much failed. It can run at any time, also twice at once or while tasks are at work.
"""

from __future__ import annotations

from amela.cli import parser, ratio
from amela.errors import run_main
from amela.merge import merge


def main() -> int:
    """Merge and return the exit status."""
    arguments = parser(__doc__)
    add = arguments.add_argument
    add("--manifest", required=True, metavar="PATH", help="the manifest that the tasks were given")
    add("--stage", metavar="NAME", help="judge only this stage (asr, vad …); all by default")
    add("--field", metavar="NAME", help="the --field that the stage was given")
    add("--allow-missing", action="store_true", help="merge what is there although records are missing")
    add(
        "--max-error-rate",
        type=ratio,
        default=0.1,
        metavar="R",
        help="share of failed records that is no failure",
    )
    add(
        "--clean",
        action="store_true",
        help="remove the state of a complete stage: its errors and history go too",
    )
    args = arguments.parse_args()
    return merge(
        args.manifest, args.stage, args.field, args.allow_missing, args.max_error_rate, args.clean
    ).status


if __name__ == "__main__":
    run_main(main)
