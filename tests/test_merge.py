"""Merging: at any time, by any number at once, killed anywhere, with and without locks: nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest

from amela import merge as merging
from amela.batch_file import parse_array
from amela.deals import read_deals
from amela.errors import CallError
from amela.merge import merge
from amela.state import stage_folder
from amela.summary import errors
from arrays import TESTS, Task, make_manifest, read_manifest, result_lines, run_array, wait_until

TEXTS = ["one two", "three", "bad", "", "four five six"] * 8
SCRIPT = TESTS.parent / "scripts" / "merge_manifest.py"


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the bytes that one uninterrupted process makes of TEXTS."""
    manifest = make_manifest(tmp_path_factory.mktemp("expected") / "m.json", TEXTS)
    assert Task([manifest, "--max-error-rate", 1]).wait() == 0
    return manifest.read_bytes()


def merged(manifest, **flags):
    return merge(manifest, "toy", max_error_rate=1, **flags)


def half_done(folder, argv=()):
    """Return a manifest of which an array of four did all but shard 2, without a merge."""
    manifest = make_manifest(folder / "m.json", TEXTS)
    statuses = [
        Task([manifest, "--max-error-rate", 1, *argv], 1, index, range(4)).wait() for index in (0, 1, 3)
    ]
    assert statuses == [0] * 3
    return manifest


def in_child(work):
    """Run `work()` in a forked process and return its pid; it exits with 0, or 1 after a traceback."""
    pid = os.fork()
    if pid == 0:
        try:
            with open(os.devnull, "w") as sys.stdout:
                work()
                os._exit(0)
        except BaseException as exc:
            print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        finally:
            os._exit(1)
    return pid


