"""The training, validation and test set of a SER model: what they share, and what is in each."""

from __future__ import annotations

from collections.abc import Sequence

from media.ser_data import Utterance

SHOWN = 5
Sets = dict[str, list[Utterance]]


def shared(sets: Sets) -> list[str]:
    """Return what each two sets have in common of speakers and of utterances, as sentences; none where they
    are apart.
    """
    said, names = [], list(sets)
    for at, first in enumerate(names):
        for second in names[at + 1 :]:
            for what, of in (("speakers", _speakers), ("utterances", _utterances)):
                both = sorted(of(sets[first]) & of(sets[second]))
                if both:
                    some = ", ".join(both[:SHOWN]) + (", …" if len(both) > SHOWN else "")
                    said.append(f"{first} and {second} share {len(both)} {what} ({some})")
    return said


def _speakers(utterances: list[Utterance]) -> set[str]:
    return {one.speaker for one in utterances if one.speaker}


def _utterances(utterances: list[Utterance]) -> set[str]:
    """Return what the utterances hear, as text: file, and seconds and channel where they are of a part."""
    return {" ".join(f"{value}" for value in one.window.values() if value is not None) for one in utterances}


def unknown_emotions(sets: Sets, names: Sequence[str]) -> list[str]:
    """Return the emotions of the test set that nobody in the training set has."""
    unseen = {one.emotion for one in sets["test"]} - {one.emotion for one in sets["train"]}
    return [names[one] for one in sorted(unseen)]


def class_table(sets: Sets, names: Sequence[str]) -> list[str]:
    """Return lines that say how many utterances of each emotion a set has."""
    lines = []
    for name, utterances in sets.items():
        counts = [sum(one.emotion == index for one in utterances) for index in range(len(names))]
        shown = ", ".join(f"{emotion} {count}" for emotion, count in zip(names, counts) if count)
        hours = sum(one.duration_s for one in utterances) / 3600
        lines.append(f"{name}: {len(utterances)} utterances, {hours:.2f} h; {shown}")
    return lines
