"""chunk_audio.py: audio and text are cut to match, by the times of words where there are any."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

import chunk_audio
from arrays import Task, read_manifest
from media.texts import TextError, Word, cut_text, spread, timed_words
from speech import write_wav

RATE_HZ = 8000
LONG_S = 47.0


def run(*argv: object, status: int = 0) -> str:
    """Cut in a process of its own; return what it said."""
    log = Path("log")
    log.unlink(missing_ok=True)
    done = Task([*argv, "--workers", 1], log=log, main=chunk_audio.main).wait()
    assert done == status, log.read_text()
    return log.read_text()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with wavs/ and texts/: a long and a short recording, and what has no partner."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0)
    for name, length_s in (("long", LONG_S), ("short", 8.0), ("lone", 1.0), ("mute", 1.0)):
        write_wav(Path(f"wavs/{name}.wav"), noise.normal(0, 0.1, round(length_s * RATE_HZ)), RATE_HZ)
    Path("texts").mkdir()
    texts = {
        "long": "\n".join(f"word{n:02d}" for n in range(94)),
        "short": "a b",
        "orphan": "c",
        "mute": " \n",
    }
    for name, text in texts.items():
        Path(f"texts/{name}.txt").write_text(text)
    return tmp_path


PAIRS = ("--audio_dir", "wavs", "--transcripts_dir", "texts", "--output_dir", "chunks")


def test_two_folders_become_two_folders_that_match(here: Path) -> None:
    said = run(*PAIRS)
    for text in ("without a transcript (texts): lone", "without a recording (wavs): orphan",
                 "without a word, left out (texts): mute", "2 pairs of 4", "cut in proportion"):  # fmt: skip
        assert text in said
    names = ["long_0000000-0020000", "long_0015000-0035000", "long_0030000-0047000", "short"]
    assert sorted(path.stem for path in Path("chunks/audio").iterdir()) == names
    assert sorted(path.stem for path in Path("chunks/transcripts").iterdir()) == names
    whole = soundfile.read("wavs/long.wav", dtype="int16")[0]
    for name, start_s, end_s in zip(names, (0, 15, 30), (20, 35, 47)):
        samples, rate_hz = soundfile.read(f"chunks/audio/{name}.wav", dtype="int16")
        assert rate_hz == RATE_HZ
        assert np.array_equal(samples, whole[start_s * RATE_HZ : end_s * RATE_HZ])
        words = Path(f"chunks/transcripts/{name}.txt").read_text().split()
        assert words == [f"word{n:02d}" for n in range(2 * start_s, 2 * end_s)]  # half a second each
    records = read_manifest("chunks/chunks.json")
    assert [record.get("text_times") for record in records] == ["proportion"] * 3 + [None]
    assert records[0]["parent"] == "long"
    assert "offset" not in records[0]
    assert all(Path(record["audio_filepath"]).exists() for record in records)


def test_what_is_cut_is_not_cut_again(here: Path) -> None:
    run(*PAIRS)
    first = Path("chunks/audio/long_0000000-0020000.wav")
    before, written = first.stat().st_mtime_ns, Path("chunks/chunks.json").read_bytes()
    Path("chunks/audio/short.wav").unlink()
    run(*PAIRS)
    assert first.stat().st_mtime_ns == before
    assert Path("chunks/audio/short.wav").exists()
    assert Path("chunks/chunks.json").read_bytes() == written
    assert "window_s was 20.0 and is 10.0 now" in run(*PAIRS, "--window-s", 10, status=2)


def test_a_bad_recording_costs_nobody_else(here: Path) -> None:
    Path("wavs/long.wav").write_bytes(b"RIFF and no sound")
    assert "ERROR: long: " in run(*PAIRS, status=3)  # one of two is more than a tenth
    assert [record["id"] for record in read_manifest("chunks/chunks.json")] == ["short"]


def manifest_of(here: Path, **fields: object) -> dict:
    record = {"audio_filepath": str(here / "wavs/long.wav"), "duration": LONG_S, **fields}
    Path("corpus.json").write_text(json.dumps(record) + "\n")
    return record


def chunks_of(*flags: object) -> list[dict]:
    Path("chunks.json").unlink(missing_ok=True)
    run("corpus.json", "chunks.json", *flags)
    return read_manifest("chunks.json")


def test_words_of_a_transcript_go_where_they_were_said(here: Path) -> None:
    """The middle decides; a number without a time of its own stays with the word before it."""
    words = [{"word": " one", "start_s": 0.5, "end_s": 1.0}, {"word": "edge", "start_s": 19.4, "end_s": 20.4},
             {"word": "42"}, {"word": "shared", "start_s": 16.0, "end_s": 17.0}]  # fmt: skip
    late = [{"word": "late", "start_s": 46.5, "end_s": 47.8}]
    segments = [{"start_s": 0.5, "end_s": 21.0, "text": "…", "words": words},
                {"start_s": 46, "end_s": 47.8, "text": "late", "words": late}]  # fmt: skip
    manifest_of(here, whisperx_text="one edge 42 shared late", whisperx=segments, text="not this", lang="en")
    chunks = chunks_of()
    assert [chunk["whisperx_text"] for chunk in chunks] == ["one edge shared", "edge 42 shared", "late"]
    assert {chunk["text_times"] for chunk in chunks} == {"words"}
    assert [(chunk["offset"], chunk["duration"]) for chunk in chunks] == [(0, 20), (15, 20), (30, 17)]
    assert "text" not in chunks[0]
    assert chunks[0]["lang"] == "en"


def test_segments_without_words_and_speech_narrow_the_guess(here: Path) -> None:
    segments = [
        {"start_s": 2.0, "end_s": 4.0, "text": "early words"},
        {"start_s": 40.0, "end_s": 44.0, "text": "end"},
    ]
    manifest_of(here, text="early words end", asr_segments=segments)
    assert [chunk["text"] for chunk in chunks_of()] == ["early words", "", "end"]
    manifest_of(here, text="aa bb cc dd", speech=[{"start_s": 1, "end_s": 3}, {"start_s": 41, "end_s": 43}])
    chunks = chunks_of()
    assert [chunk["text"] for chunk in chunks] == ["aa bb", "", "cc dd"]
    assert {chunk["text_times"] for chunk in chunks} == {"proportion"}


def test_textgrids_and_ctm_give_times_and_the_text_its_spelling(here: Path) -> None:
    from media.textgrid import textgrid
    from media.tiers import Interval, Tier

    said = [Interval(1.0, 1.5, "hello"), Interval(41.0, 42.0, "world")]
    Path("grids").mkdir()
    Path("grids/long.TextGrid").write_text(textgrid([Tier("words", "", None, said)], LONG_S))
    Path("words.ctm").write_text("long 1 1.0 0.5 hello\nlong 1 41.0 1.0 world\n")
    manifest_of(here, text="Hello, World!")
    for source in ("grids", "words.ctm"):
        chunks = chunks_of("--words", source)
        assert [chunk["text"] for chunk in chunks] == ["Hello,", "", "World!"]
        assert {chunk["text_times"] for chunk in chunks} == {"words"}
    manifest_of(here, text="Hello to the world")
    assert [chunk["text"] for chunk in chunks_of("--words", "grids")] == ["hello", "", "world"]


def test_clips_of_a_manifest_are_files_of_their_own(here: Path) -> None:
    record = manifest_of(here, offset=3.0, text="a b c d")
    record["duration"] = 30.0
    Path("corpus.json").write_text(json.dumps(record) + "\n")
    chunks = chunks_of("--clips", "clips", "--window-s", 12, "--overlap-s", 2)
    whole = soundfile.read("wavs/long.wav", dtype="int16")[0]
    for chunk, start_s in zip(chunks, (3, 13, 23), strict=True):
        samples = soundfile.read(chunk["audio_filepath"], dtype="int16")[0]
        length = round(chunk["duration"] * RATE_HZ)
        assert np.array_equal(samples, whole[start_s * RATE_HZ : start_s * RATE_HZ + length])
        assert "offset" not in chunk


def test_pieces_that_overlap_are_held_one_at_a_time() -> None:
    """An hour, 115 MB: each piece right, and little more than one of them in memory."""
    from media.clips import Clip
    from media.cutting import read_pieces

    clips = [Clip(start_s, start_s + 20.0, "") for start_s in range(0, 3580, 15)]
    blocks = (np.full(RATE_HZ, second, np.float32) for second in range(3600))
    tracemalloc.start()
    for clip, samples in zip(clips, read_pieces(blocks, clips, RATE_HZ)):
        assert (len(samples), samples[0], samples[-1]) == (20 * RATE_HZ, clip.start_s, clip.start_s + 19)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_audio_without_a_text_is_cut_too(here: Path) -> None:
    manifest_of(here)
    assert ["text" in chunk for chunk in chunks_of()] == [False] * 3
    manifest_of(here, text="")
    assert [chunk["text"] for chunk in chunks_of()] == [""] * 3


def test_a_text_that_is_none_is_an_error(here: Path) -> None:
    record = manifest_of(here, text=["a"])
    Path("corpus.json").write_text(
        "".join(json.dumps(one) + "\n" for one in (record, {**record, "text": "a", "id": "b"}))
    )
    said = run("corpus.json", "chunks.json", status=3)
    assert "found text \"['a']\", wanted a string" in said
    assert len(read_manifest("chunks.json")) == 3
    said = run("corpus.json", "chunks.json", "--text-field", "mine", "--overwrite", status=2)
    assert "found no mine in the record" in said
    manifest_of(here, text="a", asr_segments=[{"start_s": "x", "text": "a"}])
    assert "wanted segments and words with times in s" in run("corpus.json", "x.json", status=2)


def test_what_is_wrong_with_a_call_is_said(here: Path) -> None:
    manifest_of(here)
    assert "wanted MANIFEST OUTPUT, or" in run("corpus.json", status=2)
    assert "wanted MANIFEST OUTPUT, or" in run(*PAIRS, "corpus.json", "x.json", status=2)
    assert "at most half" in run("corpus.json", "x.json", "--overlap-s", 15, status=2)
    assert "at most half" in run("corpus.json", "x.json", "--overlap-s", "nan", status=2)
    write_wav(Path("wavs/more/short.wav"), np.zeros(800), RATE_HZ)
    assert "wanted one file a stem" in run(*PAIRS, status=2)


def test_spread_words_last_as_long_as_they_have_letters() -> None:
    words = list(spread(["a", "bbb", "cc"], [(1.0, 3.0), (10.0, 14.0)]))
    assert words == [Word(1.0, 2.0, "a"), Word(10.0, 12.0, "bbb"), Word(12.0, 14.0, "cc")]
    assert list(spread([], [(0, 1)])) == []
    assert cut_text(words, [(0, 7), (5, 12), (10, 17)]) == ["a", "bbb", "bbb cc"]
    with pytest.raises(TextError, match="wanted segments"):
        timed_words({"text": "a", "asr_segments": [{"text": "a"}]}, "text")
