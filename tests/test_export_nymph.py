"""export.py --format nymph and nymph-parquet: Nymph's keys, its arrays, JSONL to Parquet, bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from test_export import ROOT, run

KEYS = ["audio_filepath", "clip_name", "start_time", "end_time", "text", "speaker", "prosody", "sentiment",
        "sample_rate", "mfccs", "mel_spectrogram"]  # fmt: skip
EMOTION = {"label": "joy", "score": 0.5, "scores": [0.5] * 28, "model": "SamLowe/roberta-base-go_emotions"}


def features(folder: Path, frames: list[int]) -> list[str]:
    """Return the sources of such features as extract_features.py leaves them."""
    import numpy as np

    from media.frames import store

    draw = np.random.default_rng(0)
    rows = [
        (f"k{number}", {}, {"mel": draw.normal(-5, 4, (length, 80)).astype(np.float16),
                            "mfcc": draw.normal(0, 40, (length, 13)).astype(np.float16),
                            "f0_hz": np.full(length, 120, np.float32)},
         {"hop_s": 0.01, "sample_rate_hz": 16_000})
        for number, length in enumerate(frames)
    ]  # fmt: skip
    folder.mkdir(exist_ok=True)
    return store(rows, str(folder), "parquet", str, lambda path: open(path, "wb"))


def write_manifest(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Return a manifest of a segment with everything, a recording without features, and a sentence."""
    (source,) = features(tmp_path / "features", [150])
    whole = {
        "audio_filepath": "/data/talk.wav", "id": "talk_0012000-0013500", "parent": "/data/talk.wav",
        "offset": 12.0, "duration": 1.5, "text": "we won", "speaker": "SPEAKER_01", "f0_median_hz": 210.5,
        "energy_db": -23.1, "rate_syl_s": 3.3, "emotion": EMOTION, "features_filepath": source,
        "sentiment": {"label": "positive", "score": 0.6, "engine": "vader"},
    }  # fmt: skip
    lexicon = {
        "audio_filepath": "/data/bare.wav", "duration": 2.0, "text": "bad",
        "sentiment": {"label": "negative", "score": -0.5, "engine": "vader"},
    }  # fmt: skip
    return write_manifest(tmp_path / "c.json", [whole, lexicon, {"id": "book_1", "text": "A sentence."}])


def test_a_segment_has_all_keys_of_nymph_and_librosas_arrays(manifest: Path, tmp_path: Path) -> None:
    import numpy as np

    from media.frames import read_frames

    said = run(manifest, "--format", "nymph", "--output", tmp_path / "out")
    assert "1 of 2 records have no features: `extract_features.py" in said
    rows = [json.loads(line) for line in (tmp_path / "out/c.jsonl").read_text().splitlines()]
    assert all(list(row) == KEYS for row in rows)
    first, record = rows[0], json.loads(manifest.read_text().splitlines()[0])
    stored = read_frames(record["features_filepath"])
    for name, ours in (("mfccs", "mfcc"), ("mel_spectrogram", "mel")):
        assert np.array_equal(np.array(first.pop(name), np.float16), stored[ours].T)
    assert first == {
        "audio_filepath": "/data/talk.wav", "clip_name": "talk_0012000-0013500", "start_time": 12.0,
        "end_time": 13.5, "text": "we won", "speaker": "SPEAKER_01",
        "prosody": {"pitch": 210.5, "energy": -23.1, "rate": 3.3},
        "sentiment": {"label": "joy", "score": 0.5, "model": EMOTION["model"]}, "sample_rate": 16_000,
    }  # fmt: skip


def test_a_lexicon_is_named_and_a_sentence_has_no_audio(manifest: Path, tmp_path: Path) -> None:
    run(manifest, "--format", "nymph", "--output", tmp_path / "out", "--no-arrays")
    rows = [json.loads(line) for line in (tmp_path / "out/c.jsonl").read_text().splitlines()]
    assert rows[0]["mfccs"] is rows[0]["mel_spectrogram"] is None
    assert rows[1]["sentiment"] == {"label": "negative", "score": -0.5, "model": "vader"}
    assert rows[1]["clip_name"] == "bare.wav"
    assert rows[1]["prosody"] == {"pitch": None, "energy": None, "rate": None}
    assert {name for name, value in rows[2].items() if value is not None} == {"text"}


def test_a_clip_has_its_times_in_the_recording_it_was_cut_from(tmp_path: Path) -> None:
    clip = {"audio_filepath": "/data/clips/talk_0012000-0013500.wav", "duration": 1.5, "text": "we won",
            "id": "t1", "parent_filepath": "/data/talk.wav", "start_s": 12.0, "end_s": 13.5}  # fmt: skip
    run(write_manifest(tmp_path / "c.json", [clip]), "--format", "nymph", "--output", tmp_path / "out")
    row = json.loads((tmp_path / "out/c.jsonl").read_text())
    assert (row["clip_name"], row["start_time"], row["end_time"]) == ("talk_0012000-0013500.wav", 12.0, 13.5)


