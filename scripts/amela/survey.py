"""What stands in a manifest: counts, hours, fields, durations (`manifest_tools.py stats`)."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Any

from amela.errors import CallError
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

    def figures(self) -> dict[str, Any]:
        types = sorted(self.types)
        return {"records": self.records, "empty": self.empty, "types": types, "example": self.example}


class _Survey:
    """What was counted so far."""

    def __init__(self, by: str | None) -> None:
        self.by = by
        self.records = self.without_duration = self.words = self.recordings = 0
        self.durations, self.speech_s = array("f"), array("f")
        self.fields: dict[str, _Field] = {}
        self.values: dict[str, list[float]] = {}  # records, hours
        self._path: str | None = None

    def add(self, record: dict[str, Any]) -> None:
        self.records += 1
        for name, value in record.items():
            if name not in self.fields:
                self.fields[name] = _Field(value)
            self.fields[name].add(value)
        duration_s = record.get("duration")
        if duration_s is None:
            self.without_duration += 1
        else:
            self.durations.append(duration_s)
        self.recordings += record.get("audio_filepath") != self._path
        self._path = record.get("audio_filepath")
        if isinstance(record.get("speech"), list):
            self.speech_s.append(sum(part["end_s"] - part["start_s"] for part in record["speech"]))
        if isinstance(record.get("text"), str):
            self.words += len(record["text"].split())
        if self.by:
            entry = self.values.setdefault(str(record.get(self.by)), [0, 0.0])
            entry[0] += 1
            entry[1] += (duration_s or 0.0) / 3600

    def grouped(self) -> dict[str, Any]:
        ranked = sorted(self.values.items(), key=_most_first)
        values = {value: {"records": int(count), "hours": hours} for value, (count, hours) in ranked}
        return {"by": self.by, "values": values} if self.by else {}


def survey(manifest: str, by: str | None = None) -> dict[str, Any]:
    """Read a manifest once and return its figures, ready for JSON; about 8 bytes of memory a record.

    `records`, `hours`, `speech_hours` (None without the field `speech`), `words` (of `text`),
    `recordings_in_a_row` (how often the path changes), `without_duration`, `duration_s` (quantiles),
    `histogram` (bins by `from_s`), `fields` (name → records, empty, types, example) and, for a field `by`,
    `values` (value → records, hours).
    """
    found = _Survey(by)
    for line, record in read_records(manifest):
        try:
            found.add(record)
        except (KeyError, TypeError) as exc:
            raise CallError(
                f"{manifest}:{line + 1}: found `speech` of another form ({type(exc).__name__}: {exc}), "
                "wanted [{start_s, end_s}]: `manifest_tools.py validate` names all such lines"
            ) from exc
    return {
        "manifest": manifest,
        "records": found.records,
        "recordings_in_a_row": found.recordings,
        "hours": sum(found.durations) / 3600,
        "speech_hours": sum(found.speech_s) / 3600 if found.speech_s else None,
        "words": found.words,
        "without_duration": found.without_duration,
        "duration_s": _quantiles(found.durations),
        "histogram": _histogram(found.durations),
        "fields": {name: field.figures() for name, field in found.fields.items()},
        **found.grouped(),
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
