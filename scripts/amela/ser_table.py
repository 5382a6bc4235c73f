"""The table of the runs of train_ser.py below a folder: over folds and seeds, and the alpha to take."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any, Callable

from amela.errors import CallError
from amela.files import write_aside
from amela.run_folder import CONFIG, DONE

TABLE = "ser_table.csv"
TESTED = ("ua", "wa", "macro_f1", "wer", "cer", "prosody_f1", "prosody_auc")
ITS_OWN = {
    "seed",
    "data_sha256",
    "tokenizer_sha256",
    "vocab_size",
    "precision",
    "made_by",
}  # of a fold or a seed


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return a row for each setting of the finished and tested runs below a folder: the settings in which
    they differ, how many runs, mean and sd of each figure of the test sets, mean UA on the validation sets.
    """
    runs = []
    for path in sorted(folder.rglob(DONE)):
        tested = path.parent / "test_metrics.json"
        if tested.exists() and (path.parent / CONFIG).exists():
            config, done, metrics = (
                json.loads(one.read_text()) for one in (path.parent / CONFIG, path, tested)
            )
            runs.append(
                ({name: value for name, value in config.items() if name not in ITS_OWN}, done, metrics)
            )
    if not runs:
        raise CallError(f"{folder}: found no finished run of train_ser.py below it")
    names = dict.fromkeys(name for run in runs for name in run[0])
    differ = [name for name in names if len({json.dumps(run[0].get(name)) for run in runs}) > 1]
    groups: dict[str, list[Any]] = {}
    for run in runs:
        groups.setdefault(json.dumps([run[0].get(name) for name in differ]), []).append(run)
    return [_row(differ, group) for group in groups.values()]


def _row(differ: list[str], group: list[Any]) -> dict[str, Any]:
    row: dict[str, Any] = {name: group[0][0].get(name) for name in differ}
    row["runs"] = len(group)
    row["valid_ua"] = _mean([done.get("ua") for _, done, _ in group])
    for name in TESTED:
        values = [metrics[name] for _, _, metrics in group if metrics.get(name) is not None]
        row[name] = _mean(values)
        row[f"{name}_sd"] = statistics.stdev(values) if len(values) > 1 else None
    return row


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def show(folder: Path, say: Callable[[str], None]) -> None:
    """Print the table, the best setting by UA on validation sets first, and write ser_table.csv."""
    rows = sorted(rows_of(folder), key=lambda row: -(row["valid_ua"] or 0.0))
    with write_aside(folder / TABLE) as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        settings = [f"{name} {value}" for name, value in row.items() if name in _settings(row)]
        figures = [
            f"{name} {row[name]:.3f}"
            + (f" ± {row[f'{name}_sd']:.3f}" if row[f"{name}_sd"] is not None else "")
            for name in TESTED
            if row[name] is not None
        ]
        say(f"{', '.join([*settings, str(row['runs']) + ' runs'])}: {', '.join(figures)}")
    if len(rows) > 1 and rows[0]["valid_ua"] is not None:
        best = ", ".join(f"{name} {rows[0][name]}" for name in _settings(rows[0]))
        say(f"best by UA on the validation sets ({rows[0]['valid_ua']:.3f}): {best}")
    say(f"{folder / TABLE}")


def _settings(row: dict[str, Any]) -> list[str]:
    return list(row)[: list(row).index("runs")]
