"""One page and one WebSocket on one port, for whoever has the token; nothing else is served."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Awaitable
from typing import Any, Callable
from urllib.parse import parse_qs, quote, urlsplit

PAGE, LIBRARY, SOCKET = "/", "/chart.js", "/socket"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    host: str,
    port: int,
    token: str,
    page: Callable[[str], str],
    library: bytes,
    handler: Callable[[Any], Awaitable[None]],
) -> Any:
    """Return what `async with` makes a running server; OSError where the port is taken.

    `page(nonce)` returns the page's HTML, whose scripts and styles carry the nonce; `library` is Chart.js;
    `handler` gets each WebSocket that was let in.
    """
    from websockets.asyncio.server import serve as serve_sockets

    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # a browser that goes away is no news

    def answer(connection: Any, request: Any) -> Any:
        url = urlsplit(request.path)
        given = parse_qs(url.query).get("token", [""])[0]
        if not hmac.compare_digest(given.encode(), token.encode()):
            return _text(
                connection, 403, "Wrong token, or none: open the address that dashboard.py printed.\n"
            )
        if not _is_own(request.headers):
            return _text(connection, 403, "Another page may not use the dashboard.\n")
        if url.path == SOCKET:
            return None  # the handshake goes on, and is refused as such where it is none
        if url.path not in (PAGE, LIBRARY):
            return _text(connection, 404, "Not here.\n")
        if request.method != "GET":
            return _text(connection, 405, "Only GET.\n")
        if url.path == LIBRARY:
            return _answer(connection, library, "text/javascript")
        nonce = secrets.token_urlsafe(16)
        return _answer(connection, page(nonce).encode(), "text/html", nonce)

    return serve_sockets(handler, host, port, process_request=answer, max_size=1 << 20)


def address(host: str, port: int, token: str) -> str:
    """Return the URL of the page."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}{PAGE}?token={quote(token, safe='')}"


def _is_own(headers: Any) -> bool:
    """Tell whether a request comes from our page, or from no page at all.

    Browsers name the page that opens a WebSocket, and no script can change that. It must be the host and port
    that are asked here, which at the end of an ssh tunnel are not those we listen on.
    """
    origin = headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == headers.get("Host")


def _text(connection: Any, status: int, text: str) -> Any:
    response = connection.respond(status, text)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _answer(connection: Any, body: bytes, kind: str, nonce: str = "") -> Any:
    response = connection.respond(200, "")
    response.body = body
    headers = response.headers
    for name in ("Content-Type", "Content-Length"):
        del headers[name]
    headers["Content-Type"] = f"{kind}; charset=utf-8"
    headers["Content-Length"] = str(len(body))
    headers["Cache-Control"] = "no-store"
    headers["Referrer-Policy"] = "no-referrer"  # the address holds the token
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if nonce:
        headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    return response
