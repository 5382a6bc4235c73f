"""Settings that are frozen, and those of now."""

from __future__ import annotations

from typing import Any


def changes(then: dict[str, Any], now: dict[str, Any]) -> str:
    """Return what differs, as text, "" where nothing does."""
    return "; ".join(
        f"{name}: {then.get(name)!r} before, {now.get(name)!r} now"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    )
