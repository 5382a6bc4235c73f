"""The property to own: kill anything anywhere, change the array's size, merge in between: the bytes are the
same.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil

import pytest

from amela.deals import read_deals
from amela.merge import merge
from amela.state import stage_folder
from amela.summary import errors
from arrays import Task, do_harm, run_array

ROUNDS = int(os.environ.get("AMELA_ROUNDS", "200"))
CHUNK = 10
JOBS = itertools.count(1000)


def make_manifest(path, rng):
    """Write a manifest of 15 to 70 records, a few of them bad; return the keys of those."""
    bad = set()
    with open(path, "w") as file:
        for number in range(rng.randrange(15, 70)):
            text = f"record {number} " + "la " * rng.randrange(5)
            if rng.random() < 0.03:
                text += rng.choice(["bad", "crash"])
                bad.add(f"r{number}")
            record = {"id": f"r{number}", "text": text}
            if rng.random() < 0.8:
                record["duration"] = round(rng.random() * 20, 2)
            file.write(json.dumps(record) + "\n")
    return bad


def uninterrupted(manifest, folder):
    """Return the bytes that one process makes of a copy of a manifest."""
    copy = folder / f"reference_{manifest.name}"
    shutil.copy(manifest, copy)
    assert Task([copy, "--max-error-rate", 1]).wait() == 0
    return copy.read_bytes()


def one_round(seed, folder):
    """Harm arrays of changing size at random, then let one finish; return what was made, expected and went
    wrong.
    """
    rng = random.Random(seed)
    manifest = folder / f"round_{seed}.json"
    bad = make_manifest(manifest, rng)
    expected = uninterrupted(manifest, folder)
    log = folder / f"round_{seed}.log"
    argv = [manifest, "--seconds", 0.001, "--max-error-rate", 1, "--batch-size", rng.choice([1, 3, 8])]
    if rng.random() < 0.3:
        argv += ["--balance", "duration"]
    sizes = [16, 5, 23, 1]
    rng.shuffle(sizes)
    for size in sizes[: rng.randrange(1, 4)]:
        indices = list(range(size))
        latest = read_deals(stage_folder(manifest, "toy"))
        if latest and rng.random() < 0.4:  # only a part, which joins the latest deal
            indices = sorted(
                rng.sample(range(latest[-1].num_shards), rng.randrange(1, latest[-1].num_shards + 1))
            )
        run_array(argv, next(JOBS), indices, harm=lambda task: do_harm(task, rng), rng=rng, log=log)
        if rng.random() < 0.5 and read_deals(stage_folder(manifest, "toy")):
            merge(manifest, "toy", max_error_rate=1)
    run_array([*argv, "--force"], next(JOBS), range(rng.choice([2, 4])), log=log)
    report = merge(manifest, "toy", allow_missing=False, max_error_rate=1)
    failed = {error["key"] for error in errors(stage_folder(manifest, "toy"))}
    return manifest.read_bytes(), expected, report, failed - bad


@pytest.mark.parametrize("first", range(0, ROUNDS, CHUNK))
def test_killed_and_resized_runs_merge_to_the_bytes_of_an_uninterrupted_one(first, tmp_path, capfd):
    for seed in range(first, min(first + CHUNK, ROUNDS)):
        made, expected, report, wronged = one_round(seed, tmp_path)
        assert report.status == 0, f"seed {seed}: {report}"
        assert not wronged, f"seed {seed}: healthy records have errors: {wronged}"
        assert made == expected, f"seed {seed}"
