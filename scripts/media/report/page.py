"""The report as one self-contained HTML page: a template, a style, scripts, and one JSON object."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SCRIPTS = (
    "common.js",
    "charts.js",
    "sound.js",
    "units.js",
    "lanes.js",
    "annotations.js",
    "player.js",
    "viewer.js",
    "table.js",
    "models.js",
)


def shown(text: object) -> str:
    """Return text that can be shown: file names that are not UTF-8 get their bytes as escapes."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def page(data: dict[str, Any], texts: dict[str, str]) -> str:
    """Return the page. `data` goes to the scripts as JSON; `texts` are HTML for TITLE, LEAD, METHODS …

    Nothing from outside becomes markup: `<` is escaped in the JSON, and the scripts insert text as text only.
    """
    parts = {
        **texts,
        "STYLE": read("style.css"),
        "SCRIPT": "\n".join(map(read, SCRIPTS)),
        "DATA": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return shown(fill(read("page.html"), parts))


def fill(template: str, parts: dict[str, str]) -> str:
    """Return a template with each @NAME@ replaced by the part of that name."""
    return re.sub(r"@([A-Z]+)@", lambda found: parts[found.group(1)], template)


def texts(
    title: str, lead: str, methods: str, works: list[Any], stages: dict[str, dict[str, Any]], footer: str
) -> dict[str, str]:
    """Return the texts of the page as HTML; `works` are the References, `stages` their settings by name."""
    return {
        "TITLE": html.escape(shown(title)),
        "LEAD": html.escape(lead),
        "METHODS": paragraphs([methods]),
        "REFERENCES": items([work.text for work in works]),
        "BIBTEX": html.escape("\n\n".join(work.bibtex for work in works)),
        "SETTINGS": settings(stages),
        "FOOTER": html.escape(shown(footer)),
    }


def paragraphs(texts: list[str]) -> str:
    """Return escaped paragraphs."""
    return "".join(f"<p>{html.escape(text)}</p>" for text in texts)


def items(texts: list[str]) -> str:
    """Return escaped list items; web addresses become links."""
    linked = (
        re.sub(r"(https://[^\s<]+[^\s<.,;])", r'<a href="\1">\1</a>', html.escape(text)) for text in texts
    )
    return "".join(f"<li>{text}</li>" for text in linked)


def settings(stages: dict[str, dict[str, Any]]) -> str:
    """Return the settings and versions of each stage, by its name, as definition lists."""
    blocks = []
    for name, rows in stages.items():
        lines = "".join(
            f"<dt>{html.escape(str(name))}</dt><dd>{html.escape(shown(value))}</dd>"
            for name, value in rows.items()
            if value is not None
        )
        blocks.append(f'<h3>{html.escape(name)}</h3><dl class="settings">{lines}</dl>')
    return "".join(blocks) or "<p>No stage has left its settings beside the manifest.</p>"


def read(name: str) -> str:
    """Return a file of this folder as text."""
    return (FOLDER / name).read_text(encoding="utf-8")
