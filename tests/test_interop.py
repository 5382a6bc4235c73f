"""Other tools read our manifests as they are, and we read theirs.

Real lhotse and NeMo need an environment of their own: tests/envs/test_asr_reads_manifest.py.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

from amela.manifest import read_records, write_manifest
from speech import tone, write_wav

SCRIPT = Path(__file__).parents[1] / "scripts" / "manifest_tools.py"
RECORDS = [
    {
        "audio_filepath": "/data/a b.wav",
        "duration": 12.5,
        "text": "grüße «и» 你好",
        "speech": [{"start_s": 0.1, "end_s": 2.0}],
    },
    {
        "audio_filepath": "/data/c'\"\\.wav",
        "duration": 3.0,
        "offset": 1.25,
        "id": "0012",
        "text": "line\nbreak",
    },
]
CUT = {  # as lhotse 1.33 writes one
    "id": "rec-0001", "start": 0.5, "duration": 0.75, "channel": 0, "type": "MonoCut",
    "custom": {"snr_db": 12.5},
    "supervisions": [{"id": "s", "recording_id": "rec", "start": 0, "duration": 0.75, "channel": 0,
                      "text": "so it is", "language": "en", "speaker": "f1"}],
    "recording": {"id": "rec", "sources": [{"type": "file", "channels": [0], "source": "rec.wav"}],
                  "sampling_rate": 16000, "num_samples": 32000, "duration": 2.0, "channel_ids": [0]},
}  # fmt: skip


def test_pandas_reads_a_manifest(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.json", RECORDS)
    table = pd.read_json(tmp_path / "m.json", lines=True, dtype={"id": str})
    assert list(table.text) == [record["text"] for record in RECORDS]
    assert list(table.audio_filepath) == [record["audio_filepath"] for record in RECORDS]
    assert table.duration.sum() == 15.5
    assert table.id[1] == "0012"


def test_a_manifest_is_json_lines(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.json", RECORDS)
    lines = (tmp_path / "m.json").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == RECORDS
    assert lines[-1] == ""
    assert "grüße" in lines[0]  # UTF-8, readable with less


def test_what_pandas_writes_is_a_manifest(tmp_path: Path) -> None:
    pd.DataFrame(RECORDS[:1]).to_json(tmp_path / "m.json", orient="records", lines=True, force_ascii=False)
    assert [record for _, record in read_records(tmp_path / "m.json")] == RECORDS[:1]


def test_lhotse_cuts_become_a_manifest(tmp_path: Path) -> None:
    write_wav(tmp_path / "rec.wav", tone(2.0))
    whole = {**CUT, "id": "whole", "start": 0, "duration": 2.0, "supervisions": []}
    with gzip.open(tmp_path / "cuts.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(cut) + "\n" for cut in (CUT, whole, CUT["recording"]))
    subprocess.run(
        [sys.executable, SCRIPT, "convert", tmp_path / "cuts.jsonl.gz", tmp_path / "m.json"], check=True
    )
    path = str(tmp_path / "rec.wav")
    assert [record for _, record in read_records(tmp_path / "m.json")] == [
        {"audio_filepath": path, "duration": 0.75, "id": "rec-0001", "offset": 0.5,
         "text": "so it is", "speaker": "f1", "lang": "en", "snr_db": 12.5},
        {"audio_filepath": path, "duration": 2.0, "id": "whole", "snr_db": 12.5},
        {"audio_filepath": path, "duration": 2.0, "id": "rec"},
    ]  # fmt: skip
