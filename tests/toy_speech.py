"""Rows of a multimodal data set with something to learn: the audio says text and emotion, the text no
emotion.

Each token is heard, in its place, as a bump at its band of the mel spectrum; the emotion sets pitch and
level, and so do, a little, the speakers. Text is drawn without regard to either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from media.emotions import LABELS
from toy_dataset import toy_row

EMOTIONS = ("anger", "joy", "sadness", "neutral")
PITCH_HZ = dict(zip(EMOTIONS, (240.0, 320.0, 110.0, 160.0)))
LEVEL_DB = dict(zip(EMOTIONS, (-8.0, -14.0, -30.0, -22.0)))
FRAMES = 8  # of a token
VOCABULARY = 20


def speech_row(
    index: int, speaker: int, seed: int = 0, vocab_size: int = VOCABULARY, audio: bool = True
) -> dict[str, Any]:
    """Return a row of 3 to 10 tokens; without audio its arrays are None."""
    random = np.random.default_rng([seed, index, 7])
    row = toy_row(index, speaker, seed, vocab_size, audio)
    emotion = EMOTIONS[int(random.integers(len(EMOTIONS)))]
    said = random.integers(4, VOCABULARY, int(random.integers(3, 11)))
    row["tokens"] = [2, *said.tolist(), 3]
    row["context_tokens"] = said[:2].tolist()
    row["emotion_label"], row["emotion"] = emotion, [float(label == emotion) for label in LABELS]
    if not audio:
        return row
    tokens = np.repeat(row["tokens"], FRAMES)
    frames = row["frames"] = len(tokens)
    bumps = np.exp(-0.5 * ((np.arange(80) - 4 * tokens[:, None]) / 2.0) ** 2)
    level = LEVEL_DB[emotion]
    row["mel"] = (20 * bumps + level + random.normal(size=(frames, 80))).astype("<f2")
    row["mfcc"] = random.normal(size=(frames, 20)).astype("<f2")
    pitch_hz = PITCH_HZ[emotion] * (1 + 0.02 * speaker) * np.exp(0.03 * random.normal(size=frames))
    row["f0_hz"] = np.where(random.random(frames) < 0.3, 0, pitch_hz).astype("<f4")
    row["voicing"] = (row["f0_hz"] > 0).astype("<f2")
    row["energy_db"] = (level + random.normal(size=frames)).astype("<f2")
    row["prosody"] = [PITCH_HZ[emotion], 1.0, 0.7, level, 4.0, None, None]
    row["duration"] = frames * 0.01
    return row
