"""Where a Flight server can be reached: a location, or the address file that serve_flight.py writes."""

from __future__ import annotations

import json
import os
import socket
from typing import Any, NamedTuple

from media.dataset import DatasetError

TOKEN = "AMELA_FLIGHT_TOKEN"  # of the environment
SCHEMES = ("grpc://", "grpc+tcp://", "grpc+tls://", "grpc+unix://")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServerError(DatasetError):
    """A server that is not there, that refuses, or that has other data; the message says what to do."""


class Address(NamedTuple):
    """Locations of the processes of a server, what to show it, and what to trust."""

    locations: list[str]
    token: str | None
    tls_root: bytes | None


def read_address(source: str, token_file: str | None, tls_root: str | None) -> Address | None:
    """Return the address that `source` (a location or an address file) tells, None where there is no such
    file yet; ServerError where it is of no use here. Read anew at each attempt: a server that was requeued
    is elsewhere.
    """
    told: dict[str, Any] = {"locations": [source]}
    if not source.startswith(SCHEMES):
        try:
            with open(source, encoding="utf-8") as file:
                told = json.load(file)
            told["locations"] = _reachable(source, told)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, ServerError):
                raise
            raise ServerError(f"{source}: {error}; wanted the address file of serve_flight.py") from error
    token = os.environ.get(TOKEN) or _text(token_file or told.get("token_file"))
    root = tls_root or told.get("tls_root")
    return Address(told["locations"], token, None if root is None else _text(root).encode())


def _reachable(source: str, told: dict[str, Any]) -> list[str]:
    """Return the sockets of a server on this node, else its ports."""
    if told["node"] == socket.gethostname():
        here = told.get("unix") or []
        if here and all(os.path.exists(path.removeprefix("grpc+unix://")) for path in here):
            return list(here)
    elif told["host"] in LOOPBACK:
        raise ServerError(
            f"{source}: the server on {told['node']} listens to its own node alone, and this is "
            f"{socket.gethostname()}; type: serve_flight.py … --host 0.0.0.0 --token-file FILE"
        )
    return list(told["locations"])


def _text(path: str | None) -> Any:
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError as error:
        raise ServerError(
            f"{path}: {error.strerror}; wanted the file that serve_flight.py was given"
        ) from error
