"""Grids of training runs: every combination of some settings, one array task each; frozen when the first
begins.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

from amela.errors import CallError
from amela.files import StrPath, link_first, make_folder, read_when_whole
from amela.manifest import from_line, to_line
from amela.run_folder import DONE
from amela.slurm import Place, command_line

Point = dict[str, Any]
MARK = 8  # hex digits in the name of a frozen grid
DEFAULT: dict[str, list[Any]] = {
    "embedding_dim": [128, 256],
    "hidden_size": [256, 512],
    "num_layers": [2, 3],
    "dropout": [0.1, 0.2],
}
SHORT = {  # in the name of a run's folder
    "learning_rate": "r",
    "hidden_size": "h",
    "embedding_dim": "e",
    "num_layers": "l",
    "batch_size": "b",
    "dropout": "d",
}


def read_points(grid: str) -> list[Point]:
    """Return the points of a grid: `default`, or a file of JSON with a list of values for each setting.

    The last setting varies fastest. CallError for points that stand twice.
    """
    axes = DEFAULT if grid == "default" else _read_axes(grid)
    points = [dict(zip(axes, values)) for values in itertools.product(*axes.values())]
    seen: dict[str, int] = {}
    for number, point in enumerate(points):
        first = seen.setdefault(json.dumps(point), number)
        if first != number:
            raise CallError(
                f"{grid}: points {first} and {number} are the same ({point}); wanted each value once"
            )
    return points


def _read_axes(path: str) -> dict[str, list[Any]]:
    example = '{"hidden_size": [256, 512], "dropout": [0.1, 0.2]}'
    try:
        axes = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        raise CallError(f"{path}: {exc.strerror}; wanted a grid such as {example}, or `default`") from exc
    except ValueError as exc:
        raise CallError(f"{path}: no JSON ({exc}); wanted a grid such as {example}") from exc
    lists = isinstance(axes, dict) and all(isinstance(values, list) and values for values in axes.values())
    if not (lists and axes):
        raise CallError(f"{path}: wanted a list of values for each setting, such as {example}")
    return {name.lstrip("-").replace("-", "_"): values for name, values in axes.items()}


def run_folder(checkpoints: str, dataset: str, settings: Point, varied: Point) -> str:
    """Return the folder of a run: its architecture and sizes, then the data set, the seed, and what else
    varies.
    """
    sizes = "_".join(f"{letter}{settings[name]}" for name, letter in SHORT.items())
    more = "".join(f"_{name}{value}" for name, value in varied.items() if name not in SHORT)
    return str(Path(checkpoints) / f"{settings['arch']}_{sizes}" / f"{dataset}_s{settings['seed']}{more}")


def freeze(checkpoints: str, dataset: str, points: list[Point], folders: list[str]) -> Path:
    """Write the grid as JSON lines (point, settings, run, command) unless it stands there; return its path.

    CallError where two points would train in one folder.
    """
    for number, folder in enumerate(folders):
        if folders.index(folder) != number:
            raise CallError(f"points {folders.index(folder)} and {number} have one run folder: {folder}")
    mark = hashlib.sha256(json.dumps([points, folders]).encode()).hexdigest()[:MARK]
    path = make_folder(checkpoints) / f"grid_{dataset}_{mark}.jsonl"
    command = command_line()
    lines = [
        to_line({"point": number, "settings": point, "run": folder, "command": command})
        for number, (point, folder) in enumerate(zip(points, folders))
    ]
    link_first(path, b"".join(lines))
    read_when_whole(path)
    return path


def grid_files(checkpoints: StrPath, dataset: str) -> list[Path]:
    """Return the frozen grids of a data set, and of no other one whose name begins alike."""
    return sorted(Path(checkpoints).glob(f"grid_{glob.escape(dataset)}_{'[0-9a-f]' * MARK}.jsonl"))


def is_finished(checkpoints: str, dataset: str) -> bool:
    """Tell whether grids of a data set were begun, and all their runs are finished."""
    files = grid_files(checkpoints, dataset)
    runs = [Path(from_line(line)["run"]) for path in files for line in path.read_bytes().splitlines()]
    return bool(runs) and all((run / DONE).exists() for run in runs)


def mine(points: int, place: Place) -> list[int]:
    """Return the points of this process: all outside an array, one a task, or each N-th where N tasks are
    fewer.
    """
    if place.task is None:
        return list(range(points))
    few = place.is_full_array and place.tasks is not None and 1 < place.tasks < points
    if place.task >= points:
        raise CallError(f"found task {place.task}, wanted 0 to {points - 1}: the grid has {points} points")
    return list(range(place.task, points, place.tasks if few and place.tasks else points))
