"""An Arrow Flight server of multimodal data sets: the record batches of DirectReader over gRPC."""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import pyarrow as pa
from pyarrow import flight

from media.dataset import DatasetError
from media.dataset_reader import DirectReader
from media.tickets import Ticket, TicketError, read_ticket
from networks.served_datasets import ServedDatasets

ACTIONS = {
    "health": "answers {status}",
    "refresh": "looks again which data sets there are; answers {datasets: {name: digest}}",
    "stats": "what this process served: {requests, at_work, streams, open, batches, rows, bytes, uptime_s}",
    "dataset": "of {dataset}: {dataset, digest, description: the content of dataset.json}",
    "lengths": "of {dataset, split}: frames (or tokens) of each row, int32, little endian",
}
BLOCK_ROWS = 128  # of a batch of the tickets that get_flight_info makes up


class Served:
    """What was asked of this process, counted by all its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since_s = self.last_s = time.monotonic()
        self.stopping = False
        self.counts = {
            "requests": 0,
            "at_work": 0,
            "streams": 0,
            "open": 0,
            "batches": 0,
            "rows": 0,
            "bytes": 0,
        }

    def add(self, **counts: int) -> None:
        """Count, and note that somebody was here."""
        with self._lock:
            self.last_s = time.monotonic()
            for name, count in counts.items():
                self.counts[name] += count

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request, and that it is at work."""
        self.add(requests=1, at_work=1)
        try:
            yield
        finally:
            self.add(at_work=-1)

    def idle_s(self) -> float:
        """Return how long nobody has asked for anything; 0 while a request is at work or a stream is open."""
        return 0.0 if self.counts["open"] or self.counts["at_work"] else time.monotonic() - self.last_s

    def stats(self) -> dict[str, Any]:
        """Return the counts and the seconds since the start."""
        return {**self.counts, "uptime_s": round(time.monotonic() - self._since_s, 1)}


