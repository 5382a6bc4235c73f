"""A process of a Flight server: a port and a Unix socket, open until it is told to end. One Python process
makes use of little more than one core, so a server may have several, a port each.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import threading
import time
from typing import Any, Callable, NamedTuple

import pyarrow as pa

from media.dataset import DatasetError
from networks.flight_address import ServerError
from networks.flight_server import FlightServer, Served
from networks.served_datasets import ServedDatasets

LOOK_S = 0.2
START_S = 120.0
END_S = 3.0  # what a stream gets that its client does not read on
SOCKET_BYTES = 100  # the system's limit of a socket's path is 107


class Settings(NamedTuple):
    """What the processes of a server have in common."""

    folder: str
    host: str
    port: int  # of the first process, the next one of the next; 0: any free ones
    sockets: str  # folder of the Unix sockets
    address_file: str
    cache: str | None
    cache_gb: float | None
    token: str | None
    tls: tuple[bytes, bytes] | None  # certificate and key, PEM


class Process:
    """The servers of this process, at work from the start; ServerError where the port cannot be had,
    DatasetError where there is no data.
    """

    def __init__(self, settings: Settings, index: int, log: Callable[[str], None]) -> None:
        self.served = Served()
        datasets = ServedDatasets(settings.folder, settings.cache, settings.cache_gb, log)
        port = settings.port and settings.port + index
        _check_port(settings.host, port)
        scheme = "grpc" if settings.tls is None else "grpc+tls"

        def locations() -> list[str]:
            try:
                with open(settings.address_file, encoding="utf-8") as file:
                    return list(json.load(file)["locations"])
            except (OSError, ValueError):
                return []  # somebody removed it: this process alone

        def server(location: str, tls: tuple[bytes, bytes] | None) -> FlightServer:
            return FlightServer(location, datasets, self.served, locations, settings.token, tls)

        try:
            self._servers = [server(f"{scheme}://{settings.host}:{port}", settings.tls)]
            path = os.path.join(settings.sockets, f"{index}.sock")
            self.socket = path if len(os.fsencode(path)) <= SOCKET_BYTES else None
            if self.socket:
                self._servers.append(server(f"grpc+unix://{path}", None))
        except (pa.ArrowException, OSError) as error:
            raise ServerError(f"{settings.host}:{port}: {error}") from error
        self.port = int(self._servers[0].port)

    def close(self) -> bool:
        """End: streams break off at their next batch. False where one did not, as nobody reads it."""
        self.served.stopping = True
        enders = [threading.Thread(target=server.shutdown, daemon=True) for server in self._servers]
        for ender in enders:
            ender.start()
        until = time.monotonic() + END_S
        for ender in enders:
            ender.join(max(0.0, until - time.monotonic()))
        return not any(ender.is_alive() for ender in enders)


def _check_port(host: str, port: int) -> None:
    try:
        family, kind, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        raise ServerError(
            f"{host}:{port}: {error.strerror or error}; wanted a free port here: --port 0 takes any"
        ) from error


class Helper:
    """Another process of the server, started by this one; ends with it, however that ends."""

    def __init__(self, settings: Settings, index: int) -> None:
        spawn = multiprocessing.get_context("spawn")  # gRPC does not outlive a fork
        self._told, answer = spawn.Pipe(duplex=False)
        self._last_s = spawn.Value("d", time.monotonic())
        self._process = spawn.Process(target=_help, args=(settings, index, answer, self._last_s, os.getpid()))
        self._process.start()
        answer.close()

    def where(self) -> tuple[int, Any]:
        """Return its port and the path of its socket, when it listens; ServerError where it cannot."""
        try:
            found = self._told.recv() if self._told.poll(START_S) else f"did not start within {START_S:g} s"
        except EOFError:
            found = "ended while it started"
        if isinstance(found, str):
            raise ServerError(found)
        return found[0], found[1]

    def idle_s(self) -> float:
        """Return how long nobody has asked it for anything."""
        return time.monotonic() - self._last_s.value

    def is_alive(self) -> bool:
        """Tell whether it is at work."""
        return self._process.is_alive()

    def stop(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def join(self) -> None:
        """Wait until it has ended, and no longer than it may take."""
        self._process.join(END_S + 1)
        self._process.kill()


def _help(settings: Settings, index: int, answer: Any, last_s: Any, parent: int) -> None:
    """Serve until told to end, or until the parent is gone."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGUSR1):  # sent to the group; the parent decides
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        process = Process(settings, index, print)
    except DatasetError as error:
        answer.send(str(error))
        return
    answer.send((process.port, process.socket))
    while not ended.wait(LOOK_S) and os.getppid() == parent:
        last_s.value = time.monotonic() - process.served.idle_s()
    process.close()
    os._exit(0)
