"""The batches that a ticket asks for, read from the folder of a multimodal data set."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from media.arrow_cache import Cache, default_folder
from media.dataset import DATASET, DatasetError, read_dataset
from media.parquet_part import read_part
from media.split_rows import SplitRows
from media.tickets import Ticket, TicketError, read_ticket, rows_in

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Order = Callable[..., "list[np.ndarray]"]
Share = Callable[..., "np.ndarray"]
PLANS = 4  # orders of epochs that are kept: of some trainers, or of the splits of one


class DirectReader:
    """Reads a data set from its folder; several threads may ask at once.

    `order` and `share` are `batches` and `share` of networks.sampler. Parts are decoded once into the folder
    `cache`, an Arrow IPC file each, at most `cache_gb` (10^9 bytes) of them; `log` hears what has no room.
    """

    def __init__(
        self,
        folder: str,
        order: Order,
        share: Share,
        cache: str | None = None,
        cache_gb: float | None = None,
        log: Callable[[str], None] = print,
    ) -> None:
        self.digest = digest_of(folder)
        self.dataset = read_dataset(folder).content()
        self.folder = Path(folder)
        self._order, self._share = order, share
        limit = None if cache_gb is None else int(cache_gb * 1e9)
        self._cache = Cache(Path(cache) if cache else default_folder(self.folder), limit, log)
        self._rows: dict[str, SplitRows] = {}
        self._plans: dict[Any, list[np.ndarray]] = {}
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs to read the same: files are opened there."""
        return {**self.__dict__, "_rows": {}, "_plans": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the state of a reader of another process."""
        self.__dict__.update(state, _lock=threading.RLock())

    def count(self, split: str) -> int:
        """Return the rows of a split; TicketError where there is no such split."""
        return rows_in(self.dataset, split, self.folder)

    def lengths(self, split: str) -> np.ndarray:
        """Return (rows,) int32: the frames of each row, of one without audio its tokens."""
        return self.rows(split).lengths()

    def batches(self, asked: dict[str, Any] | Ticket) -> Iterator[pa.RecordBatch]:
        """Return the record batches of a ticket, one a batch of the epoch; it has no rows where the rank gets
        none of it. TicketError and DatasetError are raised before the first.
        """
        ticket = asked if isinstance(asked, Ticket) else read_ticket(asked)
        self.check(ticket)
        schema, rows = self.schema(ticket), self.rows(ticket.split)
        rows.prepare(self._cache)
        return self._stream(ticket, rows, schema)

    def check(self, ticket: Ticket) -> None:
        """Raise TicketError where a ticket is for another state of the data set."""
        if ticket.digest is not None and ticket.digest != self.digest:
            raise TicketError(
                f"{self.folder}: the data set was changed: its dataset.json has SHA-256 "
                f"{self.digest[:12]}…, wanted {ticket.digest[:12]}…; bring the old one back, or train anew"
            )

    def schema(self, ticket: Ticket) -> pa.Schema:
        """Return the columns that a ticket asks for; TicketError where there is no such column."""
        import pyarrow as pa

        whole = self.rows(ticket.split).schema
        if ticket.columns is None:
            return whole
        for name in ticket.columns:
            if name not in whole.names:
                raise TicketError(
                    f"{self.folder}: no column {name!r}; wanted some of {', '.join(whole.names)}"
                )
        return pa.schema([whole.field(name) for name in ticket.columns])

    def rows(self, split: str) -> SplitRows:
        """Return the rows of a split, its parts checked."""
        self.count(split)
        with self._lock:
            if split not in self._rows:
                splits = self.dataset["splits"]
                parts = [read_part(self.folder, facts) for facts in splits[split]["parts"]]
                some = parts or [
                    read_part(self.folder, facts) for other in splits.values() for facts in other["parts"][:1]
                ]
                if not some:
                    raise DatasetError(f"{self.folder}: no split has a row; wanted records to train on")
                self._rows[split] = SplitRows(parts, some[0].schema)
            return self._rows[split]

    def plan(self, ticket: Ticket) -> list[np.ndarray]:
        """Return the rows of each batch of an epoch, of all ranks."""
        import numpy as np

        key = (ticket.split, ticket.seed, ticket.epoch, ticket.batch_size, ticket.by_length)
        with self._lock:
            plan = self._plans.get(key)
            if plan is None:
                lengths, size = self.lengths(ticket.split), ticket.batch_size
                if ticket.seed is None:
                    plan = [
                        np.arange(at, min(at + size, len(lengths))) for at in range(0, len(lengths), size)
                    ]
                else:
                    plan = self._order(lengths, ticket.seed, ticket.epoch, size, by_length=ticket.by_length)
                self._plans = {**dict(list(self._plans.items())[1 - PLANS :]), key: plan}
            return plan

    def _stream(self, ticket: Ticket, rows: SplitRows, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        import numpy as np

        plan, lengths = self.plan(ticket), rows.lengths()
        for batch in plan[ticket.start : ticket.stop : ticket.every]:
            mine = self._share(batch, lengths, ticket.rank, ticket.world)
            yield rows.gather(np.sort(mine) if ticket.seed is None else mine, schema)


def digest_of(folder: str) -> str:
    """Return the SHA-256 of dataset.json, which has those of all parts; DatasetError where there is none."""
    try:
        with open(os.path.join(folder, DATASET), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        read_dataset(folder)  # says what is wrong
        raise
