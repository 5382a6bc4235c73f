"""Rows of results, each a dict of the same columns: as CSV, as JSON, and as text for the screen."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from amela.files import StrPath, write_aside

Row = Mapping[str, Any]


def write_csv(path: StrPath, rows: Sequence[Row]) -> str:
    """Write rows with the columns of the first one; return the path."""
    with write_aside(path) as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def write_json(path: StrPath, rows: Sequence[Row]) -> str:
    """Write rows as one list, null for NaN; return the path."""
    clean = [{name: None if _is_nan(value) else value for name, value in row.items()} for row in rows]
    with write_aside(path) as file:
        json.dump(clean, file, indent=1)
        file.write("\n")
    return str(path)


def as_text(rows: Sequence[Row], titles: Mapping[str, str]) -> str:
    """Return a table of the columns that `titles` names: words to the left, numbers to the right, - for
    NaN.
    """
    cells = [[*titles.values()], *[[_shown(row[name]) for name in titles] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells)]
    sides = ["<" if isinstance(rows[0][name], str) else ">" for name in titles]
    lines = ["  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths))
             for line in cells]  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


def _shown(value: Any) -> str:
    if _is_nan(value):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
