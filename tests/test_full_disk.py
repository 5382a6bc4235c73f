"""A disk that fills up, breaks or turns read-only at any write: one clear error, and nothing is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from amela.errors import run_main
from amela.merge import merge
from arrays import Task, make_manifest, result_lines, toy_stage

TEXTS = ["one two", "three", "", "four five six", "", "a"]
WRITES = ("write", "fsync", "replace", "link", "open", "mkdir", "unlink", "utime")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the bytes that a run on a sound disk makes of TEXTS."""
    manifest = make_manifest(tmp_path_factory.mktemp("expected") / "m.json", TEXTS)
    assert Task([manifest]).wait() == 0
    return manifest.read_bytes()


def break_disk(step, number, stays_broken):
    """Let the `step`-th call that changes the disk fail in this process, and later ones if it stays so."""
    count = 0

    def around(real):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == step or (stays_broken and count > step):
                raise OSError(
                    number,
                    os.strerror(number),
                    *(os.fspath(name) for name in args[:1] if not isinstance(name, int)),
                )
            return real(*args, **kwargs)

        return call

    for name in WRITES:
        setattr(os, name, around(getattr(os, name)))
    break_disk.reached = lambda: count >= step


def stage_on_broken_disk(step, number, stays_broken, reached):
    """Return the toy stage's main on a disk that breaks; the file `reached` appears once it broke."""

    def main():
        touch = Path.touch
        break_disk(step, number, stays_broken)
        try:
            return toy_stage.main()
        finally:
            if break_disk.reached():
                for name in WRITES:
                    setattr(os, name, REAL[name])
                touch(reached)

    return main


REAL = {name: getattr(os, name) for name in WRITES}


@pytest.mark.parametrize("stays_broken", [False, True])
def test_whichever_write_fails_the_same_command_goes_on(tmp_path, expected, stays_broken):
    step, reached, statuses = 0, True, []
    while reached:
        step += 1
        number = (errno.ENOSPC, errno.EIO, errno.EROFS)[(step + stays_broken) % 3]
        folder = tmp_path / str(step)
        folder.mkdir()
        manifest, log, mark = make_manifest(folder / "m.json", TEXTS), folder / "log", folder / "reached"
        statuses.append(
            Task([manifest], log=log, main=stage_on_broken_disk(step, number, stays_broken, mark)).wait()
        )
        said, reached = log.read_text(), mark.exists()
        assert "Traceback" not in said, said
        if statuses[-1] == 0:  # only what is best effort failed
            assert manifest.read_bytes() == expected
        else:
            assert statuses[-1] == 75 or (statuses[-1], number) == (2, errno.EROFS), said
            errors = [line for line in said.splitlines() if line.startswith("ERROR: ")]
            assert len(errors) == 1 or (stays_broken and errors), said
            assert os.strerror(number) in errors[0]
        done = {line["key"] for line in result_lines(manifest) if "fields" in line}
        assert Task([manifest], log=log).wait() == 0, log.read_text()
        assert manifest.read_bytes() == expected
        assert len(done) <= len(TEXTS)
    assert step > 15
    assert len(statuses) - statuses.count(0) > 5  # and not by swallowing everything


def test_a_task_of_an_array_that_runs_out_of_space_goes_on_where_it_stopped(tmp_path, expected):
    manifest = make_manifest(tmp_path / "m.json", TEXTS)
    log = tmp_path / "log"
    tasks = []
    for index in range(2):
        broken = stage_on_broken_disk(14 + index, errno.ENOSPC, True, tmp_path / "reached")
        tasks.append(Task([manifest, "--batch-size", 1], 1, index, range(2), log=log, main=broken))
    assert {task.wait() for task in tasks} == {75}
    assert "No space left on device; nothing done before is lost" in log.read_text()
    again = [Task([manifest], 1, index, range(2), restart=1) for index in range(2)]
    assert {task.wait() for task in again} == {0}
    assert merge(manifest, "toy", allow_missing=False).status == 0
    assert manifest.read_bytes() == expected


def test_a_full_folder_for_temporary_files_is_no_bug(tmp_path, monkeypatch):
    def main():
        from amela import spool

        monkeypatch.setattr(spool, "KEEP_IN_MEMORY_BYTES", 1)
        monkeypatch.setattr(spool.tempfile, "SpooledTemporaryFile", lambda **_: FullFile())
        return toy_stage.main()

    manifest = make_manifest(tmp_path / "m.json", TEXTS)
    log = tmp_path / "log"
    assert Task([manifest], log=log, main=main).wait() == 75
    assert "No space left on device" in log.read_text()


class FullFile:
    def write(self, _data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_trouble_in_a_place_nobody_foresaw_is_one_line_too(capsys):
    def main():
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "/home/me/x")

    with pytest.raises(SystemExit) as caught:
        run_main(main)
    assert caught.value.code == 75
    assert capsys.readouterr().err.startswith("ERROR: /home/me/x: Disk quota exceeded; what was done is kept")
