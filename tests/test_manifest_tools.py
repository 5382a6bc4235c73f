"""manifest_tools.py: what each command writes, says and refuses, run as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amela.errors import CallError
from amela.expression import Expression
from amela.manifest import read_records, record_key
from amela.pieces import Cutter
from speech import tone, write_wav

SCRIPT = Path(__file__).parents[1] / "scripts" / "manifest_tools.py"


def tools(*words: object, status: int = 0) -> str:
    """Run the script; return all it printed after checking its exit status."""
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def write_lines(path: Path, records: list[dict]) -> Path:
    """Write records as JSON lines."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def read(path: Path) -> list[dict]:
    """The records of a manifest."""
    return [record for _, record in read_records(path)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A manifest of 400 recordings of 40 speakers, four of them without a language."""
    records = [
        {
            "audio_filepath": f"/data/s{n % 40:02d}/rec{n:03d}.wav",
            "duration": 1.0 + (n * 7919 % 113) / 4,
            "speaker": f"s{n % 40:02d}",
            **({} if n % 100 == 0 else {"lang": ("en", "de")[n % 2]}),
        }
        for n in range(400)
    ]
    return write_lines(tmp_path / "corpus.json", records)


# --- filter ---


@pytest.mark.parametrize(
    ("text", "record", "holds"),
    [
        ('duration > 1 and lang == "en"', {"duration": 2, "lang": "en"}, True),
        ('duration > 1 and lang == "en"', {"duration": 2}, False),
        ("duration > 1 or 1 < 2", {}, True),  # an absent field is never greater, and spoils nothing else
        ("not duration > 1", {}, True),
        ("1 < duration <= 3", {"duration": 3}, True),
        ('lang in ["en", "de"]', {"lang": "de"}, True),
        ('"quick" in text', {}, False),
        ('"quick" not in text', {}, True),
        ("speaker is None", {}, True),
        ("speaker is not None", {"speaker": None}, False),
        ('asr.model == "m"', {"asr": {"model": "m"}}, True),
        ('asr["model"] == "m"', {}, False),
        ("speech[0].start_s < 1", {"speech": [{"start_s": 0.5}]}, True),
        ("speech[5].start_s < 1", {"speech": [{"start_s": 0.5}]}, False),
        ("len(text) / duration > 20", {"text": "x" * 50, "duration": 2}, True),
        ("len(text) > 20", {}, False),
        ('match("^a.c$", lower(id))', {"id": "ABC"}, True),
        ("-abs(x) == -2 and x % 2 == 0 and x * 2 - 1 == 3", {"x": 2}, True),
    ],
)
def test_expressions(text: str, record: dict, holds: bool) -> None:
    assert Expression(text).matches(record) is holds


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__.__bases__[0].__subclasses__()[0]()",
        "open('/etc/passwd')",
        "[x for x in text]",
        "(lambda: 1)()",
        "9 ** 9 ** 9",
        "text.upper()",
        "duration = 1",
        "duration >",
        "",
        "len()",
        "f'{text}'",
    ],
)
def test_expressions_that_are_refused(text: str) -> None:
    with pytest.raises(CallError, match="--where"):
        Expression(text)


def test_expression_of_the_wrong_type_names_the_record() -> None:
    with pytest.raises(CallError, match="'text': 'a'"):
        Expression("text > 1").matches({"text": "a"})


def test_filter(corpus: Path, tmp_path: Path) -> None:
    said = tools("filter", corpus, tmp_path / "out.json", "--where", 'lang == "en" and duration < 10')
    wanted = [record for record in read(corpus) if record.get("lang") == "en" and record["duration"] < 10]
    assert read(tmp_path / "out.json") == wanted
    assert f"{len(wanted)} records" in said
    assert "of 400 records" in said


def test_filter_that_leaves_nothing_writes_nothing_and_names_the_slip(corpus: Path, tmp_path: Path) -> None:
    said = tools("filter", corpus, tmp_path / "out.json", "--where", 'lagn == "en"', status=2)
    assert "no record read has the field `lagn`" in said
    assert not (tmp_path / "out.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.json"]


def test_nothing_is_replaced_unasked(corpus: Path, tmp_path: Path) -> None:
    before = corpus.read_bytes()
    assert "wanted another name" in tools("filter", corpus, corpus, "--where", "1", "--overwrite", status=2)
    (tmp_path / "out.json").write_text("mine")
    assert "exists" in tools("filter", corpus, tmp_path / "out.json", "--where", "True", status=2)
    assert (tmp_path / "out.json").read_text() == "mine"
    tools("filter", corpus, tmp_path / "out.json", "--where", "True", "--overwrite")
    assert (tmp_path / "out.json").read_bytes() == before == corpus.read_bytes()


# --- join ---


def test_join_by_stem(corpus: Path, tmp_path: Path) -> None:
    rows = "\n".join(f"rec{n:03d}.wav;{n % 90};{n % 10:03d};{'' if n % 2 else 'f'}" for n in range(10, 400))
    (tmp_path / "meta.csv").write_text(
        "\ufefffile;age;code;sex\n" + rows + "\nghost.wav;1;2;m\n", encoding="utf-8"
    )
    said = tools("join", corpus, tmp_path / "out.json", "--table", tmp_path / "meta.csv")
    joined = read(tmp_path / "out.json")
    assert joined[9] == read(corpus)[9]
    assert joined[12] == {**read(corpus)[12], "age": 12, "code": "002", "sex": "f"}  # 002 is no number
    assert "sex" not in joined[13]
    assert "390 of 400 records" in said
    assert "without a row: 10" in said
    assert "line 1: rec000" in said
    assert "ghost" in said


def test_join_by_path_and_id_keeps_what_a_record_has(tmp_path: Path) -> None:
    manifest = write_lines(
        tmp_path / "m.json",
        [
            {"audio_filepath": str(tmp_path / "a/x.wav"), "id": "u1", "speaker": "A"},
            {"audio_filepath": str(tmp_path / "b/x.wav"), "id": "u2"},
        ],
    )
    (tmp_path / "t.tsv").write_text("path\tspeaker\na/x.wav\tB\nb/x.wav\tC\n")
    said = tools("join", manifest, tmp_path / "o.json", "--table", tmp_path / "t.tsv", "--by", "path")
    assert [record["speaker"] for record in read(tmp_path / "o.json")] == ["A", "C"]
    assert "speaker: 1 records had another value and kept it" in said
    (tmp_path / "i.csv").write_text("key,speaker\nu1,B\n")
    tools(
        "join",
        manifest,
        tmp_path / "p.json",
        "--table",
        tmp_path / "i.csv",
        "--by",
        "id",
        "--column",
        "key",
        "--replace-fields",
    )
    assert read(tmp_path / "p.json")[0]["speaker"] == "B"
    (tmp_path / "s.csv").write_text("stem,speaker\nx,B\n")
    assert "several recordings" in tools("join", manifest, tmp_path / "q.json", "--table", tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("file,age\na,1\na,2\n", "t.csv:3: found file 'a' of line 2 again"),
        ("file,age\na,1,9\n", "t.csv:2: found 3 columns, wanted the header's 2"),
        ("who,age\na,1\n", "found the columns who, age, wanted"),
        ("file,age\n", "no rows"),
        ("", "header"),
    ],
)
def test_tables_that_are_refused(corpus: Path, tmp_path: Path, table: str, sentence: str) -> None:
    (tmp_path / "t.csv").write_text(table)
    assert sentence in tools("join", corpus, tmp_path / "o.json", "--table", tmp_path / "t.csv", status=2)


# --- split and sample ---


def test_split_by_speaker(corpus: Path, tmp_path: Path) -> None:
    tools("split", corpus, "--parts", "train=0.8,dev=0.1,test=0.1", "--by", "speaker", "--seed", 3)
    parts = {name: read(tmp_path / f"corpus_{name}.json") for name in ("train", "dev", "test")}
    speakers = {name: {record["speaker"] for record in records} for name, records in parts.items()}
    assert not (
        speakers["train"] & speakers["dev"]
        | speakers["train"] & speakers["test"]
        | speakers["dev"] & speakers["test"]
    )
    everything = read(corpus)
    assert sorted(map(record_key, chain(*parts.values()))) == sorted(map(record_key, everything))
    total_s = sum(record["duration"] for record in everything)
    assert abs(sum(record["duration"] for record in parts["train"]) / total_s - 0.8) < 0.05

    shuffled = write_lines(tmp_path / "shuffled.json", everything[::-1])
    tools("split", shuffled, "--parts", "train=0.8,dev=0.1,test=0.1", "--by", "speaker", "--seed", 3)
    assert {record["speaker"] for record in read(tmp_path / "shuffled_dev.json")} == speakers["dev"]
    tools(
        "split",
        corpus,
        "--parts",
        "train=0.8,dev=0.1,test=0.1",
        "--by",
        "speaker",
        "--seed",
        4,
        "--overwrite",
    )
    assert {record["speaker"] for record in read(tmp_path / "corpus_dev.json")} != speakers["dev"]


def test_split_by_hours_and_rest(corpus: Path, tmp_path: Path) -> None:
    said = tools("split", corpus, "--parts", "train=rest,test=0.2h")
    assert "give --by speaker" in said
    hours = sum(record["duration"] for record in read(tmp_path / "corpus_test.json")) / 3600
    assert abs(hours - 0.2) < 0.01


def test_split_each(corpus: Path, tmp_path: Path) -> None:
    tools("split", corpus, "--each", "lang")
    assert {record["lang"] for record in read(tmp_path / "corpus_de.json")} == {"de"}
    assert len(read(tmp_path / "corpus_none.json")) == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--parts", "train=0.8,test"], "wanted NAME=SHARE"),
        (["--parts", "train=0.8,test=0.3"], "shares of 1"),
        (["--parts", "train=0.5,test=0.1"], "the shares make 0.6"),
        (["--parts", "train=rest,test=99h"], "asks for 99.00"),
        (["--parts", "train=0.5,test=0.5", "--by", "lang"], "corpus.json:1: the record has no field `lang`"),
        (["--parts", "a=0.999,b=0.001,c=0", "--by", "speaker"], "nothing would be left for"),
    ],
)
def test_splits_that_are_refused(corpus: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    assert sentence in tools("split", corpus, *words, status=2)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.json"]


def test_sample(corpus: Path, tmp_path: Path) -> None:
    tools("sample", corpus, tmp_path / "a.json", "--records", 37, "--seed", 5)
    tools("sample", corpus, tmp_path / "b.json", "--records", 37, "--seed", 5)
    tools("sample", corpus, tmp_path / "c.json", "--records", 37)
    chosen = read(tmp_path / "a.json")
    assert len(chosen) == 37
    assert chosen == read(tmp_path / "b.json") != read(tmp_path / "c.json")
    assert chosen == [record for record in read(corpus) if record in chosen]
    tools("sample", corpus, tmp_path / "h.json", "--hours", 0.5)
    assert abs(sum(record["duration"] for record in read(tmp_path / "h.json")) / 3600 - 0.5) < 0.01
    tools("sample", corpus, tmp_path / "e.json", "--records", 2, "--each", "speaker")
    assert len(read(tmp_path / "e.json")) == 80
    assert "found 400, wanted 500" in tools("sample", corpus, tmp_path / "x.json", "--records", 500, status=2)


# --- semitones ---


def test_pitch_is_told_from_the_speakers_own(tmp_path: Path) -> None:
    low = [{"speaker": "low", "f0_median_hz": hz, "voiced_ratio": 0.5, "duration": 4}
           for hz in (90, 100, 200)]  # fmt: skip
    high = [{"speaker": "high", "f0_median_hz": hz, "voiced_ratio": share, "duration": 1}
            for hz, share in ((200, 0.1), (210, 0.1), (220, 0.9))]  # fmt: skip
    others = [{"speaker": "low", "f0_median_hz": None}, {"f0_median_hz": 150}, {"speaker": "mute"}]
    records = [{"id": f"r{n}", **record} for n, record in enumerate([*low, *high, *others])]
    manifest = write_lines(tmp_path / "m.json", records)
    assert "2 values of speaker" in tools("semitones", manifest, tmp_path / "s.json")
    found = read(tmp_path / "s.json")
    assert [one["f0_speaker_median_hz"] for one in found[:6]] == [100] * 3 + [220] * 3
    assert [one["f0_median_semitones"] for one in found[:3]] == [-1.824, 0.0, 12.0]
    assert found[6] == {**records[6], "f0_speaker_median_hz": 100, "f0_median_semitones": None}
    assert found[7:] == records[7:]
    said = tools("semitones", manifest, tmp_path / "n.json", "--by", "child", status=2)
    assert "no record has both `child` and `f0_median_hz`" in said


# --- window and explode ---

TALK = [{"start_s": start_s, "end_s": start_s + 3.5} for start_s in range(0, 96, 4)]  # silences of 0.5 s


def test_window_fixed(tmp_path: Path) -> None:
    manifest = write_lines(
        tmp_path / "m.json",
        [
            {
                "audio_filepath": "/a/long.wav",
                "duration": 100.0004,
                "speaker": "s",
                "text": "all",
                "asr": {},
                "channel": 1,
            },
            {"audio_filepath": "/a/short.wav", "duration": 9, "text": "stays"},
        ],
    )
    said = tools("window", manifest, tmp_path / "w.json", "--window-s", 30, "--overlap-s", 5)
    pieces = read(tmp_path / "w.json")
    assert [(piece.get("offset"), piece["duration"]) for piece in pieces] == [
        (0.0, 30.0),
        (25.0, 30.0),
        (50.0, 30.0),
        (75.0, 25.0),
        (None, 9),
    ]
    assert set(pieces[0]) == {"audio_filepath", "speaker", "channel", "offset", "duration", "id", "parent"}
    assert pieces[0]["parent"] == "/a/long.wav#c1"
    assert pieces[4]["text"] == "stays"
    assert len({piece["id"] for piece in pieces[:4]}) == 4
    assert "left behind, as they tell of the whole record: asr, text" in said
    tools("validate", tmp_path / "w.json")


def test_window_at_silence(tmp_path: Path) -> None:
    record = {
        "id": "day",
        "audio_filepath": "/a/long.wav",
        "duration": 96.0,
        "speech": TALK,
        "offset": 1000.0,
    }
    manifest = write_lines(tmp_path / "m.json", [record])
    said = tools("window", manifest, tmp_path / "w.json", "--window-s", 30, "--at-silence")
    pieces = read(tmp_path / "w.json")
    assert "0 of them cut where no silence was" in said
    assert pieces[0]["id"] == "day_1000000-1027750"
    for piece, after in zip(pieces, pieces[1:]):
        cut_s = piece["offset"] + piece["duration"]
        assert cut_s == pytest.approx(after["offset"], abs=1e-6)
        assert not any(part["start_s"] < cut_s - 1000 < part["end_s"] for part in TALK)
    assert sum(len(piece["speech"]) for piece in pieces) == len(TALK)
    assert pieces[1]["speech"][0] == {"start_s": 0.25, "end_s": 3.75}
    tools(
        "window",
        write_lines(tmp_path / "n.json", [{**record, "speech": [{"start_s": 0, "end_s": 96}]}]),
        tmp_path / "v.json",
        "--window-s",
        30,
        "--at-silence",
    )
    assert [piece["duration"] for piece in read(tmp_path / "v.json")] == [30, 30, 30, 6]


def test_windows_need_what_they_cut_by(tmp_path: Path) -> None:
    manifest = write_lines(tmp_path / "m.json", [{"audio_filepath": "/a/b.wav", "duration": 90}])
    assert "m.json:1: the record has no field `speech`" in tools(
        "window", manifest, tmp_path / "w.json", "--at-silence", status=2
    )
    write_lines(manifest, [{"audio_filepath": "/a/b.wav"}])
    assert "m.json:1: duration is None" in tools("window", manifest, tmp_path / "w.json", status=2)
    assert "at most half" in tools("window", manifest, tmp_path / "w.json", "--overlap-s", 20, status=2)


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0.05, 9)), max_size=60),
    st.floats(0, 5),
    st.floats(2, 20),
    st.floats(0, 0.5),
    st.booleans(),
)
def test_windows_cover_everything(
    talk: list[tuple[float, float]], tail_s: float, window_s: float, overlap: float, at_silence: bool
) -> None:
    """Whatever is said: no window too long or empty, neighbours share the overlap, all is covered."""
    speech, at_s = [], 0.0
    for silence_s, length_s in talk:
        speech.append({"start_s": round(at_s + silence_s, 3), "end_s": round(at_s + silence_s + length_s, 3)})
        at_s = speech[-1]["end_s"]
    record = {"audio_filepath": "/a/b.wav", "duration": at_s + tail_s, "speech": speech}
    overlap_s = overlap * window_s
    pieces = list(Cutter("m").windows([(0, record)], window_s, overlap_s, at_silence))
    if len(pieces) == 1 and "offset" not in pieces[0]:
        assert record["duration"] <= window_s
        return
    assert pieces[0]["offset"] == 0
    for piece in pieces:
        assert 0 < piece["duration"] <= window_s + 0.002
        assert piece["offset"] + piece["duration"] <= record["duration"] + 1e-6
        assert all(
            0 <= part["start_s"] < part["end_s"] <= piece["duration"] + 0.002 for part in piece["speech"]
        )
    for piece, after in zip(pieces, pieces[1:]):
        assert piece["offset"] + piece["duration"] - after["offset"] == pytest.approx(overlap_s, abs=0.003)
    assert pieces[-1]["offset"] + pieces[-1]["duration"] == pytest.approx(record["duration"], abs=0.002)


def test_explode(tmp_path: Path) -> None:
    words = [{"start_s": 12.1, "end_s": 12.5, "word": "hello"}, {"word": "42"}]  # that one was not aligned
    manifest = write_lines(
        tmp_path / "m.json",
        [
            {
                "audio_filepath": "/a/x.wav",
                "duration": 20.0,
                "speaker": "s",
                "text": "whole",
                "speech": TALK[:5],
                "asr_segments": [
                    {"start_s": 12.0, "end_s": 13.5, "text": "hello", "words": words},
                    {"start_s": 12.0, "end_s": 13.5, "text": "over it", "speaker": "t"},
                    {"start_s": 14.0, "end_s": 14.0, "text": ""},
                ],
            },
            {"audio_filepath": "/a/y.wav", "duration": 2.0},
        ],
    )
    said = tools("explode", manifest, tmp_path / "u.json", "--field", "asr_segments")
    first, second = read(tmp_path / "u.json")
    assert first == {
        "audio_filepath": "/a/x.wav",
        "duration": 1.5,
        "speaker": "s",
        "offset": 12.0,
        "text": "hello",
        "words": [{"start_s": 0.1, "end_s": 0.5, "word": "hello"}, {"word": "42"}],
        "parent": "/a/x.wav",
        "id": first["id"],
    }
    assert (second["speaker"], second["text"]) == ("t", "over it")
    assert second["id"] == first["id"] + "_2"
    assert "records without asr_segments: 1" in said
    assert "items of no length, left out: 1" in said
    assert "behind, as they tell of the whole record: asr_segments, text\n" in tools(
        "explode", manifest, tmp_path / "s.json", "--field", "speech"
    )
    assert len(read(tmp_path / "s.json")) == 5
    assert "field speaker is str, wanted a list" in tools(
        "explode", manifest, tmp_path / "z.json", "--field", "speaker", status=2
    )


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["window", "o.json", "--window-s", "2"], "speech", [{"begin": 1}]),
        (["stats"], "speech", [3]),
        (["explode", "o.json", "--field", "speech"], "speech", [{"start_s": "1", "end_s": 2}]),
    ],
)
def test_times_of_another_form_are_named(tmp_path: Path, words: list[str], field: str, value: list) -> None:
    record = {"audio_filepath": "/a/x.wav", "duration": 9, field: value}
    manifest = write_lines(tmp_path / "m.json", [record])
    more = [tmp_path / word if word == "o.json" else word for word in words[1:]]
    assert "m.json:1: found `speech` of another form" in tools(words[0], manifest, *more, status=2)
    assert not (tmp_path / "o.json").exists()


def test_explode_of_a_nested_field_and_of_texts(tmp_path: Path) -> None:
    manifest = write_lines(
        tmp_path / "m.json",
        [
            {
                "id": "t",
                "sentences": ["One.", "Two."],
                "whisperx": {"segments": [{"start": 1, "end": 2.5, "text": "a"}]},
                "audio_filepath": "/a/x.wav",
            }
        ],
    )
    tools("explode", manifest, tmp_path / "a.json", "--field", "whisperx.segments")
    assert [(r["offset"], r["duration"], r["text"]) for r in read(tmp_path / "a.json")] == [(1, 1.5, "a")]
    tools("explode", manifest, tmp_path / "b.json", "--field", "sentences")
    assert [(r["id"], r["sentences"]) for r in read(tmp_path / "b.json")] == [
        ("t_0000", "One."),
        ("t_0001", "Two."),
    ]


# --- stats and validate ---


def test_stats(corpus: Path) -> None:
    said = tools("stats", corpus, "--by", "lang")
    assert "400 records" in said
    assert "median" in said
    figures = json.loads(tools("stats", corpus, "--by", "lang", "--json"))
    durations = [record["duration"] for record in read(corpus)]
    assert figures["hours"] == pytest.approx(sum(durations) / 3600, rel=1e-5)
    assert figures["duration_s"]["0"] == min(durations)
    assert figures["duration_s"]["1"] == max(durations)
    assert figures["fields"]["lang"]["records"] == 396
    assert figures["values"]["None"]["records"] == 4
    assert sum(row["records"] for row in figures["histogram"]) == 400


FAULTS = [
    ('{"audio_filepath": "/a/b.wav", "duration": NaN}', "NaN"),
    ('{"audio_filepath": "b.wav"}', "the relative path 'b.wav'"),
    ('{"duration": 1}', "neither `audio_filepath` nor `id`"),
    ('{"audio_filepath": "/a/b.wav"', "one JSON object a line"),
    ("[1]", "JSON array"),
    ('{"audio_filepath": "/a/b.wav", "offset": 1}', "`offset` without `duration`"),
    ('{"audio_filepath": "/a/b.wav", "duration": 0}', "`duration` is 0"),
    ('{"audio_filepath": "/a/b.wav", "channel": "left"}', "`channel` is 'left'"),
    ('{"audio_filepath": "/a/b.wav", "duration": 5, "speech": [{"start_s": 2, "end_s": 1}]}', "`speech[0]`"),
    (
        '{"audio_filepath": "/a/b.wav", "duration": 5, "speech": [{"start_s": 2, "end_s": 9}]}',
        "`speech` ends at 9",
    ),
]


@pytest.mark.parametrize(("line", "sentence"), FAULTS)
def test_validate_names_each_fault(tmp_path: Path, line: str, sentence: str) -> None:
    manifest = tmp_path / "m.json"
    manifest.write_text('{"audio_filepath": "/a/ok.wav", "duration": 1}\n\n' + line + "\n")
    said = tools("validate", manifest, status=2)
    assert f"{manifest}:3:" in said
    assert sentence in said


def test_validate_goes_on_after_a_fault(tmp_path: Path) -> None:
    manifest = tmp_path / "m.json"
    good = '{"id": "twice", "audio_filepath": "/a/ok.wav"}'
    manifest.write_bytes("\n".join([*(line for line, _ in FAULTS), good, good]).encode() + b"\n\xff\n")
    said = tools("validate", manifest, status=2)
    assert all(sentence in said for _, sentence in FAULTS)
    assert "found the key 'twice' of line 11 again" in said
    assert "is not UTF-8" in said


def test_validate_opens_the_audio(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(2.0))
    (tmp_path / "empty.wav").touch()
    sound = {"audio_filepath": str(tmp_path / "a.wav")}
    manifest = write_lines(
        tmp_path / "m.json",
        [
            {**sound, "duration": 2.05},
            {**sound, "id": "long", "duration": 2.2},
            {**sound, "offset": 1.5, "duration": 1.0},
            {"audio_filepath": str(tmp_path / "gone.wav")},
            {"audio_filepath": str(tmp_path / "empty.wav")},
            {"id": "text"},
        ],
    )
    said = tools("validate", manifest, "--check-files", status=2)
    assert f"{manifest}:1:" not in said
    assert f"{manifest}:2: found `duration` 2.2 s, but the file has 2.000 s" in said
    assert f"{manifest}:3: found a part from 1.5 to 2.500 s" in said
    assert f"{manifest}:4:" in said
    assert f"{manifest}:5:" in said
    assert "4 faults" in said
    write_lines(manifest, [{**sound, "duration": 2.0}])
    assert "no fault found" in tools("validate", manifest, "--check-files")


# --- convert ---


def test_convert_folder_array_csv_and_kaldi(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_wav(tmp_path / "audio" / f"{name}.wav", tone(1.5))
    (tmp_path / "audio" / "a.txt").write_text("Hello  there\n")
    tools("convert", tmp_path / "audio", tmp_path / "f.json")
    a, b = (str(tmp_path / "audio" / f"{name}.wav") for name in "ab")
    assert read(tmp_path / "f.json") == [
        {"audio_filepath": a, "text": "Hello there", "duration": 1.5},
        {"audio_filepath": b, "duration": 1.5},
    ]

    (tmp_path / "list.json").write_text(json.dumps([{"audio_filepath": "audio/a.wav", "note": 1}], indent=1))
    tools("convert", tmp_path / "list.json", tmp_path / "g.json")
    assert read(tmp_path / "g.json") == [{"audio_filepath": a, "note": 1, "duration": 1.5}]

    (tmp_path / "cv.tsv").write_text('client_id\tpath\tsentence\tlocale\tage\nx\tb.wav\t"Hi.\ten\t\n')
    words = ["--no-durations", "--audio-dir", tmp_path / "audio"]
    tools("convert", tmp_path / "cv.tsv", tmp_path / "h.json", *words)
    assert read(tmp_path / "h.json") == [{"audio_filepath": b, "text": '"Hi.', "speaker": "x", "lang": "en"}]

    kaldi = tmp_path / "kaldi"
    kaldi.mkdir()
    (kaldi / "wav.scp").write_text(f"rec {a}\n")
    (kaldi / "segments").write_text("rec-1 rec 0.25 1.0\n")
    (kaldi / "text").write_text("rec-1 so it is\n")
    (kaldi / "utt2spk").write_text("rec-1 s1\n")
    tools("convert", kaldi, tmp_path / "k.json")
    assert read(tmp_path / "k.json") == [
        {
            "audio_filepath": a,
            "id": "rec-1",
            "offset": 0.25,
            "duration": 0.75,
            "text": "so it is",
            "speaker": "s1",
        }
    ]
    (kaldi / "wav.scp").write_text("rec sox x.wav -t wav - |\n")
    assert "found a command" in tools("convert", kaldi, tmp_path / "l.json", status=2)
    (tmp_path / "audio" / "c.wav").write_bytes(b"RIFF")
    assert "c.wav" in tools("convert", tmp_path / "audio", tmp_path / "m.json", status=2)
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("x.json", '{"audio_filepath": "a.wav"}\n{"audio_filepath": "b.wav"', "line 2: Expecting"),
        ("x.json", '{"audio_filepath": "a.wav", "snr": NaN}', "NaN is no JSON number"),
        ("x.json", '["a.wav"]', "item 1: found a.wav, wanted a JSON object"),
        ("x.csv", "path,duration\na.wav,long\n", "x.csv:2: found duration 'long', wanted a number"),
        ("x.csv", b"path,text\na.wav,\xff\n", "not UTF-8"),
        ("x.csv.gz", "no gzip", "gzip"),
        ("x.json", "", "not written, as no record is left"),
        ("x.json", '{"text": "nothing to hear"}', "neither `audio_filepath` nor `id`"),
    ],
)
def test_lists_that_are_refused(tmp_path: Path, name: str, text: str | bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert sentence in tools("convert", tmp_path / name, tmp_path / "o.json", "--no-durations", status=2)
    assert not (tmp_path / "o.json").exists()


def test_memory_stays_flat(tmp_path: Path) -> None:
    """200,000 records pass a filter within 25 MB above what an empty run takes."""
    manifest = tmp_path / "big.json"
    line = (
        '{"audio_filepath": "/data/corpus/speaker_%04d/recording_%07d.wav", "duration": %.2f, "lang": "en"}\n'
    )
    manifest.write_text("".join(line % (n % 1000, n, 1 + n % 30) for n in range(200_000)))
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    peaks_kb = []
    for words in (
        ["filter", "--help"],
        ["filter", str(manifest), str(tmp_path / "o.json"), "--where", "duration > 5"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        )
        peaks_kb.append(int(done.stdout.split()[-1]))
    assert peaks_kb[1] - peaks_kb[0] < 25_000
