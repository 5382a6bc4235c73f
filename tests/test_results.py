"""Result files: what a crash may leave of one, which lines count, and what a merge takes away meanwhile."""

from __future__ import annotations

import errno
import json
import os
import resource
import time
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amela.deals import find_results
from amela.errors import StoppedError
from amela.manifest import hash_key
from amela.results import Cuts, Results, ResultsWriter, errors_void, read_header, read_results, settled

KEYS = [f"/data/größe {number}\n'.wav" for number in range(5)]
HASHES = array("q", map(hash_key, KEYS))
NO_CUTS = Cuts()


def write(folder, name, lines, header=None, generation=0):
    """Write a result file as a task does; `lines` are (line, outcome)."""
    writer = ResultsWriter(folder / "results" / f"{name}.jsonl", header or {"deal": 1}, generation)
    for number, outcome in lines:
        writer.write(number, KEYS[number], outcome)
    writer.close()
    return writer.path


def done(value):
    return {"fields": {"text": value}}


def failed(attempt):
    return {"error": {"class": "ValueError", "message": "bad", "attempt": attempt, "host": "n1"}}


def texts(folder, keys=HASHES, cuts=NO_CUTS):
    """Return the text that counts for each line, None without one."""
    results = find_results(folder, keys, cuts)
    found = [results.read(place)["fields"]["text"] if place else None for place in results.places]
    results.close()
    return found


TAILS = st.one_of(
    st.just(b""),
    st.integers(1, 5000).map(bytes),  # zero-filled
    st.binary(min_size=1, max_size=40).map(lambda raw: raw.replace(b"\n", b"")),
    st.just('{"line": 4, "key": "ä'.encode()[:-1]),  # cut in a character
    st.just(b'{"line": 4, "key": "x", "fields": {}}'),  # whole, but for the newline
)


@settings(deadline=None)
@given(cut=st.integers(0, 1 << 12), tail=TAILS)
def test_of_a_file_cut_anywhere_every_whole_line_counts_and_nothing_else(tmp_path_factory, cut, tail):
    folder = tmp_path_factory.mktemp("cut")
    path = write(folder, "task_0000.a", [(number, done(f"täxt {number}")) for number in range(5)])
    whole = path.read_bytes()
    cut %= len(whole) + 1
    path.write_bytes(whole[:cut] + tail)
    count = max(0, whole[:cut].count(b"\n") - 1)  # without the header
    assert texts(folder) == [f"täxt {number}" if number < count else None for number in range(5)]
    with open(path, "rb") as file:
        offsets = [offset for offset, _ in read_results(file)]
    assert all(offset == 0 or whole[offset - 1 : offset] == b"\n" for offset in offsets)


def test_a_last_line_that_lacks_only_its_newline_does_not_count(tmp_path):
    path = write(tmp_path, "task_0000.a", [(0, done("a")), (1, done("b"))])
    path.write_bytes(path.read_bytes()[:-1])
    assert texts(tmp_path) == ["a", None, None, None, None]


def test_lines_after_a_torn_one_in_the_middle_count(tmp_path):
    path = write(tmp_path, "task_0000.a", [(0, done("a")), (1, done("b")), (2, done("c"))])
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1], lines[2][:9] + bytes(20), lines[3], b""]))
    assert texts(tmp_path) == ["a", None, "c", None, None]


def test_the_key_decides_when_the_manifest_was_sorted_filtered_or_grew(tmp_path):
    write(tmp_path, "task_0000.a", [(number, done(str(number))) for number in range(4)])
    order = [3, 4, 1, 0]
    keys = array("q", [0, *(hash_key(KEYS[number]) for number in order), hash_key("/new.wav")])
    assert texts(tmp_path, keys) == [None, "3", None, "1", "0", None]
    results = find_results(tmp_path, keys, Cuts())
    assert [results.read(place)["key"] for place in results.unplaced] == [
        KEYS[2]
    ]  # kept, should it come back


def test_lines_of_older_generations_do_not_count_but_are_known(tmp_path):
    write(tmp_path, "task_0000.old", [(0, done("old")), (1, done("old")), (2, failed("old"))])
    write(tmp_path, "task_0000.new", [(1, done("new"))], generation=1)
    assert texts(tmp_path, cuts=Cuts(fresh=1)) == [None, "new", None, None, None]
    results = find_results(tmp_path, HASHES, Cuts(fresh=1))
    assert [bool(results.old_place(number)) for number in range(3)] == [True, True, False]
    assert not results.errors
    assert results.failed_ever == {2}
    only_errors_again = find_results(tmp_path, HASHES, Cuts(retry=1))
    assert not only_errors_again.errors
    assert only_errors_again.read(only_errors_again.places[0])["fields"] == {"text": "old"}


