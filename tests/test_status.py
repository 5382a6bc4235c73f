"""What status.py says of a stage that runs, was killed or is done; and the line it prints."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time

import pytest

from amela.merge import merge
from amela.state import stage_folder
from amela.summary import errors, summaries
from arrays import TESTS, Task, make_manifest, read_manifest, run_array, stage_of, wait_until

SCRIPTS = TESTS.parent / "scripts"


def status(manifest, *words):
    done = subprocess.run(
        [sys.executable, SCRIPTS / "status.py", manifest, *words], capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def states(manifest):
    [stage] = summaries(manifest)
    return [shard.state for shard in stage.shards]


def hanging(_, batch):
    time.sleep(60 if batch[0]["text"] == "hang" else 0)
    return [{"words": 1} for _ in batch]


def test_each_shard_is_told_from_the_others(tmp_path):
    """Shard 0 done, 1 running, 2 killed, 3 stopped, 4 failed, 5 waiting."""
    texts = [["a", "a hang", "hang", "hang", "a", "a"][n % 6] for n in range(24)]
    texts[1] = texts[7] = "a"
    manifest = make_manifest(
        tmp_path / "m.json", [text.replace("a hang", "hang") for text in texts], duration=3600
    )
    main = stage_of(hanging)
    broken = stage_of(hanging, load=lambda _args: 1 / 0)
    tasks = [Task([manifest], 1, index, range(6), main=broken if index == 4 else main) for index in range(5)]
    assert tasks[0].wait() == 0
    assert tasks[4].wait() == 1
    wait_until(lambda: [beat["in_flight"] for beat in beats(manifest, "1/2/3")].count([]) == 0)
    tasks[2].send(signal.SIGKILL)
    tasks[2].wait()
    tasks[3].send(signal.SIGINT), tasks[3].send(signal.SIGINT)
    wait_until(lambda: tasks[3].poll() is not None or tasks[3].send(signal.SIGINT))
    assert states(manifest) == ["done", "running", "stale", "stopped", "failed", "waiting"]
    [stage] = summaries(manifest)
    assert [shard.left for shard in stage.shards] == [0, 2, 4, 4, 4, 4]
    assert stage.finish == f"sbatch --array=2-5 slurm/toy.slurm {manifest}"
    code, out, err = status(manifest)
    assert (code, err) == (0, "")
    assert "toy: 24 of 24 records in deal 1 (job 1), field `words`" in out
    assert f"to finish: {stage.finish}" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if re.match(r" +\d/6 ", line)}
    assert rows["1/6"][1:5] == ["running", "2", "0", "2"]
    assert rows["5/6"][1:5] == ["waiting", "0", "0", "4"]
    [found] = json.loads(status(manifest, "--json")[1])
    assert [shard["state"] for shard in found["shards"]] == states(manifest)
    assert found["totals"]["done"] + found["totals"]["failed"] + found["totals"]["left"] == 24
    assert found["shards"][1]["beat"]["in_flight"] == ["r13"]
    tasks[1].send(signal.SIGKILL)
    tasks[1].wait()


def beats(manifest, shards):
    paths = (stage_folder(manifest, "toy") / "beats").glob("*.json")
    found = [json.loads(path.read_text()) for path in paths]
    found = [beat for beat in found if str(beat["shard"]) in shards]
    return found if len(found) == 3 else [{"in_flight": []}]


def test_the_line_printed_finishes_the_work(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 20)
    for index in (0, 3):
        assert Task([manifest, "--batch-size", 2, "--fresh"], 1, index, range(5)).wait() == 0
    words = shlex.split(status(manifest)[1].splitlines()[-1].removeprefix("to finish: "))
    assert words == ["sbatch", "--array=1-2,4", "slurm/toy.slurm", str(manifest), "--batch-size", "2"]
    assert run_array(words[3:], 2, [1, 2, 4]) == {1: 0, 2: 0, 4: 0}
    assert states(manifest) == ["done"] * 5
    assert "to finish" not in status(manifest)[1]
    assert merge(manifest, "toy", allow_missing=False).status == 0


def test_the_lines_for_shards_without_slurm_can_be_pasted_into_a_shell(tmp_path):
    folder = tmp_path / "it's here"
    folder.mkdir()
    manifest = make_manifest(folder / "m.json", ["a"] * 8)
    toy = [sys.executable, TESTS / "data" / "toy_stage.py", manifest]
    assert subprocess.run([*toy, "4", "--shard-index", "1"], check=False).returncode == 0
    line = status(manifest)[1].splitlines()[-1].removeprefix("to finish: ")
    assert line.startswith("for shard in 0 2 3; do python ")
    subprocess.run(
        line.replace("python", shlex.quote(sys.executable), 1), shell=True, check=True, cwd=TESTS.parent
    )
    assert merge(manifest, "toy", allow_missing=False).status == 0
    whole = make_manifest(folder / "whole.json", ["a"] * 8)
    toy[-1] = whole
    subprocess.run([*toy, "--limit", "2"], check=True)
    line = status(whole)[1].splitlines()[-1].removeprefix("to finish: ")
    subprocess.run(
        line.replace("python", shlex.quote(sys.executable), 1), shell=True, check=True, cwd=TESTS.parent
    )
    assert [record["words"] for record in read_manifest(whole)] == [1] * 8


def test_errors_are_listed_once_and_only_while_there_is_no_result(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 20 + ["bad", "bad"])
    for attempt in range(2):
        assert Task([manifest], 1, 0, [0], restart=attempt).wait() == 0
    code, out, _ = status(manifest, "--errors")
    assert code == 0
    assert out.splitlines() == [
        "toy: r20: ValueError: r20: a bad word",
        "toy: r21: ValueError: r21: a bad word",
    ]
    listed = [json.loads(line) for line in status(manifest, "--errors", "--json")[1].splitlines()]
    assert [(line["stage"], line["key"], line["class"]) for line in listed] == [
        ("toy", "r20", "ValueError"), ("toy", "r21", "ValueError"),
    ]  # fmt: skip
    again = make_manifest(tmp_path / "again.json", ["a"] * 20 + ["bad"])
    for attempt, flags in enumerate(([], ["--mended"])):
        assert Task([again, *flags], 1, 0, [0], restart=attempt).wait() == 0
    assert not errors(stage_folder(again, "toy"))  # tried once more, and done
    assert run_array([manifest, "--mended", "--retry-errors"], 2, range(2)) == {0: 0, 1: 0}
    assert not errors(stage_folder(manifest, "toy"))
    assert status(manifest, "--errors")[1] == ""


def test_it_can_be_watched_until_ctrl_c_and_piped_into_head(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 8)
    run_array([manifest], 1, range(2))
    command = [sys.executable, SCRIPTS / "status.py", manifest, "--watch"]
    ours, theirs = pty.openpty()
    watch = subprocess.Popen(
        command, stdout=theirs, stderr=subprocess.PIPE, env={**os.environ, "AMELA_BEAT_S": "0.1"}
    )
    shown = b""
    while shown.count(b"\x1b[2J\x1b[H") < 3:
        shown += os.read(ours, 10_000)
    watch.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 30
    while watch.poll() is None and time.monotonic() < deadline:  # a terminal goes on taking what comes
        if select.select([ours], [], [], 0.1)[0]:
            os.read(ours, 10_000)
    assert watch.wait(0) == 0
    assert watch.stderr.read() == b""
    assert shown.count(b"toy: 8 of 8 records") >= 2
    piped = f"{shlex.join(map(str, command[:-1]))} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(piped, shell=True,
                          executable="bash", capture_output=True, text=True)  # fmt: skip
    assert (done.stdout.splitlines()[1], done.stderr) == ("0", "")


def test_many_shards_are_shown_worst_first_and_the_rest_counted(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 50)
    assert Task([manifest], 1, 7, range(50)).wait() == 0
    out = status(manifest, "--rows", "5")[1]
    assert out.count("waiting") == 5
    assert "… and 45 more shards" in out


def test_a_stage_that_was_never_started_is_named(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"])
    code, _, err = status(manifest, "--stage", "asr")
    assert (code, err) == (2, f"ERROR: {manifest}: no stage asr was started on this manifest\n")


@pytest.mark.parametrize("script", ["status.py", "merge_manifest.py"])
def test_help_answers_at_once(script):
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, "--help"], capture_output=True, text=True, check=True
    )
    assert time.monotonic() - started < 2
    assert "--manifest" in done.stdout or "manifest" in done.stdout
