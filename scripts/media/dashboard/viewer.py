"""What one open page watches, and which messages it has not had yet. TECHNICAL.md 20 has the protocol."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from media.dashboard.columns import Columns

POINTS_A_PIXEL = 2  # at most, of one line of a chart, those that arrive later counted
WIDTHS = (100, 4000)  # of a chart, pixels
Files = Mapping[str, Columns]  # of a run, by name without .jsonl


class Cursor(NamedTuple):
    """How far a page has one file of a run, and how many lines more it takes before it wants fewer points."""

    line: int
    times_cut: int
    room: int


class Viewer:
    """One page. It says by `watch` what it wants to see; `news` are the messages that bring it up to date."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}  # the last message of each subject
        self.runs: list[str] = []
        self.width = 600
        self.low: float | None = None
        self.high: float | None = None
        self.cursors: dict[tuple[str, str], Cursor] = {}

    def watch(self, message: Any, runs: Mapping[str, Files]) -> None:
        """Take over what a page wants to see; ValueError where that cannot be understood.

        `have` holds {run: {file: [number of the last line, its checksum]}}: what stands after it is sent. A
        run that is not there, or whose line is not the file's any more, is sent anew.
        """
        if not _is_wish(message):
            raise ValueError('wanted {"type": "watch", "runs": […], "width": …, "have": {…}}')
        have = message.get("have", {})
        self.runs = [str(run) for run in message["runs"]]
        self.width = int(min(max(_number(message.get("width")) or 600, WIDTHS[0]), WIDTHS[1]))
        self.low, self.high = _number(message.get("from")), _number(message.get("to"))
        self.cursors = {}
        for run in self.runs:
            files = have.get(run) if isinstance(have.get(run), dict) else {}
            for name, columns in runs.get(run, {}).items():
                seen = files.get(name)
                if isinstance(seen, list) and len(seen) == 2 and columns.knows(*seen):
                    self.cursors[run, name] = Cursor(seen[0], columns.times_cut, self.width // 4)

    def news(self, subjects: Mapping[str, str], runs: Mapping[str, Files]) -> Iterator[str]:
        """Yield what the page has not had: messages of subjects that changed, then those of its runs."""
        for subject, text in list(subjects.items()):
            if self.told.get(subject) != text:
                self.told[subject] = text
                yield text
        for subject in [one for one in self.told if one not in subjects]:
            del self.told[subject]
            yield dumps({"type": "gone", "run": subject})
        for run in self.runs:
            for name, columns in list(runs.get(run, {}).items()):
                yield from self._news_of(run, name, columns)

    def _news_of(self, run: str, name: str, columns: Columns) -> Iterator[str]:
        cursor = self.cursors.get((run, name))
        if cursor is None or cursor.times_cut != columns.times_cut:
            yield self._points(run, name, columns)
            return
        if cursor.line == columns.lines:
            return
        rows = columns.rows_after(cursor.line)
        if len(rows) > cursor.room:
            yield self._points(run, name, columns)
            return
        self.cursors[run, name] = Cursor(columns.lines, columns.times_cut, cursor.room - len(rows))
        messages = [self._line(run, name, columns, index) for index in rows]
        yield from filter(None, messages)

    def _points(self, run: str, name: str, columns: Columns) -> str:
        """Return the message that replaces all that a page has of a file."""
        room = POINTS_A_PIXEL * self.width // 4
        self.cursors[run, name] = Cursor(columns.lines, columns.times_cut, room)
        series = columns.points(POINTS_A_PIXEL * self.width - room, self.low, self.high)
        mark = columns.marks[-1] if columns.lines else None
        return dumps({"type": "points", "run": run, "file": name, "line": columns.lines, "mark": mark,
                      "from": self.low, "to": self.high, "width": self.width, "series": series})  # fmt: skip

    def _line(self, run: str, name: str, columns: Columns, index: int) -> str | None:
        """Return the message of one line; None where it lies outside of what is looked at."""
        row = columns.row(index)
        below = self.low is not None and row["step"] < self.low
        if below or (self.high is not None and row["step"] > self.high):
            return None
        line = columns.numbers[index]
        seed = {"epoch": None, "loss": None, "accuracy": None} if name == "metrics" else {}
        head = {"type": name, "run": run, "line": line, "mark": columns.marks[line - 1]}
        return dumps({**seed, **row, **head})


def _is_wish(message: Any) -> bool:
    is_watch = isinstance(message, dict) and message.get("type") == "watch"
    return is_watch and isinstance(message.get("runs"), list) and isinstance(message.get("have", {}), dict)


def dumps(message: dict[str, Any]) -> str:
    """Return a message as text; what is no finite number in it is null."""
    try:
        return json.dumps(message, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(message), allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e300 else None
