"""What dashboard.py knows of a file of metrics: lines as they come, cuts, decimation, what a page is sent."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amela import run_tail
from amela.run_tail import Tail
from media.dashboard.columns import Columns, thin
from media.dashboard.viewer import Viewer


def lines(*steps: int, **values: Any) -> str:
    return "".join(json.dumps({"step": step, "loss": step / 7, **values}) + "\n" for step in steps)


def take(tail: Tail, columns: Columns) -> Columns:
    """Bring columns up to date, as the hub does."""
    more = True
    while more:
        news = tail.read()
        if news.cut:
            columns.clear()
        columns.add(news.marks, news.rows)
        more = news.more
    return columns


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_a_line_counts_once_and_only_when_it_is_whole(path: Path) -> None:
    tail = Tail(path)
    assert tail.read() == (1, [], [], False, False)
    path.write_text(lines(1, 2) + '{"step": 3, "lo')
    assert [row["step"] for row in tail.read().rows] == [1, 2]
    assert tail.read().rows == []
    with open(path, "a") as file:
        file.write('ss": 4}\n')
    news = tail.read()
    assert (news.first, news.rows, news.cut) == (3, [{"step": 3, "loss": 4}], False)


def test_a_file_that_was_cut_is_read_again_even_where_it_has_its_old_size(path: Path) -> None:
    """A run that goes on cuts to its checkpoint and writes anew before anybody looks."""
    tail = Tail(path)
    path.write_text(lines(1, 2, 3))
    tail.read()
    path.write_text(lines(1) + lines(2, 3).replace("0.42", "0.43"))
    news = tail.read()
    assert (news.cut, news.first, len(news.rows)) == (True, 1, 3)
    path.write_text(lines(1, 2))
    assert (tail.read().cut, tail.lines) == (True, 2)
    path.unlink()
    assert tail.read().cut
    assert not tail.read().cut


def test_long_files_come_in_parts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tail, "CHUNK_BYTES", 100)
    path.write_text(lines(*range(1, 50)))
    assert len(take(Tail(path), Columns())) == 49


def test_what_is_no_line_of_metrics_costs_nothing_else(path: Path) -> None:
    """NaN, infinity, null, words, lists, NUL bytes, half lines in the middle: no number, and no end."""
    path.write_bytes(
        b'{"step": 1, "loss": NaN, "note": "x"}\n\0\0\0\n{"st\n[1]\n"step"\n{"loss": 5}\n\n'
        b'{"step": true, "loss": 1}\n'
        b'{"step": 2, "loss": Infinity, "lr": null, "who": [1, 2], "big": 1' + b"0" * 400 + b"}\n"
        b'{"step": 3, "loss": 0.5}\n{"step": "4", "loss": 1}\n'
    )
    columns = take(Tail(path), Columns())
    assert (columns.lines, list(columns.values["step"])) == (11, [1, 2, 3])
    assert columns.points(10, None, None) == {"loss": [[3], [None], [0.5]]}
    assert columns.row(0) == {"step": 1}
    assert columns.lowest("loss") == (0.5, 3)
    assert columns.lowest("who") == (None, None)


def test_a_run_that_begins_again_from_a_checkpoint_takes_the_place_of_what_it_did(path: Path) -> None:
    """speed.jsonl is not cut: its lines go back instead."""
    path.write_text(lines(50, 100, 150) + lines(100, 150, 200, epoch=2))
    columns = take(Tail(path), Columns())
    assert list(columns.values["step"]) == [50, 100, 150, 200]
    assert list(columns.numbers) == [1, 4, 5, 6]
    columns.add([0], [{"step": 200, "valid_loss": 1.0}])  # of the same step, and of another kind
    assert list(columns.values["step"]) == [50, 100, 150, 200, 200]


def test_epochs_are_as_long_as_those_that_ended() -> None:
    columns = Columns()
    columns.add([0, 0], [{"step": 50, "epoch": 1}, {"step": 80, "epoch": 1}])
    assert columns.steps_per_epoch is None
    columns.add([0, 0], [{"step": 100, "epoch": 2}, {"step": 160, "epoch": 2}])
    assert columns.steps_per_epoch == 80
    columns.add([0], [{"step": 170, "epoch": 3}])
    assert columns.steps_per_epoch == 80


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-9, 9)), min_size=1, max_size=300), st.integers(4, 40))
def test_few_points_draw_the_same_line(rows: list[tuple[int, float]], most: int) -> None:
    """Never more than asked for, in order, and no peak is lost."""
    x = np.cumsum([step for step, _ in rows]).astype(float)
    y = np.array([value for _, value in rows])
    index = thin(x, y, most)
    assert len(index) <= most
    assert len(index) == len(rows) or len(rows) > most
    assert np.all(np.diff(index) > 0)
    assert (index[0], index[-1]) == (0, len(rows) - 1)
    assert (y[index].min(), y[index].max()) == (y.min(), y.max())


def test_a_part_comes_in_full_with_a_point_on_either_side() -> None:
    columns = Columns()
    columns.add([0] * 1000, [{"step": step, "loss": float(step % 7)} for step in range(1000)])
    assert len(columns.points(100, None, None)["loss"][0]) <= 100
    assert columns.points(100, 500, 520)["loss"][0] == list(range(499, 522))
    assert columns.points(100, 990.5, math.inf)["loss"][0] == list(range(990, 1000))


def news(viewer: Viewer, columns: Columns) -> list[dict[str, Any]]:
    return [json.loads(text) for text in viewer.news({}, {"a": {"metrics": columns}})]


def watch(columns: Columns, **more: Any) -> Viewer:
    viewer = Viewer()
    viewer.watch({"type": "watch", "runs": ["a"], "width": 100, **more}, {"a": {"metrics": columns}})
    return viewer


def fill(columns: Columns, *steps: int) -> None:
    columns.add(
        [step * 31 for step in steps], [{"step": step, "epoch": 1, "loss": step / 7} for step in steps]
    )


def test_a_page_gets_all_points_then_each_line_with_the_keys_of_the_seed() -> None:
    columns = Columns()
    fill(columns, 1, 2)
    viewer = watch(columns)
    (points,) = news(viewer, columns)
    assert (points["type"], points["line"], points["series"]["loss"][0]) == ("points", 2, [1, 2])
    fill(columns, 3)
    assert news(viewer, columns) == [
        {
            "type": "metrics",
            "run": "a",
            "line": 3,
            "mark": 93,
            "step": 3,
            "epoch": 1,
            "loss": 3 / 7,
            "accuracy": None,
        }
    ]
    assert news(viewer, columns) == []


def test_a_page_that_comes_back_gets_what_it_missed_and_nothing_twice() -> None:
    """Also from a hub that was started anew: it is told the last line that came, and its checksum."""
    columns = Columns()
    fill(columns, *range(1, 21))
    viewer = watch(columns, have={"a": {"metrics": [17, 17 * 31]}})
    assert [one["step"] for one in news(viewer, columns)] == [18, 19, 20]
    for line, mark in [(17, 5), (21, 21 * 31), (0, 0), (-1, 20 * 31), ("17", None), (True, 31.0)]:
        (points,) = news(watch(columns, have={"a": {"metrics": [line, mark]}}), columns)
        assert points["type"] == "points", "another line, or none: all is sent anew"


def test_a_file_that_was_cut_is_sent_anew() -> None:
    columns = Columns()
    fill(columns, 1, 2, 3)
    viewer = watch(columns)
    news(viewer, columns)
    columns.clear()
    fill(columns, 1, 2, 3)
    (points,) = news(viewer, columns)
    assert points["series"]["loss"][0] == [1, 2, 3]


def test_a_page_never_has_more_than_two_points_a_pixel() -> None:
    """However long it stays open, and whether lines come one by one or many at once."""
    columns, held = Columns(), 0
    fill(columns, *range(1, 5001))
    viewer = watch(columns)
    for step in range(5001, 6000):
        for message in news(viewer, columns):
            held = len(message["series"]["loss"][0]) if message["type"] == "points" else held + 1
            assert held <= 200
        fill(columns, step)
    assert held > 100


def test_wishes_that_make_no_sense_are_refused() -> None:
    for wish in (None, [], {"type": "x"}, {"type": "watch"}, {"type": "watch", "runs": "a"}):
        with pytest.raises(ValueError, match="wanted"):
            Viewer().watch(wish, {})
    widths = [{"width": "x"}, {"width": 1e400}, {"width": -5}]
    for odd in [*widths, {"have": {"a": 5}}, {"have": {"a": {"metrics": 5}}}, {"from": {}}]:
        columns = Columns()
        fill(columns, 1)
        assert news(watch(columns, **odd), columns)[0]["type"] == "points"
