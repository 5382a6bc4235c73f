"""The figures of evaluate_ser.py, against scikit-learn and jiwer, and by hand."""

from __future__ import annotations

import copy

import jiwer
import numpy as np
import pytest
from sklearn import metrics as sk

from media.ser_data import Utterance
from networks import ser_evaluation
from networks.ser_figures import emotion_scores, figures

NAMES = ["neutral", "joy", "anger", "fear"]
ALL = {"use_alpha_ser": True, "use_alpha_asr": True, "use_alpha_prosody": True, "emotions": NAMES}
HEARD = ["go now", "stay hear", "", "tell her again now", "go", "now now"]
SAID = ["go now", "stay here now", "tell her", "tell her again", "go", "now"]


def utterance(number: int, emotion: int, text: str = "", marks: tuple[int, ...] | None = None) -> Utterance:
    return Utterance(f"u{number}", {"path": f"u{number}.wav"}, 1.0, tuple(text.split()), marks, emotion, None)


def judged(true: list[int], said: list[int], **config: object) -> dict:
    utterances = [utterance(number, one) for number, one in enumerate(true)]
    alone = {**ALL, "use_alpha_asr": False, "use_alpha_prosody": False, **config}
    return ser_evaluation._metrics(utterances, [{"emotion": one} for one in said], alone)


def test_emotions_as_scikit_learn() -> None:
    random = np.random.default_rng(0)
    true = random.integers(3, size=200).tolist()  # nobody is afraid, but some are heard so
    said = [one if random.random() < 0.6 else int(random.integers(4)) for one in true]
    found = judged(true, said)
    assert found["ua"] == pytest.approx(sk.recall_score(true, said, labels=[0, 1, 2], average="macro"))
    assert found["wa"] == pytest.approx(sk.accuracy_score(true, said))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(true, said, labels=[0, 1, 2], average="macro"))
    assert found["confusion"] == sk.confusion_matrix(true, said, labels=range(4)).tolist()
    precision, recall, f1, support = sk.precision_recall_fscore_support(true, said, labels=range(4),
                                                                        zero_division=0)  # fmt: skip
    for index, name in enumerate(NAMES[:3]):
        of = found["emotions"][name]
        assert (of["precision"], of["recall"], of["f1"]) == pytest.approx(
            (precision[index], recall[index], f1[index])
        )
        assert of["support"] == support[index]
    fear = found["emotions"]["fear"]
    assert (fear["recall"], fear["f1"], fear["support"]) == (None, 0.0, 0)
    most = NAMES[int(np.bincount(true).argmax())]
    assert found["majority"] == {"emotion": most, "ua": pytest.approx(1 / 3), "wa": max(support) / 200}


def test_intervals_are_those_of_a_bootstrap_that_is_the_same_each_time() -> None:
    true, said = [0, 1] * 50, [0, 1] * 35 + [1, 0] * 15
    found = judged(true, said)
    assert found == judged(true, said)
    low, high = found["wa_interval"]
    assert low < 0.7 < high
    deviation = np.sqrt(0.7 * 0.3 / 100)
    assert (low, high) == pytest.approx((0.7 - 1.96 * deviation, 0.7 + 1.96 * deviation), abs=0.025)


def test_words_as_jiwer() -> None:
    utterances = [utterance(number, 0, text) for number, text in enumerate([*SAID, ""])]
    said = [{"text": text} for text in [*HEARD, "noise"]]
    found = ser_evaluation._metrics(
        utterances, said, {**ALL, "use_alpha_ser": False, "use_alpha_prosody": False}
    )
    assert found["wer"] == pytest.approx(jiwer.wer(SAID, HEARD))
    assert found["cer"] == pytest.approx(jiwer.cer(SAID, HEARD))
    assert found["empty_hypotheses"] == pytest.approx(1 / 6)
    assert found["transcribed"] == 6  # nobody knows what the last one says
    assert found["wer_interval"][0] < found["wer"] < found["wer_interval"][1]


def test_prominence_as_scikit_learn() -> None:
    random = np.random.default_rng(1)
    marks = [tuple(random.integers(2, size=3).tolist()) for _ in range(30)]
    shares = [(0.6 * np.array(one) + 0.5 * random.random(3)).tolist() for one in marks]
    utterances = [utterance(number, 0, "a b c", one) for number, one in enumerate(marks)]
    utterances.append(utterance(30, 0, "a b"))  # that nobody marked
    said = [*({"prosody": one} for one in shares), {"prosody": []}]
    found = ser_evaluation._metrics(utterances, said, {**ALL, "use_alpha_ser": False, "use_alpha_asr": False})
    true, share = np.ravel(marks), np.ravel(shares)
    assert found["prosody_f1"] == pytest.approx(sk.f1_score(true, share > 0.5))
    assert found["prosody_auc"] == pytest.approx(sk.roc_auc_score(true, share))
    assert found["prosody_words"] == 90


def test_nothing_to_judge_is_null() -> None:
    said = [{"text": "a", "prosody": []}]
    found = ser_evaluation._metrics([utterance(0, 0)], said, {**ALL, "use_alpha_ser": False})
    assert {found[name] for name in ("wer", "cer", "prosody_f1", "prosody_auc")} == {None}
    assert emotion_scores(np.zeros((2, 2)))["ua"] is None
    empty = {"loss": [1.0, 2.0], "text": [0.0] * 4, "prominence": [0.0] * 3, "part_ctc": [3.0, 2.0]}
    assert figures(empty, {**ALL, "use_alpha_ser": False}) == {"wer": None, "cer": None, "prosody_f1": None,
                                                              "ctc": 1.5}  # fmt: skip


def test_the_summary_names_alphas_and_settings_of_ctc() -> None:
    ctc = {"entropy_weight": 0.01, "entropy_share": False, "blank_penalty": 50.0, "blank_threshold": 0.3,
           "label_smoothing": 0.0, "confidence_penalty": 0.0, "confidence_threshold": 0.95}  # fmt: skip
    config = {**ALL, "alpha_ser": 1.0, "alpha_asr": 0.01, "alpha_prosody": 0.1, "backbone": "xlsr"}
    config |= {"seed": 3, "backbone_model": "m", **{f"ctc_{name}": value for name, value in ctc.items()}}
    found = judged([0, 0, 1], [0, 0, 0])
    lines = ser_evaluation.summary(found, config).splitlines()
    assert lines[0].startswith("UA 50.0 % (")
    assert lines[0].endswith("of 3 utterances; always neutral: UA 50.0 %, WA 66.7 %")
    assert "alphas: ser 1, asr 0.01, prosody 0.1" in lines
    said = "CTC: entropy_weight 0.01, entropy_share 0, blank_penalty 50, blank_threshold 0.3"
    assert f"{said}, label_smoothing 0, confidence_penalty 0, confidence_threshold 0.95" in lines
    assert not any("WER" in line or "prominence" in line for line in lines)
    alone = copy.copy(config) | {"use_alpha_asr": False}
    assert "CTC" not in ser_evaluation.summary(found, alone)