def exit_status(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_line(line):
    """Run a line that AMELA printed, as sbatch or a shell would."""
    for command in line.split("; "):
        words = shlex.split(command)
        assert words[0] == "sbatch"
        [array] = [word[len("--array=") :] for word in words if word.startswith("--array=")]
        argv = words[words.index("slurm/toy.slurm") + 1 :]
        statuses = run_array(argv, f"9{time.time_ns()}", parse_array(array).indices)
        assert set(statuses.values()) == {0}


def test_what_is_missing_is_withheld_and_the_line_printed_finishes_it(tmp_path, expected, capsys):
    manifest = half_done(tmp_path)
    before = manifest.read_bytes()
    report = merged(manifest, allow_missing=False)
    assert report.status == 4
    assert (report.stages[0].done, report.stages[0].failed, report.stages[0].missing) == (24, 6, 10)
    assert manifest.read_bytes() == before
    assert f"to finish: {report.stages[0].finish}" in capsys.readouterr().out
    assert report.stages[0].finish == f"sbatch --array=2 slurm/toy.slurm {manifest} --max-error-rate 1"
    assert merged(manifest, allow_missing=True).status == 4
    assert "words" in read_manifest(manifest)[0]
    run_line(report.stages[0].finish)
    assert merged(manifest, allow_missing=False).status == 0
    assert manifest.read_bytes() == expected


def test_records_added_after_the_deal_are_missing_and_a_full_array_is_what_finishes(tmp_path):
    manifest = half_done(tmp_path)
    with open(manifest, "a") as file:
        file.write('{"id": "new", "text": "a b"}\n')
    report = merged(manifest, allow_missing=False)
    assert report.stages[0].missing == 11
    assert "--array=0-3 " in report.stages[0].finish
    run_line(report.stages[0].finish)
    assert merged(manifest, allow_missing=False).status == 0
    assert read_manifest(manifest)[-1]["words"] == 2


def test_too_many_failed_records_are_status_3(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a", "a", "bad"])
    run_array([manifest, "--max-error-rate", 1], 1, range(2))
    assert merge(manifest, "toy", max_error_rate=0.3).status == 3
    assert merge(manifest, "toy", max_error_rate=0.34).status == 0


def test_a_merge_of_what_was_merged_changes_nothing_and_human_edits_stay(tmp_path):
    manifest = half_done(tmp_path)
    merged(manifest)
    lines = read_manifest(manifest)
    lines[0]["words"] = 99
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    stamp = os.stat(manifest)
    merged(manifest)
    assert (os.stat(manifest).st_ino, os.stat(manifest).st_mtime_ns) == (stamp.st_ino, stamp.st_mtime_ns)
    assert read_manifest(manifest)[0]["words"] == 99


def test_a_lost_update_heals(tmp_path, expected):
    manifest = half_done(tmp_path)
    before = manifest.read_bytes()
    assert Task([manifest, "--max-error-rate", 1], 2, 2, [2]).wait() == 0
    merged(manifest)
    assert [path.name.split(".")[0] for path in (stage_folder(manifest, "toy") / "results").iterdir()] == [
        "merged"
    ]
    manifest.write_bytes(before)  # a merge elsewhere that began earlier, or a copy from a backup
    assert merged(manifest, allow_missing=False).status == 0
    assert manifest.read_bytes() == expected


def test_filtered_and_sorted_manifests_get_their_results_and_what_comes_back_too(tmp_path, expected):
    manifest = half_done(tmp_path)
    all_lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(reversed(all_lines[::2])))
    merged(manifest)
    wanted = {record["id"]: record for record in map(json.loads, expected.splitlines())}
    for record in read_manifest(manifest):
        assert "words" not in record or record == wanted[record["id"]]
    manifest.write_text("".join(all_lines))
    assert Task([manifest, "--max-error-rate", 1], 2, 2, [2]).wait() == 0
    assert merged(manifest, allow_missing=False).status == 0
    assert manifest.read_bytes() == expected


def test_links_modes_bom_crlf_and_blank_lines(tmp_path):
    real = tmp_path / "real.json"
    real.write_bytes(
        b'\xef\xbb\xbf{"id": "a", "text": "x"}\r\n\r\n'
        b'{"id": "b", "text": "bad"}\r\n{"id": "c", "text": "x y"}'
    )
    real.chmod(0o640)
    link = tmp_path / "here" / "link.json"
    link.parent.mkdir()
    link.symlink_to(real)
    assert Task([link, "--max-error-rate", 1]).wait() == 0
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert (tmp_path / ".amela" / "real.json").is_dir()
    assert real.read_bytes().split(b"\n") == [
        b'{"id": "a", "text": "x", "words": 1, "letters": {"all": 1, "scale": 1.0}}',
        b"\r",
        b'{"id": "b", "text": "bad"}\r',
        b'{"id": "c", "text": "x y", "words": 2, "letters": {"all": 2, "scale": 1.0}}',
        b"",
    ]


def test_a_number_that_no_json_can_hold_is_named(tmp_path):
    manifest = tmp_path / "m.json"
    manifest.write_text('{"id": "a", "text": "x"}\n{"id": "b", "text": "x", "score": 1e999}\n')
    log = tmp_path / "log"
    assert Task([manifest], log=log).wait() == 2
    assert f"ERROR: {manifest}:2: found a number out of bounds" in log.read_text()


def test_a_manifest_replaced_meanwhile_is_merged_once_more(tmp_path, expected, monkeypatch):
    manifest = half_done(tmp_path)
    assert Task([manifest, "--max-error-rate", 1], 2, 2, [2]).wait() == 0
    calls = []

    def replaced(path):
        found = real_identity(path)
        calls.append(path)
        if len(calls) in (2, 4):  # after it was read, before it is replaced
            copy = manifest.with_suffix(".copy")
            shutil.copy(manifest, copy)
            os.replace(copy, manifest)
            return real_identity(path)
        return found

    real_identity = merging._identity
    monkeypatch.setattr(merging, "_identity", replaced)
    assert merged(manifest, allow_missing=False).status == 0
    assert len(calls) == 6
    assert manifest.read_bytes() == expected


def test_a_manifest_that_never_rests_is_given_up(tmp_path, monkeypatch):
    manifest = half_done(tmp_path)
    monkeypatch.setattr(merging, "_identity", lambda _path: time.monotonic_ns())
    with pytest.raises(CallError, match="keeps changing while it is merged"):
        merged(manifest)


def test_the_state_is_removed_when_asked_complete_and_at_rest(tmp_path, expected):
    manifest = half_done(tmp_path)
    merged(manifest, clean=True)
    assert stage_folder(manifest, "toy").is_dir()  # incomplete
    slow = Task([manifest, "--max-error-rate", 1, "--seconds", 0.1], 2, 2, [2])
    wait_until(slow.workers)
    os.kill(slow.workers()[0], signal.SIGSTOP)
    merged(manifest, clean=True)
    assert stage_folder(manifest, "toy").is_dir()
    os.kill(slow.workers()[0], signal.SIGCONT)
    assert slow.wait() == 0
    assert merged(manifest, clean=True).status == 0
    assert not stage_folder(manifest, "toy").exists()
    assert manifest.read_bytes() == expected
    with pytest.raises(CallError, match="found no results of toy"):
        merged(manifest)


def test_files_of_running_tasks_are_left_alone(tmp_path, expected):
    manifest = make_manifest(tmp_path / "m.json", TEXTS)
    slow = Task([manifest, "--max-error-rate", 1, "--seconds", 0.02, "--batch-size", 1], 1, 0, range(1))
    wait_until(lambda: whole_lines(manifest))
    for done in (2, 10, 20):
        wait_until(lambda done=done: merged(manifest).stages[0].done >= done)
        assert not any(line["file"].startswith("merged") for line in whole_lines(manifest))
    assert slow.wait() == 0
    assert merged(manifest, allow_missing=False).status == 0
    assert manifest.read_bytes() == expected


def whole_lines(manifest):
    with contextlib.suppress(ValueError, FileNotFoundError):
        return result_lines(manifest)
    return []


def test_a_task_that_was_taken_for_dead_loses_nothing(tmp_path, expected):
    """A suspended job stops beating; a merge on another host gathers its lines; then the job goes on."""
    manifest = make_manifest(tmp_path / "m.json", TEXTS)
    argv = [manifest, "--max-error-rate", 1, "--seconds", 0.03, "--batch-size", 1]
    task = Task(argv, 1, 0, range(1))
    wait_until(lambda: len(whole_lines(manifest)) > 5)
    task.send(signal.SIGSTOP)
    [beat] = (stage_folder(manifest, "toy") / "beats").glob("*.json")
    beat.write_text(json.dumps({**json.loads(beat.read_text()), "host": "elsewhere", "time": 0}))
    merged(manifest)
    assert [path.name.split(".")[0] for path in (stage_folder(manifest, "toy") / "results").iterdir()] == [
        "merged"
    ]
    task.send(signal.SIGCONT)
    assert task.wait() == 0
    report = merged(manifest, allow_missing=False)
    assert report.status == 0
    assert manifest.read_bytes() == expected
    assert [path.name.split(".")[0] for path in (stage_folder(manifest, "toy") / "results").iterdir()] == [
        "merged"
    ]


def hammer(manifest, until):
    while not until.exists():
        merge(manifest, allow_missing=True, max_error_rate=1)


@pytest.mark.parametrize("locks", [True, False])
def test_stages_at_work_and_three_that_merge_all_the_time_lose_nothing(tmp_path, monkeypatch, locks):
    manifest = make_manifest(tmp_path / "m.json", TEXTS * 2)
    reference = shutil.copy(manifest, tmp_path / "reference.json")
    for flags in ([], ["--field", "other"]):
        assert Task([reference, "--max-error-rate", 1, *flags]).wait() == 0
    if not locks:
        monkeypatch.setattr(merging, "lock", lambda _path: contextlib.nullcontext())
    over = tmp_path / "over"
    argv = [manifest, "--max-error-rate", 1, "--seconds", 0.02, "--batch-size", 1]
    first = [Task([*argv, *flags], job, 0, range(3)) for job, flags in ((1, []), (2, ["--field", "other"]))]
    wait_until(lambda: all(read_deals(stage_folder(manifest, "toy", field)) for field in (None, "other")))
    mergers = [in_child(lambda: hammer(manifest, over)) for _ in range(3)]
    rest = [Task([*argv, *flags], job, index, range(3)) for index in (1, 2)
            for job, flags in ((1, []), (2, ["--field", "other"]))]  # fmt: skip
    assert {task.wait() for task in first + rest} == {0}
    time.sleep(0.3)
    over.touch()
    assert [exit_status(pid) for pid in mergers] == [0, 0, 0]
    report = merge(manifest, allow_missing=False, max_error_rate=1)
    assert report.status == 0
    assert [(one.done, one.failed, one.missing) for one in report.stages] == [(64, 16, 0)] * 2
    assert read_manifest(manifest) == read_manifest(reference)
    assert not list(tmp_path.glob(".m.json*"))  # nothing left beside
    for stage in ("toy", "toy.other"):
        assert {line["key"] for line in errors(stage_folder(manifest, stage))} == {
            f"r{n}" for n in range(2, 80, 5)
        }


STEPS = ("replace", "unlink", "fsync")


def kill_at(step):
    """Make the `step`-th call that changes the disk the one at which this process is killed."""
    count = 0

    def around(real):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in STEPS:
        setattr(os, name, around(getattr(os, name)))


def test_a_merge_killed_at_any_step_leaves_what_the_next_one_completes(tmp_path, expected):
    base = tmp_path / "base"
    base.mkdir()
    half_done(base)
    merged(base / "m.json")  # so that a compacted file is compacted again
    assert Task([base / "m.json", "--max-error-rate", 1], 2, 2, [2]).wait() == 0
    step, status = 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        step += 1
        copy = shutil.copytree(base, tmp_path / f"killed_at_{step}")
        status = exit_status(in_child(lambda copy=copy, step=step: (kill_at(step), merged(copy / "m.json"))))
        assert merged(copy / "m.json", allow_missing=False).status == 0
        assert (copy / "m.json").read_bytes() == expected
        results = list((stage_folder(copy / "m.json", "toy") / "results").iterdir())
        assert all(path.name.startswith((".", "merged")) for path in results)
    assert status == 0
    assert step > 6


def test_merges_killed_again_and_again_in_one_place_lose_nothing(tmp_path, expected):
    manifest = half_done(tmp_path)
    for step in range(1, 9):
        exit_status(in_child(lambda step=step: (kill_at(step), merged(manifest))))
    assert Task([manifest, "--max-error-rate", 1], 2, 2, [2]).wait() == 0
    for step in range(8, 0, -1):
        exit_status(in_child(lambda step=step: (kill_at(step), merged(manifest))))
    assert merged(manifest, allow_missing=False).status == 0
    assert manifest.read_bytes() == expected


def test_fresh_results_go_over_old_ones_when_the_merge_is_killed_in_between(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    manifest = make_manifest(base / "m.json", ["a b"] * 10)
    run_array([manifest], 1, range(2))
    merged(manifest)
    assert Task([manifest, "--fresh", "--scale", 2], 2, 0, range(2)).wait() == 0
    step, status = 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        step += 1
        copy = shutil.copytree(base, tmp_path / f"killed_at_{step}") / "m.json"
        status = exit_status(in_child(lambda copy=copy, step=step: (kill_at(step), merged(copy))))
        report = merged(copy)
        assert (report.stages[0].done, report.stages[0].missing) == (5, 5)
        assert [record["letters"]["scale"] for record in read_manifest(copy)] == [2.0, 1.0] * 5
        assert Task([copy, "--scale", 2]).wait() == 0
        assert [record["letters"]["scale"] for record in read_manifest(copy)] == [2.0] * 10


def test_a_merge_waits_for_another_and_goes_on_after_a_minute(tmp_path, monkeypatch, capsys):
    manifest = half_done(tmp_path)
    held = tmp_path / "held"

    def hold():
        with merging.lock(manifest):
            held.touch()
            time.sleep(1)

    pid = in_child(hold)
    wait_until(held.exists)
    started = time.monotonic()
    merged(manifest)
    assert time.monotonic() - started > 0.5
    assert exit_status(pid) == 0
    held.unlink()
    pid = in_child(hold)
    wait_until(held.exists)
    monkeypatch.setattr(merging, "LOCK_WAIT_S", 0.1)
    merged(manifest)
    assert "going on without it, which can cost work but no result" in capsys.readouterr().out
    assert exit_status(pid) == 0


def test_the_script(tmp_path):
    manifest = half_done(tmp_path)

    def run(*words):
        done = subprocess.run(
            [sys.executable, SCRIPT, "--manifest", manifest, *words], capture_output=True, text=True
        )
        return done.returncode, done.stdout, done.stderr

    status, out, err = run("--stage", "toy")
    assert status == 4
    assert "toy: 24 done, 6 failed, 10 missing (field `words`)" in out
    assert "failed: r7: ValueError: r7: a bad word" in out
    assert "… and 3 more: status.py MANIFEST --errors" in out
    status, out, err = run("--stage", "asr")
    assert (status, err.count("ERROR: ")) == (2, 1)
    assert "found no results of asr (there are: toy)" in err
    assert Task([manifest, "--max-error-rate", 1], 2, 2, [2]).wait() == 0
    assert run("--max_error_rate=0.1")[0] == 3
    assert run("--max-error-rate", "1", "--clean")[0] == 0
