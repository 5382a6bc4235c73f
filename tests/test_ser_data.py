"""Emotional speech as Prosody-SER has it and as our manifests have it, and what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from media import ser_data
from media.ser_data import PROSODY_SER, SerDataError, read_splits


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", np.zeros(32_000, np.float32), 16_000)
    return tmp_path


def write(folder: Path, *records: object, name: str = "data.json") -> str:
    path = folder / name
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in records))
    return str(path)


def test_lines_of_prosody_ser(sound: Path) -> None:
    line = {"audio_filepath": "a.wav", "words": ["wo", "ho"], "prosody_annotations": [0, 1], "emotion": 3}
    ((one,),), names = read_splits([write(sound, line)], str(sound))
    assert names == list(PROSODY_SER)
    assert (one.words, one.prosody, names[one.emotion]) == (("wo", "ho"), (0, 1), "Disgust")
    assert (one.key, one.duration_s, one.speaker) == (f"{sound}/a.wav", 2.0, None)


def test_lines_of_our_manifests(sound: Path) -> None:
    ours = {"audio_filepath": f"{sound}/a.wav", "text": " go  now ", "speaker": 7, "id": "x"}
    joy = {**ours, "emotion": "joy", "offset": 0.5}
    lines = [{**joy, "duration": 1.0}, {**ours, "emotion": {"label": "anger"}}, joy]
    (found,), names = read_splits([write(sound, *lines)], "/elsewhere")
    assert names == ["anger", "joy"]
    assert [one.emotion for one in found] == [1, 0, 1]
    assert [one.duration_s for one in found] == [
        1.0,
        2.0,
        1.5,
    ]  # to the end of the file, if nothing else is said
    assert found[0].window == {"path": f"{sound}/a.wav", "channel": None, "offset_s": 0.5, "duration_s": 1.0}
    assert (found[0].words, found[0].speaker, found[0].prosody) == (("go", "now"), "7", None)


def test_names_are_those_of_the_first_file(sound: Path) -> None:
    train = write(sound, {"audio_filepath": "a.wav", "emotion": "joy"}, name="train.json")
    test = write(sound, {"audio_filepath": "a.wav", "emotion": "fear"}, name="test.json")
    with pytest.raises(SerDataError, match=r"test.json:1: emotion 'fear', wanted one of 1: joy"):
        read_splits([train, test], str(sound))
    splits, names = read_splits([train, test], str(sound), ["fear", "joy", "anger"])
    assert ([split[0].emotion for split in splits], names) == ([1, 0], ["fear", "joy", "anger"])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"emotion": None}, "emotion None, wanted one of 9"),
        ({"emotion": True}, "emotion True, wanted one of 9"),
        ({"emotion": -1}, "emotion -1, wanted one of 9"),
        ({"emotion": "3"}, "emotion '3', wanted one of 9: .*; or its number, 0 to 8"),
        ({"emotion": 2.5}, "emotion 2.5, wanted one of 9"),
        ({"audio_filepath": None}, "no audio_filepath"),
        ({"audio_filepath": "b.wav"}, "no file .*b.wav"),
        ({"audio_filepath": "data.json"}, "data.json"),  # no sound
        ({"words": "go now"}, "words 'go now', wanted a list of words"),
        ({"words": ["go", 3]}, "wanted a list of words"),
        ({"words": ["go"], "prosody_annotations": [1, 0]}, "1 words and prosody_annotations"),
        ({"words": ["go"], "prosody_annotations": [2]}, "wanted 0 or 1 a word"),
        ({"words": ["go"], "prosody_annotations": [[1]]}, "wanted 0 or 1 a word"),
        ({"offset": -1}, "offset -1, wanted seconds"),
        ({"offset": 3}, "3 to 3 s wanted, the file is 2.000 s long"),
        ({"offset": 1, "duration": 2}, "1 to 3 s wanted, the file is 2.000 s long"),
        ({"offset": 2}, "ends at 2 s, wanted sound behind that"),
        ({"offset": 1, "duration": 0}, "duration 0, wanted more"),
        ({"channel": 1}, "channel 1 wanted, the file has 1"),
        ({"channel": "left"}, "channel 'left', wanted its number"),
        ({"duration": "2 s"}, "duration '2 s', wanted seconds"),
        ({"duration": float("nan")}, "duration nan, wanted seconds"),
        ("{", "wanted a JSON object"),
        ("[1]", r"found \[1\], wanted a JSON object"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_line(sound: Path, line: object, complaint: str) -> None:
    good = {"audio_filepath": "a.wav", "words": [], "emotion": 0}
    bad = {**good, **line} if isinstance(line, dict) else line
    with pytest.raises(SerDataError, match=rf"data.json:3: .*{complaint}"):
        read_splits([write(sound, good, "", bad, good)], str(sound))


def test_names_and_numbers_are_not_mixed(sound: Path) -> None:
    """Nor two spellings of a name; a number's names are those of --emotions or of Prosody-SER."""
    a = {"audio_filepath": "a.wav"}
    by_name = write(sound, {**a, "emotion": "joy"}, {**a, "emotion": 1})
    with pytest.raises(SerDataError, match=r"data.json:2: emotion 1, wanted one of 1: joy$"):
        read_splits([by_name], str(sound))
    ((_, one),), _ = read_splits([by_name], str(sound), ["joy", "fear"])
    assert one.emotion == 1
    with pytest.raises(SerDataError, match="emotions 'Joy' and 'joy': wanted one spelling"):
        read_splits([write(sound, {**a, "emotion": "Joy"}, {**a, "emotion": "joy"})], str(sound))
    with pytest.raises(SerDataError, match=r"emotions 'joy' and 'joy': wanted .* each once"):
        read_splits([by_name], str(sound), ["joy", "joy"])
    ((_, one),), _ = read_splits([write(sound, {**a, "emotion": "Joy"}, {**a, "emotion": 3.0})], str(sound),
                                 PROSODY_SER)  # fmt: skip
    assert one.emotion == 3  # pandas writes so


def test_files_of_windows_are_read(sound: Path) -> None:
    line = json.dumps({"audio_filepath": "a.wav", "emotion": 0, "words": ["wo"]})
    (sound / "data.json").write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n\r\n{line}\r\n".encode())
    (found,), _ = read_splits([str(sound / "data.json")], str(sound))
    assert [one.words for one in found] == [("wo",), ("wo",)]


def test_words_without_sound(tmp_path: Path) -> None:
    assert ser_data.read_words(write(tmp_path, {"text": " go  now"}, {"words": ["a", " b "]}, {"id": 1})) == [
        ("go", "now"),
        ("a", "b"),
        (),
    ]
    with pytest.raises(SerDataError, match=r"data.json:2: words 'go', wanted a list"):
        ser_data.read_words(write(tmp_path, {"text": "a"}, {"words": "go"}))
    with pytest.raises(SerDataError, match=r"data.json: no words in it"):
        ser_data.read_words(write(tmp_path, {"words": [" "]}))


def test_a_file_of_nothing(sound: Path) -> None:
    with pytest.raises(SerDataError, match="no utterance in it"):
        read_splits([write(sound)], str(sound))
    with pytest.raises(SerDataError, match=r"gone.json: .*wanted JSON lines"):
        read_splits([str(sound / "gone.json")], str(sound))
