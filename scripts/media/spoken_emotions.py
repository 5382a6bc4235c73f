"""Speech whose emotion is known, planned: voices, manners of speaking, sentences, words that stand out.

All of it is made of at most 40 words. A sentence is said in each emotion by the same voice, so that its text
tells nothing of it; in one of four sentences (`tells`) the last word names the emotion, so that only who
hears how it is said knows how the text ends.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from media.speaking import Manner

VOICES = (  # variants of espeak-ng that differ in pitch or in their long-term spectrum, men and women in turn
    "m1", "f1", "boris", "f2", "m7", "Alicia", "Lee", "Annie",
    "travis", "aunty", "m2", "belinda", "m8", "f3", "Michael", "steph",
)  # fmt: skip
LANGUAGE = "en-us"
LEVEL_DB = -26.0  # re full scale, RMS of a whole file said in a neutral manner
RISE, SLOW, LOUD = 25, "75%", "+40%"  # of a word that stands out: pitch (0 to 100), rate, volume
OFTEN = 0.6  # share of the words with a meaning of their own that stand out


class Preset(NamedTuple):
    """An emotion: how it is said, how loud (dB beyond LEVEL_DB), and the word for it."""

    manner: Manner
    level_db: float
    word: str


PRESETS = {  # names as in media/emotions.py
    "neutral": Preset(Manner(50, 50, 170, 0), 0, "calm"),
    "anger": Preset(Manner(60, 90, 205, 0), 6, "anger"),
    "joy": Preset(Manner(76, 100, 190, 0), 3, "joy"),
    "sadness": Preset(Manner(34, 12, 130, 3), -6, "sadness"),
    "fear": Preset(Manner(86, 20, 235, 0), -3, "fear"),
    "surprise": Preset(Manner(84, 100, 140, 1), 2, "surprise"),
}
WHO, VERBS = ("we", "they"), ("see", "find", "take", "leave")
COLOURS = ("red", "blue", "old", "small")
THINGS = ("boat", "dog", "ball", "book", "train", "house")
PLACES = ("garden", "river", "house", "station", "school")
WHEN = ("today", "tomorrow", "again")
MEANINGLESS = {"we", "they", "the", "a", "is", "by", "of", "this", "and"}


class Utterance(NamedTuple):
    """What one voice says once; `stands_out` has a value a word."""

    voice: str
    emotion: str
    words: tuple[str, ...]
    stands_out: tuple[bool, ...]
    tells: bool
    manner: Manner
    level_db: float

    def ssml(self) -> str:
        """Return the text for the synthesiser, higher, slower and louder where a word stands out."""
        pitch = min(100, self.manner.pitch + RISE)
        marked = f'<prosody pitch="{pitch}" rate="{SLOW}" volume="{LOUD}">{{}}</prosody>'
        words = [marked.format(word) if out else word for word, out in zip(self.words, self.stands_out)]
        return f"<speak>{' '.join(words)}</speak>"


def utterances_of(voice: str, count: int) -> Iterator[Utterance]:
    """Yield what a voice says: sentences that no other call chooses otherwise, each in every emotion."""
    draw = random.Random(f"sentences of {voice}")
    said = 0
    for number in range(-(-count // len(PRESETS))):
        tells = number % 4 == 3
        sentence = _ending(draw) if tells else _sentence(draw)
        for emotion, preset in PRESETS.items():
            if said == count:
                return
            said += 1
            words = tuple(sentence.format(preset.word).split())
            yield _uttered(random.Random(f"{voice} {number} {emotion}"), voice, emotion, words, tells)


def _sentence(draw: random.Random) -> str:
    who, verb, colour, thing = (draw.choice(words) for words in (WHO, VERBS, COLOURS, THINGS))
    place, when = draw.choice(PLACES), draw.choice(WHEN)
    forms = (
        f"{who} {verb} the {colour} {thing} {when}",
        f"{who} {verb} a {thing} by the {place} {when}",
        f"the {colour} {thing} is by the {place} {when}",
    )
    return draw.choice(forms)


def _ending(draw: random.Random) -> str:
    colour, thing = draw.choice(COLOURS), draw.choice(THINGS)
    forms = (
        "this is the sound of {}",
        f"we see the {colour} {thing} and hear {{}}",
        f"the {thing} is {colour} and this is the voice of {{}}",
    )
    return draw.choice(forms)


def _uttered(draw: random.Random, voice: str, emotion: str, words: tuple[str, ...], tells: bool) -> Utterance:
    """Return an utterance, its manner a little beside the preset, as no two of a speaker are the same."""
    preset = PRESETS[emotion]
    pitch, pitch_range, rate_wpm, gap_10ms = preset.manner
    manner = Manner(
        min(100, max(0, pitch + draw.randint(-5, 5))),
        min(100, max(0, pitch_range + draw.randint(-10, 10))),
        round(rate_wpm * draw.uniform(0.93, 1.07)),
        gap_10ms,
    )
    heavy = [place for place, word in enumerate(words) if word not in MEANINGLESS]
    chosen = {place for place in heavy if draw.random() < OFTEN} or {draw.choice(heavy)}
    stands_out = tuple(place in chosen for place in range(len(words)))
    level_db = LEVEL_DB + preset.level_db + draw.uniform(-1.5, 1.5)
    return Utterance(voice, emotion, words, stands_out, tells, manner, level_db)


def split_of(place: int, voices: int) -> str:
    """Return train, valid or test of the voice at a place; of many voices as many men as women are held out,
    about a seventh for each.
    """
    held_out = 2 * round(voices / 14) or 1
    if place < voices - 2 * held_out:
        return "train"
    return "valid" if place < voices - held_out else "test"
