"""Which records the page plays, and their sound: short excerpts as FLAC, exact in any browser."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any

RATE_HZ = 16_000
EXCERPT_S = 30.0  # longer records are shown by their densest stretch of this length
BUDGET_BYTES = 12 * 2**20  # of FLAC in all; base64 makes it a third more
MARGIN_S = 0.25  # before the first speech of an excerpt


def choose(rows: list[dict[str, Any]], wanted: int) -> list[tuple[int, str]]:
    """Return up to 3 * wanted (index of row, why), in the order to try them: telling ones, then a spread."""
    usable = [index for index, row in enumerate(rows) if not row.get("e") and row.get("d")]
    picked: dict[int, str] = {}

    def pick(ordered: list[int], why: str, share: float) -> None:
        left = max(1, round(share * wanted))
        for index in ordered:
            if left and index not in picked:
                picked[index] = why
                left -= 1

    scored = sorted(
        (index for index in usable if "w" in rows[index]), key=lambda index: float(-rows[index]["w"])
    )
    if scored:
        middle = (
            sorted(scored, key=lambda index: abs(scored.index(index) - len(scored) // 2))
            if len(scored) < 1000
            else scored[len(scored) // 2 :]
        )
        pick(scored, "highest WER", 0.3)
        pick(middle, "median WER", 0.2)
        pick(scored[::-1], "lowest WER", 0.15)
    silent = [index for index in usable if rows[index].get("s") == []]
    pick(silent, "no speech found", 0.1)
    pick([index for index in usable if rows[index].get("f")], "flagged", 0.1)
    by_length = sorted(usable, key=lambda index: float(rows[index]["d"]))
    pick(by_length[::-1], "longest", 0.1)
    pick([index for index in by_length if rows[index].get("s") != []], "shortest", 0.1)
    step = max(1, len(usable) // max(1, 2 * wanted))
    pick(usable[step // 2 :: step], "sample", 2.0)
    return list(picked.items())[: 3 * wanted]


def densest(speech: list[dict[str, float]], duration_s: float, length_s: float = EXCERPT_S) -> float:
    """Return the start (s) of the stretch of `length_s` with the most speech; 0 where all fits."""
    if duration_s <= length_s or not speech:
        return 0.0
    best_s, start_s, first = -1.0, 0.0, 0
    covered = 0.0
    for last, part in enumerate(speech):  # a window that ends with each segment in turn
        covered += part["end_s"] - part["start_s"]
        while speech[first]["start_s"] < part["end_s"] - length_s and first < last:
            covered -= speech[first]["end_s"] - speech[first]["start_s"]
            first += 1
        if covered > best_s:
            best_s, start_s = covered, speech[first]["start_s"] - MARGIN_S
    return round(max(0.0, min(start_s, duration_s - length_s)), 3)


def embed(record: dict[str, Any], why: str, row: int, field: str) -> dict[str, Any] | None:
    """Return an example with its sound as base64 FLAC (16 kHz, mono), None where it cannot be read.

    A record that was resynthesised brings the same stretch of `sts_filepath` too, as long as the original.
    """
    from media.audio import AudioError, load_mono
    from media.report.annotations import spoken_parts
    from media.tiers import clean

    duration_s = float(record["duration"])
    start_s = densest(record.get("speech") or [], duration_s)
    length_s = min(duration_s, EXCERPT_S)
    whole = record.get("offset") is None and length_s == duration_s
    try:
        samples = load_mono(
            record["audio_filepath"],
            RATE_HZ,
            (record.get("offset") or 0.0) + start_s,
            None if whole else length_s,
            record.get("channel"),
        )
    except (AudioError, OSError):
        return None
    if not len(samples):
        return None
    end_s = start_s + len(samples) / RATE_HZ
    example = {
        "row": row,
        "why": why,
        "start_s": start_s,
        "duration_s": round(len(samples) / RATE_HZ, 4),
        **spoken_parts(record, field, start_s, end_s),
        "audio": flac(samples),
    }
    again = resynthesis(record, start_s, len(samples))
    if again is not None:
        example.update(sts=again, sts_text=clean(record.get("sts_text") or ""))
    return example


def resynthesis(record: dict[str, Any], start_s: float, length: int) -> str | None:
    """Return so many samples of a record's resynthesis as `flac` does, None where there is none to read."""
    import numpy as np

    from media.audio import AudioError, load_mono

    if not record.get("sts_filepath"):
        return None
    try:
        samples = load_mono(record["sts_filepath"], RATE_HZ, start_s, length / RATE_HZ)[:length]
    except (AudioError, OSError):
        return None
    return flac(np.pad(samples, (0, length - len(samples))))  # whole units: up to a unit shorter


def flac(samples: Any) -> str:
    """Return samples (float32, 16 kHz, (samples,)) as 16-bit FLAC in base64."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples.clip(-1.0, 1.0), RATE_HZ, format="FLAC", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode()


def thousandths(parts: Iterable[tuple[dict[str, Any], str]]) -> list[list[Any]]:
    """Return [start in ms, end in ms, text] of each part that has a text."""
    return [
        [round(1000 * part["start_s"]), round(1000 * part["end_s"]), text] for part, text in parts if text
    ]
