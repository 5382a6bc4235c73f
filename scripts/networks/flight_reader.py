"""The batches that a ticket asks for, streamed from a Flight server; what is lost on the way is asked for
again, so every row comes exactly once.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Callable

import numpy as np
from pyarrow import flight

from media.tickets import Ticket, read_ticket, rows_in
from networks.flight_address import ServerError
from networks.flight_client import (
    LONG_S,
    LOST,
    Connection,
    Patience,
    Source,
    keep_freed_memory,
    plain,
    refusals,
)
from networks.prefetch import prefetched

if TYPE_CHECKING:
    import pyarrow as pa


class FlightReader:
    """Reads a data set from the server that `source` names: grpc://host:port, or the address file of
    serve_flight.py, which may come later. Same methods and same bytes as media.dataset_reader.DirectReader.
    Has no open connection of its own: it may be sent to other processes.

    Waits at most `wait_s` seconds for a server that is not there yet, or not any more; `prefetch` batches are
    fetched ahead. ServerError where it does not come, where it refuses, and where its data changed.
    """

    def __init__(
        self,
        source: str,
        dataset: str | None = None,
        token_file: str | None = None,
        tls_root: str | None = None,
        wait_s: float = 60.0,
        prefetch: int = 4,
        log: Callable[[str], None] = print,
    ) -> None:
        self.source = Source(source, dataset, token_file, tls_root)
        self._wait_s, self._prefetch, self._log = wait_s, prefetch, log
        self._lengths: dict[str, np.ndarray] = {}
        _, told = self.source.connect(Patience(wait_s))
        self.dataset, self.digest = told["description"], told["digest"]

    def count(self, split: str) -> int:
        """Return the rows of a split; TicketError where there is no such split."""
        return rows_in(self.dataset, split, self.source.source)

    def lengths(self, split: str) -> np.ndarray:
        """Return (rows,) int32: the frames of each row, of one without audio its tokens."""
        self.count(split)
        patience = Patience(self._wait_s)
        about = {"split": split, **({} if self.source.dataset is None else {"dataset": self.source.dataset})}
        while split not in self._lengths:
            connection = self._connect(patience)
            try:
                with refusals(self.source.source):
                    told = connection.act("lengths", LONG_S, **about)
                    self._lengths[split] = np.frombuffer(told, "<i4")
            except LOST as error:
                patience.pause(self.source.source, error)
        return self._lengths[split]

    def batches(self, asked: dict[str, Any] | Ticket) -> Iterator[pa.RecordBatch]:
        """Return the record batches of a ticket, one a batch of the epoch; it has no rows where the rank gets
        none of it.
        """
        ticket = asked if isinstance(asked, Ticket) else read_ticket(asked)
        count = -(-self.count(ticket.split) // ticket.batch_size)
        whole = ticket._replace(
            dataset=ticket.dataset or self.source.dataset,
            digest=ticket.digest or self.digest,
            stop=count if ticket.stop is None else min(ticket.stop, count),
        )
        keep_freed_memory()
        return prefetched(self._stream(whole), self._prefetch)

    def _stream(self, ticket: Ticket) -> Generator[pa.RecordBatch, None, None]:
        patience, turn = Patience(self._wait_s), ticket.rank * ticket.every + ticket.start % ticket.every
        while ticket.start < (ticket.stop or 0):
            stream = None
            try:
                with refusals(self.source.source):
                    stream = self._connect(patience, turn).get(ticket._asdict())
                    for chunk in stream:
                        yield chunk.data
                        ticket = ticket._replace(start=ticket.start + ticket.every)
                        patience.renew()
                    if ticket.start < (ticket.stop or 0):
                        raise flight.FlightCancelledError("the stream ended too early")
            except LOST as error:
                if ticket.start < (ticket.stop or 0):
                    self._log(f"{self.source.source}: lost before batch {ticket.start}: {plain(error)}")
                    patience.pause(self.source.source, error)
                    turn += 1
            finally:
                if stream is not None:
                    stream.cancel()

    def _connect(self, patience: Patience, turn: int = 0) -> Connection:
        """Return a connection to a server that has the data that this reader began with."""
        connection, told = self.source.connect(patience, turn)
        if told["digest"] != self.digest:
            raise ServerError(
                f"{self.source.source}: the data set {told['dataset']} was changed: its dataset.json has "
                f"SHA-256 {told['digest'][:12]}…, wanted {self.digest[:12]}…; bring the old one back, or "
                "train anew"
            )
        return connection
