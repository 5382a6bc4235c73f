"""encode_codec.py and decode_codec.py with the codec that needs no model: files, lengths, shards, errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from media.codecs import CodecError, bandwidth_kbps, check_codes
from media.frames import read_frames
from media.mulaw import Mulaw
from networks.pieces import cut_array, cut_segments, cut_stream

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def run(name: str, *arguments: object, status: int = 0) -> str:
    """Run a script; return what it printed."""
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def write_manifest(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def records_of(path: Path | str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def make_corpus(tmp_path: Path) -> None:
    """Write corpus.json, which lists recordings of several rates and kinds, the last of them damaged."""
    chance = np.random.default_rng(0)
    sounds = {
        "voice": (chance.normal(0, 0.1, 16_000), 16_000),
        "stereo": (chance.normal(0, 0.1, (30_017, 2)), 44_100),
        "telephone": (chance.normal(0, 0.1, 8_001), 8_000),
        "silence": (np.zeros(24_000), 24_000),
        "20ms": (chance.normal(0, 0.1, 960), 48_000),
        "loud": (np.clip(chance.normal(0, 3, 8_000), -1, 1), 16_000),
    }
    records = []
    for name, (samples, rate_hz) in sounds.items():
        path = tmp_path / "data" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples, rate_hz)
        records.append({"audio_filepath": str(path), "duration": round(len(samples) / rate_hz, 4)})
    records += [{**records[0], "offset": at_s, "duration": 0.25, "parent": "voice"} for at_s in (0.5, 0.25)]
    (tmp_path / "data/bad.wav").write_bytes(b"RIFF but no sound")
    records.append({"audio_filepath": str(tmp_path / "data/bad.wav"), "duration": 1.0})
    write_manifest(tmp_path / "corpus.json", records)


FLAGS = ("corpus.json", "--codec", "mulaw", "--max-error-rate", 1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the corpus."""
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoded")
    make_corpus(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("encode_codec", *FLAGS)
        run("decode_codec", *FLAGS, "--source-rate")
    return folder


@pytest.fixture
def encoded(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the corpus encoded, and decoded at its own rates."""
    monkeypatch.chdir(shared)
    return shared


def test_mulaw_is_the_published_curve_and_comes_back_within_a_step() -> None:
    x = np.linspace(-1, 1, 2001, dtype=np.float32)[None]
    codes, scales, samples = Mulaw().encode(iter([x[:, :700], x[:, 700:]]))
    curve = np.sign(x[0]) * np.log(1 + 255 * np.abs(x[0])) / np.log(256)
    assert codes.shape == (2001, 1)
    assert codes.dtype == np.int16
    assert (scales, samples) == (None, 2001)
    assert np.abs(codes[:, 0] - (curve + 1) / 2 * 255).max() <= 0.5 + 1e-3
    back = np.concatenate(list(Mulaw().decode(codes, None, None)), axis=-1)[0]
    assert (np.abs(back - x[0]) <= 0.023 * np.abs(x[0]) + 1e-4).all()
    assert np.array_equal(Mulaw().encode(iter([np.array([[-9.0, 9.0]])]))[0][:, 0], [0, 255])


@pytest.mark.usefixtures("encoded")
def test_codes_say_what_they_are_and_sound_has_the_length_of_its_source() -> None:
    *good, bad = records_of("corpus.json")
    assert "codes_filepath" not in bad
    for record in good:
        found, about = read_frames(record["codes_filepath"]), record["codes"]
        assert found["codes"].shape == (about["frames"], 1) == (about["samples"], 1)
        assert found["codes"].dtype == np.int16
        assert {name: found[name] for name in about} == about
        assert (about["codec"], about["bandwidth_kbps"], about["frame_rate_hz"]) == ("mulaw", 128, 16_000)
        source, sound = (soundfile.info(record[key]) for key in ("audio_filepath", "decoded_filepath"))
        wanted = round(0.25 * 16_000) if "offset" in record else source.frames
        assert (sound.samplerate, sound.frames) == (source.samplerate, wanted) == (
            about["source_rate_hz"], about["source_samples"],
        )  # fmt: skip
        assert record["decoded_duration"] == pytest.approx(wanted / source.samplerate, abs=1e-6)


@pytest.mark.usefixtures("encoded")
def test_speech_comes_back_and_silence_is_silent() -> None:
    by_name = {Path(one["audio_filepath"]).stem: one for one in records_of("corpus.json")[:6]}
    heard = {name: soundfile.read(one["decoded_filepath"])[0] for name, one in by_name.items()}
    said = soundfile.read(by_name["voice"]["audio_filepath"])[0]
    assert 20 * np.log10(said.std() / (heard["voice"] - said).std()) > 30
    assert np.abs(heard["silence"]).max() < 2e-4
    assert np.abs(heard["loud"]).max() > 0.97


def test_three_shards_and_one_process_give_the_same(here: Path) -> None:
    stages = (("encode_codec", ("--format", "npy")), ("decode_codec", ()))
    original = (here / "corpus.json").read_bytes()

    def made() -> dict[str, bytes]:
        paths = [path for path in (here / "output").rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in [*paths, here / "corpus.json"]}

    for stage, flags in stages:
        run(stage, *FLAGS, *flags)
    alone = made()
    for folder in (".amela", "output"):
        shutil.rmtree(folder)
    (here / "corpus.json").write_bytes(original)
    for stage, flags in stages:
        for shard in (2, 0, 1):
            run(stage, *FLAGS, *flags, "--num-shards", 3, "--shard-index", shard)
        run("merge_manifest", "--manifest", "corpus.json", "--stage", stage, "--max-error-rate", 1)
    assert made() == alone
    assert sum(name.endswith((".npy", ".wav")) for name in alone) == 16


def test_parts_hold_what_files_of_their_own_hold(tmp_path: Path, encoded: Path) -> None:
    run("encode_codec", *FLAGS, "--format", "npy", "--output", tmp_path, "--field", "npy_filepath")
    for record in records_of(encoded / "corpus.json")[:-1]:
        codes = read_frames(record["codes_filepath"])["codes"]
        assert np.array_equal(np.load(record["npy_filepath"]), codes)
        assert record["npy_filepath_codes"] == record["codes"]


@pytest.mark.usefixtures("encoded")
def test_a_damaged_file_is_an_error_record_and_costs_nothing_else() -> None:
    told = run("status", "corpus.json", "--errors")
    assert "bad.wav" in told
    assert "cannot be decoded" in told


@pytest.mark.usefixtures("encoded")
def test_parts_of_a_recording_are_joined_in_their_order() -> None:
    run("decode_codec", *FLAGS, "--concat")
    joined = {one["id"]: one for one in records_of("corpus_joined.json")}
    assert len(joined["voice"]["codes_filepath"]) == 2
    heard, rate_hz = soundfile.read(joined["voice"]["decoded_filepath"])
    whole = soundfile.read(records_of("corpus.json")[0]["decoded_filepath"])[0]
    assert rate_hz == 16_000
    assert np.array_equal(heard, whole[4_000:12_000])
    assert "0 records left" in run("decode_codec", *FLAGS, "--concat")


@pytest.mark.usefixtures("encoded")
def test_trim_keeps_the_beginning() -> None:
    flags = ("--trim-s", 0.3, "--source-rate", "--output", "short", "--field", "short_filepath")
    run("decode_codec", *FLAGS, *flags)
    for record in records_of("corpus.json")[:-1]:
        short, rate_hz = soundfile.read(record["short_filepath"])
        whole, _ = soundfile.read(record["decoded_filepath"])
        assert len(short) == min(len(whole), round(0.3 * rate_hz))
        assert np.array_equal(short, whole[: len(short)])


def test_codes_of_another_program_are_decoded_whole(here: Path) -> None:
    np.save("generated.npy", np.full((777, 1), 200))
    write_manifest(here / "made.json", [{"id": "g", "codes_filepath": str(here / "generated.npy")}])
    run("decode_codec", "made.json", "--codec", "mulaw", "--source-rate", status=3)
    run("decode_codec", "made.json", "--codec", "mulaw", "--retry-errors", "--fresh")
    assert soundfile.info(records_of("made.json")[0]["decoded_filepath"]).frames == 777


@pytest.mark.parametrize(
    ("codes", "sentence"),
    [
        (np.zeros((1, 300), np.int16), "turned the wrong way"),
        (np.full((300, 1), 256), "found code 256, wanted 0 to 255"),
        (np.full((300, 1), -1), "found code -1"),
        (np.zeros((300, 1), np.float32), "wanted integers"),
        (np.zeros((0, 1), np.int16), "at least one frame"),
    ],
)
def test_codes_that_a_codec_cannot_have_made_are_refused(codes: np.ndarray, sentence: str) -> None:
    with pytest.raises(CodecError, match=sentence):
        check_codes(codes, Mulaw(), "x.npy")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("encode_codec", "--codec", "mulaw", "--model", "x"), "mulaw has no model"),
        (("encode_codec", "--codec", "mulaw", "--bandwidth-kbps", "6"), "--bandwidth-kbps is for EnCodec"),
        (("encode_codec", "--codec", "mulaw", "--codebooks", "2"), "--codebooks is for DAC"),
        (("encode_codec", "--codec", "encodec_48khz", "--format", "npy"), "wanted --format parquet"),
        (("decode_codec", "--codec", "mulaw", "--vocos", "x"), "--vocos decodes codes of encodec_24khz"),
        (("decode_codec", "--codec", "mulaw", "--concat"), "no record has codes_filepath"),
        (("encode_codec", "--codec", "dac_16khz", "--offline"), "descript/dac_16khz: not in the cache"),
    ],
)
def test_a_bad_call_is_one_sentence(here: Path, flags: tuple[str, ...], sentence: str) -> None:
    told = run(flags[0], "corpus.json", *flags[1:], status=2)
    assert sentence in told
    assert "Traceback" not in told


@pytest.mark.usefixtures("here", "without_hub")
def test_an_environment_without_the_hub_is_said() -> None:
    told = run("encode_codec", "corpus.json", "--codec", "dac_16khz", status=2)
    assert "huggingface_hub is not in this environment" in told


def test_codes_of_another_codec_name_what_to_type(encoded: Path) -> None:
    records = records_of("corpus.json")[:1]
    np.save("other.npy", np.zeros((9, 1), np.int16))
    records[0].update(codes_filepath=str(encoded / "other.npy"), codes={"codec": "dac_44khz"})
    records[0].pop("decoded_filepath")
    write_manifest(encoded / "other.json", records)
    run("decode_codec", "other.json", "--codec", "mulaw", status=3)
    assert "type --codec dac_44khz" in run(
        "decode_codec", "other.json", "--codec", "mulaw", "--fail-fast", status=1
    )


def test_the_bandwidth_is_frames_times_bits() -> None:
    assert bandwidth_kbps(Mulaw(), 1) == 128


@pytest.mark.parametrize("block", [1, 7, 10, 64, 1000])
@pytest.mark.parametrize("length", [1, 9, 10, 11, 25, 40, 137])
def test_pieces_of_a_stream_have_their_surroundings_and_lose_nothing(length: int, block: int) -> None:
    signal = np.arange(length)[None]
    blocks = [signal[:, start : start + block] for start in range(0, length, block)]
    at = 0
    for piece, left, count in cut_stream(iter(blocks), size=10, before=4, after=3):
        assert left == min(4, at)
        assert np.array_equal(piece[0, : left + count], np.arange(at - left, at + count))
        assert piece[0, -1] == min(length - 1, at + count + 2)
        at += count
    assert at == length
    starts = [segment[0, 0] for segment in cut_segments(iter(blocks), 10, 8)]
    assert starts == list(range(0, length, 8))
    assert [part.tolist() for part, *_ in cut_array(np.arange(length), 50, 0)] == [
        list(range(start, min(length, start + 50))) for start in range(0, length, 50)
    ]
