"""A connection to a Flight server, waited for with growing pauses, and what its errors mean."""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import flight

from networks.flight_address import ServerError, read_address

SHORT_S, LONG_S = 20.0, 600.0  # of an action: reading the lengths of a large data set takes its time
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
LOST = (
    flight.FlightUnavailableError,
    flight.FlightInternalError,
    flight.FlightCancelledError,
    flight.FlightTimedOutError,
    OSError,
)
OPTIONS = [  # a lost node says nothing: ask whether it lives; servers refuse more than a ping in 5 min
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),  # or a new client would inherit the pause of one that failed
]
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


class Patience:
    """Waits between attempts, for `wait_s` seconds after the first of those that came to nothing."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self.renew()

    def renew(self) -> None:
        """Begin to count anew: something came."""
        self._until, self._pause_s = float("inf"), FIRST_PAUSE_S

    def pause(self, source: str, why: Exception) -> None:
        """Wait a little longer than the last time; ServerError where the time is up."""
        self._until = min(self._until, time.monotonic() + self._wait_s)
        left = self._until - time.monotonic()
        if left <= 0:
            raise ServerError(
                f"{source}: no server there for {self._wait_s:g} s ({plain(why)}); start it, sbatch "
                "slurm/flight.slurm DATA_DIR or python scripts/serve_flight.py DATA_DIR, then give the same "
                "command again"
            ) from why
        time.sleep(min(self._pause_s, left))
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


class Connection(NamedTuple):
    """A client, and what each of its calls must carry."""

    client: flight.FlightClient
    headers: list[tuple[bytes, bytes]]

    def act(self, name: str, timeout_s: float, **about: Any) -> bytes:
        """Return the bytes that an action of the server gives."""
        options = flight.FlightCallOptions(timeout=timeout_s, headers=self.headers)
        action = flight.Action(name, json.dumps(about).encode())
        return b"".join(result.body.to_pybytes() for result in self.client.do_action(action, options))

    def get(self, ticket: dict[str, Any]) -> flight.FlightStreamReader:
        """Return the stream of a ticket."""
        options = flight.FlightCallOptions(headers=self.headers)
        return self.client.do_get(flight.Ticket(json.dumps(ticket)), options)


class Source(NamedTuple):
    """What says where the server is; see FlightReader."""

    source: str
    dataset: str | None
    token_file: str | None
    tls_root: str | None

    def connect(self, patience: Patience, turn: int = 0) -> tuple[Connection, dict[str, Any]]:
        """Return a connection to the process `turn` (modulo their number; the next one where it is not there)
        and {"dataset", "digest", "description"} as it tells them.
        """
        while True:
            try:
                with refusals(self.source):
                    connection = self._connection(turn)
                    about = {} if self.dataset is None else {"dataset": self.dataset}
                    return connection, json.loads(connection.act("dataset", SHORT_S, **about))
            except LOST as error:
                turn += 1
                patience.pause(self.source, error)

    def _connection(self, turn: int) -> Connection:
        address = read_address(self.source, self.token_file, self.tls_root)
        if address is None:
            raise FileNotFoundError("no such address file")
        location = address.locations[turn % len(address.locations)]
        trust = {} if address.tls_root is None else {"tls_root_certs": address.tls_root}
        client = flight.FlightClient(location, generic_options=OPTIONS, **trust)
        token = address.token
        return Connection(client, [] if token is None else [(b"authorization", f"Bearer {token}".encode())])


def keep_freed_memory() -> None:
    """Let malloc keep what was freed, up to 128 MB: gRPC receives each batch into new memory, and to page it
    in is a quarter of a client's work. Does nothing where malloc is not glibc's.
    """
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)
        libc.mallopt(M_TRIM_THRESHOLD, 2**27)


@contextmanager
def refusals(source: str) -> Iterator[None]:
    """Turn what a server refuses, and asking again does not help with, into ServerError."""
    try:
        yield
    except LOST:
        raise
    except (pa.ArrowException, flight.FlightError) as error:
        raise ServerError(f"{source}: {plain(error)}") from error


def plain(error: Exception) -> str:
    """Return what an error says, without gRPC's own remarks."""
    text = str(error).partition(". gRPC client debug context")[0].partition("Detail: ")[0]
    return " ".join(text.rpartition("message: ")[2].split())
