"""export.py on what transcribe.py and phonemize.py find: words, speakers and phonemes in every format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from test_export import run, write_wav

FORMATS = ["rttm", "ctm", "textgrid", "eaf", "srt", "vtt", "audacity"]
SEGMENTS = [
    {
        "start_s": 0.5,
        "end_s": 2.0,
        "text": "ask for 25 apples",
        "speaker": "SPEAKER_00",
        "words": [
            {"word": "ask", "start_s": 0.5, "end_s": 0.8, "score": 0.9, "speaker": "SPEAKER_00"},
            {"word": "for", "start_s": 0.8, "end_s": 1.0, "score": 0.8, "speaker": "SPEAKER_00"},
            {"word": "25"},  # digits are not in an aligner's alphabet
            {"word": "apples", "start_s": 1.4, "end_s": 2.0, "score": 0.7, "speaker": "SPEAKER_01"},
        ],
    },
    {"start_s": 2.5, "end_s": 3.0, "text": "no", "speaker": "SPEAKER_01", "aligned": False, "words": []},
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Return the exports of two speakers in a recording, after VAD, and of a segment that was cut out."""
    write_wav(tmp_path / "talk.wav", 10.0)
    whole = {
        "audio_filepath": f"{tmp_path}/talk.wav",
        "duration": 10.0,
        "speech": [{"start_s": 0.4, "end_s": 3.1}],
        "text": "a human wrote this",
        "whisperx": SEGMENTS,
        "whisperx_text": "ask for 25 apples no",
        "lang": "en",
    }
    piece = {
        "audio_filepath": f"{tmp_path}/talk.wav",
        "id": "talk_0005000-0006000",
        "offset": 5.0,
        "duration": 1.0,
        "text": "yes",
        "words": [{"word": "yes", "start_s": 0.1, "end_s": 0.6}],
        "speaker": "SPEAKER_01",
        "ipa": "jˈɛs",
        "ipa_lang": "en-us",
    }
    manifest = tmp_path / "corpus.json"
    manifest.write_text("".join(json.dumps(record) + "\n" for record in (whole, piece)))
    said = run(manifest, "--format", *FORMATS, "--output", tmp_path / "out")
    assert "1 words have no times" in said
    return tmp_path / "out"


def test_words_and_phonemes_stand_on_tiers_of_their_speakers(corpus: Path) -> None:
    import parselmouth
    import pympi
    from parselmouth.praat import call

    wanted = ["speech", "text@SPEAKER_00", "text@SPEAKER_01", "words@SPEAKER_00", "words@SPEAKER_01",
              "ipa@SPEAKER_01"]  # fmt: skip
    document = pympi.Elan.Eaf(str(corpus / "eaf" / "talk.eaf"))
    assert sorted(document.get_tier_names()) == sorted(wanted)
    assert sorted(document.get_annotation_data_for_tier("words@SPEAKER_01")) == [
        (1400, 2000, "apples"),
        (5100, 5600, "yes"),
    ]
    assert document.get_annotation_data_for_tier("ipa@SPEAKER_01") == [(5000, 6000, "jˈɛs")]
    grid = parselmouth.read(str(corpus / "textgrid" / "talk.TextGrid"))
    names = [call(grid, "Get tier name", number + 1) for number in range(call(grid, "Get number of tiers"))]
    assert names == wanted
    assert call(grid, "Get label of interval", names.index("words@SPEAKER_00") + 1, 2) == "ask"


def test_rttm_names_the_speakers_although_the_voice_detector_knew_none(corpus: Path) -> None:
    lines = [line.split() for line in (corpus / "corpus.rttm").read_text().splitlines()]
    assert [(line[3], line[4], line[7]) for line in lines] == [
        ("0.500", "1.500", "SPEAKER_00"),
        ("2.500", "0.500", "SPEAKER_01"),
        ("5.000", "1.000", "SPEAKER_01"),
    ]


def test_subtitles_say_who_speaks_and_a_ctm_has_no_invented_times(corpus: Path) -> None:
    import webvtt

    cues = webvtt.read(str(corpus / "vtt" / "talk.vtt"))
    assert [cue.text for cue in cues] == [
        "SPEAKER_00: ask for 25 apples",
        "SPEAKER_01: no",
        "SPEAKER_01: yes",
    ]
    words = [line.split()[4] for line in (corpus / "corpus.ctm").read_text().splitlines()]
    assert words == ["ask", "for", "apples", "yes"]


def test_the_field_decides_which_text_is_written(corpus: Path, tmp_path: Path) -> None:
    run(tmp_path / "corpus.json", "--format", "audacity", "--field", "text", "--output", tmp_path / "human")
    said = (tmp_path / "human" / "audacity" / "talk.txt").read_text()
    assert "a human wrote this" in said
    assert "apples" not in said
    assert "SPEAKER_00: ask for 25 apples" in (corpus / "audacity" / "talk.txt").read_text()


def test_long_segments_are_split_although_some_words_have_no_times() -> None:
    from media.subtitles import MAX_CUE_CHARS, MAX_CUE_S, cues

    timed = [{"word": f"word{i}", "start_s": i * 0.4, "end_s": i * 0.4 + 0.3} for i in range(100)]
    words = [{"word": f"{i}"} if i % 7 == 0 else word for i, word in enumerate(timed)]
    text = " ".join(str(word["word"]) for word in words)
    whole = {"start_s": 0.0, "end_s": 40.0, "text": text, "words": words}
    found = cues([{"whisperx": [whole]}], None)
    assert " ".join(cue.label for cue in found) == text
    assert all(len(cue.label) <= MAX_CUE_CHARS and cue.end_s - cue.start_s <= MAX_CUE_S for cue in found)
    times = [time for cue in found for time in (cue.start_s, cue.end_s)]
    assert times == sorted(times), "one after the other, none of them backwards"
