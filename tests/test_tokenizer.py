"""train_tokenizer.py: specials are never split, no character is dropped, same text, same bytes."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import contexts, token_corpus, token_settings
from media.prosody_bins import edges_of
from media.sentencepiece_tokenizer import SentencePieceTokenizer
from media.token_settings import TokenizerError
from media.tokens import load_tokenizer
from media.word_counts import WordCounts

REPOSITORY = Path(__file__).resolve().parents[1]
SENTENCES = (
    "The children are playing with a big red ball in the garden.",
    "She put the milk and the bread on the kitchen table.",
    "Can you find the little dog under the old wooden chair?",
    "Ɛyɛ, me dɔ papa; t͡ʃɛ ˈnaːive café, don't you?",
    "彼は昨日東京に行きました。",
)


def run(*words: object, status: int = 0, **env: str) -> str:
    """Run train_tokenizer.py and return what it said."""
    command = [sys.executable, REPOSITORY / "scripts/train_tokenizer.py", *words]
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def make_manifest(path: Path, count: int = 600, **more: object) -> Path:
    """Write records, ten of a recording, two thirds of them with prosody; a fifth is held out."""
    chance = random.Random(1)
    with open(path, "w") as file:
        for number in range(count):
            record = {
                "audio_filepath": f"/data/{number // 10}.wav",
                "offset": number % 10,
                "duration": 1,
                "text": chance.choice(SENTENCES),
                "split": "valid" if number % 5 == 4 else "train",
                "emotion": {"label": chance.choice(("anger", "joy", "sehnsucht"))},
                "f0_median_hz": chance.gauss(150, 30) if number % 3 else None,
                "energy_db": chance.gauss(-30, 3),
                **more,
            }
            file.write(json.dumps(record) + "\n")
    return path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_manifest(tmp_path_factory.mktemp("corpus") / "corpus.json")


@pytest.fixture(scope="module")
def folder(manifest: Path) -> Path:
    """Return the folder of a BPE tokenizer; beside it `said`, what training said."""
    made = manifest.parent / "bpe"
    said = run(manifest, made)
    (manifest.parent / "said").write_text(said)
    return made


@pytest.fixture(scope="module")
def tokenizer(folder: Path):
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def pieces(manifest: Path) -> SentencePieceTokenizer:
    run(manifest, manifest.parent / "sp", "--model", "sentencepiece", "--vocab-size", 120)
    loaded = SentencePieceTokenizer(model_path=manifest.parent / "sp/tokenizer.model", vocab_size=120)
    loaded.load_tokenizer()
    return loaded


def test_the_example_config_says_the_defaults(repo: Path) -> None:
    assert json.loads((repo / "tokenizer_config.json").read_text()) == token_settings.DEFAULTS


def test_specials_have_the_first_ids_in_the_order_of_the_config(tokenizer, folder: Path) -> None:
    ids = json.loads((folder / "tokenizer_config.json").read_text())["ids"]
    assert list(ids)[:6] == [
        "<unk>", "<pad>", "<bos>", "<eos>", "[CONTEXT_PREV_SENT]", "[CONTEXT_NEXT_SENT]"]  # fmt: skip
    assert {"[EMO_ANGER]", "[PITCH_q0]", "[ENERGY_q7]", "[RATE_q3]"} <= set(ids)
    assert list(ids.values()) == list(range(4 + 2 + 28 + 24))
    assert (tokenizer.unk_id, tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2, 3)


@settings(max_examples=300, deadline=None)
@given(before=st.text(), after=st.text(), which=st.integers(0, 57))
def test_specials_are_never_split_whatever_surrounds_them(tokenizer, before, after, which) -> None:
    token = list(tokenizer.ids)[which]
    assert which in tokenizer.encode(before + token + after)
    assert tokenizer.encode(f"a{token}b")[1:-1] == [which]


@settings(max_examples=300, deadline=None)
@given(text=st.text())
def test_every_text_comes_back_and_nothing_is_unknown(tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_id not in ids or "<unk>" in text


@settings(max_examples=100, deadline=None)
@given(text=st.text(), which=st.integers(0, 57))
def test_a_literal_text_spells_no_special_and_comes_back(tokenizer, text: str, which: int) -> None:
    text += list(tokenizer.ids)[which]
    ids = tokenizer.encode(text, literal=True)
    assert min(ids) >= len(tokenizer.ids)
    assert tokenizer.decode(ids) == text


def test_worker_processes_get_the_same_tokenizer(tokenizer) -> None:
    copy = pickle.loads(pickle.dumps(tokenizer))
    for literal in (True, False):
        assert copy.encode("<eos>[EMO_JOY] é", literal) == tokenizer.encode("<eos>[EMO_JOY] é", literal)
    assert (copy.sha256, copy.vocab_size) == (tokenizer.sha256, tokenizer.vocab_size)


def test_what_is_no_unicode_is_a_question_mark(tokenizer, pieces) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a?b"
    assert pieces.encode("a\ud800b") == pieces.encode("a?b")


def test_the_tokenizers_library_reads_the_file_as_it_is(folder: Path, tokenizer) -> None:
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("the dog[EMO_ANGER]<eos>")
    assert found.ids == tokenizer.encode("the dog[EMO_ANGER]<eos>")
    assert found.tokens[-2:] == ["[EMO_ANGER]", "<eos>"]


@pytest.mark.parametrize("model", ["bpe", "sentencepiece"])
def test_the_same_text_gives_the_same_bytes(manifest: Path, tmp_path: Path, model: str) -> None:
    kinds = (("RAYON_NUM_THREADS", "1"), ("RAYON_NUM_THREADS", "8"))
    for number, (name, value) in enumerate(kinds):
        run(manifest, tmp_path / str(number), "--model", model, "--vocab-size", 400,
            **{name: value, "PYTHONHASHSEED": value, "SLURM_JOB_ID": value})  # fmt: skip
    for path in sorted((tmp_path / "0").iterdir()):
        assert path.read_bytes() == (tmp_path / "1" / path.name).read_bytes(), path.name


def test_counted_words_train_the_tokenizer_that_the_texts_would() -> None:
    from tokenizers import Tokenizer, models, trainers

    from media.bpe import LEAST, train_bpe

    chance = random.Random(0)
    texts = [" ".join(chance.choice(SENTENCES).split()[: chance.randrange(1, 9)]) for _ in range(500)]
    words = WordCounts()
    words.add(texts)
    ours = json.loads(train_bpe(words, ["<unk>"], 330))
    peer = Tokenizer.from_str(json.dumps(ours))
    peer.model = models.BPE()
    alphabet = sorted(token for token in ours["model"]["vocab"] if len(token) == 1)
    peer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=330, min_frequency=LEAST, special_tokens=["<unk>"],
                            initial_alphabet=alphabet, show_progress=False),
    )  # fmt: skip
    assert json.loads(peer.to_str())["model"] == ours["model"]


def test_prosody_is_in_eighths_of_the_training_records(manifest: Path, tokenizer) -> None:
    records = [json.loads(line) for line in manifest.read_text().splitlines()]
    trained = [record for record in records if record["split"] == "train"]
    for name, field in (("PITCH", "f0_median_hz"), ("ENERGY", "energy_db")):
        counts = [0] * 8
        first = tokenizer.ids[f"[{name}_q0]"]
        for record in trained:
            if record[field] is not None:
                [bin_id] = tokenizer.control({field: record[field]})
                counts[bin_id - first] += 1
        assert max(counts) - min(counts) <= 1, counts
    low, high = tokenizer.control({"f0_median_hz": 1.0}), tokenizer.control({"f0_median_hz": 1e9})
    assert [low, high] == [[tokenizer.ids["[PITCH_q0]"]], [tokenizer.ids["[PITCH_q7]"]]]
    assert tokenizer.control({"f0_median_hz": float("nan"), "energy_db": "loud", "rate_syl_s": 3}) == []
    assert edges_of([2.0]) == [2.0] * 7


def test_control_is_emotion_then_pitch_then_energy(tokenizer) -> None:
    record = {"energy_db": 1e9, "f0_median_hz": 0, "emotion": {"label": "joy"}}
    wanted = ["[EMO_JOY]", "[PITCH_q0]", "[ENERGY_q7]"]
    assert tokenizer.control(record) == [tokenizer.ids[name] for name in wanted]
    assert tokenizer.control({"sentiment": {"label": "neutral"}}) == [tokenizer.ids["[EMO_NEUTRAL]"]]
    assert tokenizer.control({"emotion": {"label": "sehnsucht"}}) == []
    assert tokenizer.control({"emotion": None, "sentiment": None}) == []
    assert tokenizer.control({"emotion": "joy"}) == [tokenizer.ids["[EMO_JOY]"]]


def test_context_marks_each_sentence_by_its_side(tokenizer) -> None:
    before, after = tokenizer.ids["[CONTEXT_PREV_SENT]"], tokenizer.ids["[CONTEXT_NEXT_SENT]"]
    one, two = tokenizer.encode("one"), tokenizer.encode("two")
    assert tokenizer.context(["one", "two"], ["one"]) == [before, *one, before, *two, after, *one]
    assert tokenizer.context([], []) == []


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), max_size=4),
    size=st.integers(0, 4),
    piece=st.integers(1, 12),
    seed=st.integers(0, 9),
)
def test_windows_are_the_sentences_around(sizes, size: int, piece: int, seed: int) -> None:
    """Against the plain way, all of a recording sorted; in disorder where the recording fits into a piece."""
    chance = random.Random(seed)
    records = []
    for recording, count in enumerate(sizes):
        part = [{"parent": str(recording), "offset": at, "text": chance.choice(("", f"{recording} {at}"))}
                for at in range(count)]  # fmt: skip
        if count <= piece:
            chance.shuffle(part)
        records += part
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contexts, "PIECE", piece)
        found = list(contexts.windows(iter(records), size, lambda record: record["text"]))
    for record, (same, previous, following) in zip(records, found):
        around = sorted(
            (one for one in records if one["parent"] == record["parent"]), key=lambda one: one["offset"]
        )
        at = around.index(record)
        texts = [one["text"] for one in around]
        assert same is record
        assert previous == [text for text in texts[:at] if text][::-1][:size][::-1]
        assert following == [text for text in texts[at + 1 :] if text][:size]
    assert len(found) == len(records)


def test_only_the_records_of_train_are_trained_on_and_the_report_says_so(
    folder: Path, manifest: Path
) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["trained_on"]["texts"] == 480
    assert config["trained_on"]["left_out"] == {"valid": 120}
    for part, count in (("train", 480), ("held_out", 120)):
        assert config["report"][part]["texts"] == count
        assert config["report"][part]["exact"] == 1
    said = (manifest.parent / "said").read_text()
    assert "left out: 120 of valid" in said
    assert "[EMO_SEHNSUCHT]" in said
    assert "no record has a value for RATE" in said
    assert "lost characters: none" in said
    assert config["report"]["context_tokens"]["max"] > 6


def test_sentencepiece_has_fixed_ids_and_a_blank_that_no_text_spells(pieces: SentencePieceTokenizer) -> None:
    ids = (pieces.unk_id, pieces.bos_id, pieces.eos_id, pieces.pad_id, pieces.blank_id)
    assert ids == (0, 1, 2, 3, 4)
    assert pieces.pieces()[:5] == ["<unk>", "<s>", "</s>", "<pad>", "<blank>"]
    assert pieces.decode([4, 1, *pieces.encode("the dog"), 4, 2, 3]) == "the dog"


@settings(max_examples=300, deadline=None)
@given(text=st.text() | st.text("<blank>▁ \t/sunkpd"))
def test_no_text_is_encoded_as_a_control_symbol(pieces, text: str) -> None:
    for one in (text, f"{text}<blank>{text}", f"<blank>{text}"):
        assert not {1, 2, 3, 4} & set(pieces.encode(one))


def test_a_vocabulary_that_the_text_does_not_support_is_clipped_and_said(
    manifest: Path, tmp_path: Path
) -> None:
    said = run(manifest, tmp_path, "--model", "sentencepiece", "--vocab-size", 16_000)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["vocab_size"] < config["vocab_size_asked"] == 16_000
    assert f"the text supports {config['vocab_size']}" in said
    logged: list[str] = []
    loaded = SentencePieceTokenizer(
        model_path=tmp_path / "tokenizer.model", vocab_size=16_000, log=logged.append
    )
    loaded.load_tokenizer()
    assert loaded.vocab_size == len(loaded) == config["vocab_size"]
    assert "asked for 16000" in logged[0]


def test_lost_characters_are_listed_and_can_be_kept(manifest: Path, tmp_path: Path) -> None:
    lossy = tmp_path / "lossy.json"
    lossy.write_text(
        "".join(
            json.dumps({"id": str(at), "text": "aa " * 100 + ("ʘ" if at == 7 else "")}) + "\n"
            for at in range(20)
        )
    )
    said = run(lossy, tmp_path / "a", "--model", "sentencepiece", "--vocab-size", 12)
    assert "'ʘ' U+0298 (1 times)" in said
    report = json.loads((tmp_path / "a/tokenizer_config.json").read_text())["report"]
    assert report["lost_characters"] == [{"character": "ʘ", "code": "U+0298", "count": 1}]
    assert (report["train"]["exact"], report["train"]["unknown"]) == (0.95, 1)
    more = ("--model", "sentencepiece", "--vocab-size", 12, "--character-coverage", 1)
    assert "lost characters: none" in run(lossy, tmp_path / "b", *more)


def test_the_class_of_the_emotion_recogniser_trains_and_loads(tmp_path: Path) -> None:
    made = SentencePieceTokenizer(vocab_size=60, model_prefix=str(tmp_path / "akan"), log=str)
    made.train_tokenizer(text_data=[*SENTENCES] * 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["akan.model", "akan.vocab"]
    assert (tmp_path / "akan.vocab").read_text().splitlines()[4].startswith("<blank>\t")
    loaded = SentencePieceTokenizer(model_path=str(tmp_path / "akan.model"), vocab_size=60)
    loaded.load_tokenizer()
    assert loaded.encode("the dog") == made.encode("the dog")
    with pytest.raises(TokenizerError, match="without a model"):
        SentencePieceTokenizer(vocab_size=60).encode("a")
    with pytest.raises(TokenizerError, match="found no word"):
        made.train_tokenizer(text_data=[])
    with pytest.raises(TokenizerError, match="wanted at least"):
        SentencePieceTokenizer(vocab_size=8).train_tokenizer(text_data=SENTENCES)


def test_a_model_of_other_ids_is_refused(tmp_path: Path) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_prefix=str(tmp_path / "other"), vocab_size=90,
        hard_vocab_limit=False, minloglevel=2)  # fmt: skip
    with pytest.raises(TokenizerError, match="wanted unk 0, bos 1, eos 2, pad 3"):
        SentencePieceTokenizer(model_path=tmp_path / "other.model").load_tokenizer()
    (tmp_path / "junk.model").write_bytes(b"junk" * 9)
    with pytest.raises(TokenizerError, match="no model of SentencePiece"):
        SentencePieceTokenizer(model_path=tmp_path / "junk.model").load_tokenizer()


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_an_edited_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert load_tokenizer(tmp_path / "tokenizer.json").sha256 == load_tokenizer(folder).sha256
    text = (tmp_path / name).read_text()
    (tmp_path / name).write_text(text.replace("EMO_ANGER", "EMO_RAGE"))
    with pytest.raises(TokenizerError, match=r"edited|not the file"):
        load_tokenizer(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(TokenizerError, match="No such file"):
        load_tokenizer(tmp_path)


def test_a_sentencepiece_folder_is_no_bpe_tokenizer(pieces, manifest: Path) -> None:
    with pytest.raises(TokenizerError, match="model 'sentencepiece', wanted"):
        load_tokenizer(manifest.parent / "sp")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("{", "found no JSON"),
        ("[]", "found a list, wanted one JSON object"),
        ('{"vocabsize": 5}', "found the key 'vocabsize', wanted one of vocab_size"),
        ('{"vocab_size": "1000"}', "found vocab_size '1000', wanted a whole number"),
        ('{"vocab_size": true}', "found vocab_size True"),
        ('{"vocab_size": 200}', "wanted at least 314: 58 special tokens and the 256 bytes"),
        ('{"context_window_size": -1}', "found context_window_size -1"),
        ('{"emotion_labels": "anger"}', "found emotion_labels anger, wanted a list of strings"),
        ('{"emotion_labels": ["anger", "ANGER"]}', "found the token [EMO_ANGER] twice"),
        ('{"context_tokens": ["<pad>"]}', "found the token <pad> twice"),
        ('{"oov_token": "<oov>"}', "found oov_token '<oov>', wanted one of special_tokens"),
        ('{"special_tokens": ["<unk>", "<pad>", "<bos>"]}', "wanted one for eos: <eos>"),
        ('{"special_tokens": ["<unk>", "<pad>", "<bos>", "<eos>", "\\ud800"]}', "wanted a list of strings"),
    ],
)
def test_a_config_that_makes_no_sense_is_one_sentence(tmp_path: Path, config: str, complaint: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(TokenizerError, match=re.escape(complaint)):
        token_settings.check_size(token_settings.read_settings(str(tmp_path / "config.json")))


def test_other_names_of_the_special_tokens_keep_their_roles(manifest: Path, tmp_path: Path) -> None:
    config = {"vocab_size": 400, "special_tokens": ["[PAD]", "[UNK]", "<s>", "</s>"], "oov_token": "[UNK]",
              "emotion_labels": ["[EMO_ANGER]"], "context_tokens": ["[CONTEXT_PREV_SENT]"]}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    run(manifest, tmp_path / "made", "--config", tmp_path / "config.json")
    made = load_tokenizer(tmp_path / "made")
    assert (made.pad_id, made.unk_id, made.bos_id, made.eos_id) == (0, 1, 2, 3)
    assert made.control({"emotion": {"label": "anger"}}) == [5]
    assert made.context(["a"], ["b"]) == [4, *made.encode("a")]
    again = tmp_path / "made/tokenizer_config.json"
    run(manifest, tmp_path / "again", "--config", again)
    assert (tmp_path / "again/tokenizer.json").read_bytes() == (tmp_path / "made/tokenizer.json").read_bytes()


def test_a_folder_that_held_another_tokenizer_is_said(manifest: Path, tmp_path: Path) -> None:
    run(manifest, tmp_path, "--vocab-size", 330)
    assert "was of another tokenizer" not in run(manifest, tmp_path, "--vocab-size", 330)
    assert "was of another tokenizer" in run(manifest, tmp_path, "--vocab-size", 340)


@pytest.mark.parametrize(
    ("lines", "words", "complaint"),
    [
        ('{"id": "a", "duration": 1}\n', [], "none of its 1 records has a text in whisperx_text or text"),
        ('{"id": "a", "text": " "}\n', [], "none of its 1 records has a text"),
        ('{"id": "a", "text": "b"}\n', ["--text-field", "ipa"], "has a text in ipa"),
        (
            '{"id": "a", "text": "b"}\n{"id": "b", "text": 5}\n',
            [],
            "corpus.json:2: found text '5', wanted a string",
        ),
        (
            '{"id": "a", "text": "b", "split": "test"}\n',
            [],
            "only records of the split test, wanted some of train",
        ),
        ('{"id": "a", "text": "b"}\n', ["--vocab-size", "300"], "wanted at least 314"),
        ('{"id": "a", "text": "b"}\n', ["--config", "none.json"], "none.json: No such file"),
        (
            '{"id": "a", "text": "b"}\n',
            ["--model", "sentencepiece", "--vocab-size", "3"],
            "more than the 5 fixed pieces",
        ),
    ],
)
def test_bad_input_ends_in_one_sentence(tmp_path: Path, lines: str, words: list[str], complaint: str) -> None:
    (tmp_path / "corpus.json").write_text(lines)
    said = run(tmp_path / "corpus.json", tmp_path / "out", *words, status=2)
    assert complaint in said
    assert "Traceback" not in said


def test_the_text_is_that_of_the_named_field(tmp_path: Path) -> None:
    path = make_manifest(tmp_path / "corpus.json", 40, ipa="t͡ʃˈaɪld ʃiː", whisperx_text="words")
    run(path, tmp_path / "out", "--text-field", "ipa")
    made = load_tokenizer(tmp_path / "out")
    assert made.names()[-1] in "t͡ʃˈaɪld ʃiː"
    assert len(made.encode("t͡ʃˈaɪld ʃiː")) == 2
    assert made.config["trained_on"]["text_field"] == "ipa"


def test_memory_holds_the_different_words_up_to_a_limit() -> None:
    """Rare words give way, those first that came first; frequent ones stay, and no character is forgotten."""
    words = WordCounts(limit=2000)
    chance = random.Random(0)
    for number in range(300):
        rare = "".join(chance.choices("abcdefghij", k=8))
        words.add([f"often {rare} often{number % 3}"])
    assert sum(map(len, words.counts)) <= 2000 + 200 * 8
    assert words.forgotten > 50
    assert words.counts["often"] == 300
    assert words.first["often"] == 300
    assert rare in words.counts
    assert sum(words.characters().values()) == 300 * (5 + 8 + 6)


def test_a_sample_is_small_whatever_the_texts_and_takes_each_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_corpus, "SAMPLE", 50)
    first, again = token_corpus.Sample(), token_corpus.Sample()
    for sample in (first, again):
        for number in range(1000):
            sample.add(token_corpus.Text(f"{number} " + "a" * 5000, ["b" * 5000], []))
    assert [text.text for text in first.texts] == [text.text for text in again.texts]
    numbers = sorted(int(text.text.split()[0]) for text in first.texts)
    assert len(set(numbers)) == 50
    assert 15 <= sum(number < 500 for number in numbers) <= 35
    assert {len(text.text) for text in first.texts} == {token_corpus.LONGEST}
    assert {len(text.previous[0]) for text in first.texts} == {token_corpus.LONGEST}


def test_more_words_than_the_library_is_shown_are_shown_in_proportion() -> None:
    words = WordCounts()
    words.add(["the cat"] * 900 + ["a dog"] * 90 + [f"w{number}" for number in range(100)])
    shown = WordCounts()
    for texts in words.texts(most=400):
        shown.add(texts)
    assert 385 <= shown.total() <= 415
    assert 172 <= shown.counts["the"] == shown.counts["cat"] <= 174
    assert 17 <= shown.counts["a"] <= 18
    assert 8 <= sum(count for word, count in shown.counts.items() if word.startswith("w")) <= 35


def test_a_word_without_blanks_is_counted_whole_and_in_parts() -> None:
    words = WordCounts()
    words.add(["字" * 2500])
    assert words.counts == {"字" * 1000: 2, "字" * 500: 1}
