"""asr_eval.py: rates against hand-counted ones, references from everywhere, intervals, several systems."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from conftest import REPOSITORY
from media import scoring
from media.references import ReferencesError, read_references

RECORDS = [
    {"audio_filepath": "/data/a.wav", "text": "The cat sat.", "pred_text": "the cat sat", "other": "the cat"},
    {
        "audio_filepath": "/data/b.wav",
        "text": "two dogs ran",
        "pred_text": "two dog ran fast",
        "other": "two dogs ran",
    },
    {"audio_filepath": "/data/c.wav", "text": "", "pred_text": "noise heard", "other": ""},
]


def evaluate(tmp_path, *words, records=RECORDS, status=0):
    manifest = tmp_path / "corpus.json"
    manifest.write_text("".join(json.dumps(record) + "\n" for record in records))
    command = [
        sys.executable,
        str(REPOSITORY / "scripts/asr_eval.py"),
        str(manifest),
        "--output",
        str(tmp_path),
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rates_are_those_counted_by_hand(tmp_path):
    done = evaluate(tmp_path)
    files = rows_of(tmp_path / "corpus_metrics.csv")
    assert [row["pred_text_wer"] for row in files] == [
        "0.000000",
        "0.666667",
        "",
    ]  # nothing to divide by in the third
    (total,) = rows_of(tmp_path / "corpus_global_metrics.csv")
    assert (total["substitutions"], total["deletions"], total["insertions"]) == ("1", "0", "3")
    assert total["ref_words"] == "6"
    assert float(total["wer"]) == pytest.approx(4 / 6, abs=1e-6)
    assert float(total["wer_low"]) <= float(total["wer"]) <= float(total["wer_high"])
    assert "66.67" in done.stdout


def test_two_systems_are_compared_on_the_same_draws(tmp_path):
    done = evaluate(tmp_path, "--hyp", "pred_text", "other")
    first, second = rows_of(tmp_path / "corpus_global_metrics.csv")
    assert second["compared_with"] == "pred_text"
    assert float(second["wer_diff"]) == pytest.approx(float(second["wer"]) - float(first["wer"]), abs=1e-6)
    assert "other against pred_text" in done.stdout
    again = evaluate(tmp_path, "--hyp", "pred_text", "--hyp", "other")
    assert again.stdout == done.stdout
    assert {"pred_text_wer", "pred_text_cer", "other_wer", "other_cer"} <= set(
        rows_of(tmp_path / "corpus_metrics.csv")[0]
    )


def test_what_cannot_be_scored_is_named(tmp_path):
    records = [
        *RECORDS,
        {"audio_filepath": "/data/d.wav", "pred_text": "x", "other": "x"},
        {"audio_filepath": "/data/e.wav", "text": "y", "other": "y"},
    ]
    done = evaluate(tmp_path, records=records)
    assert "left out, no reference: 1 of 5 records: /data/d.wav" in done.stdout
    assert "left out, no transcript: 1 of 5 records: /data/e.wav" in done.stdout
    assert [row["error"] for row in rows_of(tmp_path / "corpus_metrics.csv")] == [
        "",
        "",
        "",
        "no reference",
        "no transcript",
    ]


@pytest.mark.parametrize(
    ("name", "content", "ref"),
    [
        (
            "ls.csv",
            "file_id,audio_filepath,transcription\na,/elsewhere/a.wav,the cat sat\nb,,two dogs ran\n",
            "ls.csv",
        ),
        ("own.csv", "path,said\na.wav,the cat sat\nb.wav,two dogs ran\n", "own.csv:said"),
        ("own.tsv", "a.wav\tthe cat sat\nb.wav\ttwo dogs ran\n", "own.tsv"),
        ("text", "a the cat sat\nb two dogs ran\n", "text"),
        ("bom.csv", "\ufefffile_id,transcription\r\na,the cat sat\r\nb,two dogs ran\r\n", "bom.csv"),
        (
            "other.json",
            '{"audio_filepath": "/data/a.wav", "text": "the cat sat"}\n{"id": "b", "text": "two dogs ran"}\n',
            "other.json",
        ),
    ],
)
def test_references_come_from_files_of_all_kinds(name, content, ref, tmp_path):
    (tmp_path / name).write_text(content, newline="")
    evaluate(tmp_path, "--ref", str(tmp_path / ref))
    (total,) = rows_of(tmp_path / "corpus_global_metrics.csv")
    assert (total["files"], total["left_out"], total["ref_words"]) == ("2", "1", "6")
    assert float(total["wer"]) == pytest.approx(2 / 6, abs=1e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--hyp", "nothing"],
            "no record has the field `nothing`; it has audio_filepath, other, pred_text, text",
        ),
        (["--ref", "/no/such.csv"], "no such file"),
        (["--hyp", "other", "other"], "named twice"),
    ],
)
def test_a_bad_call_says_so(words, said, tmp_path):
    assert said in evaluate(tmp_path, *words, status=2).stderr


def test_bad_reference_files_say_what_is_wrong(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ReferencesError, match="its columns are a, b; wanted transcription"):
        read_references(str(path))
    path.write_text("file_id,audio_filepath,transcription\n,/x/a.wav,one\n,/y/a.wav,two\n")
    references = read_references(str(path))
    assert references.of({"audio_filepath": "/y/a.wav"}) == "two"
    with pytest.raises(ReferencesError, match="two different texts"):
        references.of({"audio_filepath": "/z/a.wav"})


def test_normalisers():
    assert scoring.normalizer("english")("Mr. Smith's 2 colours") == scoring.normalizer("english")(
        "mister smith is two colors"
    )
    assert scoring.normalizer("basic")("Ça va, l'été ?") == "ça va l été"
    assert scoring.normalizer("none")("As  it is.") == "As it is."


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """120 corpora of 200 files with a true rate of 0.1: the 95 % interval holds it in 89 to 100 % of them."""
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(120):
        errors = generator.binomial(10, 0.1, size=200)
        counts = [scoring.Count(int(e), 0, 0, 10) for e in errors]
        low, high = scoring.interval(scoring.bootstrap([counts], 300, 1)[0])
        inside += low <= 0.1 <= high
    assert inside / 120 >= 0.89
