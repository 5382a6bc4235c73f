"""The parts of the page that are not code of its own: tiles, charts, shards, failures."""

from __future__ import annotations

from typing import Any

from media.report.annotation_methods import in_short
from media.report.figures import histogram, spoken
from media.report.scores import STS_TEXT

LABELS_SHOWN = 8  # of emotions, the most frequent
FILES_A_FAILURE = 200  # named on the page of each kind of failure


def tiles(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers at the top of the page, each with its unit and a note."""
    found = [
        {"label": facts["noun"].capitalize(), "value": f"{facts['records']:,}"},
        {"label": "Audio", "value": _hours(facts["audio_s"])},
    ]
    if facts["speech_s"] is not None:
        share = facts["speech_s"] / facts["audio_s"] if facts["audio_s"] else 0.0
        found.append(
            {
                "label": "Speech",
                "value": _hours(facts["speech_s"]),
                "note": f"{share:.0%} of the audio".replace("%", " %"),
            }
        )
    if facts["asr"] or facts["words"]:
        note = f"{facts['no_speech']:,} without speech" if facts["no_speech"] else None
        found.append({"label": "Words", "value": f"{facts['words']:,}", "note": note})
    if facts["units"]:
        rate = f"{1 / facts['encode']['hop_s']:g} a second" if facts["encode"].get("hop_s") else None
        found.append({"label": "Units", "value": f"{facts['units']:,}", "note": rate})
    for score in facts["scores"]:
        again = score["system"] == STS_TEXT
        if again or score is facts["scores"][0]:
            between = f"95 % interval {100 * score['wer_low']:.1f} to {100 * score['wer_high']:.1f} %"
            label = "WER, resynthesis" if again else "Word error rate"
            found.append({"label": label, "value": f"{100 * score['wer']:.1f} %", "note": between})
    failed = sum(facts["failures"].values())
    found.append({"label": "Failures", "value": f"{failed:,}", "bad": failed > 0})
    return found


def lead(facts: dict[str, Any]) -> str:
    """Return the sentence under the title."""
    parts = []
    if facts["vad"].get("engine"):
        parts.append(
            "speech found by " + {"ten": "TEN-VAD", "silero": "Silero VAD"}.get(facts["vad"]["engine"], "VAD")
        )
    for asr in facts["asr"][:1]:
        by = "PocketSphinx" if asr.get("backend") == "pocketsphinx" else asr.get("model")
        parts.append(f"transcribed by {by}")
    text = ", ".join(parts + in_short(facts))
    return f"{text[:1].upper()}{text[1:]}." if text else "No stage has run on this manifest yet."


def charts(corpus: Any, noun: str) -> list[dict[str, Any]]:
    """Return the histograms that there are values for, and how often each emotion is the strongest."""
    drawn = [
        (f"Duration of {noun}", "s", corpus.durations),
        ("Speech in each, share of its duration", "%", corpus.ratios),
        ("Word error rate of each", "%", corpus.wers),
        ("Pitch, median of each", "Hz", corpus.prosody["f0_median_hz"]),
        ("Syllables a second of speech", "/s", corpus.prosody["rate_syl_s"]),
    ]
    found = [histogram(title, unit, values) for title, unit, values in drawn if len(values)]
    for name, counts in corpus.labels.items():
        if counts:
            total = sum(counts.values())
            rows = [[label, number / total] for label, number in counts.most_common(LABELS_SHOWN)]
            note = f"{total:,} {noun}; share of each label." if len(counts) > 1 else f"{total:,} {noun}."
            found.append({"title": f"{name.capitalize()} of {noun}", "note": note, "rows": rows})
    return found


def stage_table(stage: Any, done: int, records: int, failed: int) -> dict[str, Any]:
    """Return a stage as the page draws it: what is done over all, and the shards of its last submission.

    `stage` is what amela/summary.py says of that submission; `done` of `records` have the stage's field.
    """
    shards = [shard for shard in stage.shards if shard.records]
    idle = len(stage.shards) - len(shards)
    note = f"{done:,} of {records:,} records have `{stage.field}`; {failed:,} failed. "
    last = f"{sum(shard.records for shard in shards):,} records in {_plural(len(shards), 'shard')}"
    note += f"Last submission (job {stage.job}): {last}" + (
        f", {idle:,} more had nothing to do." if idle else "."
    )
    rows = [
        {
            "shard": shard.shard,
            "done": shard.done,
            "failed": shard.failed,
            "left": shard.left,
            "audio_s": round(shard.audio_s, 1),
            "speed": shard.x_real_time,
            "state": shard.state,
        }
        for shard in shards
    ]
    return {"stage": stage.stage, "note": note, "shards": rows}


def grouped(failed: dict[str, tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Return the failures (stage, class, message by key) by stage and class, the largest group first."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for key, (stage, kind, message) in failed.items():
        files = groups.setdefault((stage, kind), [])
        files.append(
            {"name": key, "message": message[len(key) :].lstrip(": ") if message.startswith(key) else message}
        )
    return [
        {"stage": stage, "kind": kind, "count": len(files), "files": files[:FILES_A_FAILURE]}
        for (stage, kind), files in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.0f} h" if seconds >= 360_000 else spoken(seconds)
