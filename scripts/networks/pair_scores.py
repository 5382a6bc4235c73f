"""Minimal pairs as a model sees them: sum and mean log-probability of each recording, and who is likelier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from media import minimal_pairs
from media.minimal_pairs import Pair
from networks.systems import System, by_file
from networks.unit_task import Units

POOLINGS = ("sum", "mean")
Scores = dict[str, dict[str, float]]


def score_files(system: System, pieces: Units, names: Sequence[str]) -> Scores:
    """Return {pooling: natural log-probability} of each recording that has a unit, by its name."""
    return {
        names[file]: {"sum": -tally.nats, "mean": -tally.nats / tally.units}
        for file, tally in sorted(by_file(system, pieces).items())
    }


def pair_rows(pairs: Sequence[Pair], scores: Scores) -> list[dict[str, Any]]:
    """Return a row a pair: who they are, what each got, and the outcome by each pooling."""
    rows = []
    for right, wrong in pairs:
        row: dict[str, Any] = {"id": right["id"], "voice": right["voice"]}
        row.update(right=right["filename"], wrong=wrong["filename"])
        for pooling in POOLINGS:
            both = scores[right["filename"]][pooling], scores[wrong["filename"]][pooling]
            row[f"right_{pooling}"], row[f"wrong_{pooling}"] = both
            row[f"score_{pooling}"] = minimal_pairs.outcome(*both)
        rows.append({**row, "error": ""})
    return rows


def group_rows(pairs: Sequence[Pair], rows: Sequence[dict[str, Any]], form: str) -> list[dict[str, Any]]:
    """Return a row a group (all, in vocabulary, by frequency, length or type): accuracy by each pooling."""
    found: list[dict[str, Any]] = []
    for pooling in POOLINGS:
        items = minimal_pairs.items_of(pairs, [row[f"score_{pooling}"] for row in rows], form)
        for number, group in enumerate(minimal_pairs.tables(items, form)):
            if pooling == POOLINGS[0]:
                found.append({name: group[name] for name in ("by", "value", "n")})
            found[number][pooling], found[number][f"{pooling}_std"] = group["score"], group["std"]
    return found
