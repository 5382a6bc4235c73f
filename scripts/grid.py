"""Grids of training runs: write a grid out, and compare the runs of those that were begun.

    python scripts/grid.py expand grid.json metadata/grid_points.jsonl
    python scripts/grid.py collect corpus

`expand` prints the points of a grid (JSON, a list of values for each setting; or `default`) by array index.
`collect` ranks the runs of all grids of a data set by their best validation loss, names those that are
missing with the line that trains them, and writes output/<dataset>_grid.csv and .png. It ends with 4 while
runs are missing.
"""

from __future__ import annotations

import csv
import json
import shlex
from typing import Any

from amela import grid
from amela.cli import parser
from amela.errors import INCOMPLETE, OK, CallError, run_main
from amela.files import make_folder, write_aside
from amela.grid_runs import ranked_runs, varied
from amela.log import log
from amela.manifest import write_manifest
from amela.slurm import array_expression

COLUMNS = ("rank", "grid", "point", "state", "best_loss", "perplexity", "best_step", "step")
LEGEND = 16  # curves that a legend can still name


def expand(args: Any) -> int:
    """Print the points of a grid, or write them as JSON lines."""
    points = grid.read_points(args.grid)
    if args.output:
        write_manifest(args.output, ({"id": str(number), **point} for number, point in enumerate(points)))
        log(f"{args.output}: {len(points)} points; --array=0-{len(points) - 1}")
    else:
        for number, point in enumerate(points):
            print(number, json.dumps(point))
    return OK


def collect(args: Any) -> int:
    """Rank the runs of a data set's grids; returns INCOMPLETE while some are not finished."""
    rows = ranked_runs(args.checkpoints, args.dataset)
    if not rows:
        raise CallError(
            f"{args.checkpoints}: no grid of {args.dataset!r} was begun here; wanted "
            f"grid_{args.dataset}_*.jsonl, as `sbatch slurm/train.slurm MANIFEST TOKENS_DIR` leaves it"
        )
    settings = varied(rows)
    table = [
        [*(show(row.get(name)) for name in COLUMNS), *(show(row["settings"].get(name)) for name in settings)]
        for row in rows
    ]
    print_table([*COLUMNS, *settings], table)
    target = make_folder(args.output) / f"{args.dataset}_grid"
    with write_aside(f"{target}.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *settings, "run"])
        writer.writerows([*cells, row["run"]] for cells, row in zip(table, rows))
    draw(f"{target}.png", rows)
    log(f"{target}.csv, {target}.png")
    missing = [row for row in rows if row["state"] != "done"]
    for line in finish_lines(missing):
        print(line)
    return INCOMPLETE if missing else OK


def finish_lines(missing: list[dict[str, Any]]) -> list[str]:
    """Return the commands that train what is missing, one a grid."""
    by_grid: dict[str, list[dict[str, Any]]] = {}
    for row in missing:
        if row["state"] != "running":
            by_grid.setdefault(row["grid"], []).append(row)
    lines = []
    for rows in by_grid.values():
        command, *words = rows[0]["command"]
        points = array_expression(row["point"] for row in rows)
        start = ["sbatch", f"--array={points}"] if command.endswith(".slurm") else ["python"]
        if command.endswith(".slurm") and words[:2] == ["--grid", "default"]:
            words = words[2:]  # the launcher says it
        lines.append(f"points {points} are missing: {shlex.join([*start, command, *words])}")
    return lines


def show(value: Any) -> str:
    """Return a cell's text."""
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) and not value.is_integer() and value > 1 else str(value)


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print aligned columns."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    for cells in [header, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())


def draw(path: str, rows: list[dict[str, Any]]) -> None:
    """Draw the validation curves of the runs, the best ones named."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for row in rows:
        if row["validation"]:
            name = f"{row['rank']}: " + " ".join(f"{key} {value}" for key, value in row["settings"].items())
            label = name if row["rank"] <= LEGEND else None
            axes.plot(*zip(*row["validation"]), marker=".", linewidth=1, label=label)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("validation loss (nats a unit)")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=6)
    with write_aside(path, "wb") as file:
        figure.savefig(file, format="png", dpi=150)
    plt.close(figure)


def main() -> int:
    """Run the command asked for; returns the exit status."""
    flags = parser(__doc__)
    commands = flags.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("expand", help="print the points of a grid by their array index")
    one.add_argument("grid", nargs="?", default="default", help="`default` or a JSON file")
    one.add_argument("output", nargs="?", help="file of JSON lines to write them to")
    one.set_defaults(run=expand)
    one = commands.add_parser(
        "collect", help="rank the runs of a data set's grids; draw them; say what is missing"
    )
    one.add_argument("dataset", help="name of the data set, as in the run folders: the manifest's name")
    one.add_argument("--checkpoints", default="checkpoints", metavar="DIR", help="folder of all runs")
    one.add_argument("--output", default="output", metavar="DIR", help="folder of the table and the picture")
    one.set_defaults(run=collect)
    args = flags.parse_args()
    status: int = args.run(args)
    return status


if __name__ == "__main__":
    run_main(main)