def test_an_error_stands_when_two_attempts_had_it_unless_it_is_void(tmp_path):
    paths = [write(tmp_path, f"task_0000.{name}", [(0, failed(name)), (1, failed("a"))]) for name in "ab"]
    results = find_results(tmp_path, HASHES, Cuts())
    assert results.error_stands(0)
    assert not results.error_stands(1)  # the same attempt
    assert settled(paths, Cuts(), set()).keys == {KEYS[0]}
    with open(paths[0], "a") as file:
        file.write('{"void": "errors", "why": "no GPU"}\n')
    assert errors_void(paths[0])
    assert not find_results(tmp_path, HASHES, Cuts()).error_stands(0)
    assert settled(paths, Cuts(), set()) == (set(), {KEYS[0], KEYS[1]}, set())


def test_a_text_that_looks_like_a_void_line_voids_nothing(tmp_path):
    path = write(
        tmp_path, "task_0000.a", [(0, failed("a")), (1, done('\n{"void": "errors", "why": "me"}\n'))]
    )
    assert not errors_void(path)


def test_a_header_torn_off_is_no_header(tmp_path):
    path = write(tmp_path, "task_0000.a", [])
    assert read_header(path)["deal"] == 1
    path.write_bytes(path.read_bytes()[:-1])
    assert read_header(path) == {}


def test_no_two_attempts_share_a_file(tmp_path):
    write(tmp_path, "task_0000.a", [])
    with pytest.raises(Exception, match="File exists"):
        ResultsWriter(tmp_path / "results" / "task_0000.a.jsonl", {}, 0)


def test_nan_is_refused_before_anything_is_written(tmp_path):
    writer = ResultsWriter(tmp_path / "a.jsonl", {}, 0)
    with pytest.raises(ValueError, match="not JSON compliant"):
        writer.write(0, "k", {"fields": {"x": float("nan")}})
    writer.write(0, "k", {"fields": {"x": 1.0}})
    writer.close()
    assert len(writer.path.read_text().splitlines()) == 2


def test_a_disk_that_takes_half_a_line_leaves_a_torn_one_and_a_clear_error(tmp_path, monkeypatch):
    writer = ResultsWriter(tmp_path / "results" / "task_0000.a.jsonl", {}, 0)
    writer.write(0, KEYS[0], done("a"))
    real = os.write
    answers = iter([7, OSError(errno.ENOSPC, "No space left on device")])

    def fill_up(fd, data):
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return real(fd, data[:answer])

    monkeypatch.setattr(os, "write", fill_up)
    with pytest.raises(StoppedError, match=r"task_0000\.a\.jsonl: writing: No space left"):
        writer.write(1, KEYS[1], done("b"))
    monkeypatch.undo()
    writer.close()
    assert texts(tmp_path) == ["a", None, None, None, None]


def test_a_task_taken_for_dead_goes_on_in_another_file_with_all_its_lines(tmp_path):
    writer = ResultsWriter(tmp_path / "results" / "task_0000.a.jsonl", {"deal": 1}, 0)
    writer.write(0, KEYS[0], done("a"))
    writer.path.unlink()  # by a merge that gathered the line before
    writer.write(1, KEYS[1], done("b"))
    writer.sync(now=True)
    writer.write(2, KEYS[2], done("c"))
    writer.close()
    assert texts(tmp_path) == ["a", "b", "c", None, None]
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["task_0000.a.1.jsonl"]
    assert read_header(tmp_path / "results" / "task_0000.a.1.jsonl")["deal"] == 1


def test_more_files_than_may_be_open_by_default_are_read(tmp_path):
    (tmp_path / "results").mkdir()
    for number in range(400):
        line = {"line": number % 5, "key": KEYS[number % 5], "fields": {"text": str(number % 5)}}
        (tmp_path / "results" / f"task_{number:04d}.a.jsonl").write_text(json.dumps(line) + "\n")
    pid = os.fork()
    if pid == 0:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
        os._exit(0 if texts(tmp_path) == list("01234") else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_results_stay_readable_when_a_merge_elsewhere_removes_their_files(tmp_path):
    path = write(tmp_path, "task_0000.a", [(0, done("a"))])
    results = Results(HASHES, Cuts()).find(tmp_path)
    path.unlink()
    assert results.read(results.places[0])["fields"] == {"text": "a"}


def test_indexing_is_fast_enough_for_millions(tmp_path):
    with open(write(tmp_path, "task_0000.a", []), "a") as file:
        for number in range(20_000):
            line = {"line": number, "key": f"/{number}.wav", "fields": {"text": "x" * 80}}
            print(json.dumps(line), file=file)
    keys = array("q", (hash_key(f"/{number}.wav") for number in range(20_000)))
    started = time.process_time()
    assert all(find_results(tmp_path, keys, Cuts()).places)
    assert time.process_time() - started < 2
