"""Manifests: what is a record, how it is known, and what each fault says."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amela.errors import CallError
from amela.manifest import (
    check_duplicates,
    from_line,
    read_records,
    record_key,
    scan,
    to_line,
    write_manifest,
)
from memory import peak_mib

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_a_line_holds_a_record_as_it_is(record):
    raw = to_line(record)
    assert raw.count(b"\n") == 1
    assert raw.endswith(b"\n")
    assert from_line(raw) == record


@given(st.binary(max_size=20))
def test_a_file_name_of_any_bytes_survives(name):
    record = {"audio_filepath": "/" + os.fsdecode(name)}
    back = from_line(to_line(record))
    assert os.fsencode(back["audio_filepath"]) == b"/" + name


@given(st.binary(max_size=60))
def test_a_line_is_an_object_or_a_value_error(raw):
    try:
        assert isinstance(from_line(raw), dict)
    except ValueError:
        pass


PARTS = st.fixed_dictionaries(
    {"audio_filepath": st.sampled_from(["/a.wav", "/b.wav"])},
    optional={"channel": st.integers(0, 2), "offset": st.integers(0, 3), "text": st.text(max_size=3)},
).map(lambda record: {**record, "duration": 2.0} if "offset" in record else record)


@given(PARTS, PARTS)
def test_records_share_a_key_exactly_where_they_read_the_same_audio(one, other):
    def audio(record):
        return record["audio_filepath"], record.get("channel"), record.get("offset")

    assert (record_key(one) == record_key(other)) == (audio(one) == audio(other))


def test_an_id_goes_before_the_path_and_a_duration_found_later_changes_no_key():
    assert record_key({"id": 7, "audio_filepath": "/a.wav"}) == "7"
    assert record_key({"audio_filepath": "/a.wav", "duration": 3}) == "/a.wav"
    assert record_key({"audio_filepath": "/a.wav", "offset": 1, "duration": 3}) == "/a.wav@1.0+3.0"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"no json", "Expecting value"),
        (b"[1, 2]", "a JSON array"),
        (b'"text"', "no JSON object"),
        (b'{"id": "a", "score": NaN}', "NaN is no JSON number"),
        (b'{"id": "a", "score": Infinity}', "Infinity is no JSON number"),
        (b'{"id": "a"', "delimiter"),
        (b"[" * 100_000, "JSON array"),
        (b'{"a":' * 100_000, "too many brackets"),
        (b'{"id": "\xff\xfe"}', "byte 8 is not UTF-8"),
        (b'{"text": "hello"}', "neither `audio_filepath` nor `id`"),
        (b'{"audio_filepath": "a/b.wav"}', "relative path 'a/b.wav'"),
        (b'{"audio_filepath": ["/a.wav"]}', "`audio_filepath` ['/a.wav']"),
        (b'{"id": ""}', "`id` ''"),
        (b'{"id": "a", "duration": -1}', "`duration` '-1'"),
        (b'{"id": "a", "duration": "3.2"}', "`duration` '3.2'"),
        (b'{"id": "a", "duration": 1e999}', "`duration` 'inf'"),
        (b'{"id": "a", "duration": 1' + b"0" * 400 + b"}", "`duration` '10000"),
        (b'{"audio_filepath": "/a.wav", "offset": 3}', "`offset` without `duration`"),
        (b'{"id": "a"}\x00\x00\x00', "Extra data"),
    ],
)
def test_a_bad_line_is_named_with_what_was_found(tmp_path, line, found):
    path = tmp_path / "m.json"
    path.write_bytes(b'{"id": "fine"}\n' + line + b"\n")
    with pytest.raises(CallError, match=r"m\.json:2: found .*, wanted ") as caught:
        list(read_records(path))
    assert found in str(caught.value)
    assert len(str(caught.value)) < 500


def test_bom_crlf_blank_lines_and_a_missing_last_newline_are_read(tmp_path):
    path = tmp_path / "m.json"
    path.write_bytes(b'\xef\xbb\xbf{"id": "a"}\r\n\r\n   \n{"id": "b"}\r\n{"id": "c"}')
    assert [(line, record["id"]) for line, record in read_records(path)] == [(0, "a"), (3, "b"), (4, "c")]
    found = scan(path, "id")
    assert list(map(bool, found.keys)) == [True, False, False, True, True]
    assert found.records == 3


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_a_manifest_without_a_record_is_refused(tmp_path, content):
    path = tmp_path / "m.json"
    path.write_bytes(content)
    with pytest.raises(CallError, match="found no record"):
        list(read_records(path))


def test_a_line_of_a_gigabyte_costs_little_memory(tmp_path):
    path = tmp_path / "m.json"
    with open(path, "wb") as file:
        file.write(b'{"id": "a", "text": "')
        file.truncate(2**30)
    pid = os.fork()
    if pid == 0:
        before = peak_mib()
        try:
            list(read_records(path))
        except CallError as exc:
            grown_mib = peak_mib() - before
            os._exit(0 if "more than 64 MiB" in str(exc) and grown_mib < 200 else 1)
        os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0


def test_lines_that_repeat_a_recording_are_told_from_an_id_given_twice(tmp_path):
    path = tmp_path / "m.json"
    path.write_text("".join(json.dumps({"audio_filepath": f"/{name}.wav"}) + "\n" for name in "abacb"))
    assert check_duplicates(path, scan(path, "").keys) == {2: 0, 4: 1}
    path.write_text('{"id": "x"}\n{"id": "y"}\n{"id": "x"}\n')
    with pytest.raises(CallError, match=r"m\.json:3: found the id 'x' of line 1 again"):
        check_duplicates(path, scan(path, "").keys)


def test_a_manifest_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "m.json"
    assert write_manifest(path, [{"id": "a"}, {"id": "b", "text": "ä"}]) == 2
    before = path.read_bytes()
    with pytest.raises(CallError, match="neither"):
        write_manifest(path, [{"id": "c"}, {"text": "no key"}])
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["m.json"]
