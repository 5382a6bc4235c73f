"""Samples of language models on the page: their units, sound, settings, and what a recogniser heard."""

from __future__ import annotations

from typing import Any

from media.report.examples import RATE_HZ, flac
from media.report.page import shown
from media.report.units import settings_of, strip_of
from media.tiers import clean
from media.unit_figures import figures
from media.units import UnitsError, read_record

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


def section(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the samples as the page shows them; those whose units cannot be read are left out."""
    cards: list[dict[str, Any]] = []
    left = BUDGET
    for record in choose(records):
        try:
            units, _ = read_record(record, record["id"])
            strip = strip_of(record, record["id"], 0.0, SAMPLE_S)
        except UnitsError:
            continue
        sound, seconds = _sound(record)
        left -= len(sound or "")
        seconds = seconds or len(units) * strip["hop_s"]
        text = record.get("text")
        card = {
            "id": shown(record["id"]),
            "name": ", ".join(_setting(record)) or shown(record["id"]),
            "facts": _facts(record, units, seconds),
            "units": strip,
            "duration_s": round(min(seconds, SAMPLE_S), 4),
            "audio": sound if left >= 0 else None,
            "text": None if text is None else clean(text),
        }
        cards.append({name: value for name, value in card.items() if value is not None})
    return {"cards": cards, "note": note(len(cards), records)}


def note(shown: int, records: list[dict[str, Any]]) -> str:
    """Return the line above the samples; with figures of the training units where generate.py left them."""
    if not shown:
        return ""
    which = "all" if shown == len(records) else f"{shown} of {len(records):,}, some of each setting"
    text = (
        f"Drawn from a language model unit by unit and spoken by the vocoder: {which}. Entropy is that of a "
        "sample's units taken one by one, repetition the share of units that equal the one before."
    )
    known = settings_of(records[0]["units_filepath"], "generation_report.json").get("figures", {})
    trained = next((row for name, row in known.items() if name.endswith("training units")), None)
    if trained:
        all_together, as_many = _two_figures(known["all"]), _two_figures(trained)
        text += f" All samples together: {all_together}; as many units of the training data: {as_many}."
    return text


def _two_figures(row: dict[str, Any]) -> str:
    return f"{row['unit_entropy_bits']:.1f} bits and {100 * row['repetition']:.0f} %"


def _sound(record: dict[str, Any]) -> tuple[str | None, float]:
    """Return a sample's first seconds as FLAC and how long all of it is (s), None and 0 where it is not
    spoken.
    """
    from media.audio import AudioError, load_mono

    try:
        samples = load_mono(record["synthesis_filepath"], RATE_HZ) if "synthesis_filepath" in record else []
    except (AudioError, OSError):
        return None, 0.0
    return (flac(samples[: int(SAMPLE_S * RATE_HZ)]), len(samples) / RATE_HZ) if len(samples) else (None, 0.0)


def _setting(record: dict[str, Any]) -> list[str]:
    found = [f"{title} {record[name]:g}" for name, title in SETTINGS.items() if record.get(name) is not None]
    return [*found, f"no. {record['sample']}"] if record.get("sample") is not None and found else found


def _facts(record: dict[str, Any], units: Any, seconds: float) -> list[list[str]]:
    facts = []
    if record.get("prompt"):
        facts.append(["prompt", f"{len(record['prompt'])} units"])
    different = len(set(units.tolist()))
    found = figures([units])
    facts += [["length", f"{seconds:.1f} s"], ["units", f"{len(units):,}, {different:,} different"]]
    if len(units):
        facts.append(["entropy", f"{found['unit_entropy_bits'] + 0.0:.1f} bits"])
        facts.append(["repetition", f"{100 * found['repetition']:.0f} %"])
    return facts
