"""Arrays of records on the disk: read back as written, by row or by file, and by any reader of Parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from amela.outputs import relative_target, write_output
from media import frames
from media.frames import GROUP_ROWS, FramesError, read_array, read_frames, store


def batch(count: int) -> list:
    """Records of growing length; every seventh failed."""
    rng = np.random.default_rng(0)
    items: list = []
    for n in range(count):
        arrays = {"mel": rng.random((n, 4)).astype(np.float16), "f0_hz": rng.random(n).astype(np.float32)}
        record = {"audio_filepath": f"/corpus/a/{n}.wav"}
        items.append(
            ValueError(str(n)) if n % 7 == 3 else (f"key {n}", record, arrays, {"hop_s": 0.01, "n": n})
        )
    return items


def check(items: list, sources: list) -> None:
    """Every source reads as its item, and exceptions stand where they stood."""
    for item, source in zip(items, sources, strict=True):
        if isinstance(item, Exception):
            assert source is item
            continue
        found = read_frames(source)
        assert [found[name] for name in ("key", "hop_s", "n")] == [item[0], 0.01, item[3]["n"]]
        for name, array in item[2].items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array)


@pytest.mark.parametrize("form", ["parquet", "npz"])
def test_what_was_stored_is_read_back(tmp_path: Path, form: str) -> None:
    items = batch(2 * GROUP_ROWS + 5)
    sources = store(
        items, str(tmp_path), form, lambda record: relative_target(record, "corpus"), write_output
    )
    check(items, sources)
    suffix = {"parquet": 1, "npz": sum(not isinstance(item, Exception) for item in items)}[form]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == suffix


def test_equal_batches_give_one_part_of_equal_name(tmp_path: Path) -> None:
    first, second = (store(batch(9), str(tmp_path), "parquet", str, write_output) for _ in range(2))
    assert [str(source) for source in first] == [str(source) for source in second]
    assert len(list(tmp_path.glob("*.parquet"))) == 1


def test_a_batch_of_failures_writes_nothing(tmp_path: Path) -> None:
    problem = ValueError("bad")
    assert store([problem], str(tmp_path), "parquet", str, write_output) == [problem]
    assert not list(tmp_path.iterdir())


def test_another_reader_needs_no_code_of_ours(tmp_path: Path) -> None:
    items = batch(3)
    source = store(items, str(tmp_path), "parquet", str, write_output)[2]
    table = pyarrow.parquet.read_table(source.partition("#")[0])
    dtype = table.schema.field("mel").metadata[b"dtype"].decode()
    row = table.to_pylist()[2]
    assert np.array_equal(np.frombuffer(row["mel"], dtype).reshape(row["mel_shape"]), items[2][2]["mel"])


@pytest.mark.parametrize("form", ["parquet", "npz"])
def test_one_array_is_read_by_itself(tmp_path: Path, form: str) -> None:
    items = batch(GROUP_ROWS + 9)
    sources = store(items, str(tmp_path), form, lambda one: relative_target(one, "corpus"), write_output)
    for item, source in zip(items, sources, strict=True):
        if not isinstance(item, Exception):
            found = read_array(source, "mel")
            assert found.dtype == np.float16
            assert np.array_equal(found, item[2]["mel"])
    with pytest.raises(FramesError, match="wanted an array `pitch`"):
        read_array(sources[0], "pitch")


def test_records_dealt_over_many_parts_cost_a_read_a_group_and_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [batch(12)[1:2] + batch(20)[4:10] for _ in range(3)]
    parts = [
        store(some, str(tmp_path / str(n)), "parquet", str, write_output) for n, some in enumerate(items)
    ]
    in_turn = [source for turn in zip(*parts) for source in turn]
    wanted = [item for turn in zip(*items) for item in turn]
    reads: list[int] = []
    read = pyarrow.parquet.ParquetFile.read_row_group
    monkeypatch.setattr(
        pyarrow.parquet.ParquetFile, "read_row_group", lambda *a, **k: (reads.append(a[1]), read(*a, **k))[1]
    )
    for limit, most in ((frames.GROUPS_BYTES, 3), (1, len(in_turn))):
        monkeypatch.setattr(frames, "GROUPS_BYTES", limit)
        frames._groups.clear()
        reads.clear()
        for source, item in zip(in_turn, wanted):
            found = read_frames(source, ["mel"])
            assert np.array_equal(found["mel"], item[2]["mel"])
            assert found["hop_s"] == 0.01
            assert set(found) == {"mel", "key", *item[3]}
        assert len(reads) == most
    assert len(frames._groups) == 1


@pytest.mark.parametrize("source", ["nothing.npz", "nothing.parquet#row=0", "bad.parquet#row=0", "bad.npz"])
def test_a_damaged_source_is_named(tmp_path: Path, source: str) -> None:
    for name in ("bad.parquet", "bad.npz"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(FramesError, match=source.partition("#")[0]):
        read_frames(str(tmp_path / source))
    with pytest.raises(FramesError, match=source.partition("#")[0]):
        read_array(str(tmp_path / source), "mel")
