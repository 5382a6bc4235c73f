"""phonemize.py in its environment: words of eight languages, Mandarin's tones, kanji, odd texts, memory."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import phonemize
from arrays import read_manifest
from media.east_asian import TONES, hiragana, spelling, syllables
from media.phonemes import ESPEAK, PINYIN, SEGMENTS, Options, Phonemizer, speaker_of
from one_stage import run_script, write_records

# Transcriptions as dictionaries have them, written down before espeak-ng was asked; the mark of stress before
# the vowel, as espeak-ng sets it. Where it says otherwise, its own stands behind the bar.
WORDS = {
    "en-us": "hello həlˈoʊ, water wˈɔːɾɚ, thing θˈɪŋ, judge dʒˈʌdʒ, cheese tʃˈiːz, vision vˈɪʒən, yes jˈɛs, "
    "red ɹˈɛd, about əbˈaʊt|ɐbˈaʊt",
    "de": "ich ɪç, schön ʃˈøːn, Buch bˈuːx, Zeit tsˈaɪt, Haus hˈaʊs, viel fˈiːl, König kˈøːnɪç, "
    "deutsch dˈɔøtʃ, Straße ʃtʁˈɑːsə|ʃtɾˈɑːsə, Mutter mˈʊtɐ|mˈʊtɜ",
    "fr-fr": "bonjour bɔ̃ʒˈuʁ, eau ˈo, oiseau wazˈo, vin vˈɛ̃, fille fˈij, rue ʁˈy, chat ʃˈa, deux dˈø, "
    "montagne mɔ̃tˈaɲ, enfant ɑ̃fˈɑ̃",
    "es": "queso kˈeso, llave ʎˈaβe, jamón xamˈon, perro pˈero, pero pˈeɾo, niño nˈiɲo, cielo θjˈelo, "
    "muchacho mutʃˈatʃo, guerra ɡˈera, agua ˈaɣwa",
    "pl": "dziękuję dʑɛŋkˈujɛ, chleb xlˈɛp, żaba ʒˈaba, woda vˈɔda, łódź wˈutɕ, kot kˈɔt, noc nˈɔts, "
    "ryba rˈɨba, koń kˈɔɲ, szczęście ʃtʃˈɛ̃ɕtɕɛ|ʃtʃˈɛɲɕtɕɛ",
    "nl": "goed ɣˈut, huis hˈœys, nacht nˈɑxt, vis vˈɪs, schip sxˈɪp, boek bˈuk, maan mˈaːn, deur dˈøːr, "
    "kat kˈɑt, ei ˈɛi|ˈɛɪ",
    "ja": "さくら sakɯɾa, ありがとう aɾiɡatoː, 学校 ɡakkoː, 東京 toːkʲoː, 朝 asa, 雪 jɯki, 犬 inɯ, "
    "水 mizɯ, コーヒー koːçiː",
    "cmn": "妈 ma˥, 麻 ma˧˥, 马 ma˨˩˦, 骂 ma˥˩, 吗 ma, 中国 tʂʊŋ˥ kuo˧˥, 桌子 tʂuo˥ tsɹ̩, 吃 tʂʰɻ̩˥, "
    "四 sɹ̩˥˩, 女 ny˨˩˦, 雄 ɕʊŋ˧˥, 天 tʰiɛn˥, 银行 jin˧˥ xaŋ˧˥, 行人 ɕiŋ˧˥ ʐən˧˥",
}
NARROW = {  # what espeak-ng writes more narrowly than a dictionary, or with another sign for the same
    "ja": (("ɯᵝ", "ɯ"), ("ä", "a"), ("o̞", "o"), ("e̞", "e"), ("ɽ", "ɾ"), ("ˈ", ""), ("ˌ", ""),
           ("oɯ", "oː"), ("oo", "oː")),
    "cmn": (("ɑ", "a"),),
}  # fmt: skip


def words() -> list[Any]:
    return [
        pytest.param(voice, *pair.split(" ", 1), id=f"{voice} {pair.split(' ')[0]}")
        for voice, pairs in WORDS.items()
        for pair in pairs.split(", ")
    ]


@pytest.mark.parametrize(("voice", "word", "known"), words())
def test_words_are_said_as_dictionaries_have_them(voice: str, word: str, known: str) -> None:
    said = Phonemizer(ESPEAK, Options()).phones(word, voice)
    for narrow, broad in NARROW.get(voice, ()):
        said = said.replace(narrow, broad)
    dictionary, _, own = known.partition("|")
    assert said == (own or dictionary)


def test_most_words_need_no_excuse() -> None:
    assert len(WORDS) == 8
    assert sum("|" in pairs and pairs.count("|") for pairs in WORDS.values()) <= 5
    assert len(words()) >= 80


# Mandarin.


def test_every_syllable_of_mandarin_has_its_tone_and_nothing_of_espeaks_own() -> None:
    from pypinyin.constants import PINYIN_DICT
    from pypinyin.contrib.tone_convert import to_tone3

    marked = {one for entry in PINYIN_DICT.values() for one in entry.split(",")}
    bases = {to_tone3(one, neutral_tone_with_five=True, v_to_u=True)[:-1] for one in marked}
    assert len(bases) > 400
    from media.phonemes import _syllable

    said = {base: [_syllable(f"{base}{tone}") for tone in TONES] for base in bases}
    for base, forms in said.items():
        assert len(set(forms)) == 5, f"{base}: {forms}"
        stem = forms[4]
        assert forms == [stem + letters for letters in TONES.values()]
    foreign = {
        base: forms[4] for base, forms in said.items() if re.search(r"[.0-9ɡ]|wʌn|(?<=[ptk])h", forms[4])
    }
    assert set(foreign) <= {"wong"}, foreign  # no syllable of today's Mandarin


def test_tone_1_and_tone_4_are_alike_to_espeak_and_not_to_us() -> None:
    speaker = speaker_of(ESPEAK, PINYIN, punctuation=False, stress=False)
    assert speaker.phonemize(["ma1"], strip=True) == speaker.phonemize(["ma4"], strip=True)
    said = Phonemizer(ESPEAK, Options()).phones("妈骂", "cmn")
    assert said == "mɑ˥ mɑ˥˩"


def test_mixed_text_keeps_its_marks_numbers_and_foreign_words() -> None:
    text = "你好，我有3个apple！"
    said = Phonemizer(ESPEAK, Options()).phones(text, "cmn")
    assert said == "ni˨˩˦ xɑu˨˩˦， wo˨˩˦ jiou˨˩˦ san˥ ko˥˩ ˈæpəl！"
    bare = Phonemizer(ESPEAK, Options(punctuation=False, stress=False)).phones(text, "cmn")
    assert bare == "ni˨˩˦ xɑu˨˩˦ wo˨˩˦ jiou˨˩˦ san˥ ko˥˩ æpəl"
    assert [what for what, _ in syllables("我，go😀")] == ["syllable", "mark", "word"]
    assert spelling("lü4") == "lv1"


# Japanese.


def test_kanji_become_kana_and_particles_are_said_as_such() -> None:
    assert hiragana("私は学校へ行きました。") == "わたし わ がっこう え いき ました。"
    said = Phonemizer(ESPEAK, Options(stress=False)).phones("東京に行きました。", "ja")
    assert said == "to̞ɯᵝkʲo̞ɯᵝ ni iki mäɕitä。"
    assert "tʃaɪniːz" not in said


# Odd texts, other backends, memory.

ODD = {
    "emoji": ("😀 👍🏽", "en-us"),
    "only marks": ("?!… — «»", "fr-fr"),
    "digits": ("1234567890", "de"),
    "control characters": ("one\x00two\x07\u200bthree\n\tfour", "en-us"),
    "one letter": ("a", "en-us"),
    "brackets": ("[[h@lou]] <break/> {x} (y)", "en-us"),
    "another script": ("Это русский текст", "en-us"),
    "kana in Mandarin": ("カラオケ123%", "cmn"),
    "emoji in Japanese": ("😀", "ja"),
    "a long number": ("9" * 400, "cmn"),
    "a long word": ("antidisestablishmentarianism" * 200, "en-us"),
}


@pytest.mark.parametrize(("text", "voice"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("options", [Options(), Options(False, False, False)], ids=["all", "bare"])
def test_odd_texts_have_phones_or_none(text: str, voice: str, options: Options) -> None:
    said = Phonemizer(ESPEAK, options).phones(text, voice)
    assert "(en)" not in said
    assert "\x00" not in said
    if text.startswith("one"):
        assert re.sub("[ˈˌ]", "", said).split() == ["wʌn", "tuː", "θɹiː", "foːɹ"] or len(said.split()) >= 3


@pytest.mark.parametrize(
    ("word", "lang"), [("the cat sat, ", "en"), ("我们学习。", "zh"), ("学校で、", "ja")]
)
def test_a_text_of_10000_words_is_said_to_its_end(tmp_path: Path, word: str, lang: str) -> None:
    times = 10_000 if lang != "en" else 3_334
    records = [
        {"id": "long", "text": (word * times).strip(), "lang": lang},
        {"id": "1", "text": word, "lang": lang},
    ]
    found = run(tmp_path, records)
    long, short = found[0]["ipa"], found[1]["ipa"]
    marks = sum(long.count(mark) for mark in ",。、")
    assert marks >= times - 1
    assert len(long) > times * (len(short.strip()) - 1)


def run(folder: Path, records: list[dict], *words: object) -> list[dict]:
    manifest = write_records(folder / "m.json", records)
    run_script(phonemize.main, manifest, *words)
    return read_manifest(manifest)


def test_a_table_of_graphemes_speaks_what_it_has(tmp_path: Path) -> None:
    assert importlib.util.find_spec("segments")
    (tmp_path / "toy.g2p").write_text("a a\nsh ʃ\nt t\n")
    records = [{"id": "1", "text": "tasha"}, {"id": "2", "text": "taxa"}]
    found = run(
        tmp_path, records, "--backend", SEGMENTS, "--lang", tmp_path / "toy.g2p", "--max-error-rate", 0.6
    )
    assert found[0]["ipa"] == "taʃa"
    assert found[0]["ipa_lang"] == str(tmp_path / "toy.g2p")
    assert "ipa" not in found[1]


def test_memory_does_not_grow_with_the_lines() -> None:
    """phonemizer grows by 5 MB where its backend is made anew for each line."""
    phonemizer = Phonemizer(ESPEAK, Options())
    texts = [
        ("The quick brown fox, number {}, jumps.", "en-us"),
        ("Der Fuchs {} springt.", "de"),
        ("我有{}个", "cmn"),
    ]
    before = 0
    for number in range(2000):
        for text, voice in texts:
            phonemizer.phones(text.format(number), voice)
        before = before or (resident_kb() if number == 20 else 0)
        assert number % 10 or not before or resident_kb() - before < 2000


def resident_kb() -> int:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])
