"""tag_emotion.py by its lexicon, which needs no model; and the names of the 28 emotions."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import tag_emotion
from amela.merge import merge
from arrays import Task, make_manifest, read_manifest, run_array
from media.emotions import LABELS, LEXICON_WORDS, EmotionError, Lexicon, hub_id, order_of
from media.texts import TextError, is_english, text_of


def run(manifest: Path, *flags: object, log: Path) -> int:
    """Tag a manifest in one process; return the exit status."""
    argv = [manifest, "--backend", "lexicon", "--max-error-rate", 1, *flags]
    return Task(argv, log=log, main=tag_emotion.main).wait()


def tags_of(tmp_path: Path, records: list[dict], *flags: object) -> list[dict]:
    path = tmp_path / "corpus.json"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert run(path, *flags, log=tmp_path / "log") == 0, (tmp_path / "log").read_text()
    return read_manifest(path)


ODD = {
    "": ["no_text"], " \n\t": ["no_text"], "12345 67": [], "…!?": [], "\x00\x07": [], "\ud800 good": [],
    "👩‍👩‍👧 😀😀": [], "ありがとう": [], "good " * 10_000: ["long_text"], "x" * 100_000: [],
}  # fmt: skip


def test_every_odd_text_has_a_result(tmp_path: Path) -> None:
    found = tags_of(tmp_path, [{"id": str(n), "text": text} for n, text in enumerate(ODD)])
    for record, flags in zip(found, ODD.values(), strict=True):
        tag = record["sentiment"]
        assert tag["flags"] == flags
        assert (tag["label"] is None) == (tag["score"] is None) == ("no_text" in flags)
        assert tag["score"] is None or -1 <= tag["score"] <= 1
        assert "emotion" not in record


def test_a_record_without_a_text_is_an_error_record(tmp_path: Path) -> None:
    bad = [{"id": "none"}, {"id": "null", "text": None}, {"id": "list", "text": ["a"]}]
    found = tags_of(tmp_path, [*bad, {"id": "good", "text": "good"}])
    assert [record["id"] for record in found if "sentiment" in record] == ["good"]
    said = (tmp_path / "log").read_text()
    assert "found no whisperx_text and no text in the record" in said
    assert "found text \"['a']\", wanted a string" in said


def test_an_array_gives_the_bytes_of_one_process(tmp_path: Path) -> None:
    texts = [f"this is {word} number {n}" for n in range(40) for word in ("good", "awful", "a table")]
    one, many = (make_manifest(tmp_path / f"{name}.json", texts) for name in ("one", "many"))
    assert run(one, log=tmp_path / "log") == 0
    argv = [many, "--backend", "lexicon", "--batch-size", 7]
    assert set(run_array(argv, 900, range(3), main=tag_emotion.main).values()) == {0}
    assert merge(many, "sentiment").status == 0
    assert many.read_bytes() == one.read_bytes()


def test_which_text_is_read(tmp_path: Path) -> None:
    record = {"id": "a", "text": "terrible", "whisperx_text": "wonderful", "mine": "a table"}
    assert text_of(record, None) == ("wonderful", "whisperx_text")
    assert text_of({"text": ""}, None) == ("", "text")
    (tagged,) = tags_of(tmp_path, [record], "--text-field", "mine", "--field", "mood")
    assert tagged["mood"]["text_field"] == "mine"
    assert tagged["mood"]["label"] == "neutral"
    with pytest.raises(TextError, match="found no mine in"):
        text_of({"text": "a"}, "mine")


def test_other_languages_are_flagged_and_warned_of_once(tmp_path: Path) -> None:
    langs = ["de", "de", "en-GB", None, "und", "ja"]
    found = tags_of(tmp_path, [{"id": str(n), "text": "good", "lang": lang} for n, lang in enumerate(langs)],
                    "--workers", 1)  # fmt: skip
    assert [bool(record["sentiment"]["flags"]) for record in found] == [True, True, False, False, False, True]
    assert (tmp_path / "log").read_text().count("warning: lang 'de'") == 1
    assert is_english("English")
    assert not is_english("enm")


def test_the_lexicon_knows_negation_and_emoji_and_no_saturation() -> None:
    lexicon = Lexicon()
    score = {text: lexicon.sentiment(text)["score"] for text in ("good", "not good", "😠", "💕")}
    assert score["good"] > 0.3
    assert score["not good"] < 0
    assert score["😠"] < 0 < score["💕"]
    paragraph = " ".join(["a good day, a bad day and a table."] * LEXICON_WORDS)
    assert abs(lexicon.sentiment(paragraph)["score"]) < 0.9


def test_ten_thousand_words_take_a_moment() -> None:
    lexicon, start = Lexicon(), time.process_time()
    lexicon.sentiment("a very good day but not bad " * 1500)
    assert time.process_time() - start < 2


def test_labels_are_those_of_goemotions_in_their_order() -> None:
    assert len(set(LABELS)) == 28
    assert (LABELS[0], LABELS[2], LABELS[17], LABELS[27]) == ("admiration", "anger", "joy", "neutral")
    assert list(LABELS[:27]) == sorted(LABELS[:27])
    names = [label.title() for label in LABELS[::-1]]
    assert [names[place].lower() for place in order_of(names, "m")] == list(LABELS)


@pytest.mark.parametrize("names", [LABELS[:27], ("joy", "anger"), (*LABELS[:27], "boredom"),
                                   tuple(f"LABEL_{n}" for n in range(28)), (*LABELS, "joy")])  # fmt: skip
def test_a_model_of_other_labels_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(EmotionError, match="wanted a model of the 28 of GoEmotions"):
        order_of(names, "m")


def test_a_bare_name_is_that_of_the_hub_unless_it_is_a_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_id("roberta-base-go_emotions") == "SamLowe/roberta-base-go_emotions"
    Path("roberta-base-go_emotions").mkdir()
    assert hub_id("roberta-base-go_emotions") == "roberta-base-go_emotions"
    assert hub_id("other/model") == "other/model"