class Token(flight.ServerMiddlewareFactory):
    """Lets only those in who show the token."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._wanted = f"Bearer {token}".encode()

    def start_call(self, _info: flight.CallInfo, headers: dict[str, list[Any]]) -> None:
        """Raise FlightUnauthenticatedError for a call without the token; takes as long whatever it shows."""
        shown = [
            value for name, values in headers.items() if name.lower() == "authorization" for value in values
        ]
        first = shown[0] if shown else b""
        if not hmac.compare_digest(first if isinstance(first, bytes) else first.encode(), self._wanted):
            raise flight.FlightUnauthenticatedError(
                "wrong token, or none; wanted the server's: AMELA_FLIGHT_TOKEN or --token-file"
            )


class FlightServer(flight.FlightServerBase):
    """Serves at one location (a port or a socket); several of a process share `datasets` and `served`.

    `locations` returns those of all processes of the server, for the endpoints of get_flight_info.
    """

    def __init__(
        self,
        location: str,
        datasets: ServedDatasets,
        served: Served,
        locations: Callable[[], list[str]],
        token: str | None = None,
        tls: tuple[bytes, bytes] | None = None,
    ) -> None:
        self._datasets, self._served, self._locations = datasets, served, locations
        super().__init__(
            location,
            middleware={} if token is None else {"token": Token(token)},
            tls_certificates=[] if tls is None else [tls],
        )

    def list_flights(self, _context: Any, _criteria: bytes) -> Iterator[flight.FlightInfo]:
        """Yield what is known of each split of each data set."""
        with self._served.request(), translated():
            for name in self._datasets.names():
                _, reader = self._datasets.get(name)
                for split in reader.dataset["splits"]:
                    yield self._info(
                        flight.FlightDescriptor.for_path(name, split), _stored(reader, name, split)
                    )

    def get_flight_info(self, _context: Any, descriptor: flight.FlightDescriptor) -> flight.FlightInfo:
        """Return the endpoints of a path [data set,] split, or of a ticket as the command: their batches, one
        after the other, are those of the ticket, and each can be fetched by itself.
        """
        with self._served.request(), translated():
            return self._info(descriptor, self._asked(descriptor))

    def get_schema(self, _context: Any, descriptor: flight.FlightDescriptor) -> flight.SchemaResult:
        """Return the columns of what a descriptor asks for."""
        with self._served.request(), translated():
            ticket = self._asked(descriptor)
            return flight.SchemaResult(self._datasets.get(ticket.dataset)[1].schema(ticket))

    def do_get(self, _context: Any, ticket: flight.Ticket) -> flight.GeneratorStream:
        """Return the stream of record batches of a ticket."""
        with self._served.request(), translated():
            asked = read_ticket(ticket.ticket)
            _, reader = self._datasets.get(asked.dataset)
            schema, batches = reader.schema(asked), reader.batches(asked)
            return flight.GeneratorStream(schema, self._counted(batches))

    def do_action(self, _context: Any, action: flight.Action) -> list[bytes]:
        """Answer an action of ACTIONS, whose body is JSON or nothing."""
        with self._served.request(), translated():
            if action.type not in ACTIONS:
                raise TicketError(f"no action {action.type!r}; wanted one of {', '.join(ACTIONS)}")
            about = _json_of(action.body.to_pybytes() if action.body else b"")
            if action.type == "lengths":
                ticket = read_ticket({"split": None, **about})
                lengths = self._datasets.get(ticket.dataset)[1].lengths(ticket.split)
                return [lengths.astype("<i4").tobytes()]
            return [json.dumps(self._told(action.type, about), allow_nan=False).encode()]

    def list_actions(self, _context: Any) -> list[tuple[str, str]]:
        """Return the actions and what they answer."""
        return list(ACTIONS.items())

    def _told(self, action: str, about: dict[str, Any]) -> dict[str, Any]:
        if action == "health":
            return {"status": "stopping" if self._served.stopping else "ok"}
        if action == "stats":
            return self._served.stats()
        if action == "refresh":
            return {"datasets": {name: self._datasets.get(name)[1].digest for name in self._datasets.names()}}
        name, reader = self._datasets.get(about.get("dataset"))
        return {"dataset": name, "digest": reader.digest, "description": reader.dataset}

    def _asked(self, descriptor: flight.FlightDescriptor) -> Ticket:
        if descriptor.command:
            return read_ticket(descriptor.command)
        path = [word.decode() for word in descriptor.path]
        if not 1 <= len(path) <= 2:
            raise TicketError(
                f"descriptor {path}: wanted a path [DATASET, SPLIT], or a ticket as the command"
            )
        name, reader = self._datasets.get(path[0] if len(path) == 2 else None)
        return _stored(reader, name, path[-1])

    def _info(self, descriptor: flight.FlightDescriptor, ticket: Ticket) -> flight.FlightInfo:
        """Return a description with an endpoint a block of batches, as many as the split has parts."""
        name, reader = self._datasets.get(ticket.dataset)
        schema, plan = reader.schema(ticket), reader.plan(ticket)
        picked = range(len(plan))[ticket.start : ticket.stop : ticket.every]
        rows = sum(len(plan[index][ticket.rank :: ticket.world]) for index in picked)
        everything = reader.rows(ticket.split)
        blocks = max(1, min(len(everything.parts), len(picked)))
        places = self._locations()
        endpoints = []
        for block in range(blocks if picked else 0):
            mine = picked[block * len(picked) // blocks : (block + 1) * len(picked) // blocks]
            whole = ticket._replace(dataset=name, digest=reader.digest, start=mine[0], stop=mine[-1] + 1)
            at = [places[block % len(places)]] if len(places) > 1 else []  # none: where this was asked
            endpoints.append(flight.FlightEndpoint(json.dumps(whole._asdict()), at))
        size = (
            everything.decoded_bytes * rows // max(1, reader.count(ticket.split))
            if ticket.columns is None
            else -1
        )
        about = json.dumps({"dataset": name, "digest": reader.digest})
        return flight.FlightInfo(schema, descriptor, endpoints, rows, size, ordered=True, app_metadata=about)

    def _counted(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        self._served.add(streams=1, open=1)
        try:
            with translated():
                for batch in batches:
                    if self._served.stopping:
                        raise flight.FlightUnavailableError("the server is stopping")
                    self._served.add(batches=1, rows=batch.num_rows, bytes=batch.nbytes)
                    yield batch
        finally:
            self._served.add(open=-1)


@contextmanager
def translated() -> Iterator[None]:
    """Turn our errors into the one of Flight's that reaches clients as it is, without a traceback."""
    try:
        yield
    except DatasetError as error:
        raise flight.FlightServerError(str(error)) from error


def _stored(reader: DirectReader, name: str, split: str) -> Ticket:
    reader.count(split)
    return Ticket(split, name, batch_size=BLOCK_ROWS, digest=reader.digest)


def _json_of(body: bytes) -> dict[str, Any]:
    try:
        about = json.loads(body or b"{}")
    except ValueError as error:
        raise TicketError(f"body {body[:80]!r}: {error}; wanted JSON") from error
    if not isinstance(about, dict):
        raise TicketError(f'body {body[:80]!r}: wanted an object such as {{"dataset": "corpus"}}')
    return about
