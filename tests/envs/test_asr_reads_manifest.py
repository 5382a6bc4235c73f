"""Lhotse and NeMo read our manifests as they are, we read the cuts of lhotse: real packages, real audio."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amela.manifest import read_records, write_manifest
from amela.pieces import Cutter
from media.audio import load_record
from speech import speak, write_wav

SCRIPT = Path(__file__).parents[2] / "scripts" / "manifest_tools.py"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with everything that vad.py, asr.py and the tools put into one: texts, speech, windows,
    channels.
    """
    folder = tmp_path_factory.mktemp("corpus")
    records: list[dict[str, Any]] = []
    for name, text in (("a b", "The quick brown fox jumps over the lazy dog."), ("ü", "Please call Stella.")):
        samples = speak(text)
        path = write_wav(folder / f"{name}.wav", samples)
        duration_s = len(samples) / 16_000
        records.append({
            "audio_filepath": str(path), "duration": round(duration_s, 6), "id": f"id {name}",
            "speaker": "slt", "text": text, "lang": "en",
            "speech": [{"start_s": 0.1, "end_s": round(duration_s - 0.1, 3)}],
            "asr": {"backend": "canary", "model": "x"},
            "asr_segments": [{"start_s": 0.1, "end_s": 1.0, "text": text, "words": []}],
        })  # fmt: skip
    stereo = write_wav(folder / "stereo.wav", np.stack([samples, samples[::-1]], 1))
    records.append(
        {"audio_filepath": str(stereo), "duration": round(duration_s, 6), "channel": 1, "text": "left"}
    )
    windows = list(Cutter("m").windows([(0, records[0])], 1.0, 0.25, at_silence=False))
    path = folder / "corpus.json"
    write_manifest(
        path,
        [*records, *({**window, "text": f"the window {'abcdefgh'[n]}"} for n, window in enumerate(windows))],
    )
    return path


def lhotse_cuts(manifest: Path) -> list[Any]:
    """The manifest as lhotse cuts, by the reader that NeMo trains with."""
    from lhotse import CutSet
    from nemo.collections.common.data.lhotse.nemo_adapters import LazyNeMoIterator

    return list(CutSet(LazyNeMoIterator(str(manifest))))


def test_lhotse_reads_the_lines(manifest: Path) -> None:
    from lhotse.lazy import LazyJsonlIterator

    assert list(LazyJsonlIterator(str(manifest))) == [record for _, record in read_records(manifest)]


def test_lhotse_reads_the_same_audio_and_fields(manifest: Path) -> None:
    records = [record for _, record in read_records(manifest)]
    cuts = lhotse_cuts(manifest)
    assert len(cuts) == len(records) >= 5
    for cut, record in zip(cuts, records):
        assert cut.supervisions[0].text == record["text"]
        assert cut.supervisions[0].language == record.get("lang")
        assert cut.duration == pytest.approx(record["duration"], abs=1e-3)
        assert cut.custom.get("speech") == record.get("speech")
        assert cut.custom.get("id") == record.get("id")
        if "channel" not in record:
            ours, theirs = load_record(record), cut.load_audio()[0]
            assert abs(len(ours) - len(theirs)) <= 1
            both = min(len(ours), len(theirs))
            np.testing.assert_allclose(ours[:both], theirs[:both], atol=1e-4)
    assert {cut.start for cut in cuts[3:]} == {record["offset"] for record in records[3:]}


def test_lhotse_batches_them(manifest: Path) -> None:
    from lhotse import CutSet
    from lhotse.dataset import DynamicBucketingSampler

    mono = CutSet.from_cuts(cut for cut in lhotse_cuts(manifest) if "channel" not in cut.custom)
    batches = list(DynamicBucketingSampler(mono, max_duration=4.0, num_buckets=2, shuffle=False))
    assert sorted(cut.id for batch in batches for cut in batch) == sorted(cut.id for cut in mono)


def test_we_read_lhotse_cuts(manifest: Path, tmp_path: Path) -> None:
    from lhotse import CutSet

    cuts = CutSet.from_cuts(cut for cut in lhotse_cuts(manifest) if "channel" not in cut.custom)
    for name in ("cuts.jsonl", "cuts.jsonl.gz"):
        cuts.to_file(tmp_path / name)
        out = tmp_path / f"{name}.json"
        subprocess.run([sys.executable, SCRIPT, "convert", tmp_path / name, out], check=True)
        back = [record for _, record in read_records(out)]
        assert [record["text"] for record in back] == [cut.supervisions[0].text for cut in cuts]
        for record, cut in zip(back, cuts):
            assert np.array_equal(load_record(record), load_record({**record, "duration": cut.duration}))
            assert record.get("offset", 0) == cut.start


def test_nemo_reads_it(manifest: Path) -> None:
    from nemo.collections.asr.data.audio_to_text import AudioToCharDataset
    from nemo.collections.asr.parts.utils.manifest_utils import read_manifest

    records = [record for _, record in read_records(manifest)]
    assert read_manifest(str(manifest)) == records
    labels = list(" abcdefghijklmnopqrstuvwxyz'")
    mono = manifest.with_name("mono.json")
    mono.write_text("".join(json.dumps(record) + "\n" for record in records if "channel" not in record))
    dataset = AudioToCharDataset(manifest_filepath=str(mono), labels=labels, sample_rate=16_000)
    ours = {record["text"]: load_record(record) for _, record in read_records(mono)}
    assert len(dataset) == len(ours)
    lengths = []
    for index in range(len(dataset)):
        samples, length, tokens, _ = dataset[index]
        lengths.append(int(length))
        assert len(tokens)
        assert any(
            len(own) - 1 <= len(samples) <= len(own) + 1
            and np.allclose(own[: len(samples)], samples.numpy()[: len(own)], atol=1e-4)
            for own in ours.values()
        )
    assert sorted(lengths) == pytest.approx(sorted(map(len, ours.values())), abs=1)