def test_parquet_holds_the_same_as_bytes_and_a_jsonl_becomes_it_too(manifest: Path, tmp_path: Path) -> None:
    import numpy as np
    from pyarrow import parquet

    run(manifest, "--format", "nymph", "nymph-parquet", "--output", tmp_path / "out")
    run(tmp_path / "out/c.jsonl", "--format", "nymph-parquet", "--output", tmp_path / "again")
    table = parquet.read_table(tmp_path / "out/c.parquet")
    assert table.equals(parquet.read_table(tmp_path / "again/c.parquet"))
    assert str(table.schema.field("mfccs").type) == "large_binary"
    rows = table.to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "out/c.jsonl").read_text().splitlines()]
    for row, line in zip(rows, lines):
        for name in ("mfccs", "mel_spectrogram"):
            shape, cell, wanted = row.pop(f"{name}_shape"), row.pop(name), line.pop(name)
            if wanted is None:
                assert cell is shape is None
            else:
                dtype = table.schema.field(name).metadata[b"dtype"].decode()
                assert np.array_equal(np.frombuffer(cell, dtype).reshape(shape), np.array(wanted, np.float16))
        assert row == line


def test_a_jsonl_of_nymph_itself_becomes_parquet(tmp_path: Path) -> None:
    """Relative paths, whole numbers, missing keys: what its transcriber wrote is taken as it is."""
    from pyarrow import parquet

    rows = [
        {"audio_filepath": "clips/a.wav", "clip_name": "a.wav", "start_time": 0, "end_time": 1, "text": "hi",
         "mfccs": [[1, 2, 3], [4, 5, 6]], "sentiment": {"label": "joy", "score": 1}},
        {"clip_name": None, "start_time": None, "end_time": None, "text": "only text", "mfccs": None},
    ]  # fmt: skip
    path = write_manifest(tmp_path / "n.jsonl", rows)
    run(path, "--format", "nymph-parquet", "--output", tmp_path / "out")
    found = parquet.read_table(tmp_path / "out/n.parquet").to_pylist()
    assert [row["mfccs_shape"] for row in found] == [[2, 3], None]
    assert [row["text"] for row in found] == ["hi", "only text"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mfccs": [[1, 2], [3]]}, "n.jsonl:1: mfccs: found rows of several lengths"),
        ({"mel_spectrogram": [[2e5]]}, "n.jsonl:1: mel_spectrogram: found 2e+05, wanted at most 65504"),
        ({"prosody": "high"}, "n.jsonl: row 1 or one of the next 1: Could not convert"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    row = {"clip_name": "a.wav", "start_time": 0, "end_time": 1, "text": "hi", **change}
    path = write_manifest(tmp_path / "n.jsonl", [row])
    assert message in run(path, "--format", "nymph-parquet", "--output", tmp_path / "out", status=2)
    assert not list((tmp_path / "out").iterdir())


def test_features_that_are_gone_are_named_with_their_line(manifest: Path, tmp_path: Path) -> None:
    for part in (tmp_path / "features").iterdir():
        part.unlink()
    said = run(manifest, "--format", "nymph", "--output", tmp_path / "out", status=2)
    assert "c.json:1: " in said
    assert "wanted arrays as a stage of AMELA writes them" in said


def test_records_of_several_segments_are_said_to_be_one_row(tmp_path: Path) -> None:
    segments = [{"start_s": at, "end_s": at + 1, "text": "a", "words": []} for at in (0.0, 2.0)]
    record = {"audio_filepath": "/a.wav", "duration": 3.0, "whisperx": segments, "whisperx_text": "a a"}
    path = write_manifest(tmp_path / "m.json", [record])
    said = run(path, "--format", "nymph", "--output", tmp_path)
    assert "1 records are several segments and one row each" in said
    assert json.loads((tmp_path / "m.jsonl").read_text())["text"] == "a a"


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """20 s of features a record: 400 of them (150 MB of arrays) go through in the memory of 40."""
    sources = features(tmp_path / "features", [2000] * 4)
    record = {"audio_filepath": "/a.wav", "duration": 20.0, "text": "a"}
    peaks = []
    for number in (40, 400):
        records = [{**record, "id": f"r{i}", "features_filepath": sources[i % 4]} for i in range(number)]
        path = write_manifest(tmp_path / f"m{number}.json", records)
        code = (
            "import resource, sys; sys.path.insert(0, sys.argv.pop(1)); import export; export.main(); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
        )
        command = [sys.executable, "-c", code, ROOT / "scripts", path, "--format", "nymph-parquet"]
        done = subprocess.run([*command, "--output", tmp_path], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < peaks[0] + 50, peaks
