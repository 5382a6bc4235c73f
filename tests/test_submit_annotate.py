"""submit.py annotate: from a folder to annotated segments; its lines, what is left out and done again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from amela.annotate import annotate_steps
from speech import speak, write_wav

EMBEDDED = (
    "--skip=embed",
    "--transcribe-args=--backend pocketsphinx",
    "--emotion-args=--backend lexicon",
    "--codec-args=--codec mulaw",
)
FIELDS = {
    "text", "words", "ipa", "features_filepath", "f0_median_hz", "phones_per_s", "sentiment",
    "codes_filepath", "similar",
}  # fmt: skip


def submit(*arguments: object, status: int = 0) -> str:
    command = [sys.executable, "scripts/submit.py", "annotate", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    logs = "".join(path.read_text()[-1500:] for path in Path("logs").glob("*.err"))
    assert done.returncode == status, done.stdout + done.stderr + logs
    return done.stdout + done.stderr


def steps_of(said: str) -> list[str]:
    return re.findall(r"^— (\w+)", said, re.MULTILINE)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_those_on_record(cluster, checkout, monkeypatch):
    (checkout / "corpus").mkdir()
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    words = ["--shards=8", "--at-once=4", "--transcribe-args=--model /models/large-v3", "--dry-run"]
    lines = submit("corpus", *words, "--features-sbatch=--time=1-0")
    skip = ("--skip", "embed", "codec", "explode", "similar")
    lines += submit("corpus", "--shards=2", *skip, "--dry-run")
    record = Path(__file__).parent / "data/submit_annotate.txt"
    assert lines.replace(f"{checkout}/", "/data/").splitlines() == record.read_text().splitlines()


def test_what_is_left_out_leaves_the_order_of_the_others():
    """Each step waits for what the one that is left out waited for, and never for one that is not there."""
    for skip in (
        ["embed"],
        ["transcribe", "vad"],
        ["phonemize", "features"],
        ["explode"],
        ["similar", "report"],
    ):
        steps = annotate_steps(skip, from_folder=False)
        before: set[str] = set()
        for step in steps:
            assert {*step.after_ok, *step.after_any} <= before, (skip, step)
            before.add(step.name)
        assert not before & {*skip, *(f"merge.{name}" for name in skip)}
    steps = {step.name: step for step in annotate_steps(["explode"], from_folder=True)}
    assert steps["phonemize"].after_ok == ("merge.transcribe",)
    steps = {step.name: step for step in annotate_steps(["transcribe"], from_folder=True)}
    assert steps["emotion"].after_ok == ("vad",)
    assert "explode" not in steps


def test_from_a_folder_to_segments_on_a_cluster_then_only_what_is_missing(cluster, checkout, monkeypatch):
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    for number, sentence in enumerate(["where is the red ball", "the dog sleeps"]):
        write_wav(checkout / f"corpus/{number}.wav", speak(sentence))
    said = submit("corpus", "--shards=2", "--wait", *EMBEDDED)
    ended = re.findall(r"^(\w+) +job \d+  (?:\d )?(\w+)$", said, re.MULTILINE)
    assert len(ended) == 15
    assert {state for _, state in ended} == {"completed"}, said
    records = read(Path("metadata/corpus_segments.json"))
    assert len(records) >= 2
    assert all(record.keys() >= FIELDS for record in records), [FIELDS - record.keys() for record in records]
    assert Path("output/corpus_segments_report.html").stat().st_size > 50_000
    assert len(list(Path("output/corpus_segments").glob("*/*.TextGrid"))) == 2
    assert Path("output/corpus_segments/corpus_segments.parquet").exists()
    assert submit("corpus", "--local", *EMBEDDED).startswith("nothing is missing")
    Path("output/corpus_segments_report.html").unlink()
    assert steps_of(submit("corpus", "--local", *EMBEDDED)) == ["report"]
    write_segments_without(records, "ipa")
    assert steps_of(submit("corpus", "--local", *EMBEDDED))[:1] == ["merge_phonemize"]
    assert [record["ipa"] for record in read(Path("metadata/corpus_segments.json"))] == [
        record["ipa"] for record in records
    ]


def write_segments_without(records: list[dict[str, Any]], field: str) -> None:
    """Write the segments as a restored copy from before a merge would have them."""
    lines = [json.dumps({name: value for name, value in one.items() if name != field}) for one in records]
    Path("metadata/corpus_segments.json").write_text("".join(line + "\n" for line in lines))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["corpus", "--skip", "vad"], "wanted a manifest instead of it"),
        (["nowhere"], "no such folder; wanted a folder of audio, or manifest"),
        (["corpus", "--skip", "emotions"], "invalid choice: 'emotions'"),
    ],
)
def test_bad_calls_say_what_to_type(checkout, words, message):
    (checkout / "corpus").mkdir()
    assert message in submit(*words, "--local", status=2)
