"""export.py: every format is read back by a program that is not ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
FORMATS = ["rttm", "ctm", "textgrid", "eaf", "srt", "vtt", "audacity"]
HARD = 'she said "no" & <left> {laughs} --> l’été 音'


def words(*items: tuple[float, float, str]) -> list[dict[str, object]]:
    return [{"start_s": start, "end_s": end, "word": word} for start, end, word in items]


def write_wav(path: Path, duration_s: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * round(duration_s * 16_000)))


def run(*arguments: object, status: int = 0) -> str:
    command = [sys.executable, str(ROOT / "scripts" / "export.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two speakers in windows of one recording, a hard text, and two files that differ in their suffix."""
    audio = tmp_path / "audio"
    write_wav(audio / "family 1" / "day.wav", 40.0)
    records: list[dict[str, object]] = [
        {
            "audio_filepath": f"{audio}/family 1/day.wav",
            "offset": 10.0,
            "duration": 10.0,
            "speaker": "CHI",
            "speech": [{"start_s": 0.5, "end_s": 1.25}, {"start_s": 9.0, "end_s": 10.0}],
            "text": "mama",
            "asr_segments": [
                {"start_s": 0.5, "end_s": 1.25, "text": "mama", "words": words((0.5, 1.25, "mama"))}
            ],
        },
        {
            "audio_filepath": f"{audio}/family 1/day.wav",
            "offset": 20.0,
            "duration": 10.0,
            "speaker": "CHI",
            "speech": [{"start_s": 0.0, "end_s": 0.5}],
            "text": "",
            "asr_segments": [],
        },
        {
            "audio_filepath": f"{audio}/family 1/day.wav",
            "offset": 10.0,
            "duration": 10.0,
            "speaker": "MOT",
            "speech": [{"start_s": 2.0, "end_s": 3.0}],
            "text": "yes my love",
        },
        {
            "audio_filepath": f"{audio}/read/a.wav",
            "duration": 5.0,
            "speech": [{"start_s": 0.2, "end_s": 4.8}],
            "text": HARD,
            "asr_segments": [
                {
                    "start_s": 0.2,
                    "end_s": 4.8,
                    "text": HARD,
                    "words": words((0.2, 0.31, "she"), (0.3, 0.6, "said")),
                }
            ],
        },
        {"audio_filepath": f"{audio}/read/a.flac", "duration": 5.0, "speech": []},
    ]
    manifest = tmp_path / "corpus.json"
    manifest.write_text("".join(json.dumps(record) + "\n" for record in records))
    run(manifest, "--format", *FORMATS, "--output", tmp_path / "out")
    return tmp_path / "out"


def test_one_file_a_recording_named_like_the_audio(corpus: Path) -> None:
    for kind, suffix in [
        ("textgrid", "TextGrid"),
        ("eaf", "eaf"),
        ("srt", "srt"),
        ("vtt", "vtt"),
        ("audacity", "txt"),
    ]:
        found = sorted(str(path.relative_to(corpus / kind)) for path in (corpus / kind).rglob("*.*"))
        assert found == [f"family 1/day.{suffix}", f"read/a.flac.{suffix}", f"read/a.wav.{suffix}"]


def test_textgrid_opens_in_praat(corpus: Path) -> None:
    import parselmouth
    from parselmouth.praat import call

    grid = parselmouth.read(str(corpus / "textgrid" / "family 1" / "day.TextGrid"))
    assert call(grid, "Get end time") == 40.0  # of the recording, not of its last window
    tiers = [call(grid, "Get tier name", number + 1) for number in range(call(grid, "Get number of tiers"))]
    assert tiers == ["speech@CHI", "speech@MOT", "text@CHI", "text@MOT", "words@CHI"]
    speech = call(grid, "Extract one tier", 1)
    table = call(speech, "Down to Table", False, 6, True, False)  # text, without empty intervals
    rows = [
        tuple(float(call(table, "Get value", row + 1, column)) for column in ("tmin", "tmax"))
        for row in range(call(table, "Get number of rows"))
    ]
    assert rows == [(10.5, 11.25), (19.0, 20.5)]  # united over the border of two windows
    hard = parselmouth.read(str(corpus / "textgrid" / "read" / "a.wav.TextGrid"))
    assert call(hard, "Get label of interval", 2, 2) == HARD


