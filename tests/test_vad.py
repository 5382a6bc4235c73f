"""vad.py from folder or manifest to speech, and the engines below it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from media import engines, silero, ten
from media.audio import load_mono, stream_mono
from media.errors import EngineError
from media.segments import Rules
from speech import SENTENCES, frame_f1, labelled_files, real_speech, speak, tone, write_wav

VAD = Path(__file__).resolve().parents[1] / "scripts" / "vad.py"
COLUMNS = (
    "audio_filepath,duration,max-spoken,min-spoken,avg-spoken,max-nospch,min-nospch,avg-nospch,spch-ratio,"
    "splits,error"
)
ENGINES = pytest.mark.parametrize("name", engines.ENGINES)


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    """A spoken sentence with a second of silence on both sides, float64."""
    silence = np.zeros(16_000)
    return np.concatenate((silence, speak(SENTENCES[0]), silence))


@pytest.fixture
def corpus(tmp_path: Path, spoken: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five good files in a folder `in` with a sub-folder; the working folder is beside it."""
    for index, name in enumerate(("b", "a", "sub/c", "sub/d e", "z")):
        write_wav(tmp_path / "in" / f"{name}.wav", spoken[: 40_000 + 4_000 * index])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "in"


def vad(*words: object, status: int = 0, **env: str) -> str:
    """Run vad.py to its end; what it printed, errors too."""
    done = subprocess.run(
        [sys.executable, VAD, *map(os.fspath, map(str, words))],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def read(path: Path | str) -> list[dict]:
    """The records of a manifest."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def table(path: Path | str) -> list[dict[str, str]]:
    """The rows of a CSV table."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ---- engines


@ENGINES
def test_accuracy_at_the_defaults(tmp_path: Path, name: str) -> None:
    engine = engines.load_engine(name)
    pairs = []
    for path, true in labelled_files(tmp_path):
        speech, _ = engines.find_speech(engine, stream_mono(path), Rules())
        pairs.append(([(part["start_s"], part["end_s"]) for part in speech], true))
    wanted = {"ten": 0.935, "silero": 0.94}[name] if real_speech() else 0.97
    assert frame_f1(pairs) >= wanted


@ENGINES
def test_nothing_in_silence_and_little_in_noise(tmp_path: Path, name: str) -> None:
    engine = engines.load_engine(name)
    for samples in (np.zeros(80_000), 0.05 * np.random.default_rng(0).standard_normal(80_000), tone(5.0)):
        blocks = stream_mono(write_wav(tmp_path / "a.wav", samples))
        speech, duration_s = engines.find_speech(engine, blocks, Rules())
        assert duration_s == 5.0
        assert sum(part["end_s"] - part["start_s"] for part in speech) < 0.5


@ENGINES
@pytest.mark.parametrize("block", [100, 255, 4_000, 31_111])
def test_blocks_do_not_matter(name: str, spoken: np.ndarray, block: int) -> None:
    engine = engines.load_engine(name)
    samples = spoken.astype(np.float32)
    whole, count = engine.speech_probabilities(engine.model, [samples])
    parts = [samples[start : start + block] for start in range(0, len(samples), block)]
    in_parts, same_count = engine.speech_probabilities(engine.model, parts)
    assert np.array_equal(whole, in_parts)
    assert count == same_count == len(samples)
    assert len(whole) == -(-len(samples) // engine.hop)


@ENGINES
def test_no_state_goes_from_file_to_file(name: str, spoken: np.ndarray) -> None:
    engine = engines.load_engine(name)
    first, _ = engine.speech_probabilities(engine.model, [spoken.astype(np.float32)])
    engine.speech_probabilities(engine.model, [tone(3.0).astype(np.float32)])
    again, _ = engine.speech_probabilities(engine.model, [spoken.astype(np.float32)])
    assert np.array_equal(first, again)


@ENGINES
def test_nothing_at_all(name: str) -> None:
    engine = engines.load_engine(name)
    assert engines.find_speech(engine, [], Rules()) == ([], 0.0)
    speech, duration_s = engines.find_speech(engine, [np.ones(48, np.float32)], Rules())
    assert (speech, duration_s) == ([], 0.003)


def test_ten_gives_what_its_own_package_gives(spoken: np.ndarray) -> None:
    from ten_vad import TenVad

    samples = ten.to_int16(spoken)
    samples = samples[: len(samples) // 256 * 256]
    theirs = TenVad(256, 0.5)
    wanted = np.array([theirs.process(frame) for frame in samples.reshape(-1, 256)])
    ours, _ = ten.speech_probabilities(ten.load(), [samples / np.float32(32768)])
    assert np.array_equal(ours, wanted[:, 0].astype(np.float32))
    assert np.array_equal(ours >= 0.5, wanted[:, 1] == 1)


def test_samples_are_clipped_and_never_wrap() -> None:
    samples = np.array([0.0, 0.5, 1.0, 1.5, -1.0, -7.0], np.float32)
    assert ten.to_int16(samples).tolist() == [0, 16384, 32767, 32767, -32768, -32768]
    every = np.arange(-32768, 32768, dtype=np.int16)
    assert np.array_equal(
        ten.to_int16(every / np.float32(32768)), every
    )  # 16-bit files come out as they went in


def test_silero_gives_what_its_model_gives_frame_by_frame(spoken: np.ndarray) -> None:
    import onnxruntime

    stock = onnxruntime.InferenceSession(silero.find_model().replace(silero.MODEL_FILE, "silero_vad.onnx"))
    samples = spoken.astype(np.float32)
    state, context, wanted = np.zeros((2, 1, 128), np.float32), np.zeros((1, 64), np.float32), []
    for start in range(0, len(samples) - 511, 512):
        frame = np.concatenate((context, samples[None, start : start + 512]), axis=1)
        out, state = stock.run(None, {"input": frame, "state": state, "sr": np.array(16_000)})
        wanted.append(float(out[0, 0]))
        context = frame[:, -64:]
    ours, _ = silero.speech_probabilities(silero.load(), [samples])
    assert np.allclose(ours[: len(wanted)], wanted, atol=1e-4)


def test_neither_engine_needs_torch() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['torch'] = None\n"
        "from media.engines import load_engine\nload_engine('ten'), load_engine('silero')\n"
        "assert not any(name.startswith('torch.') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(VAD.parent)], check=True)


def test_the_level_is_brought_up(tmp_path: Path, spoken: np.ndarray) -> None:
    quiet = load_mono(write_wav(tmp_path / "a.wav", spoken * 0.003, subtype="FLOAT"))
    gain = engines.gain_to([quiet], -23.0)
    loud = np.concatenate(list(engines.scaled([quiet], gain)))
    power = np.square(loud[: len(loud) // 256 * 256].reshape(-1, 256)).mean(axis=1)
    assert 10 * np.log10(np.percentile(power, 95)) == pytest.approx(-23.0, abs=0.1)
    assert engines.gain_to([np.zeros(1000, np.float32)], -23.0) == 1.0
    engine = engines.load_engine("ten")
    found = [engines.find_speech(engine, [samples], Rules())[0] for samples in (quiet, loud)]
    spoken_s = [sum(part["end_s"] - part["start_s"] for part in speech) for speech in found]
    assert spoken_s[1] > spoken_s[0]


# ---- where libc++ is missing


@pytest.fixture
def ten_without_libcxx(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH whose ten_vad needs a C++ runtime of a name that no system has."""
    theirs = Path(
        sys.modules["ten_vad"].__file__ if "ten_vad" in sys.modules else __import__("ten_vad").__file__
    ).parent
    package = tmp_path / "hidden" / "ten_vad"
    (package / "lib/Linux/x64").mkdir(parents=True)
    (package / "__init__.py").touch()
    library = (theirs / "lib/Linux/x64/libten_vad.so").read_bytes()
    assert b"libc++.so.1" in library
    (package / "lib/Linux/x64/libten_vad.so").write_bytes(library.replace(b"libc++.so.1", b"libCXX.so.1"))
    return package.parent


def test_without_libcxx_the_remedy_is_named(corpus: Path, ten_without_libcxx: Path) -> None:
    said = vad(corpus, "--engine", "ten", status=2, PYTHONPATH=str(ten_without_libcxx))
    assert said.startswith("ERROR: engine ten: libCXX.so.1")
    assert "conda install -c conda-forge libcxx" in said
    assert "apt install libc++1" in said
    assert "--engine silero" in said
    assert not Path("metadata").exists()


def test_without_libcxx_a_folder_goes_on_with_silero_and_says_so(
    corpus: Path, ten_without_libcxx: Path
) -> None:
    said = vad(corpus, "x", PYTHONPATH=str(ten_without_libcxx))
    assert "WARNING: going on with --engine silero INSTEAD OF ten" in said
    assert len(read("metadata/x.json")) == 5
    shutil.copy("metadata/x.json", "metadata/y.json")
    assert "ERROR: engine ten" in vad("metadata/y.json", status=2, PYTHONPATH=str(ten_without_libcxx))


def test_libcxx_of_the_environments_own_lib_folder(
    tmp_path: Path, ten_without_libcxx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout.splitlines()
    path = next(line.split("=>")[1].strip() for line in known if "libc++.so.1 " in line)
    (tmp_path / "lib").mkdir()
    renamed = Path(path).read_bytes().replace(b"libc++.so.1", b"libCXX.so.1")
    (tmp_path / "lib" / "libCXX.so.1").write_bytes(renamed)
    broken = str(ten_without_libcxx / "ten_vad/lib/Linux/x64/libten_vad.so")
    monkeypatch.setattr(ten, "CXX_LIBRARIES", ("libCXX.so.1",))
    with pytest.raises(EngineError):
        ten._open_library(broken)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert ten._open_library(broken).ten_vad_create
    import onnxruntime  # with RTLD_GLOBAL this would be a segmentation fault

    assert onnxruntime.get_available_providers()


# ---- a folder


def test_a_folder(corpus: Path) -> None:
    said = vad(corpus, "--rttm")
    (name,) = [path.stem for path in Path("metadata").glob("*.json")]
    assert name == time.strftime("in_%d-%m-%y")
    records = read(f"metadata/{name}.json")
    assert [os.path.relpath(record["audio_filepath"], corpus) for record in records] == [
        "a.wav", "b.wav", "sub/c.wav", "sub/d e.wav", "z.wav"]  # fmt: skip
    for record in records:
        assert list(record) == ["audio_filepath", "duration", "speech"]
        assert os.path.isabs(record["audio_filepath"])
        assert record["duration"] == len(load_mono(record["audio_filepath"])) / 16_000
        assert 0.8 < record["speech"][0]["start_s"] < 1.3
    assert Path(f"metadata/{name}.csv").read_text().splitlines()[0] == COLUMNS
    rows = table(f"metadata/{name}.csv")
    assert [row["audio_filepath"] for row in rows] == [record["audio_filepath"] for record in records]
    assert all(row["splits"] == "[]" and row["error"] == "" for row in rows)
    assert {line.split()[1] for line in Path(f"metadata/{name}.rttm").read_text().splitlines()} == {
        "a", "b", "sub/c", "sub/d%20e", "z"}  # fmt: skip
    assert f"next: sbatch --array=0-4 slurm/asr.slurm metadata/{name}.json" in said
    before = Path(f"metadata/{name}.json").stat().st_mtime_ns
    assert "nothing to do" in vad(corpus)
    assert Path(f"metadata/{name}.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("x", "metadata/x"),
        ("deep/er/x", "deep/er/x"),
        ("./x.json", "x"),
        ("with space", "metadata/with space"),
    ],
)
def test_names(corpus: Path, name: str, stem: str) -> None:
    vad(corpus, name, "--engine", "silero")
    assert len(read(f"{stem}.json")) == len(table(f"{stem}.csv")) == 5


def test_one_file_is_a_corpus_too(corpus: Path) -> None:
    vad(corpus / "a.wav", "x", "--engine", "silero", "--rttm")
    vad(corpus, "all", "--engine", "silero")
    assert read("metadata/x.json") == read("metadata/all.json")[:1]
    assert Path("metadata/x.rttm").read_text().split()[1] == "a"
    assert f"{time.strftime('a_%d-%m-%y')}.json" in vad(corpus / "a.wav", "--engine", "silero")


def test_unreadable_files_stand_in_the_table_only(corpus: Path) -> None:
    (corpus / "empty.wav").write_bytes(b"")
    (corpus / "garbage.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    (corpus / "cut.wav").write_bytes((corpus / "a.wav").read_bytes()[:20_000])
    write_wav(corpus / "nan.wav", np.full(1000, np.nan), subtype="FLOAT")
    write_wav(corpus / "short.wav", tone(0.003))
    write_wav(corpus / "none.wav", np.zeros(0))
    said = vad(corpus, "x", status=3)
    assert "--max-error-rate 1" in said
    assert not Path("metadata/x.json").exists()
    said = vad(corpus, "x", "--max-error-rate", "1")
    assert "5 UNREADABLE, see column `error`" in said
    assert len(read("metadata/x.json")) == 6
    rows = {os.path.basename(row["audio_filepath"]): row for row in table("metadata/x.csv")}
    assert len(rows) == 11
    assert "the file is empty" in rows["empty.wav"]["error"]
    assert "cannot be decoded" in rows["garbage.mp3"]["error"]
    assert "truncated" in rows["cut.wav"]["error"]
    assert "NaN" in rows["nan.wav"]["error"]
    assert "holds no samples" in rows["none.wav"]["error"]
    assert rows["none.wav"]["duration"] == ""
    assert rows["short.wav"]["error"] == ""
    assert float(rows["short.wav"]["duration"]) == 0.003


def test_a_repaired_file_joins_and_later_fields_stay(corpus: Path) -> None:
    whole = (corpus / "a.wav").read_bytes()
    (corpus / "a.wav").write_bytes(whole[:20_000])
    vad(corpus, "x", "--max-error-rate", "1")
    records = [{**record, "text": f"text {index}"} for index, record in enumerate(read("metadata/x.json"))]
    Path("metadata/x.json").write_text("".join(json.dumps(record) + "\n" for record in records))
    (corpus / "a.wav").write_bytes(whole)
    vad(corpus, "x", "--max-error-rate", "1")
    records = read("metadata/x.json")
    assert [record.get("text") for record in records] == [None, "text 0", "text 1", "text 2", "text 3"]
    assert records[0]["speech"]


def test_strange_names(corpus: Path, spoken: np.ndarray) -> None:
    names = [
        b'it\'s "x".wav',
        b"two\nlines.wav",
        "größe 録音.wav".encode(),
        b"not-utf8-\xff.wav",
        b"comma, semi;.wav",
    ]
    for name in names:
        write_wav(Path(os.fsdecode(os.path.join(os.fsencode(corpus), name))), spoken)
    vad(corpus, "x", "--rttm")
    records = read("metadata/x.json")  # valid UTF-8, one line a record
    assert len(records) == 10
    for record in records:
        assert os.path.exists(record["audio_filepath"])  # every name leads back to its file
    rows = table("metadata/x.csv")
    assert len(rows) == 10
    assert any(row["audio_filepath"].endswith("not-utf8-\\udcff.wav") for row in rows)
    assert len(Path("metadata/x.rttm").read_text().splitlines()) == sum(
        len(record["speech"]) for record in records
    )
    vad("metadata/x.json", "--field", "again")  # and it is read back by a map stage
    assert all(record["again"] == record["speech"] for record in read("metadata/x.json"))


@pytest.mark.parametrize(("kind", "said"), [
    ("missing", "no such file or folder"), ("empty", "found no audio"), ("no audio", "found no audio"),
])  # fmt: skip
def test_not_a_folder_of_audio(corpus: Path, kind: str, said: str) -> None:
    target = corpus.parent / kind
    if kind in ("empty", "no audio"):
        target.mkdir()
    if kind == "no audio":
        (target / "notes.txt").write_text("hello")
    output = vad(target, status=2)
    assert output.splitlines()[-1].startswith("ERROR: ")
    assert said in output
    assert str(target) in output


def test_an_array_over_a_folder_says_how(corpus: Path) -> None:
    task = {"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0",
            "SLURM_ARRAY_TASK_COUNT": "16", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "15",
            "AMELA_LAUNCHER": "slurm/vad.slurm"}  # fmt: skip
    said = vad(corpus, status=2, **task)
    assert said.startswith("ERROR: ")
    assert f"sbatch slurm/vad.slurm {corpus}" in said
    assert f"manifest_tools.py convert {corpus}" in said
    assert "ERROR: --num-shards is for a manifest" in vad(corpus, "--num-shards", "4", status=2)


def test_what_the_array_message_says_works(corpus: Path) -> None:
    tools = VAD.with_name("manifest_tools.py")
    subprocess.run(
        [sys.executable, tools, "convert", corpus, "metadata/x.json"], check=True, capture_output=True
    )
    job = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "0",
           "SLURM_ARRAY_TASK_MAX": "1", "AMELA_LAUNCHER": "slurm/vad.slurm"}  # fmt: skip
    for task in ("0", "1"):
        vad("metadata/x.json", SLURM_JOB_ID=f"7{task}", SLURM_ARRAY_TASK_ID=task, **job)
    merge = VAD.with_name("merge_manifest.py")
    subprocess.run([sys.executable, merge, "--manifest", "metadata/x.json"], check=True, capture_output=True)
    assert all(record["speech"] for record in read("metadata/x.json"))


def test_two_folders_of_one_name_do_not_share_a_manifest(corpus: Path) -> None:
    other = corpus.parent / "other" / "in"
    shutil.copytree(corpus, other)
    vad(corpus, "--engine", "silero")
    said = vad(other, status=2)
    assert f"made from {corpus}" in said
    assert "NAME" in said
    vad(other, "second", "--engine", "silero")
    Path("metadata/mine.json").write_text('{"audio_filepath": "/x.wav"}\n')
    assert "there already" in vad(corpus, "mine", status=2)
    assert read("metadata/mine.json") == [{"audio_filepath": "/x.wav"}]


def test_settings_are_held_until_fresh(corpus: Path) -> None:
    vad(corpus, "x", "--engine", "silero")
    before = read("metadata/x.json")
    assert "threshold: 0.5 before, 0.9 now" in vad(
        corpus, "x", "--engine", "silero", "--threshold", "0.9", status=2
    )
    vad(corpus, "x", "--engine", "silero", "--pad_s", "0.2", "--fresh")
    after = read("metadata/x.json")
    assert all(old["speech"][0]["start_s"] > new["speech"][0]["start_s"] for old, new in zip(before, after))


def test_fresh_lists_anew(corpus: Path, spoken: np.ndarray) -> None:
    vad(corpus, "x", "--engine", "silero")
    write_wav(corpus / "aa.wav", spoken)
    (corpus / "z.wav").unlink()
    vad(corpus, "x", "--engine", "silero")
    assert len(read("metadata/x.json")) == 5
    vad(corpus, "x", "--engine", "silero", "--fresh")
    names = [os.path.basename(record["audio_filepath"]) for record in read("metadata/x.json")]
    assert names == ["a.wav", "aa.wav", "b.wav", "c.wav", "d e.wav"]


def test_a_job_killed_while_it_listed_lists_again(corpus: Path) -> None:
    vad(corpus, "x", "--engine", "silero", "--limit", "1")
    (note,) = Path("metadata/.amela/listings").rglob("x.note")  # it is written last
    note.unlink()
    vad(corpus, "x", "--engine", "silero")
    assert len(read("metadata/x.json")) == 5


def start(*words: object) -> subprocess.Popen:
    """vad.py, left running."""
    return subprocess.Popen(
        [sys.executable, VAD, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def results(folder: Path) -> int:
    """Result lines that are on the disk below a folder."""
    lines = [line for path in folder.rglob("results/*.jsonl") for line in path.read_bytes().split(b"\n")]
    return sum(b'"fields"' in line for line in lines)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_killed_and_gone_on_with(corpus: Path, spoken: np.ndarray, number: int) -> None:
    for index in range(30):
        write_wav(corpus / f"more/{index:02d}.wav", np.tile(spoken, 2))
    vad(corpus, "whole", "--rttm", "--engine", "silero")
    running = start(corpus, "--engine", "silero")
    deadline = time.monotonic() + 60
    while results(Path("metadata/.amela")) < 35 + 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(number)
    assert running.wait(60) != 0
    (listing,) = Path("metadata/.amela/listings").glob("in-*/in_*.json")
    if (listing.parent.parent / listing.name).exists():
        pytest.fail("it ended before it was killed")
    yesterday = listing.with_name("in_01-02-24.json")  # as if midnight had passed since
    listing.with_suffix(".note").rename(yesterday.with_suffix(".note"))
    (listing.parent / ".amela" / listing.name).rename(listing.parent / ".amela" / yesterday.name)
    listing.rename(yesterday)
    write_wav(corpus / "late.wav", spoken)  # the listing is frozen
    said = vad(corpus, "--rttm", "--engine", "silero")
    assert "goes on with the listing" in said
    left = int(said.split(" records left")[0].rsplit(" ", 1)[1])
    assert 0 < left <= 32
    for suffix in (".json", ".csv", ".rttm"):
        assert (
            Path(f"metadata/in_01-02-24{suffix}").read_bytes() == Path(f"metadata/whole{suffix}").read_bytes()
        )
    vad(corpus, "--engine", "silero")  # finished: a new day, a new manifest
    assert len(read(time.strftime("metadata/in_%d-%m-%y.json"))) == 36


def test_a_requeued_job_goes_on_even_with_fresh(corpus: Path, spoken: np.ndarray) -> None:
    vad(corpus, "x", "--engine", "silero")
    job = {"SLURM_JOB_ID": "11", "AMELA_LAUNCHER": "slurm/vad.slurm"}
    vad(corpus, "x", "--engine", "silero", "--fresh", "--limit", "2", **job)
    write_wav(corpus / "late.wav", spoken)
    vad(corpus, "x", "--engine", "silero", "--fresh", SLURM_RESTART_COUNT="1", **job)
    assert len(read("metadata/x.json")) == 5
    vad(corpus, "x", "--engine", "silero", "--fresh", **{**job, "SLURM_JOB_ID": "12"})
    assert len(read("metadata/x.json")) == 6


# ---- a manifest


def test_a_manifest(corpus: Path) -> None:
    path = str(corpus / "a.wav")
    records = [
        {"audio_filepath": path, "duration": 2.75, "text": "the human reference"},
        {"audio_filepath": path, "id": "window", "offset": 1.0, "duration": 0.5},
        {"audio_filepath": str(corpus / "b.wav"), "speaker": "é"},
    ]
    Path("m.json").write_text("".join(json.dumps(record) + "\n" for record in records))
    said = vad("m.json", "--engine", "silero")
    assert "3 done, 0 failed" in said
    after = read("m.json")
    assert [{key: record[key] for key in given} for record, given in zip(after, records)] == records
    assert after[0]["duration"] == 2.75
    assert after[1]["speech"][0]["end_s"] <= 0.5  # relative to the record
    assert after[2]["duration"] == 2.5
    assert len(table("m_vad.csv")) == 3
    vad("m.json", "tables", "--engine", "silero", "--rttm")
    assert len(table("metadata/tables.csv")) == 3


def test_two_channels(corpus: Path, spoken: np.ndarray) -> None:
    write_wav(corpus / "stereo.wav", np.stack([spoken, np.zeros(len(spoken))], axis=1))
    records = [{"audio_filepath": str(corpus / "stereo.wav"), "channel": channel} for channel in (0, 1)]
    Path("m.json").write_text("".join(json.dumps(record) + "\n" for record in records))
    vad("m.json")
    left, right = read("m.json")
    assert left["speech"]
    assert right["speech"] == []


def test_trailing_number_of_tasks(corpus: Path) -> None:
    Path("m.json").write_text(json.dumps({"audio_filepath": str(corpus / "a.wav")}) + "\n")
    vad("m.json", "2", "--shard-index", "0")
    vad("m.json", "2", "--shard-index", "1")
    assert not Path("m_vad.csv").exists()


def test_memory_does_not_grow_with_the_recording(tmp_path: Path, spoken: np.ndarray) -> None:
    import soundfile

    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from media import engines\nfrom media.audio import stream_mono\nfrom media.segments import Rules\n"
        "speech, _ = engines.find_speech(engines.load_engine('silero'), stream_mono(sys.argv[2]), Rules())\n"
        "print(len(speech), int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) // 1024)"
    )
    peaks_mib = []
    for minutes in (2, 30):
        path, count = tmp_path / f"{minutes}.wav", minutes * 60 * 16_000 // len(spoken)
        with soundfile.SoundFile(path, "w", 16_000, 1, "PCM_16") as file:
            for _ in range(count):
                file.write(spoken)
        words = [sys.executable, "-c", code, VAD.parent, path]
        found, peak_mib = map(
            int, subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        )
        assert found >= count
        peaks_mib.append(peak_mib)
    assert peaks_mib[1] - peaks_mib[0] < 30  # the samples of half an hour are 110 MiB
