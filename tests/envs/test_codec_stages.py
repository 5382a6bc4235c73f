"""encode_codec.py and decode_codec.py with EnCodec, DAC and Vocos (random weights) as people run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import codec_models
import numpy as np
import pytest
import soundfile
import torch

from media.frames import read_frames

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(name: str, *arguments: object, status: int = 0) -> str:
    """Run a script; return what it printed."""
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == status, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def records_of(path: Path | str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The flags of small models, by codec; EnCodec 48 kHz is Meta's of full size, as it has no small form."""
    folder = tmp_path_factory.mktemp("models")
    torch.save(codec_models.original_encodec(48).state_dict(), folder / "encodec_48khz.th")
    paths = {
        "encodec_24khz": codec_models.small_encodec_folder(folder / "encodec"),
        "encodec_48khz": folder / "encodec_48khz.th",
        "dac_24khz": codec_models.small_dac_folder(folder / "dac"),
    }
    common = ["--device", "cpu", "--workers", "1", "--max-error-rate", "1"]
    return {codec: ["--codec", codec, "--model", str(path), *common] for codec, path in paths.items()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: corpus.json lists recordings of several rates and kinds, one of them damaged."""
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    sounds = {
        "stereo": (chance.normal(0, 0.1, (61_017, 2)), 44_100),
        "telephone": (chance.normal(0, 0.1, 8_001), 8_000),
        "silence": (np.zeros(30_000), 24_000),
        "20ms": (chance.normal(0, 0.1, 960), 48_000),
        "loud": (np.clip(chance.normal(0, 3, 8_000), -1, 1), 16_000),
    }
    records = []
    for name, (samples, rate_hz) in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, rate_hz)
        duration = round(len(samples) / rate_hz, 4)
        records.append({"audio_filepath": str(tmp_path / f"{name}.wav"), "duration": duration})
    records.append({**records[0], "offset": 0.5, "duration": 0.25, "parent": records[0]["audio_filepath"]})
    (tmp_path / "bad.wav").write_bytes(b"RIFF but no sound")
    records.append({"audio_filepath": str(tmp_path / "bad.wav"), "duration": 1.0})
    (tmp_path / "corpus.json").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


@pytest.mark.parametrize("codec", ["encodec_24khz", "encodec_48khz", "dac_24khz"])
def test_every_recording_comes_back_as_long_as_it_was(
    here: Path, models: dict[str, list[str]], codec: str
) -> None:
    run("encode_codec", "corpus.json", *models[codec])
    run("decode_codec", "corpus.json", *models[codec], "--source-rate")
    *good, bad = records_of("corpus.json")
    assert "codes_filepath" not in bad
    for record in good:
        found, about = read_frames(record["codes_filepath"]), record["codes"]
        assert found["codes"].shape == (about["frames"], about["codebooks"])
        assert ("scales" in found) == (codec == "encodec_48khz")
        sound = soundfile.info(record["decoded_filepath"])
        assert (sound.frames, sound.samplerate) == (about["source_samples"], about["source_rate_hz"])
        assert sound.channels == (2 if codec == "encodec_48khz" else 1)
    wanted = {"encodec_24khz": 6.0, "encodec_48khz": 6.0, "dac_24khz": 4.5}[codec]
    assert {record["codes"]["bandwidth_kbps"] for record in good} == {wanted}


def test_three_shards_and_one_process_give_the_same_bytes(here: Path, models: dict[str, list[str]]) -> None:
    flags = ["corpus.json", *models["encodec_24khz"]]
    stages = (("encode_codec", ["--format", "npy"]), ("decode_codec", []))
    original = Path("corpus.json").read_bytes()

    def made() -> dict[str, bytes]:
        paths = [path for path in Path("output").rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in [*paths, Path("corpus.json")]}

    for stage, more in stages:
        run(stage, *flags, *more)
    alone = made()
    for folder in (".amela", "output"):
        shutil.rmtree(folder)
    Path("corpus.json").write_bytes(original)
    for stage, more in stages:
        for shard in (2, 0, 1):
            run(stage, *flags, *more, "--num-shards", 3, "--shard-index", shard)
        run("merge_manifest", "--manifest", "corpus.json", "--stage", stage, "--max-error-rate", 1)
    assert made() == alone
    assert sum(name.endswith((".npy", ".wav")) for name in alone) == 12


def test_vocos_decodes_what_encodec_encoded(
    here: Path, models: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = codec_models.vocos_folder(here / "vocos", monkeypatch, layers=1)
    run("encode_codec", "corpus.json", *models["encodec_24khz"], "--bandwidth-kbps", 3)
    flags = ["--vocos", folder, "--device", "cpu", "--workers", 1, "--max-error-rate", 1]
    run("decode_codec", "corpus.json", *flags)
    for record in records_of("corpus.json")[:-1]:
        assert soundfile.info(record["decoded_filepath"]).frames == record["codes"]["samples"]
    np.save("fine.npy", np.zeros((10, 32), np.int16))
    Path("more.json").write_text(json.dumps({"id": "fine", "codes_filepath": "fine.npy"}) + "\n")
    told = run("decode_codec", "more.json", *flags, "--fail-fast", status=1)
    assert "24 kbps, wanted 1.5, 3, 6, 12" in told


def peak_mib(script: str, *arguments: object) -> int:
    """Run a script in one process and return its peak memory in MiB."""
    code = (
        "import os, resource, runpy, sys\n"
        "sys.argv = sys.argv[1:]; sys.path.insert(0, os.path.dirname(sys.argv[0]))\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)"
    )
    command = [sys.executable, "-c", code, str(SCRIPTS / f"{script}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return int(done.stdout.rsplit("PEAK", 1)[1])


@pytest.mark.parametrize("codec", ["encodec_24khz", "dac_24khz"])
def test_memory_does_not_grow_with_the_recording(
    here: Path, models: dict[str, list[str]], codec: str
) -> None:
    peaks = []
    for minutes in (0.5, 5):
        name = f"{minutes}min"
        soundfile.write(
            f"{name}.wav", np.random.default_rng(0).normal(0, 0.1, round(minutes * 60 * 8_000)), 8_000
        )
        record = {"audio_filepath": str(here / f"{name}.wav"), "duration": minutes * 60}
        Path(f"{name}.json").write_text(json.dumps(record) + "\n")
        flags = [f"{name}.json", *models[codec], "--limit", 1]
        peaks.append([peak_mib("encode_codec", *flags)])
        run("merge_manifest", "--manifest", f"{name}.json", "--stage", "encode_codec")
        peaks[-1].append(peak_mib("decode_codec", *flags))
    assert max(peaks[1][0] - peaks[0][0], peaks[1][1] - peaks[0][1]) < 60, peaks
