"""Training, validation and test sets: what they share is found, and what is in them is said."""

from __future__ import annotations

from media import ser_sets
from media.ser_data import Utterance

NAMES = ["neutral", "joy", "fear"]


def utterance(
    path: str, speaker: str | None = None, emotion: int = 0, offset_s: float | None = None
) -> Utterance:
    window = {"path": path, "channel": None}
    if offset_s is not None:
        window.update(offset_s=offset_s, duration_s=1.0)
    return Utterance(path, window, 36.0, (), None, emotion, speaker)


def test_speakers_of_two_sets() -> None:
    sets = {"train": [utterance("a", "s1"), utterance("b", "s2")], "valid": [utterance("c", "s3")],
            "test": [utterance("d", "s2"), utterance("e")]}  # fmt: skip
    assert ser_sets.shared(sets) == ["train and test share 1 speakers (s2)"]
    assert ser_sets.shared({**sets, "test": sets["test"][1:]}) == []


def test_utterances_of_two_sets_whoever_speaks() -> None:
    """Another part of a file is another utterance."""
    sets = {"train": [utterance("a.wav"), utterance("b.wav", offset_s=0.0)],
            "test": [utterance("a.wav"), utterance("b.wav", offset_s=1.0)]}  # fmt: skip
    assert ser_sets.shared(sets) == ["train and test share 1 utterances (a.wav)"]
    many = [utterance(f"{number}.wav") for number in range(9)]
    (said,) = ser_sets.shared({"train": many, "test": many})
    assert said == "train and test share 9 utterances (0.wav, 1.wav, 2.wav, 3.wav, 4.wav, …)"


def test_what_is_in_the_sets() -> None:
    sets = {"train": [utterance("a"), utterance("b"), utterance("c", emotion=1)],
            "test": [utterance("d", emotion=2), utterance("e")]}  # fmt: skip
    assert ser_sets.class_table(sets, NAMES) == [
        "train: 3 utterances, 0.03 h; neutral 2, joy 1", "test: 2 utterances, 0.02 h; neutral 1, fear 1"
    ]  # fmt: skip
    assert ser_sets.unknown_emotions(sets, NAMES) == ["fear"]
