"""Writing aside, linking first: nobody ever reads half a file, and one of many is first."""

from __future__ import annotations

import errno
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from amela.errors import CallError, StoppedError
from amela.files import explain, link_first, read_when_whole, write_aside


def in_child(work):
    """Run `work()` in a forked process; return its pid. It exits with what `work` returns."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(int(work() or 0))
        finally:
            os._exit(99)
    return pid


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_appears_whole_with_mode_and_links_kept(tmp_path):
    real = tmp_path / "real.json"
    real.write_text("old")
    real.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(real)
    with write_aside(link) as file:
        file.write("new")
        file.flush()
        assert real.read_text() == "old"
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert names(tmp_path) == ["link.json", "real.json"]


def test_an_error_inside_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "m.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), write_aside(path) as file:
        file.write("new" * (1 // 0))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["m.json"]


def test_a_process_killed_while_it_writes_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.json"
    path.write_text("old")

    def write():
        with write_aside(path) as file:
            file.write("new" * 100_000)
            os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(in_child(write), 0)
    assert path.read_text() == "old"
    with write_aside(path) as file:  # what the dead left beside is in nobody's way
        file.write("newer")
    assert path.read_text() == "newer"


@pytest.mark.parametrize("name", ["m" * 250, "語" * 83, "a b'\"\n.json"])
def test_any_name_that_a_file_may_have_can_be_written(tmp_path, name):
    with write_aside(tmp_path / name) as file:
        file.write("x")
    assert link_first(tmp_path / name[1:], b"y\n")
    assert (tmp_path / name).read_text() == "x"


@pytest.mark.parametrize("links", [True, False])
def test_of_eight_that_link_at_once_one_is_first_and_all_read_it_whole(tmp_path, monkeypatch, links):
    if not links:  # as on exFAT and some network file systems

        def refuse(*_args, **_kwargs):
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    for race in range(10):
        path = tmp_path / f"deal_{race}"
        start = time.monotonic() + 0.05

        def try_first(path=path, start=start):
            mine = b"%d" % os.getpid() * 20_000 + b"\n"
            time.sleep(max(0, start - time.monotonic()))
            first = link_first(path, mine)
            return first + 2 * (read_when_whole(path)[:1000] == mine[:1000])

        statuses = [
            os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            for pid in [in_child(try_first) for _ in range(8)]
        ]
        assert sorted(statuses) == [0] * 7 + [3]
    assert names(tmp_path) == [f"deal_{race}" for race in range(10)]


def test_a_link_whose_answer_was_lost_still_counts_as_first(tmp_path, monkeypatch):
    real = os.link

    def link(source, target):
        real(source, target)
        raise FileExistsError(
            errno.EEXIST, "the server did it, its answer was lost, and the client asked again"
        )

    monkeypatch.setattr(os, "link", link)
    assert link_first(tmp_path / "deal", b"x\n")


def test_half_a_file_is_waited_for_and_then_reported(tmp_path):
    path = tmp_path / "deal"
    path.write_bytes(b"half")

    def finish():
        time.sleep(0.15)
        path.write_bytes(b"half and half\n")

    pid = in_child(finish)
    assert read_when_whole(path) == b"half and half\n"
    os.waitpid(pid, 0)
    path.write_bytes(b"half")
    with pytest.raises(CallError, match="ends in the middle"):
        read_when_whole(path, patience_s=0.1)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, StoppedError), (errno.EDQUOT, StoppedError), (errno.EIO, StoppedError),
     (errno.ESTALE, StoppedError),
     (errno.EROFS, CallError), (errno.EACCES, CallError), (errno.ENAMETOOLONG, CallError)],
)  # fmt: skip
def test_trouble_with_the_disk_can_be_resumed_and_the_rest_is_a_bad_call(number, kind):
    error = explain(OSError(number, os.strerror(number)), Path("/data/m.json"))
    assert type(error) is kind
    assert str(error).startswith("/data/m.json: writing: ")
