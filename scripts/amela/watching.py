"""What can be seen of training runs and stages from outside, by the files they leave: for dashboard.py."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable

from amela import beats
from amela.errors import CallError
from amela.grid import MARK
from amela.grid_runs import losses_of, ranked_runs, varied
from amela.log import log
from amela.run_folder import CONFIG, DONE, state_of
from amela.summary import ShardSummary, StageSummary, summaries

METRICS, SPEED = "metrics.jsonl", "speed.jsonl"
DEPTH = 4  # folders below a given one that are searched for runs
SHARDS = 40  # most shards told of a stage, as status.py shows

_troubles: set[str] = set()


def find_runs(folders: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what is known of each run at or below the folders, by its path, sorted.

    A run is a folder with config.json beside metrics.jsonl, heartbeats or done.json; none is looked for
    inside one.
    """
    found: dict[str, dict[str, Any]] = {}
    for top in folders:
        depth = top.rstrip(os.sep).count(os.sep)
        for folder, below, files in os.walk(top, followlinks=True):
            if CONFIG in files and (METRICS in files or DONE in files or "beats" in below):
                facts = _or_none(folder, "is not shown", _facts, Path(folder))
                if facts is not None:
                    found[folder] = facts
                below.clear()
            too_deep = folder.count(os.sep) - depth >= DEPTH
            below[:] = [] if too_deep else sorted(name for name in below if not name.startswith("."))
    return dict(sorted(found.items()))


def _facts(run: Path) -> dict[str, Any]:
    """Return state, where it runs, what its accuracy is, and when its files last changed."""
    config, done = _read(run / CONFIG), _read(run / DONE)
    last = max(beats.read_beats(run), key=lambda beat: float(beat["time"]), default={})
    job = last.get("job")
    where = f"{last['host']}{f', job {job}' if job else ''}" if last else ""
    try:
        changed = os.stat(run / METRICS).st_mtime
    except OSError:
        changed = 0.0
    return {
        "state": state_of(run),
        "where": where,
        "accuracy_is": str(config.get("accuracy_is") or ""),
        "ended": str(done.get("ended") or ""),
        "changed": int(changed),
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def find_stages(folders: Iterable[str]) -> list[dict[str, Any]]:
    """Return how far each stage of the manifests (given, or in given folders) is: what status.py shows."""
    manifests: dict[str, None] = {}
    for top in folders:
        paths = [Path(top)] if os.path.isfile(top) else sorted(Path(top).glob("*.json"))
        manifests.update((os.path.realpath(path), None) for path in paths)
    told = []
    for manifest in manifests:
        stages = _or_none(manifest, "has stages that are not shown", summaries, manifest)
        told += [_told(manifest, stage) for stage in stages or ()]
    return told


def _or_none(path: str, what: str, look: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `look` finds; None and a warning, once, where it meets damage or a change of just now."""
    try:
        return look(*arguments)
    except (OSError, ValueError, LookupError, TypeError, CallError) as exc:
        trouble = f"warning: {path} {what} for now: {type(exc).__name__}: {exc}"
        if trouble not in _troubles:
            _troubles.add(trouble)
            log(trouble)
        return None


def _told(manifest: str, stage: StageSummary) -> dict[str, Any]:
    shown = stage.to_show(SHARDS)
    return {
        "manifest": os.path.basename(manifest),
        "stage": stage.stage,
        "field": stage.field,
        "job": stage.job,
        "records": stage.records,
        "todo": stage.todo,
        **stage.totals(),
        "finish": stage.finish,
        "shards": [_shard(shard) for shard in shown],
        "of_shards": len(stage.shards),
    }


def _shard(shard: ShardSummary) -> dict[str, Any]:
    told = {**shard._asdict(), "where": shard.beat.get("host", "")}
    del told["beat"]
    return told


def find_grids(
    folders: Iterable[str], known: Callable[[Path], dict[str, Any] | None]
) -> list[dict[str, Any]]:
    """Return the ranked runs of each data set's grids, as `grid.py collect` prints them.

    `known(run)` returns best_loss, best_step and step of a run that is watched, None for another one.
    """

    def losses(run: Path) -> dict[str, Any]:
        return known(run) or losses_of(run)

    told = []
    for top in folders:
        names = {
            path.stem[len("grid_") : -MARK - 1]
            for path in Path(top).glob(f"grid_*_{'[0-9a-f]' * MARK}.jsonl")
        }
        for dataset in sorted(names):
            grids = f"{top}: the grid of {dataset}"
            rows = _or_none(grids, "is not shown", ranked_runs, top, dataset, losses)
            for row in rows or ():
                row["training"] = row["validation"] = None
            if rows:
                told.append({"dataset": dataset, "settings": varied(rows), "rows": rows})
    return told
