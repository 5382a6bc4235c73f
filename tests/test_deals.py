"""Which deal a task works in, what a deal holds, and who may make one."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amela import dealing
from amela.cli import stage_parser
from amela.deals import read_deals
from amela.errors import CallError
from amela.merge import merge
from amela.shards import MUST, NEVER, UNFINISHED, Ask, ask
from amela.slurm import Place, array_expression
from amela.state import stage_folder
from arrays import Task, make_manifest, read_manifest, result_lines, run_array

ALONE = Place(None, None, None, None, None, 0)


def parsed(*words):
    return stage_parser("a stage").parse_args(["m.json", *words])


def place(task, indices, job="7"):
    return Place(job, task, len(indices), min(indices), max(indices), 0)


def deals(manifest):
    return read_deals(stage_folder(manifest, "toy"))


def results_by_shard(manifest):
    """Return how many results each (deal, shard) has, by the headers of the result files."""
    counts, shard = Counter(), None
    for line in result_lines(manifest):
        shard = (line["deal"], line["shard"]) if "deal" in line else shard
        counts[shard] += "fields" in line
    return {shard: count for shard, count in counts.items() if count}


@pytest.mark.parametrize(
    ("words", "where", "wanted"),
    [
        ([], ALONE, Ask(None, 1, NEVER)),
        (["1"], ALONE, Ask(None, 1, NEVER)),
        (["--num-shards", "4", "--shard-index", "2"], ALONE, Ask(2, 4, UNFINISHED)),
        (["4", "--shard-index", "2"], ALONE, Ask(2, 4, UNFINISHED)),
        ([], place(3, range(16)), Ask(3, 16, NEVER)),
        (["16"], place(3, range(16)), Ask(3, 16, NEVER)),
        ([], place(0, [0]), Ask(0, None, UNFINISHED)),  # --array=0: a try-out, or all
        ([], place(5, [0, 5, 12]), Ask(5, None, MUST)),
        ([], place(3, [3]), Ask(3, None, MUST)),
        ([], place(5, [0, 5, 10, 15]), Ask(5, None, MUST)),  # --array=0-15:5
        (["16"], place(5, [0, 5, 12]), Ask(5, 16, UNFINISHED)),
        (
            ["--num-shards", "2000", "--shard-offset", "1000"],
            place(3, range(1000)),
            Ask(1003, 2000, UNFINISHED),
        ),
        (["--num-shards", "2000"], place(3, range(1000)), Ask(3, 2000, UNFINISHED)),
        (["--shard-offset", "1000"], place(3, range(1000)), Ask(1003, None, MUST)),
    ],
)
def test_what_a_call_asks_for(words, where, wanted):
    assert ask(parsed(*words), where) == wanted


@pytest.mark.parametrize(
    ("words", "where", "said"),
    [
        (["--num-shards", "4"], ALONE, "wanted --shard-index too"),
        (["--num-shards", "4", "5"], ALONE, "found --num-shards 4 and NUM_TASKS 5"),
        (["--num-shards", "4", "--shard-index", "4"], ALONE, "found shard 4 of 4, wanted 0 to 3"),
        (["8"], place(12, [12]), "found shard 12 of 8"),
        (["--shard-index", "1"], place(0, range(4)), "inside one the task's number is the shard"),
        (["--fresh"], place(5, [0, 5]), "a part of an array cannot do"),
    ],
)
def test_a_call_that_is_unclear_is_refused(words, where, said):
    with pytest.raises(CallError, match=said):
        ask(parsed(*words), where)


@given(st.sets(st.integers(0, 60), min_size=1))
def test_an_array_expression_means_the_same_to_sbatch(indices):
    text = array_expression(indices)
    back = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        back |= set(range(int(first), int(last or first) + 1))
    assert back == indices
    assert len(text.split(",")) == sum(1 for index in indices if index - 1 not in indices)


def test_records_go_round_robin_and_longest_first_to_the_least_loaded(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 10)
    assert run_array([manifest], 1, range(3)) == {0: 0, 1: 0, 2: 0}
    shards, _ = deals(manifest)[0].read_plan()
    assert list(shards) == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    lengths = [9, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    long = tmp_path / "long.json"
    long.write_text(
        "".join(json.dumps({"id": n, "text": "a", "duration": s}) + "\n" for n, s in enumerate(lengths))
    )
    log = tmp_path / "log"
    run_array([long], 1, range(2), log=log)
    assert (
        "predicted imbalance 1.44 (the longest shard over the mean): try --balance duration"
        in log.read_text()
    )
    run_array([long, "--fresh", "--balance", "duration"], 2, range(2), log=log)
    shards, _ = deals(long)[1].read_plan()
    assert list(shards) == [0] + [1] * 9
    assert "predicted imbalance 1.00" in log.read_text()
    assert deals(long)[1].header["shards"] == [[1, 9.0], [9, 9.0]]


def test_of_eight_tasks_that_start_at_once_one_deals_and_all_work_in_its_deal(tmp_path):
    for race in range(6):
        manifest = make_manifest(tmp_path / f"m{race}.json", ["a b"] * 24)
        tasks = [Task([manifest], 40 + race, index, range(8)) for index in range(8)]
        assert [task.wait() for task in tasks] == [0] * 8
        assert len(deals(manifest)) == 1
        assert results_by_shard(manifest) == {(1, shard): 3 for shard in range(8)}


def test_a_deal_made_between_two_looks_is_joined(tmp_path, monkeypatch):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 4)

    def read_slowly(folder):
        deals = read_deals(folder)
        monkeypatch.undo()
        assert Task([manifest], 1, 1, range(2)).wait() == 0
        return deals

    monkeypatch.setattr(dealing, "read_deals", read_slowly)
    assert Task([manifest], 1, 0, range(2), log=tmp_path / "log").wait() == 0, (tmp_path / "log").read_text()
    assert len(deals(manifest)) == 1


def test_a_requeued_task_returns_to_its_own_deal_though_there_is_a_newer_one(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 12)
    first = Task([manifest, "--limit", 1], 1, 2, range(4))
    assert first.wait() == 0
    assert run_array([manifest], 2, range(3)) == {0: 0, 1: 0, 2: 0}
    assert Task([manifest], 1, 2, range(4), restart=1).wait() == 0
    assert [deal.header["job"] for deal in deals(manifest)] == ["1", "2"]
    beats = [json.loads(path.read_text()) for path in (stage_folder(manifest, "toy") / "beats").glob("*")]
    assert (
        sorted((beat["job"], beat["deal"], beat["shard"]) for beat in beats if beat["job"] == "1")
        == [("1", 1, 2)] * 2
    )


def test_partial_arrays_join_and_a_full_one_deals_anew_over_what_is_left(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 32)
    assert Task([manifest], 1, 3, range(16)).wait() == 0
    assert run_array([manifest], 2, [0, 5, 12]) == {0: 0, 5: 0, 12: 0}
    assert len(deals(manifest)) == 1
    assert results_by_shard(manifest) == {(1, shard): 2 for shard in (0, 3, 5, 12)}
    assert run_array([manifest], 3, range(5)) == dict.fromkeys(range(5), 0)
    assert len(deals(manifest)) == 2
    assert deals(manifest)[1].header["todo"] == 24
    assert merge(manifest, "toy", allow_missing=False).status == 0
    assert sum(results_by_shard(manifest).values()) == 32 or len(result_lines(manifest)) == 33


def test_array_0_joins_an_unfinished_deal_and_else_does_all_by_itself(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 8)
    assert Task([manifest], 1, 1, range(4)).wait() == 0
    assert Task([manifest], 2, 0, [0]).wait() == 0
    assert results_by_shard(manifest) == {(1, 1): 2, (1, 0): 2}
    fresh = make_manifest(tmp_path / "fresh.json", ["a"] * 8)
    assert Task([fresh], 1, 0, [0]).wait() == 0
    assert results_by_shard(fresh) == {(1, 0): 8}


def test_a_part_of_an_array_alone_says_what_to_submit_first(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 8)
    log = tmp_path / "log"
    assert Task([manifest], 1, 5, [0, 5, 12], log=log).wait() == 2
    assert "submit the full array first (`--array=0-15`)" in log.read_text()
    assert Task([manifest], 2, 0, range(3)).wait() == 0
    assert Task([manifest], 3, 7, [7], log=log).wait() == 2
    assert "found task 7, wanted one of 0 to 2" in log.read_text()


def test_num_tasks_by_hand_splits_the_same_way_in_and_outside_arrays(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 8)
    assert Task([manifest, "--batch-size", 2, 4], 1, 1, [1]).wait() == 0  # a number after flags
    assert Task([manifest, 4, "--shard-index", 2]).wait() == 0
    assert Task([manifest, "--num-shards", 4, "--shard-index", 3]).wait() == 0
    assert len(deals(manifest)) == 1
    assert results_by_shard(manifest) == {(1, shard): 2 for shard in (1, 2, 3)}
    assert Task([manifest, 4], 9, 0, [0]).wait() == 0
    assert deals(manifest)[0].is_finished()


def test_arrays_beyond_max_array_size_share_a_deal_by_offset(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 10)
    argv = [manifest, "--num-shards", 5]
    assert run_array([*argv], 1, range(3)) == {0: 0, 1: 0, 2: 0}
    assert run_array([*argv, "--shard-offset", 3], 2, [0]) == {0: 0}
    assert len(deals(manifest)) == 1
    report = merge(manifest, "toy")
    assert report.stages[0].missing == 2
    assert report.stages[0].finish.endswith(
        f"--array=1 slurm/toy.slurm {manifest} --num-shards 5 --shard-offset 3"
    )
    assert run_array([*argv, "--shard-offset", 3], 3, [1]) == {1: 0}
    assert merge(manifest, "toy", allow_missing=False).status == 0


def test_a_new_deal_is_refused_while_others_work_and_force_overrules(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 40)
    log = tmp_path / "log"
    running = Task([manifest, "--seconds", 0.05], 1, 0, range(2))
    wait_for_beat(manifest)
    assert Task([manifest], 2, 0, range(3), log=log).wait() == 2
    said = log.read_text()
    assert "job 1 is at work on this stage" in said
    assert "`scancel 1`" in said
    assert Task([manifest], log=log).wait() == 2  # no array either
    assert Task([manifest], 3, 1, [1]).wait() == 0  # joining is no new deal
    assert Task([manifest, "--force"], 4, 0, range(3)).wait() == 0
    assert [deal.header["job"] for deal in deals(manifest)] == ["1", "4"]
    running.send(signal.SIGKILL)
    running.wait()
    assert Task([manifest], 5, 0, range(3)).wait() == 0  # the dead are seen to be dead at once


def test_a_task_elsewhere_that_went_silent_is_waited_for_a_little(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a"] * 4)
    assert Task([manifest, "--limit", 1], 1, 0, range(2)).wait() == 0
    [path] = (stage_folder(manifest, "toy") / "beats").glob("*.json")
    beat = {
        **json.loads(path.read_text()),
        "state": "running",
        "host": "elsewhere",
        "time": time.time(),
        "every_s": 0.3,
    }
    path.write_text(json.dumps(beat))
    log = tmp_path / "log"
    started = time.monotonic()
    assert Task([manifest], 2, 0, range(3), log=log).wait() == 0
    assert 0.3 < time.monotonic() - started < 5
    assert log.read_text().count("waiting up to") == 1


def test_other_settings_are_refused_with_the_difference(tmp_path):
    manifest = make_manifest(tmp_path / "m.json", ["a b"] * 4)
    log = tmp_path / "log"
    assert run_array([manifest], 1, range(2)) == {0: 0, 1: 0}
    for job, indices in ((2, [0]), (3, range(3)), (None, [])):
        index = 0 if job else None
        assert Task([manifest, "--scale", 2], job, index, indices, log=log).wait() == 2
    assert log.read_text().count("(scale: 1.0 before, 2.0 now)") == 3
    assert Task([manifest, "--seconds", 0.001, "--batch-size", 2]).wait() == 0  # those change no result
    assert Task([manifest, "--scale", 2, "--fresh"]).wait() == 0
    assert {record["letters"]["scale"] for record in read_manifest(manifest)} == {2.0}
    assert Task([manifest, "--scale", 3, "--field", "other"]).wait() == 0
    assert {record["other_letters"]["scale"] for record in read_manifest(manifest)} == {3.0}


def test_lines_that_repeat_a_recording_each_get_their_result_whatever_was_killed(tmp_path):
    manifest = tmp_path / "m.json"
    lines = [{"audio_filepath": f"/{name}.wav", "text": "a", "duration": 1} for name in "abab"]
    lines[3]["duration"] = 9  # so its twin comes last
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = tmp_path / "log"
    assert Task([manifest, "--limit", 1], 1, 0, range(1), log=log).wait() == 0
    assert "2 lines repeat a record (lines 3, 4); each gets its result" in log.read_text()
    assert Task([manifest], 1, 0, range(1), restart=1).wait() == 0
    assert merge(manifest, "toy", allow_missing=False).status == 0
    assert [record["words"] for record in read_manifest(manifest)] == [1] * 4


def wait_for_beat(manifest, limit_s=10):
    """Wait until a task has written its first heartbeat."""
    deadline = time.monotonic() + limit_s
    while not list((stage_folder(manifest, "toy") / "beats").glob("task*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