def test_eaf_opens_in_pympi(corpus: Path) -> None:
    import pympi

    document = pympi.Elan.Eaf(str(corpus / "eaf" / "family 1" / "day.eaf"))
    assert sorted(document.get_tier_names()) == [
        "speech@CHI",
        "speech@MOT",
        "text@CHI",
        "text@MOT",
        "words@CHI",
    ]
    assert min(document.get_annotation_data_for_tier("speech@CHI"))[:2] == (10_500, 11_250)
    assert document.get_annotation_data_for_tier("text@MOT") == [(10_000, 20_000, "yes my love")]
    media = document.media_descriptors[0]
    assert (corpus / "eaf" / "family 1" / media["RELATIVE_MEDIA_URL"]).resolve() == Path(
        media["MEDIA_URL"][7:]
    )
    hard = pympi.Elan.Eaf(str(corpus / "eaf" / "read" / "a.wav.eaf"))
    assert hard.get_annotation_data_for_tier("text") == [(200, 4800, HARD)]


def test_rttm_opens_in_pyannote(corpus: Path) -> None:
    from pyannote.core import Annotation, Segment

    found: dict[str, Annotation] = {}
    for track, line in enumerate((corpus / "corpus.rttm").read_text().splitlines()):
        kind, name, _, start_s, length_s, _, _, speaker, _, _ = line.split(" ")
        assert kind == "SPEAKER"
        segment = Segment(float(start_s), float(start_s) + float(length_s))
        found.setdefault(name, Annotation(uri=name))[segment, track] = speaker
    day = found["family%201/day"]
    assert day.labels() == ["CHI", "MOT"]
    assert day.label_duration("CHI") == pytest.approx(2.25)
    lines = [
        line.split(" ") for line in day.to_rttm().splitlines()
    ]  # what pyannote itself writes is what we wrote
    ours = [line.split(" ") for line in (corpus / "corpus.rttm").read_text().splitlines() if "day" in line]
    assert sorted((line[3], line[4], line[7]) for line in lines) == sorted(
        (line[3], line[4], line[7]) for line in ours
    )
    assert found["read/a.wav"].labels() == ["speech"]


def test_subtitles_open_in_their_readers(corpus: Path) -> None:
    import pysubs2
    import webvtt

    cues = webvtt.read(str(corpus / "vtt" / "family 1" / "day.vtt"))
    assert [(cue.start, cue.end, cue.text) for cue in cues] == [
        ("00:00:10.000", "00:00:20.000", "MOT: yes my love"),
        ("00:00:10.500", "00:00:11.250", "CHI: mama"),
    ]
    assert "&lt;left&gt; {laughs} --&gt;" in (corpus / "vtt" / "read" / "a.wav.vtt").read_text()
    lines = pysubs2.load(str(corpus / "srt" / "family 1" / "day.srt"))
    assert [(line.start, line.end, line.plaintext) for line in lines] == [
        (10_000, 20_000, "MOT: yes my love"),
        (10_500, 11_250, "CHI: mama"),
    ]
    assert "{laughs}" in (corpus / "srt" / "read" / "a.wav.srt").read_text()


def test_lines_of_ctm_and_audacity(corpus: Path) -> None:
    assert (corpus / "corpus.ctm").read_text().splitlines() == [
        "family%201/day 1 10.500 0.750 mama",
        "read/a.wav 1 0.200 0.110 she",
        "read/a.wav 1 0.300 0.300 said",
    ]
    assert (
        corpus / "audacity" / "read" / "a.wav.txt"
    ).read_text() == f"0.200\t4.800\tspeech\n0.200\t4.800\t{HARD}\n"


def test_long_segments_become_readable_cues() -> None:
    from media.subtitles import MAX_CUE_CHARS, MAX_CUE_S, cues

    many = words(*[(i * 0.4, i * 0.4 + 0.3, f"word{i}") for i in range(100)])
    text = " ".join(str(word["word"]) for word in many)
    found = cues([{"asr_segments": [{"start_s": 0.0, "end_s": 40.0, "text": text, "words": many}]}])
    assert " ".join(cue.label for cue in found) == text
    assert all(len(cue.label) <= MAX_CUE_CHARS and cue.end_s - cue.start_s <= MAX_CUE_S for cue in found)


