"""The dashboard's page: a template, the report's style and its own, scripts; the rest comes by WebSocket."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from media.report import page as report

FOLDER = Path(__file__).parent
SCRIPTS = ("store.js", "plots.js", "lists.js", "socket.js")


def template() -> str:
    """Return the page but for what differs from one request to the next."""
    scripts = [report.read("common.js"), *(_read(name) for name in SCRIPTS)]
    style = report.read("style.css") + _read("dashboard.css")
    parts = {"STYLE": style, "SCRIPT": "\n".join(scripts), "NONCE": "@NONCE@", "TOKEN": "@TOKEN@"}
    return report.fill(_read("page.html"), parts)


def fill(page: str, token: str, nonce: str) -> str:
    """Return the page for one request."""
    return page.replace("@NONCE@", nonce).replace("@TOKEN@", quote(token, safe=""))


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
