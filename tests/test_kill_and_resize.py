"""The property to own: kill anything anywhere, change the array's size, merge in between: the bytes are the
same.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from amela.deals import read_deals
from amela.merge import merge
from amela.state import stage_folder
from amela.summary import errors
from arrays import Task, do_harm, run_array

ROUNDS = int(os.environ.get("AMELA_ROUNDS", "200"))
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


def check(seed, folder):
    """Raise AssertionError where a round goes wrong."""
    with contextlib.redirect_stdout(io.StringIO()):
        made, expected, report, wronged = one_round(seed, folder)
    assert report.status == 0, f"seed {seed}: {report}"
    assert not wronged, f"seed {seed}: healthy records have errors: {wronged}"
    assert made == expected, f"seed {seed}: other bytes"


def test_killed_and_resized_runs_merge_to_the_bytes_of_an_uninterrupted_one(tmp_path):
    """Two processes share the rounds: tasks are forked, which is quick from a small process only."""
    halves = []
    for part in range(2):
        folder = tmp_path / str(part)
        folder.mkdir()
        words = [sys.executable, __file__, str(part), str(ROUNDS), str(folder)]
        halves.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    said = [half.communicate()[0] for half in halves]
    assert [half.returncode for half in halves] == [0, 0], "\n".join(text[-3000:] for text in said)
    assert sum(text.count("\nseed ") for text in said) == ROUNDS


if __name__ == "__main__":
    print()
    for number in range(int(sys.argv[1]), int(sys.argv[2]), 2):
        check(number, Path(sys.argv[3]))
        print(f"seed {number}", flush=True)