def test_overlap_makes_a_second_layer_and_loses_nothing() -> None:
    from media.tiers import Interval, layers

    rows = [Interval(0, 2, "a"), Interval(1, 3, "b"), Interval(2.99, 4, "c"), Interval(5, 5, "empty")]
    assert [[one.label for one in layer] for layer in layers(rows)] == [["a", "c"], ["b"]]
    assert layers([Interval(0, 1, "a"), Interval(0.99, 2, "b")]) == [[(0, 1, "a"), (1, 2, "b")]]


def test_another_text_field(tmp_path: Path) -> None:
    manifest = tmp_path / "m.json"
    record = {
        "audio_filepath": "/nowhere/a.wav",
        "duration": 2.0,
        "text": "human",
        "pred_text": "machine",
        "pred_text_asr_segments": [{"start_s": 0.5, "end_s": 1.0, "text": "machine"}],
    }
    manifest.write_text(json.dumps(record) + "\n")
    run(manifest, "--format", "audacity", "--field", "pred_text", "--output", tmp_path)
    assert (tmp_path / "audacity" / "a.txt").read_text() == "0.500\t1.000\tmachine\n"


def test_channels_have_their_own_tiers_and_rttm_channel(tmp_path: Path) -> None:
    manifest = tmp_path / "m.json"
    rows = [
        {
            "audio_filepath": "/nowhere/a.wav",
            "duration": 2.0,
            "channel": channel,
            "speech": [{"start_s": 0, "end_s": 1 + channel}],
        }
        for channel in (0, 1)
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(manifest, "--format", "rttm", "textgrid", "--output", tmp_path)
    assert [line.split()[2] for line in (tmp_path / "m.rttm").read_text().splitlines()] == ["1", "2"]
    assert '"speech@channel1"' in (tmp_path / "textgrid" / "a.TextGrid").read_text()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"audio_filepath": "/a.wav", "duration": 1.0}, "found neither speech nor text"),
        (
            {"audio_filepath": "/a.wav", "speech": [{"start_s": 2, "end_s": 1}]},
            "m.json:1: a: speech or segments: found 2.0",
        ),
        (
            {"audio_filepath": "/a.wav", "speech": [{"start_s": None, "end_s": 1}]},
            "wanted start_s and end_s in seconds",
        ),
        ({"audio_filepath": "/a.wav", "speech": "0.3-0.5"}, "m.json:1"),
    ],
)
def test_bad_records_are_named(tmp_path: Path, record: dict[str, object], message: str) -> None:
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps(record) + "\n")
    assert message in run(manifest, "--format", "rttm", "--output", tmp_path / "out", status=2)
    assert not list((tmp_path / "out").glob("*.rttm"))


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Newlines, quotes, bytes that are not UTF-8 in file names: every format is written and still opens."""
    import parselmouth
    import pympi

    names = ['a "quoted".wav', "new\nline.wav", os.fsdecode(b"caf\xe9.wav"), "a<b>&c.wav"]
    manifest = tmp_path / "m.json"
    rows = [
        {
            "audio_filepath": f"/nowhere/{name}",
            "duration": 1.0,
            "speech": [{"start_s": 0, "end_s": 1}],
            "text": "tab\tnul\x00 lone \ud800",
        }
        for name in names
    ]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(manifest, "--format", *FORMATS, "--output", tmp_path / "out")
    assert len((tmp_path / "out" / "m.rttm").read_bytes().splitlines()) == 4
    for name in names:
        stem = name[:-4]
        copy = tmp_path / "copy.TextGrid"  # parselmouth itself wants UTF-8 names
        copy.write_bytes((tmp_path / "out" / "textgrid" / (stem + ".TextGrid")).read_bytes())
        assert parselmouth.read(str(copy)).xmax == 1.0
        document = pympi.Elan.Eaf(str(tmp_path / "out" / "eaf" / (stem + ".eaf")))
        assert document.get_annotation_data_for_tier("text") == [(0, 1000, "tab nul lone ?")]
