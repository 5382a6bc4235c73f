"""The run loop: flags, isolation of bad records, signals, exit statuses, and what is printed."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amela import keeper, progress, summary
from amela.cli import stage_parser
from amela.deals import read_deals
from amela.errors import CallError, StoppedError
from amela.manifest import record_key
from amela.merge import merge
from amela.results import errors_void
from amela.state import stage_folder
from arrays import (
    Task,
    make_manifest,
    read_manifest,
    result_lines,
    run_array,
    stage_of,
    toy_stage,
    wait_until,
)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def errors(manifest):
    """Return the class of the error of each record that has one and no result."""
    return {error["key"]: error["class"] for error in summary.errors(stage_folder(manifest, "toy"))}


def words(manifest):
    return [record.get("words") for record in read_manifest(manifest)]


def beats(manifest):
    paths = sorted((stage_folder(manifest, "toy") / "beats").glob("*.json"))
    return [json.loads(path.read_text()) for path in paths]


def attempts(manifest):
    """Return how many attempts left a result file."""
    return len(list((stage_folder(manifest, "toy") / "results").glob("task_*.jsonl")))


def tried(process=None):
    """Return a process that notes each record it was given in `<manifest>.tried`, then does its work."""

    def noting(args, batch):
        with open(f"{args.manifest}.tried", "a") as file:
            file.writelines(f"{record_key(record)} {os.getpid()}\n" for record in batch)
        return process(args, batch) if process else [{"words": 1} for _ in batch]

    return noting


def tries(manifest):
    path = f"{manifest}.tried"
    return [line.split() for line in open(path).read().splitlines()] if os.path.exists(path) else []


def whole(args):
    return args


# --- one process -------------------------------------------------------------------------------------------


def test_one_process_does_all_and_merges_by_itself(tmp_path, log):
    manifest = make_manifest(tmp_path / "m.json", ["one", "one two", ""])
    assert Task([manifest], log=log).wait() == 0
    assert read_manifest(manifest)[1] == {
        "id": "r1", "text": "one two", "words": 2, "letters": {"all": 6, "scale": 1.0},
    }  # fmt: skip
    assert "toy: 3 done, 0 failed, 0 missing" in log.read_text()
    before = manifest.read_bytes()
    assert Task([manifest], main=stage_of(tried(), whole)).wait() == 0
    assert not tries(manifest)
    assert manifest.read_bytes() == before


def test_only_prints_one_record_and_writes_nothing(tmp_path, log):
    manifest = make_manifest(tmp_path / "m.json", ["one", "one two"])
    assert Task([manifest, "--only", "r1", "--field", "n"], log=log).wait() == 0
    assert json.loads(log.read_text()) == {"n": 2, "n_letters": {"all": 6, "scale": 1.0}}
    assert Task([manifest, "--only", "r7"], log=log).wait() == 2
    assert "no record has the path or id 'r7'" in log.read_text()
    assert not (tmp_path / ".amela").exists()


def test_limit_does_a_few_and_the_next_run_the_rest(tmp_path, log):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 9)
    assert Task([manifest, "--limit", 3, "--batch-size", 2], log=log).wait() == 0
    assert words(manifest).count(1) == 3
    [stage] = summary.summaries(manifest)
    assert (stage.shards[0].state, stage.shards[0].left) == ("stopped", 6)
    assert stage.finish == f"python toy_stage.py {manifest} --batch-size 2"
    assert Task([manifest]).wait() == 0
    assert words(manifest) == [1] * 9


def test_fail_fast_ends_with_the_traceback_and_keeps_what_was_done(tmp_path, log):
    manifest = make_manifest(tmp_path / "m.json", ["a", "a", "bad", "a"])
    assert Task([manifest, "--fail-fast", "--batch-size", 1], log=log).wait() == 1
    assert 'toy_stage.py", line' in log.read_text()
    assert "ERROR: ValueError: r2: a bad word" in log.read_text()
    assert sum("fields" in line for line in result_lines(manifest)) == 2
    assert not errors(manifest)


@pytest.mark.parametrize("flags", [[], ["--fail-fast"], ["--limit", "9"]])
def test_a_stage_that_gives_too_few_results_marks_nothing_as_done(tmp_path, flags):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 4)
    assert Task([manifest, "--batch-size", 2, *flags], main=stage_of(lambda _, batch: batch[1:])).wait() in (
        1,
        3,
    )
    assert words(manifest) == [None] * 4


def test_workers_share_the_batches(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 12)
    slow = tried(lambda _, batch: time.sleep(0.05) or [{"words": 1} for _ in batch])
    assert Task([manifest, "--workers", 3], main=stage_of(slow, whole)).wait() == 0
    assert len({pid for _, pid in tries(manifest)}) == 3
    assert len(tries(manifest)) == 12


def test_batches_come_longest_first(tmp_path):
    manifest = tmp_path / "m.json"
    lengths = [3, 9, None, 9, 5]
    manifest.write_text(
        "".join(json.dumps({"id": n, "text": "", "duration": s}) + "\n" for n, s in enumerate(lengths))
    )
    assert Task([manifest], main=stage_of(tried(), whole)).wait() == 0
    assert [key for key, _ in tries(manifest)] == ["1", "3", "4", "0", "2"]


# --- bad records -------------------------------------------------------------------------------------------


def test_a_bad_record_costs_its_batch_nothing_and_is_tried_once_more(tmp_path, log):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 15 + ["bad"])
    main = stage_of(tried(lambda _, batch: toy_stage.process(ARGS, batch)), whole, batch_size=4)
    for _ in range(4):
        assert Task([manifest, "--max-error-rate", 0.1], log=log, main=main).wait() == 0
        assert words(manifest) == [1] * 15 + [None]
    assert errors(manifest) == {"r15": "ValueError"}
    assert [key for key, _ in tries(manifest)].count(
        "r15"
    ) == 2 + 1  # in its batch, alone; alone by a second attempt
    assert "ERROR: r15: ValueError: r15: a bad word" in log.read_text()
    assert Task([manifest, "--retry-errors", "--mended"]).wait() == 0
    assert words(manifest)[15] == 1
    assert not errors(manifest)


ARGS = type("Args", (), {"seconds": 0, "mended": False, "scale": 1.0})


def test_an_exception_given_back_for_one_record_is_its_error(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 20)

    def process(_, batch):
        return [OSError("no such file") if record["id"] == "r3" else {"words": 1} for record in batch]

    assert Task([manifest], main=stage_of(process, batch_size=20)).wait() == 0
    assert errors(manifest) == {"r3": "OSError"}
    assert words(manifest).count(1) == 19


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"bytes"])
def test_a_value_that_is_no_json_is_an_error_of_its_record(tmp_path, value):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 20)
    main = stage_of(
        lambda _, batch: [{"words": value if record["id"] == "r3" else 1} for record in batch], batch_size=4
    )
    assert Task([manifest], main=main).wait() == 0
    assert errors(manifest) == {"r3": "ValueError"}


def test_a_record_that_crashes_its_worker_is_found_in_the_same_attempt(tmp_path, log):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 7 + ["crash"] + ["a"] * 8)
    assert Task([manifest], log=log).wait() == 0
    assert attempts(manifest) == 0  # merged
    assert words(manifest) == [1] * 7 + [None] + [1] * 8
    assert errors(manifest) == {"r7": "WorkerDied"}
    assert "ended by SIGSEGV, with a batch of 4: trying its records one by one" in log.read_text()


def test_a_worker_that_leaves_by_itself_is_no_end_of_the_task(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 15 + ["exit"])
    main = stage_of(
        lambda _, batch: [os._exit(3) if "exit" in r["text"] else {"words": 1} for r in batch], batch_size=4
    )
    assert Task([manifest], main=main).wait() == 0
    assert errors(manifest) == {"r15": "WorkerDied"}


def test_out_of_memory_halves_the_batch_until_it_fits(tmp_path, log):
    manifest = make_manifest(tmp_path / "m.json", ["huge"] * 4)
    assert Task([manifest], log=log).wait() == 0
    assert words(manifest) == [1] * 4
    assert "out of memory with 4 records: trying 2" in log.read_text()
    assert "out of memory with 2 records: trying 1" in log.read_text()


@pytest.mark.parametrize("flags", [[], ["--limit", "99"]])
def test_out_of_memory_of_one_record_alone_is_its_error(tmp_path, flags):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 15 + ["big"])

    def process(_, batch):
        if any(record["text"] == "big" for record in batch):
            raise RuntimeError("CUDA error: out of memory")
        return [{"words": 1} for _ in batch]

    assert Task([manifest, *flags], main=stage_of(process, batch_size=4)).wait() == 0
    assert list(errors(manifest)) == ["r15"]
    assert "Memory" in errors(manifest)["r15"]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_three_kills_in_a_row_on_one_batch_make_no_healthy_record_an_error(tmp_path, log, batch_size):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 4)
    slow = tried(lambda _, batch: time.sleep(0.15) or [{"words": 1} for _ in batch])
    task = Task([manifest], log=log, main=stage_of(slow, whole, batch_size=batch_size))
    killed = set()
    for _ in range(3):
        pid = wait_until(lambda: next((pid for _, pid in tries(manifest) if pid not in killed), None))
        os.kill(int(pid), signal.SIGKILL)
        killed.add(pid)
    assert task.wait() == 0
    assert log.read_text().count("ended by SIGKILL") == 3
    assert not errors(manifest)
    assert words(manifest) == [1] * 4


def test_a_record_alone_with_the_end_of_its_worker_again_and_again_is_an_error(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 15 + ["eats all memory"])

    def process(_, batch):
        if any("eats" in record["text"] for record in batch):
            os.kill(os.getpid(), signal.SIGKILL)
        return [{"words": 1} for _ in batch]

    assert Task([manifest], main=stage_of(process, batch_size=4)).wait() == 0
    assert errors(manifest) == {"r15": "WorkerDied"}
    assert words(manifest).count(1) == 15


def test_so_many_errors_that_the_environment_must_be_broken_do_not_count(tmp_path, log):
    manifest = make_manifest(tmp_path / "m.json", ["bad"] * 60 + ["a"] * 10)
    argv = [manifest, "--workers", 3, "--batch-size", 2]
    assert Task(argv, 1, 0, [0], log=log).wait() == 3
    assert "records failed, more than --max-error-rate 0.1: their errors do not count" in log.read_text()
    [path] = (stage_folder(manifest, "toy") / "results").glob("*")
    assert errors_void(path)
    assert not errors(manifest)
    assert beats(manifest)[0]["state"] == "failed"
    assert not read_deals(stage_folder(manifest, "toy"))[0].is_finished()
    assert 20 <= sum("error" in line for line in result_lines(manifest)) < 60  # stopped early
    assert Task([*argv, "--mended"], 1, 0, [0], restart=1).wait() == 0
    assert merge(manifest, "toy", allow_missing=False).status == 0


def test_few_records_are_judged_by_the_merge_and_their_errors_count(tmp_path, log):
    manifest = make_manifest(tmp_path / "array.json", ["bad"] * 2 + ["a"] * 3)
    assert set(run_array([manifest], 1, range(2)).values()) == {0}
    manifest = make_manifest(tmp_path / "m.json", ["bad"] * 2 + ["a"] * 3)
    assert Task([manifest], log=log).wait() == 3
    assert "2 of 5 records failed, more than --max-error-rate 0.1" in log.read_text()
    assert set(errors(manifest)) == {"r0", "r1"}
    assert words(manifest) == [None] * 2 + [1] * 3


def test_chance_alone_stops_nobody_early(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["bad"] * 3 + ["a"] * 27)  # 3 of the first 20, 10 % in all
    assert Task([manifest, "--batch-size", 1]).wait() == 0


def test_errors_known_before_do_not_count_again_also_after_a_merge(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 90 + ["bad"] * 6 + ["a"] * 4)
    slow = stage_of(lambda _, b: time.sleep(0.02) or toy_stage.process(ARGS, b), batch_size=1)
    task = Task([manifest], 1, 0, range(1), main=slow)
    wait_until(lambda: sum("error" in line for line in whole_lines(manifest)) == 6)
    task.send(signal.SIGTERM)
    assert task.wait() == 75
    merge(manifest, "toy", allow_missing=True)
    assert attempts(manifest) == 0
    assert Task([manifest], 1, 0, range(1), restart=1).wait() == 0


def whole_lines(manifest):
    try:
        return result_lines(manifest)
    except ValueError:  # just being written
        return []


# --- loading -----------------------------------------------------------------------------------------------


def raising(exc):
    def load(_args):
        raise exc

    return load


class AcceleratorError(RuntimeError):
    pass


def dying(_args):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("load", "status", "said"),
    [
        (raising(ValueError("no such layer")), 1, "ERROR: loading failed: ValueError: no such layer"),
        (raising(CallError("m.nemo: no such model")), 2, "ERROR: m.nemo: no such model"),
        (
            raising(RuntimeError("CUDA error: device unavailable")),
            75,
            "loading failed: RuntimeError: CUDA error",
        ),
        (raising(AcceleratorError("gone")), 75, "loading failed: AcceleratorError: gone"),
        (dying, 75, "ended by SIGKILL (often: out of memory) while loading, 3 times in a row"),
    ],
)
def test_a_model_that_does_not_load(tmp_path, log, load, status, said):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 3)
    assert Task([manifest], log=log, main=stage_of(None, load)).wait() == status
    assert said in log.read_text()
    assert not errors(manifest)


def test_a_device_that_breaks_takes_the_worker_with_it_not_the_record(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 8)

    def process(args, batch):
        if not os.path.exists(f"{args.manifest}.broken"):
            open(f"{args.manifest}.broken", "w").close()
            raise AcceleratorError("unspecified launch failure")
        return [{"words": os.getpid()} for _ in batch]

    assert Task([manifest], main=stage_of(process, whole, batch_size=4)).wait() == 0
    assert len(set(words(manifest))) == 1
    manifest2 = make_manifest(tmp_path / "m2.json", ["a"] * 8)
    assert Task([manifest2, "--limit", 3], main=stage_of(process, whole)).wait() == 75
    assert not errors(manifest2)


# --- signals -----------------------------------------------------------------------------------------------


def started(manifest, argv=(), log=os.devnull, seconds=0.05, process=None, records=40, job=1):
    """Start task 0 of an array of one and wait until it has tried a few records."""
    make_manifest(manifest, ["a"] * records)
    slow = process or (lambda _, batch: time.sleep(seconds) or [{"words": 1} for _ in batch])
    indices = [0] if job else ()
    task = Task(
        [manifest, *argv], job, 0 if job else None, indices, log=log, main=stage_of(tried(slow), whole)
    )
    wait_until(lambda: len(tries(manifest)) >= 3)
    return task


def test_usr1_flushes_and_asks_to_come_back(tmp_path, log):
    task = started(tmp_path / "m.json", log=log)
    task.send(signal.SIGUSR1)
    assert task.wait() == 75
    assert task.requeue_wish.exists()
    assert "stopped by SIGUSR1: requeued" in log.read_text()
    done = sum("fields" in line for line in result_lines(tmp_path / "m.json"))
    assert done >= 3
    assert (beats(tmp_path / "m.json")[0]["state"], beats(tmp_path / "m.json")[0]["done"]) == (
        "stopped",
        done,
    )
    assert task.again().wait() == 0
    assert len(tries(tmp_path / "m.json")) == 40  # nothing twice: the batch in flight was finished


def test_usr1_before_the_first_record_was_done_asks_for_nothing(tmp_path, log, monkeypatch):
    monkeypatch.setitem(keeper.Stop.__init__.__globals__["PATIENCE_S"], signal.SIGUSR1, 0.1)
    make_manifest(tmp_path / "m.json", ["a"])
    task = Task(
        [tmp_path / "m.json"], 1, 0, [0], log=log, main=stage_of(tried(lambda *_: time.sleep(9)), whole)
    )
    wait_until(lambda: tries(tmp_path / "m.json"))
    task.send(signal.SIGUSR1)
    assert task.wait() == 75
    assert not task.requeue_wish.exists()
    assert "without one new record: not requeued" in log.read_text()


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGUSR1, signal.SIGTERM]])
def test_a_cancelled_task_stays_cancelled(tmp_path, log, numbers):
    task = started(tmp_path / "m.json", log=log)
    for number in numbers:
        task.send(number)
    assert task.wait() == 75
    assert not task.requeue_wish.exists()
    assert f"stopped by {numbers[-1].name}: the same command goes on from here" in log.read_text()
    assert Task([tmp_path / "m.json"]).wait() == 0
    assert words(tmp_path / "m.json") == [1] * 40


def test_a_second_ctrl_c_gives_the_batch_in_flight_up(tmp_path):
    def hang(_, batch):
        time.sleep(0 if batch[0]["id"] in ("r0", "r1") else 30)
        return [{"words": 1} for _ in batch]

    task = started(tmp_path / "m.json", process=hang, job=None)
    task.send(signal.SIGINT)
    time.sleep(0.3)
    assert task.poll() is None
    task.send(signal.SIGINT)
    assert task.wait(5) == 75
    assert not errors(tmp_path / "m.json")


def test_ctrl_c_ends_a_debugging_run_at_once(tmp_path, log):
    task = started(tmp_path / "m.json", ["--limit", 30], log=log, job=None)
    task.send(signal.SIGINT)
    assert task.wait(5) == 75
    assert "ERROR: interrupted: what was done is kept" in log.read_text()
    assert sum("fields" in line for line in result_lines(tmp_path / "m.json")) >= 2
    assert Task([tmp_path / "m.json"]).wait() == 0


def test_no_record_gets_an_error_line_while_the_task_is_stopping(tmp_path):
    def process(args, batch):
        time.sleep(0.4)
        raise RuntimeError("ffmpeg was ended by SIGTERM, as SLURM signals every process of a job")

    manifest = tmp_path / "m.json"
    make_manifest(manifest, ["a"] * 3)
    task = Task([manifest, "--workers", 3], 1, 0, [0], main=stage_of(tried(process), whole))
    wait_until(lambda: len(tries(manifest)) == 3)
    task.send(signal.SIGTERM)
    assert task.wait() == 75
    assert not any("error" in line for line in result_lines(manifest))


def test_workers_ignore_the_signals_of_their_task(tmp_path):
    task = started(tmp_path / "m.json", log=tmp_path / "log")
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        os.kill(task.workers()[0], number)
    assert task.wait() == 0
    assert len({pid for _, pid in tries(tmp_path / "m.json")}) == 1


def test_a_task_killed_outright_leaves_no_worker_alive(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 9)
    task = Task([manifest, "--workers", 3], main=stage_of(tried(lambda *_: time.sleep(60)), whole))
    wait_until(lambda: len(tries(manifest)) == 3)
    workers = task.workers()
    assert len(workers) == 3
    task.send(signal.SIGKILL)
    task.wait()
    wait_until(lambda: not any(is_running(pid) for pid in workers))


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- doing it again ----------------------------------------------------------------------------------------


def test_fresh_interrupted_resized_and_merged_in_between_makes_everything_anew(tmp_path, log):
    manifest = make_manifest(tmp_path / "m.json", ["a b"] * 30)
    assert Task([manifest]).wait() == 0
    argv = [manifest, "--scale", 2]
    task = Task([*argv, "--fresh", "--seconds", 0.03, "--batch-size", 1], 7, 0, range(3))
    wait_until(
        lambda: sum("fields" in line for line in whole_lines(manifest) if line.get("generation") == 1) > 2
    )
    task.send(signal.SIGTERM)
    assert task.wait() == 75
    report = merge(manifest, "toy", allow_missing=False)
    assert report.status == 4
    assert "--fresh" not in report.stages[0].finish
    merge(manifest, "toy", allow_missing=True)  # compacts
    scales = [record["letters"]["scale"] for record in read_manifest(manifest)]
    assert set(scales) == {1.0, 2.0}
    assert task.again().wait() == 0  # --fresh once more, but its job opened the generation already
    assert run_array(argv, 8, range(5), log=log) == dict.fromkeys(range(5), 0), log.read_text()
    assert merge(manifest, "toy", allow_missing=False).status == 0
    assert {record["letters"]["scale"] for record in read_manifest(manifest)} == {2.0}
    assert [deal.header["generation"] for deal in read_deals(stage_folder(manifest, "toy"))] == [0, 1, 1]
    before = manifest.read_bytes()
    assert Task(argv).wait() == 0
    assert manifest.read_bytes() == before


def test_fresh_from_the_shell_says_that_the_same_command_would_begin_anew(tmp_path, log):
    task = started(tmp_path / "m.json", ["--fresh"], log=log, job=None)
    task.send(signal.SIGINT)
    assert task.wait() == 75
    assert "goes on from here (without --fresh, which begins anew)" in log.read_text()


def human(tmp_path, records=6):
    """Write a manifest in which half of the records have a `words` from elsewhere."""
    manifest = make_manifest(tmp_path / "m.json", ["a"] * records)
    lines = [
        json.dumps({**r, "words": "human"} if n % 2 else r) + "\n"
        for n, r in enumerate(read_manifest(manifest))
    ]
    manifest.write_text("".join(lines))
    return manifest


def test_a_field_from_elsewhere_is_never_overwritten_unasked(tmp_path, log):
    manifest = human(tmp_path)
    for flags in ([], ["--fresh"], ["--retry-errors"], []):
        assert Task([manifest, *flags], log=log).wait() == 0
        assert words(manifest) == [1, "human"] * 3
    said = "3 records have `words` already and are left as they are (--overwrite does them too, --field NAME "
    assert log.read_text().count(said) == 4
    assert Task([manifest, "--field", "counted"]).wait() == 0
    assert words(manifest) == [1, "human"] * 3
    assert [record["counted"] for record in read_manifest(manifest)] == [1] * 6
    assert Task([manifest, "--overwrite"]).wait() == 0
    assert words(manifest) == [1] * 6


def test_overwriting_that_was_stopped_is_missing_until_it_is_complete(tmp_path):
    manifest = human(tmp_path, 20)
    task = Task([manifest, "--overwrite", "--seconds", 0.05, "--batch-size", 1], 1, 0, range(2))
    wait_until(lambda: sum("fields" in line for line in whole_lines(manifest)) > 2)
    task.send(signal.SIGTERM)
    assert task.wait() == 75
    report = merge(manifest, "toy", allow_missing=True)
    assert report.status == 4
    assert report.stages[0].done + report.stages[0].missing == 20
    assert words(manifest).count(1) == report.stages[0].done
    assert run_array([manifest], 2, range(3)) == {0: 0, 1: 0, 2: 0}  # goes on without the flag
    assert merge(manifest, "toy", allow_missing=False).status == 0
    assert words(manifest) == [1] * 20
    with open(manifest, "a") as file:  # new records with a field of their own are another matter
        file.write('{"id": "new", "text": "a b", "words": "human"}\n')
    assert Task([manifest]).wait() == 0
    assert words(manifest) == [1] * 20 + ["human"]


def test_retry_errors_tries_what_stood_and_keeps_what_was_done(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 28 + ["bad"] * 2)
    for _ in range(2):
        assert Task([manifest]).wait() == 0
    assert Task([manifest], main=stage_of(tried(), whole)).wait() == 0
    assert not tries(manifest)  # errors stand, also through the merge
    assert Task([manifest, "--retry-errors"], main=stage_of(tried(), whole)).wait() == 0
    assert sorted(key for key, _ in tries(manifest)) == ["r28", "r29"]
    assert words(manifest) == [1] * 30


def test_field_has_its_own_names_and_state(tmp_path, log):
    manifest = make_manifest(tmp_path / "m.json", ["a b"])
    assert Task([manifest, "--field", "pred"]).wait() == 0
    assert read_manifest(manifest) == [
        {"id": "r0", "text": "a b", "pred": 2, "pred_letters": {"all": 2, "scale": 1.0}}
    ]
    assert [path.name for path in (tmp_path / ".amela" / "m.json").iterdir()] == ["toy.pred"]
    for name in ("a/b", "id", "audio_filepath", "duration", ""):
        assert Task([manifest, "--field", name], log=log).wait() == 2
    assert "--field 'a/b': wanted letters, digits and _" in log.read_text()


# --- what is printed ---------------------------------------------------------------------------------------


def test_a_log_gets_a_line_now_and_then_with_all_a_person_wants_to_know(tmp_path, log, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.05)
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 19 + ["bad"], duration=360)
    assert Task([manifest, "--seconds", 0.02, "--batch-size", 2], log=log).wait() == 0
    line = r"\[\d\d:\d\d:\d\d\] toy 1/1: (\d+)/20 done(, 1 failed)?, "
    line += r"\d\.\d\d h of audio, [\d.]+ x real time, ETA \d:\d\d:\d\d"
    shown = [
        match.group(1) for match in map(re.compile(line).fullmatch, log.read_text().splitlines()) if match
    ]
    assert len(shown) > 3
    assert shown == sorted(shown, key=int)
    assert "20 records left, 2.00 h of audio" in log.read_text()
    assert "\r" not in log.read_text()


def test_a_terminal_gets_a_bar(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "BAR_EVERY_S", 0.0)
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 5)
    ours, theirs = pty.openpty()
    assert Task([manifest], log=os.ttyname(theirs)).wait() == 0
    assert re.search(rb"\r\x1b\[K\[#* *\] toy 1/1: \d/5 done", os.read(ours, 100_000))


@pytest.mark.parametrize("sink", ["/dev/full", "pipe"])
def test_a_log_that_takes_nothing_stops_no_work(tmp_path, sink):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 15 + ["bad"])
    if sink == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
        sink = f"/dev/fd/{writer}"
    assert Task([manifest], log=sink).wait() == 0
    assert words(manifest) == [1] * 15 + [None]


def test_heartbeats_tell_who_does_what(tmp_path):
    task = started(tmp_path / "m.json")
    [beat] = wait_until(lambda: [beat for beat in beats(tmp_path / "m.json") if beat["done"]], 5)
    assert (beat["stage"], beat["job"], beat["task"], beat["deal"], beat["shard"]) == ("toy", "1", 0, 1, 0)
    assert (beat["state"], beat["total"], beat["pid"], beat["limit"]) == ("running", 40, task.pid, None)
    assert beat["in_flight"][0].startswith("r")
    assert task.wait() == 0
    [beat] = beats(tmp_path / "m.json")
    assert (beat["state"], beat["status"], beat["done"], beat["in_flight"]) == ("done", 0, 40, [])


# --- the parser --------------------------------------------------------------------------------------------

FLAGS = [action.option_strings[-1] for action in stage_parser("")._actions if "_" in action.dest]
VALUES = {"--field": "a_b", "--only": "/x_y/z-w.wav", "--balance": "duration", "--max-error-rate": "0.5"}
ALONE = ("--fail-fast", "--retry-errors")


@given(
    flag=st.sampled_from([*FLAGS, "--field", "--only"]), dashes=st.lists(st.booleans()), joined=st.booleans()
)
def test_two_words_are_read_as_two_words_and_values_are_left_alone(flag, dashes, joined):
    spelled = "--" + "".join(
        "_" if char == "-" and (dashes + [False] * 20)[place] else char for place, char in enumerate(flag[2:])
    )
    value = VALUES.get(flag, "3")
    given_words = [spelled] if flag in ALONE else [f"{spelled}={value}"] if joined else [spelled, value]
    plain = [flag] if flag in ALONE else [flag, value]
    parser = stage_parser("")
    assert vars(parser.parse_args(["m_n.json", *given_words])) == vars(
        parser.parse_args(["m_n.json", *plain])
    )
    assert parser.parse_args(["m_n.json", *given_words]).manifest == "m_n.json"


@pytest.mark.parametrize(
    "words", [["m.json", "5"], ["m.json", "--scale", "2", "5"], ["--scale", "2", "m.json", "5"]]
)
def test_num_tasks_comes_last_whatever_stands_before(words):
    parser = stage_parser("")
    parser.add_argument("--scale", type=float)
    parser.add_speed_argument("--quick", action="store_true")
    args = parser.parse_args(words)
    assert (args.manifest, args.num_tasks) == ("m.json", 5)
    assert set(args.settings) == {"scale"}


@pytest.mark.parametrize("words", [["m.json", "0"], ["m.json", "x"], ["m.json", "--fresh", "0"],
                                   ["m.json", "--fre"],
                                   ["m.json", "4", "5"], ["m.json", "--max-error-rate", "2"]])  # fmt: skip
def test_what_cannot_be_meant_is_refused(words, capsys):
    with pytest.raises(SystemExit) as caught:
        stage_parser("").parse_args(words)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--limit", 4]])
def test_a_disk_that_fills_up_under_a_stage_stops_the_task_and_blames_no_record(tmp_path, log, flags):
    def full(_, batch):
        raise StoppedError("/disk: No space left on device")

    manifest = make_manifest(tmp_path / "m.json", ["a"] * 4)
    assert Task([manifest, *flags], main=stage_of(full), log=log).wait() == 75
    assert "ERROR: /disk: No space left on device" in log.read_text()
    assert not errors(manifest)
    assert Task([manifest]).wait() == 0


def test_settings_may_change_until_a_result_rests_on_them(tmp_path, log):
    def broken(_):
        raise CallError("no such model")

    manifest = make_manifest(tmp_path / "m.json", ["a"] * 4)
    assert Task([manifest, "--scale", 2], main=stage_of(None, broken)).wait() == 2
    assert Task([manifest, "--scale", 3]).wait() == 0
    assert Task([manifest, "--scale", 2], log=log).wait() == 2
    assert "scale: 3.0 before, 2.0 now" in log.read_text()
