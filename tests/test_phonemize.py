"""phonemize.py with what every environment has: codes, errors, arrays; the words are in tests/envs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import phonemize
from arrays import read_manifest
from media.east_asian import number, spelling, with_tone
from media.languages import LanguageError, detect, voice_of
from media.phonemes import ESPEAK, Options, Phonemizer, speaker_of
from one_stage import run_batch_file, run_script, write_records

VOICES = {"en-us", "en-gb", "fr-fr", "de", "pt", "pt-br", "cmn", "yue", "nb", "ja", "he", "es", "es-419"}


@pytest.mark.parametrize(
    ("given", "voice"),
    [
        ("en", "en-us"), ("EN", "en-us"), ("eng", "en-us"), ("en_GB", "en-gb"), ("en-AU", "en-us"),
        ("fr", "fr-fr"), ("fr-CA", "fr-fr"), ("pt-BR", "pt-br"), ("pt-PT", "pt"), ("de-AT", "de"),
        ("zh", "cmn"), ("zh-cn", "cmn"), ("zh-TW", "cmn"), ("cmn", "cmn"), ("yue", "yue"), ("no", "nb"),
        ("iw", "he"), ("jpn", "ja"), (" es-MX ", "es-419"),
    ],
)  # fmt: skip
def test_codes_of_other_programs_find_their_voice(given: str, voice: str) -> None:
    assert voice_of(given, VOICES) == voice


def test_a_language_without_voice_is_named() -> None:
    with pytest.raises(LanguageError, match="'tlh', for which there is no voice"):
        voice_of("tlh", VOICES)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("This is a sentence in the English language.", "en"),
        ("Das ist ein Satz in deutscher Sprache.", "de"),
        ("妈", "cmn"), ("你好世界", "cmn"), ("東京に行く", "ja"), ("カラオケ", "ja"), ("안녕", "ko"),
        ("12345", None), ("😀 😀", None), ("?!…", None),
    ],
)  # fmt: skip
def test_a_text_tells_its_language_or_nothing(text: str, language: str | None) -> None:
    assert [detect(text) for _ in range(3)] == [language] * 3


def test_a_word_of_two_languages_is_of_one_of_them_each_time() -> None:
    """langdetect draws at random: of 30 answers some would be nl, some cs."""
    assert len({detect("hotel") for _ in range(30)}) == 1


@pytest.mark.parametrize(
    ("digits", "said"),
    [
        ("0", "零"), ("7", "七"), ("10", "十"), ("12", "十二"), ("20", "二十"), ("105", "一百零五"),
        ("110", "一百一十"), ("1000", "一千"), ("1010", "一千零一十"), ("2024", "二千零二十四"),
        ("10000", "一万"), ("10001", "一万零一"), ("20300", "二万零三百"), ("100000", "十万"),
        ("1234567", "一百二十三万四千五百六十七"), ("100000000", "一亿"), ("100000001", "一亿零一"),
        ("3.14", "三点一四"), ("007", "零零七"), ("12345678901234567", "一二三四五六七八九零一二三四五六七"),
    ],
)  # fmt: skip
def test_numbers_are_read_in_mandarin(digits: str, said: str) -> None:
    assert number(digits) == said


def test_five_tones_are_five_endings() -> None:
    syllables = ["zhang1", "zhang2", "zhang3", "zhang4", "zhang5"]
    assert [spelling(one) for one in syllables] == ["zhang1"] * 5
    said = [with_tone(one, "ts.ɑ5ŋ") for one in syllables]
    assert said == ["tʂɑŋ˥", "tʂɑŋ˧˥", "tʂɑŋ˨˩˦", "tʂɑŋ˥˩", "tʂɑŋ"]


# With espeak-ng.


def run(manifest: Path, *words: object, status: int = 0) -> str:
    return run_script(phonemize.main, manifest, *words, status=status)


def test_the_words_of_transcribe_are_phonemized_where_there_are_some(tmp_path: Path) -> None:
    both = {"id": "both", "lang": "en", "text": "two", "whisperx_text": "three"}
    records = [{"id": "said", "lang": "en", "whisperx_text": "three"}, both]
    manifest = write_records(tmp_path / "m.json", records)
    run(manifest)
    assert [record["ipa"] for record in read_manifest(manifest)] == ["θɹˈiː", "θɹˈiː"]


def test_each_record_gets_its_language_and_a_bad_one_an_error(tmp_path: Path) -> None:
    texts = ["Hello, world!", "Guten Morgen", "Bonjour tout le monde, comment allez-vous ?", "", " \n", "12"]
    records: list[dict] = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    records[0]["lang"], records[1]["lang"], records[3]["lang"] = "en", "de-AT", "en"
    records += [{"id": "none"}, {"id": "klingon", "text": "nuqneH", "lang": "tlh"}, {"id": "7", "text": 7}]
    manifest = write_records(tmp_path / "m.json", records)
    said = run(manifest, "--max-error-rate", 1)
    found = read_manifest(manifest)
    assert [one.get("ipa_lang", "-") for one in found] == [
        "en-us",
        "de",
        "fr-fr",
        None,
        None,
        "-",
        "-",
        "-",
        "-",
    ]
    assert [one.get("ipa") for one in found[:2]] == ["həlˈoʊ, wˈɜːld!", "ɡˈuːtən mˈɔɾɡən"]
    assert [one["ipa"] for one in found[3:5]] == ["", ""]
    missing = "no whisperx_text and no text"
    for what in ("no letters in '12'", missing, "the language 'tlh'", "found text '7'"):
        assert what in said


def test_the_records_own_language_wins_and_the_fallback_is_for_texts_without_letters(tmp_path: Path) -> None:
    records = [
        {"id": "1", "text": "chat", "lang": "fr"},
        {"id": "2", "text": "chat"},
        {"id": "3", "text": "2"},
    ]
    manifest = write_records(tmp_path / "m.json", records)
    run(manifest, "--lang", "en")
    assert [one["ipa"] for one in read_manifest(manifest)] == ["ʃˈa", "tʃˈæt", "tˈuː"]
    run(manifest, "--field", "auto", "--default-lang", "fr")
    assert read_manifest(manifest)[2]["auto"] == "dˈø"
    assert read_manifest(manifest)[2]["auto_ipa_lang"] == "fr-fr"


def test_a_text_taken_for_a_language_without_voice_falls_back_where_that_is_allowed(tmp_path: Path) -> None:
    text = "Ang bata ay naglalaro sa labas ng bahay kasama ang kanyang mga kaibigan."  # Tagalog
    assert detect(text) == "tl"
    manifest = write_records(tmp_path / "m.json", [{"id": "1", "text": text}])
    assert "the language 'tl'" in run(manifest, "--max-error-rate", 1)
    run(manifest, "--field", "as_spanish", "--default-lang", "es")
    assert read_manifest(manifest)[0]["as_spanish_ipa_lang"] == "es"


@pytest.mark.parametrize(
    ("flags", "ipa"),
    [
        ([], "həlˈoʊ, wˈɜːld!"),
        (["--no-stress"], "həloʊ, wɜːld!"),
        (["--no-punctuation"], "həlˈoʊ wˈɜːld"),
        (["--no-strip"], "həlˈoʊ, wˈɜːld! "),
        (["--no-stress", "--no-punctuation", "--no-strip"], "həloʊ wɜːld "),
    ],
)
def test_punctuation_stress_and_strip_are_on_and_can_be_off(
    tmp_path: Path, flags: list[str], ipa: str
) -> None:
    manifest = write_records(tmp_path / "m.json", [{"id": "1", "note": "Hello, world!"}])
    run(manifest, "--text-field", "note", "--lang", "en-us", *flags)
    assert read_manifest(manifest)[0]["ipa"] == ipa


def test_an_array_and_its_merge_give_the_bytes_of_one_process(checkout: Path) -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven"]
    records = [{"id": word, "text": f"the number {word}", "lang": "en"} for word in words]
    one, many = (write_records(checkout / "metadata" / name, records) for name in ("one.json", "many.json"))
    run(one)
    run_batch_file(checkout, "phonemize", many, "phonemize")
    assert one.read_bytes() == many.read_bytes()
    assert json.loads(run(many, "--only", "two"))["ipa"] == read_manifest(one)[1]["ipa"]


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (
            ["--backend", "espeak-mbrola", "--lang", "mb-us1"],
            "--backend espeak-mbrola is not on this machine",
        ),
        (["--backend", "segments"], "wanted --lang too"),
        (["--lang", "klingon"], "--lang klingon: found the language 'klingon'"),
        (["--default-lang", "xx"], "--default-lang xx"),
    ],
)
def test_a_wrong_call_is_one_sentence(tmp_path: Path, flags: list[str], what: str) -> None:
    said = run(write_records(tmp_path / "m.json", [{"id": "1", "text": "one"}]), *flags, status=2)
    assert what in said
    assert "Traceback" not in said


def test_another_release_of_espeak_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_records(
        tmp_path / "m.json", [{"id": str(n), "text": "one", "lang": "en"} for n in range(2)]
    )
    run(manifest, "--limit", 1)
    monkeypatch.setattr("media.espeak.release_of", lambda _: "1.48")
    assert "espeak: '1.52.0' before, '1.48' now" in run(manifest, status=2)


def test_a_speaker_is_made_once_for_equal_options() -> None:
    same = speaker_of(ESPEAK, "en-us", punctuation=True, stress=False)
    assert speaker_of(ESPEAK, "en-us", punctuation=True, stress=False) is same
    assert speaker_of(ESPEAK, "en-us", punctuation=True, stress=True) is not same
    assert speaker_of(ESPEAK, "en-us", punctuation=False, stress=False) is not same


@pytest.mark.parametrize(
    ("package", "voice", "text"), [("pykakasi", "ja", "東京"), ("pypinyin", "cmn", "中国")]
)
def test_what_an_environment_lacks_is_an_error_record(
    package: str, voice: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LanguageError, match="wanted the environment `text`"):
        Phonemizer(ESPEAK, Options()).phones(text, voice)
