"""The lines of one file of metrics as columns of numbers, and as few points of them as a chart can show."""

from __future__ import annotations

import math
from array import array
from itertools import chain, repeat
from typing import Any

POSITION = ("step", "epoch", "tokens", "time")  # where a line belongs; all other numbers are what is drawn
NAN = math.nan


class Columns:
    """Lines in the order of their steps; one that goes back takes the place of those from its step on.

    `lines` counts all lines of the file, of which those without a step are not kept. A value that is no
    finite number is none: NaN in the columns, null in JSON.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all, as the file was cut; `times_cut` goes up."""
        self.times_cut = getattr(self, "times_cut", -1) + 1
        self.lines = 0
        self.marks = array("L")  # a checksum a line of the file
        self.numbers = array("q")  # of the lines kept, in the file, from 1
        self.values: dict[str, array[float]] = {"step": array("d")}
        self.steps_per_epoch: float | None = None  # None before the first epoch ended

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, marks: list[int], rows: list[dict[str, Any]]) -> None:
        """Append the lines that follow the last one."""
        first = self.lines + 1
        self.marks.extend(marks)
        self.lines += len(rows)
        steps = _column(rows, "step")
        numbers = [number for number, step in enumerate(steps, first) if not math.isnan(step)]
        rows = [rows[number - first] for number in numbers]
        begin = 0
        for index, row in enumerate(rows):  # a stretch that never goes back is appended at once
            before = rows[index - 1] if index > begin else None
            step = row["step"]
            is_later = step > (before["step"] if before else self._last("step"))
            if not (is_later or (before and step == before["step"] and not _shared(row, before))):
                self._append(numbers[begin:index], rows[begin:index])
                self._go_back(step, row)
                begin = index
        self._append(numbers[begin:], rows[begin:])

    def _append(self, numbers: list[int], rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        columns = {name: _column(rows, name) for name in {**self.values, **dict.fromkeys(chain(*rows))}}
        self._note_epochs(columns["step"], columns.get("epoch"))
        for name, column in columns.items():
            if name not in self.values:
                if all(map(math.isnan, column)):
                    continue  # words, lists, or nothing yet
                self.values[name] = array("d", repeat(NAN, len(self.numbers)))
            self.values[name].extend(column)
        self.numbers.extend(numbers)

    def _note_epochs(self, steps: array[float], epochs: array[float] | None) -> None:
        """Learn how long an epoch is where one has ended."""
        if epochs is None:
            return
        before_epoch, before_step = self._last("epoch"), self._last("step")
        if epochs[-1] > before_epoch:  # one has ended, or more
            for epoch, step in zip(epochs, steps):
                if epoch > before_epoch >= 1:
                    self.steps_per_epoch = before_step / before_epoch
                before_epoch, before_step = epoch, step

    def _go_back(self, step: float, row: dict[str, Any]) -> None:
        """Take back what a run that began again from a checkpoint does anew: later steps, and this one's."""
        shared = [name for name in row if name in self.values and name not in POSITION]
        keep = len(self)
        while keep and (
            self.values["step"][keep - 1] > step
            or (self.values["step"][keep - 1] == step
                and any(not math.isnan(self.values[name][keep - 1]) for name in shared))
        ):  # fmt: skip
            keep -= 1
        for column in (self.numbers, *self.values.values()):
            del column[keep:]

    def _last(self, name: str) -> float:
        column = self.values.get(name)
        return column[-1] if column else -math.inf

    def knows(self, line: Any, mark: Any) -> bool:
        """Tell whether that line of the file, of that checksum, is among those read."""
        whole = isinstance(line, int) and isinstance(mark, int)
        return whole and 0 < line <= self.lines and self.marks[line - 1] == mark

    def rows_after(self, line: int) -> range:
        """Return the indices of the rows that stand after a line of the file."""
        count = 0
        while count < len(self) and self.numbers[-1 - count] > line:
            count += 1
        return range(len(self) - count, len(self))

    def row(self, index: int) -> dict[str, float | None]:
        """Return one line's numbers by name, without those that it does not have."""
        found = {name: column[index] for name, column in self.values.items()}
        return {name: _plain(value) for name, value in found.items() if not math.isnan(value)}

    def last(self, name: str) -> float | None:
        """Return the last value of a column, None where there is none."""
        column = self.values.get(name, ())
        return next((_plain(value) for value in reversed(column) if not math.isnan(value)), None)

    def lowest(self, name: str) -> tuple[float | None, float | None]:
        """Return (value, step) where a column is lowest, the first such; Nones where there is none."""
        import numpy as np

        column = np.array(self.values.get(name, ()), dtype=float)
        if not np.isfinite(column).any():
            return None, None
        index = int(np.nanargmin(column))
        return _plain(column[index]), _plain(self.values["step"][index])

    def points(self, most: int, low: float | None, high: float | None) -> dict[str, list[list[Any]]]:
        """Return {name: [steps, tokens, values]} of at most `most` points each, from step low to high (None:
        all) with one more on either side, so that a line goes to the edge.
        """
        import numpy as np

        steps = np.array(self.values["step"])
        tokens = np.array(self.values.get("tokens", ()) or np.full(len(steps), NAN))
        found = {}
        for name, column in self.values.items():
            if name not in POSITION:
                values = np.array(column)
                index = np.flatnonzero(np.isfinite(values))
                begin = 0 if low is None else max(0, int(np.searchsorted(steps[index], low)) - 1)
                end = None if high is None else int(np.searchsorted(steps[index], high, side="right")) + 1
                index = index[begin:end]
                index = index[thin(steps[index], values[index], most)]
                found[name] = [[_plain(number) for number in part[index].tolist()]
                               for part in (steps, tokens, values)]  # fmt: skip
        return found


def thin(x: Any, y: Any, most: int) -> Any:
    """Return the indices of at most `most` points (4 or more) that draw the same line: the first, the last,
    and of each of most / 2 - 1 equal stretches of x the lowest and the highest, so that no peak is lost.

    x (n,) does not fall. A stretch as wide as a pixel looks the same as with all of its points.
    """
    import numpy as np

    if len(x) <= most:
        return np.arange(len(x))
    edges = np.linspace(x[0], x[-1], most // 2)[:-1]
    starts = np.unique(np.searchsorted(x, edges))
    lengths = np.diff(np.append(starts, len(x)))
    stretch = np.repeat(np.arange(len(starts)), lengths)
    picked = [[0, len(x) - 1]]
    for extreme in (np.minimum, np.maximum):
        there = np.flatnonzero(y == np.repeat(extreme.reduceat(y, starts), lengths))
        picked.append(there[np.flatnonzero(np.diff(stretch[there], prepend=-1))])
    return np.unique(np.concatenate(picked))


def _shared(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two lines have a figure in common: two of training have, one of validation has not."""
    return any(name in other for name in one if name not in POSITION)


def _column(rows: list[dict[str, Any]], name: str) -> array[float]:
    """Return one column of the lines; quickly where all are plain numbers."""
    values = [row.get(name) for row in rows]
    kinds = set(map(type, values))
    if kinds == {float} or (kinds == {int} and max(map(abs, values)) < 1 << 53):
        column = array("d", values)
        if math.isfinite(sum(column)):
            return column
    return array("d", map(_number, values))


def _number(value: Any) -> float:
    """Return a finite float, NaN for anything else."""
    if type(value) is float:
        return value if -math.inf < value < math.inf else NAN
    if type(value) is int:
        return float(value) if abs(value) < 1 << 1000 else NAN
    return NAN


def _plain(value: Any) -> Any:
    """Return a number as the file had it: whole ones without a point, none for NaN."""
    if math.isnan(value):
        return None
    return int(value) if value == int(value) and abs(value) < 1 << 53 else float(value)
