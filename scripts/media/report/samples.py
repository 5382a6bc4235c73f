"""Samples of language models on the page: their units, sound, settings, and what a recogniser heard."""

from __future__ import annotations

from typing import Any, Callable

from media.report.examples import RATE_HZ, flac
from media.report.page import shown
from media.report.units import strip
from media.tiers import clean

SAMPLES = 12
SAMPLE_S = 20.0  # of sound and units of each
BUDGET = 4 * 2**20  # characters of all their sound
SETTINGS = {"temperature": "temperature", "top_k": "top-k", "top_p": "top-p"}


def choose(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return up to `SAMPLES` of the records: the first of each setting, then the second of each, …"""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(repr([record.get(name) for name in SETTINGS]), []).append(record)
    longest = max(map(len, groups.values()), default=0)
    turns = [group[turn] for turn in range(longest) for group in groups.values() if turn < len(group)]
    return turns[:SAMPLES]


def cards(
    records: list[dict[str, Any]], read_units: Callable[[dict[str, Any]], tuple[Any, Any, float]]
) -> list[dict[str, Any]]:
    """Return the samples as the page shows them; `read_units` gives units, durations or None, and hop_s."""
    made, left = [], BUDGET
    for record in choose(records):
        units, durations, hop_s = read_units(record)
        sound, seconds = _sound(record)
        left -= len(sound or "")
        seconds = seconds or len(units) * hop_s
        text = record.get("text")
        card = {
            "id": shown(record["id"]),
            "name": ", ".join(_setting(record)) or shown(record["id"]),
            "facts": _facts(record, units, seconds),
            "units": strip(units, durations, hop_s, 0.0, min(seconds, SAMPLE_S)),
            "duration_s": round(min(seconds, SAMPLE_S), 4),
            "audio": sound if left >= 0 else None,
            "text": None if text is None else clean(text),
        }
        made.append({name: value for name, value in card.items() if value is not None})
    return made


def note(shown: int, generated: int) -> str:
    """Return the line above the samples."""
    if not shown:
        return ""
    which = "all" if shown == generated else f"{shown} of {generated:,}, some of each setting"
    return (
        f"Drawn from a language model unit by unit and spoken by the vocoder: {which}. Entropy is that of a "
        "sample's units taken one by one: low where it repeats itself."
    )


def entropy_bits(units: Any) -> float:
    """Return the entropy of a sample's units taken one by one, in bits: 0 where one repeats for ever."""
    import numpy as np

    share = np.unique(units, return_counts=True)[1] / max(1, len(units))
    return float(-(share * np.log2(share)).sum()) + 0.0


def _sound(record: dict[str, Any]) -> tuple[str | None, float]:
    """Return a sample's first seconds as FLAC and how long all of it is (s), None and 0 where it is not
    spoken.
    """
    from media.audio import AudioError, load_mono

    path = record.get("synthesis_filepath")
    if not path:
        return None, 0.0
    try:
        samples = load_mono(path, RATE_HZ)
    except (AudioError, OSError):
        return None, 0.0
    return flac(samples[: int(SAMPLE_S * RATE_HZ)]), len(samples) / RATE_HZ


def _setting(record: dict[str, Any]) -> list[str]:
    found = [f"{title} {record[name]:g}" for name, title in SETTINGS.items() if record.get(name) is not None]
    return [*found, f"no. {record['sample']}"] if record.get("sample") is not None and found else found


def _facts(record: dict[str, Any], units: Any, seconds: float) -> list[list[str]]:
    facts = []
    if record.get("prompt"):
        facts.append(["prompt", f"{len(record['prompt'])} units"])
    different = len(set(units.tolist()))
    return [*facts, ["length", f"{seconds:.1f} s"], ["units", f"{len(units):,}, {different:,} different"],
            ["entropy", f"{entropy_bits(units):.1f} bits"]]  # fmt: skip
