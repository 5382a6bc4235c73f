"""A multimodal data set for PyTorch, from its folder or from a Flight server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from multiprocessing import current_process
from multiprocessing.context import ForkProcess
from typing import Any, Callable

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from media.dataset_reader import DirectReader
from media.tickets import Ticket, TicketError, read_ticket
from networks import sampler
from networks.flight_address import SCHEMES
from networks.flight_reader import FlightReader


def open_reader(
    source: str,
    token_file: str | None = None,
    wait_s: float = 60.0,
    dataset: str | None = None,
    tls_root: str | None = None,
    log: Callable[[str], None] = print,
) -> DirectReader | FlightReader:
    """Return the reader of a folder, of an address file (waited for), or of grpc://host:port.

    Both have .dataset, .digest, .count(split), .lengths(split) and .batches(ticket). `dataset` names one of
    several that a server has. DatasetError (of which TicketError and ServerError are kinds) where there is
    none.
    """
    if os.path.isdir(source) or (not source.startswith(SCHEMES) and not source.endswith(".json")):
        return DirectReader(source, sampler.batches, sampler.share, log=log)
    return FlightReader(source, dataset, token_file, tls_root, wait_s, log=log)


class ArrowFlightDataset(IterableDataset):
    """The batches of a ticket, in its order, also through the workers of a DataLoader.

    `ticket` is that of the rank: {"split", "columns", "seed", "epoch", "batch_size", "rank", "world",
    "start"}.
    `collate` makes an item of a record batch (default: the batch itself).
    """

    def __init__(
        self,
        reader: DirectReader | FlightReader,
        ticket: dict[str, Any],
        collate: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__()
        self.reader, self.collate = reader, collate
        self.ticket: Ticket = read_ticket(ticket)

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch, at its first batch."""
        self.ticket = self.ticket._replace(epoch=epoch, start=0)

    def __len__(self) -> int:
        """Return the batches that are left of the epoch."""
        return max(0, -(-self.reader.count(self.ticket.split) // self.ticket.batch_size) - self.ticket.start)

    def __iter__(self) -> Iterator[Any]:
        """Yield the items that are left of the epoch; worker j of k every k-th from the j-th on, so that a
        DataLoader, which takes from its workers in turn, has them in order.
        """
        worker = get_worker_info()
        if worker is not None:
            if isinstance(current_process(), ForkProcess) and isinstance(self.reader, FlightReader):
                raise RuntimeError(
                    "a DataLoader's worker was forked, and gRPC does not outlive that; wanted "
                    'dataset.loader(K), or DataLoader(…, multiprocessing_context="spawn")'
                )
            first = self.ticket.start + worker.id
            yield from self._items(self.ticket._replace(start=first, every=worker.num_workers))
            return
        for item in self._items(self.ticket):
            self.ticket = self.ticket._replace(start=self.ticket.start + 1)
            yield item

    def loader(self, workers: int = 0) -> Iterator[Any]:
        """Yield the items that are left of the epoch, made by so many worker processes; `state_dict` knows
        how many were taken. Workers are spawned: gRPC does not outlive a fork.
        """
        if not workers:
            yield from self
            return
        for item in DataLoader(self, None, num_workers=workers, multiprocessing_context="spawn"):
            self.ticket = self.ticket._replace(start=self.ticket.start + 1)
            yield item

    def state_dict(self) -> dict[str, Any]:
        """Return where the epoch is: {"epoch", "start", "seed", "batch_size", "digest"}; the same for every
        rank, and for any number of ranks and workers.
        """
        ticket = self.ticket
        place = {
            name: getattr(ticket, name)
            for name in ("split", "seed", "batch_size", "by_length", "epoch", "start")
        }
        return {**place, "digest": self.reader.digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was; TicketError where the order would be another one."""
        mine = {**self.state_dict(), "epoch": state["epoch"], "start": state["start"]}
        for name, value in mine.items():
            if state[name] != value:
                raise TicketError(
                    f"{name} was {state[name]!r} and is {value!r}: that is another order of rows"
                )
        self.ticket = self.ticket._replace(epoch=state["epoch"], start=state["start"])

    def _items(self, ticket: Ticket) -> Iterator[Any]:
        for batch in self.reader.batches(ticket):
            yield batch if self.collate is None else self.collate(batch)
