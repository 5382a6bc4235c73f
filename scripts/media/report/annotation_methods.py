"""What the methods paragraph says of words, features, emotion, phonemes and embeddings, and what it cites."""

from __future__ import annotations

from typing import Any

TRACKERS = {"ours": "AMELA's own tracker", "pyin": "pYIN", "praat": "Praat", "swift": "SwiftF0"}
LEXICONS = {"vaderSentiment": "VADER"}
VECTORS = {
    "audio": "means and standard deviations of MFCC",
    "features": "means and standard deviations of MFCC",
    "embedding": "embeddings",
    "units": "units",
    "codes": "codes",
}
FEATURES = {
    "mfcc": "{n_mfcc} mel-frequency cepstral coefficients",
    "mel": "{n_mels} mel bands (dB)",
    "pitch": "pitch by {tracker} ({f0_min_hz:g} to {f0_max_hz:g} Hz)",
    "energy": "energy (dB re full scale)",
}


MADE = {
    "features": "features extracted",
    "emotion": "emotions tagged",
    "sentiment": "sentiment scored",
    "phonemize": "phonemized",
    "embed": "embedded",
    "encode_codec": "encoded by a codec",
}


def in_short(facts: dict[str, Any]) -> list[str]:
    """Return what was done, for the sentence under the title."""
    words = [f"words found by {name}" for name in list(facts["transcribers"])[:1]]
    return words + [MADE[name] for name in facts["stages"] if name in MADE]


def sentences(facts: dict[str, Any]) -> list[str]:
    """Return the sentences. `facts`: transcribers (name → number of records), stages (name → settings)."""
    said = [
        f"Words and their times in {number:,} {facts['noun'][: None if number != 1 else -1]} were found by "
        f"{name}."
        for name, number in facts["transcribers"].items()
    ]
    tell = {
        "features": _features,
        "emotion": lambda one: f"Texts were tagged with the 28 emotions of GoEmotions by {_model(one)}.",
        "sentiment": lambda one: f"The sentiment of texts was scored by a lexicon, {_model(one)}.",
        "phonemize": _phonemized,
        "embed": _embedded,
        "encode_codec": _encoded,
        "similar": _similar,
    }
    return said + [tell[name](one) for name, one in facts["stages"].items() if name in tell]


def cited(facts: dict[str, Any]) -> list[str]:
    """Return the names of the works to cite, in the order of the sentences."""
    names = ["whisperx"] if any(name.startswith("whisperx") for name in facts["transcribers"]) else []
    own = {"emotion": "goemotions", "sentiment": "vader", "phonemize": "phonemizer"}
    return names + [own[name] for name in facts["stages"] if name in own]


def _model(settings: dict[str, Any]) -> str:
    name = settings.get("model")
    revision = f" (revision {settings['revision']})" if settings.get("revision") else ""
    return f"{LEXICONS.get(str(name), name)}{revision}"


def _features(settings: dict[str, Any]) -> str:
    tracker = settings.get("pitch_engine")
    known = {**settings, "tracker": TRACKERS.get(str(tracker), tracker)}
    asked = str(settings.get("features")).split(",")
    named = [FEATURES[name].format(**known) for name in asked if name in FEATURES]
    rate = f" at {settings['sample_rate'] / 1000:g} kHz" if settings.get("sample_rate") else ""
    frames = f"Frames every {settings.get('hop_ms', 10):g} ms of the audio{rate} hold {', '.join(named)}."
    return frames if named else "Features were computed of each record as a whole."


def _phonemized(settings: dict[str, Any]) -> str:
    version = f" {settings['espeak']}" if settings.get("espeak") else ""
    backend = f"espeak-ng{version}" if settings.get("backend") == "espeak" else str(settings.get("backend"))
    return f"Texts were phonemized by {backend}."


def _embedded(settings: dict[str, Any]) -> str:
    layer = f", layer {settings['layer']}" if settings.get("layer") else ""
    return f"Self-supervised embeddings were taken from {_model(settings)}{layer}."


def _encoded(settings: dict[str, Any]) -> str:
    if settings.get("codec") == "mulaw":
        return "Audio was encoded by μ-law, 8 bit a sample, which is no neural codec."
    rate = f" at {settings['bandwidth_kbps']:g} kbit/s" if settings.get("bandwidth_kbps") else ""
    return f"Audio was encoded by the codec {settings.get('codec')} ({settings.get('model')}){rate}."


def _similar(settings: dict[str, Any]) -> str:
    made_of = VECTORS.get(str(settings.get("by")), settings.get("by"))
    where = "the same speaker's" if settings.get("within") == "speaker" else "all"
    return f"The most similar of {where} utterances were found by the cosine of vectors of {made_of}."
