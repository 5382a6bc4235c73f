"""tag_emotion.py with a RoBERTa of random weights and 28 labels: as its pipeline, in any batch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import transformers  # noqa: F401 (loaded once: tasks are forks)
from tiny_models import make_classifier

import tag_emotion
from amela.merge import merge
from arrays import Task, make_manifest, read_manifest, run_array
from media.emotions import LABELS
from networks.text_emotion import TextEmotion

os.environ["HF_HUB_OFFLINE"] = "1"
torch.set_num_threads(1)
TEXTS = [
    "I love this so much",
    "what a terrible day",
    "",
    "12345",
    "😀 👩‍👩‍👧",
    "thank you " * 12,
    "ありがとう",
    "a",
]
LAST_DIGIT = 1.01e-5  # of a probability: what another batch may change


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose labels stand the other way round."""
    return make_classifier(tmp_path_factory.mktemp("models") / "reversed", LABELS[::-1])


def run(manifest: Path, model: object, *flags: object, status: int = 0) -> str:
    log = manifest.with_suffix(".log")
    argv = [manifest, "--model", model, "--device", "cpu", "--workers", 1, "--max-error-rate", 1, *flags]
    done = Task(argv, log=log, main=tag_emotion.main).wait()
    assert done == status, log.read_text()
    return log.read_text()


def test_scores_are_those_of_the_pipeline_in_our_order(model: Path) -> None:
    from transformers import pipeline

    texts = [text for text in TEXTS if text]
    peer = pipeline("text-classification", model=str(model), top_k=None, device="cpu")
    for text, (scores, windows) in zip(texts, TextEmotion(str(model), "cpu").scores(texts)):
        expected = {one["label"]: one["score"] for one in peer([text])[0]}
        assert windows == 1
        assert scores == pytest.approx([expected[label] for label in LABELS], abs=LAST_DIGIT)


def test_a_text_has_the_same_scores_alone_and_in_any_batch(model: Path) -> None:
    classifier = TextEmotion(str(model), "cpu")
    texts = [f"{text} {n}" for n in range(20) for text in TEXTS]
    together = classifier.scores(texts)
    for text, (scores, _) in zip(texts, together):
        assert classifier.scores([text])[0][0] == pytest.approx(scores, abs=LAST_DIGIT)


def test_a_long_text_is_read_to_its_end_in_windows(model: Path) -> None:
    classifier = TextEmotion(str(model), "cpu")
    start = "I love this so much " * 40
    (long, windows), (changed, _) = (classifier.scores([text])[0] for text in (start, start + "terrible"))
    tokens = len(classifier.tokenizer(start, add_special_tokens=False, verbose=False)["input_ids"])
    assert windows == -(-tokens // (classifier.window - 2)) > 1
    assert long != changed
    (scores, count) = classifier.scores(["word " * 10_000])[0]
    assert count > 500
    assert all(0 <= score <= 1 for score in scores)


def test_fields_flags_and_errors(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "corpus.json"
    records = [{"id": str(n), "text": text} for n, text in enumerate(TEXTS)]
    records += [{"id": "long", "text": "word " * 10_000}, {"id": "de", "text": "gut", "lang": "de"},
                {"id": "none"}, {"id": "odd", "text": "\ud83d \x00"}]  # fmt: skip
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    said = run(path, model)
    assert "warning: lang 'de'" in said
    found = {record["id"]: record.get("emotion") for record in read_manifest(path)}
    assert found.pop("none") is None
    assert found["2"] == {"label": None, "score": None, "scores": None, "model": "reversed",
                          "text_field": "text", "flags": ["no_text"]}  # fmt: skip
    assert (found["long"]["flags"], found["de"]["flags"]) == (["long_text"], ["not_english"])
    for name, tag in found.items():
        if name != "2":
            assert len(tag["scores"]) == 28
            assert tag["score"] == max(tag["scores"])
            assert tag["label"] == LABELS[tag["scores"].index(tag["score"])]


def test_an_array_tags_as_one_process_does(model: Path, tmp_path: Path) -> None:
    """Equal keys, order, labels; scores to the last digit kept, which another batch may change."""
    texts = [f"{text} {n}" for n in range(12) for text in TEXTS]
    one, many = (make_manifest(tmp_path / f"{name}.json", texts) for name in ("one", "many"))
    run(one, model)
    argv = [many, "--model", model, "--device", "cpu", "--workers", 1, "--batch-size", 5]
    assert set(run_array(argv, 901, range(3), main=tag_emotion.main).values()) == {0}
    assert merge(many, "emotion").status == 0
    for ours, theirs in zip(read_manifest(one), read_manifest(many), strict=True):
        assert ours["id"] == theirs["id"]
        assert ours["emotion"].keys() == theirs["emotion"].keys()
        assert ours["emotion"]["scores"] == pytest.approx(theirs["emotion"]["scores"], abs=LAST_DIGIT)


def test_a_softmax_only_where_the_model_says_so(tmp_path: Path) -> None:
    for problem, total in (("single_label_classification", 1), (None, None)):
        folder = make_classifier(tmp_path / str(problem), LABELS, problem_type=problem)
        scores = sum(TextEmotion(str(folder), "cpu").scores(["what a day"])[0][0])
        assert (scores == pytest.approx(1, abs=1e-3)) == (total == 1)


def test_models_that_are_of_no_use_are_refused(model: Path, tmp_path: Path) -> None:
    path = make_manifest(tmp_path / "corpus.json", ["a"])
    other = make_classifier(tmp_path / "other", ("joy", "anger"))
    assert "wanted a model of the 28 of GoEmotions" in run(path, other, status=2)
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    cut = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    headless = make_classifier(tmp_path / "headless", LABELS)
    save_file(cut, headless / "model.safetensors", metadata={"format": "pt"})
    assert "missing classifier.dense.bias" in run(path, headless, "--fresh", status=2)
    assert "no such model file or folder" in run(path, tmp_path / "nowhere", "--fresh", status=2)


def test_another_model_is_not_mixed_in(model: Path, tmp_path: Path) -> None:
    path = make_manifest(tmp_path / "corpus.json", ["a", "b"])
    run(path, model)
    other = make_classifier(tmp_path / "reversed", LABELS[::-1], seed=1)
    assert "revision: " in run(path, other, status=2)
    run(path, model, "--backend", "lexicon")  # beside it, with a state of its own
    assert {"emotion", "sentiment"} <= read_manifest(path)[0].keys()
