"""What stands in a manifest: counts, hours, fields, durations (`manifest_tools.py stats`)."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Any

from amela.manifest import read_records

EDGES_S = (0, 0.5, 1, 2, 5, 10, 20, 30, 60, 300, 1800, 3600, 6 * 3600)  # the last bin is open
_VALUES_SHOWN = 20
_QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


class _Field:
    """How often a field stands in a record, with which types, and its first value."""

    def __init__(self, value: object) -> None:
        self.records, self.empty, self.example = 0, 0, value
        self.types: set[str] = set()

    def add(self, value: object) -> None:
        self.records += 1
        self.empty += value in (None, "", [], {})
        self.types.add(type(value).__name__)


def survey(manifest: str, by: str | None = None) -> dict[str, Any]:
    """Read a manifest once and return its figures, ready for JSON; about 4 bytes of memory a record.

    `records`, `hours`, `speech_hours` (None without the field `speech`), `words` (of `text`),
    `recordings_in_a_row` (how often the path changes), `without_duration`, `duration_s` (quantiles),
    `histogram` (bins by `from_s`), `fields` (name → records, empty, types, example) and, for a field `by`,
    `values` (value → records, hours).
    """
    durations, fields = array("f"), dict[str, _Field]()
    records = without = words = recordings = 0
    speech_s: float | None = None
    values: dict[str, list[float]] = {}
    path = None
    for _, record in read_records(manifest):
        records += 1
        for name, value in record.items():
            if name not in fields:
                fields[name] = _Field(value)
            fields[name].add(value)
        duration_s = record.get("duration")
        if duration_s is None:
            without += 1
        else:
            durations.append(duration_s)
        recordings += record.get("audio_filepath") != path
        path = record.get("audio_filepath")
        if isinstance(record.get("speech"), list):
            speech_s = (speech_s or 0.0) + sum(part["end_s"] - part["start_s"] for part in record["speech"])
        if isinstance(record.get("text"), str):
            words += len(record["text"].split())
        if by:
            entry = values.setdefault(str(record.get(by)), [0, 0.0])
            entry[0] += 1
            entry[1] += (duration_s or 0.0) / 3600
    histogram = _histogram(durations)
    total_s = sum(row["hours"] for row in histogram) * 3600
    return {
        "manifest": manifest,
        "records": records,
        "recordings_in_a_row": recordings,
        "hours": total_s / 3600,
        "speech_hours": None if speech_s is None else speech_s / 3600,
        "words": words,
        "without_duration": without,
        "duration_s": _quantiles(durations),
        "histogram": histogram,
        "fields": {
            name: {
                "records": field.records,
                "empty": field.empty,
                "types": sorted(field.types),
                "example": field.example,
            }
            for name, field in fields.items()
        },
        **(
            {
                "by": by,
                "values": {
                    value: {"records": int(count), "hours": hours}
                    for value, (count, hours) in sorted(values.items(), key=_most_first)
                },
            }
            if by
            else {}
        ),
    }


def _most_first(item: tuple[str, list[float]]) -> tuple[float, float, str]:
    value, (count, hours) = item
    return -hours, -count, value


def _histogram(durations: array[float]) -> list[dict[str, float]]:
    counts, seconds = [0] * len(EDGES_S), [0.0] * len(EDGES_S)
    for duration_s in durations:
        place = bisect_right(EDGES_S, duration_s) - 1
        counts[place] += 1
        seconds[place] += duration_s
    return [
        {"from_s": edge_s, "records": count, "hours": total_s / 3600}
        for edge_s, count, total_s in zip(EDGES_S, counts, seconds)
    ]


def _quantiles(durations: array[float]) -> dict[str, float]:
    if not durations:
        return {}
    ranked = sorted(durations)
    return {f"{share:g}": round(ranked[round(share * (len(ranked) - 1))], 3) for share in _QUANTILES}


def as_text(figures: dict[str, Any]) -> str:
    """The figures as lines for a terminal."""
    speech_hours = figures["speech_hours"]
    lines = [
        figures["manifest"],
        f"  {figures['records']:,} records, {figures['recordings_in_a_row']:,} recordings, "
        f"{figures['hours']:,.2f} h"
        + ("" if speech_hours is None else f", speech {speech_hours:,.2f} h")
        + f", {figures['words']:,} words",
    ]
    if figures["duration_s"]:
        shown = zip(
            ("shortest", "5 %", "25 %", "median", "75 %", "95 %", "longest"), figures["duration_s"].values()
        )
        lines.append("  duration (s): " + ", ".join(f"{name} {value:g}" for name, value in shown))
    if figures["without_duration"]:
        lines.append(f"  without duration: {figures['without_duration']:,} records")
    lines += [
        "",
        *_bars(figures["histogram"]),
        "",
        f"  {'field':<20}{'records':>12}{'empty':>10}  type, first value",
    ]
    for name, field in figures["fields"].items():
        lines.append(
            f"  {name:<20}{field['records']:>12,}{field['empty']:>10,}  {'/'.join(field['types'])}, "
            + _short(str(field["example"]), 48)
        )
    if "by" in figures:
        lines += ["", f"  {figures['by']:<42}{'records':>12}{'hours':>12}"]
        lines += [
            f"  {_short(value, 40):<42}{entry['records']:>12,}{entry['hours']:>12,.2f}"
            for value, entry in list(figures["values"].items())[:_VALUES_SHOWN]
        ]
        more = len(figures["values"]) - _VALUES_SHOWN
        lines += [f"  … and {more:,} more (--json shows all)"] if more > 0 else []
    return "\n".join(lines)


def _short(text: str, width: int) -> str:
    """A text of at most `width` characters, cut in its middle."""
    text = text.replace("\n", " ")
    return text if len(text) <= width else f"{text[: width // 2 - 2]} … {text[-(width // 2 - 2) :]}"


def _bars(histogram: list[dict[str, float]]) -> list[str]:
    """A line a bin, from the first that holds records to the last."""
    filled = [place for place, row in enumerate(histogram) if row["records"]]
    if not filled:
        return []
    most = max(row["records"] for row in histogram)
    lines = []
    for place in range(filled[0], filled[-1] + 1):
        row = histogram[place]
        upper = f"< {EDGES_S[place + 1]:g} s" if place + 1 < len(EDGES_S) else "and more"
        bar = "█" * round(30 * row["records"] / most) or ("▏" if row["records"] else "")
        lines.append(
            f"  {row['from_s']:>7g} s … {upper:<10}{row['records']:>12,}{row['hours']:>12,.2f} h  {bar}"
        )
    return lines
