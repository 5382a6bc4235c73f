"""What a reader is asked for: which batches of which split, in which order. A ticket is plain JSON, and the
reply a pure function of it, so an epoch goes on in its middle by the same ticket with `start` moved on.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from media.dataset import DatasetError


class TicketError(DatasetError):
    """A ticket that cannot be answered; the message says what was found and what was wanted."""


class Ticket(NamedTuple):
    """Batches `start`, `start + every`, … below `stop` of an epoch, and of each the share of a rank."""

    split: str
    dataset: str | None = None  # may be left out where a server has only one
    columns: tuple[str, ...] | None = None  # None: all
    seed: int | None = None  # None: the rows in stored order
    epoch: int = 0
    batch_size: int = 32  # rows of a batch of all ranks together
    by_length: bool = True  # rows of like length stand in one batch
    rank: int = 0
    world: int = 1
    start: int = 0  # counts batches of all ranks
    stop: int | None = None  # None: to the end of the epoch
    every: int = 1
    digest: str | None = None  # SHA-256 of dataset.json, so that nobody goes on with other data


NUMBERS = {"seed": 0, "epoch": 0, "batch_size": 1, "rank": 0, "world": 1, "start": 0, "stop": 0, "every": 1}
OPTIONAL = ("seed", "stop", "dataset", "digest")


def read_ticket(asked: dict[str, Any] | str | bytes) -> Ticket:
    """Return a ticket from its JSON or dict; TicketError says what is wrong with it."""
    if isinstance(asked, (str, bytes)):
        try:
            asked = json.loads(asked)
        except ValueError as error:
            raise TicketError(f"ticket {asked[:80]!r}: {error}; wanted JSON") from error
    if not isinstance(asked, dict):
        raise TicketError(f'ticket {str(asked)[:80]!r}: wanted an object such as {{"split": "train"}}')
    unknown = sorted(set(asked) - set(Ticket._fields))
    if unknown:
        raise TicketError(f"ticket: found {unknown[0]!r}, wanted some of {', '.join(Ticket._fields)}")
    for name, value in asked.items():
        if value is not None or name not in (*OPTIONAL, "columns"):
            _check(name, value)
    if "split" not in asked:
        raise TicketError("ticket: no split; wanted train, valid or test")
    ticket = Ticket(**asked)
    if ticket.rank >= ticket.world:
        raise TicketError(f"ticket: rank {ticket.rank} of {ticket.world}; wanted 0 to {ticket.world - 1}")
    return ticket._replace(columns=None if ticket.columns is None else tuple(ticket.columns))


def _check(name: str, value: Any) -> None:
    if name in NUMBERS:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= NUMBERS[name]
        wanted = f"an integer of at least {NUMBERS[name]}"
    elif name == "by_length":
        good, wanted = isinstance(value, bool), "true or false"
    elif name == "columns":
        names = value if isinstance(value, (list, tuple)) else [None]
        good = all(isinstance(column, str) for column in names) and len(set(names)) == len(names) > 0
        wanted = "a list of names of columns, each once"
    else:
        good, wanted = isinstance(value, str), "a text"
    if not good:
        raise TicketError(f"ticket: {name} is {value!r}; wanted {wanted}")


def rows_in(dataset: dict[str, Any], split: str, where: str) -> int:
    """Return the rows of a split; TicketError where the data set (its dataset.json) has no such split."""
    if split not in dataset["splits"]:
        known = ", ".join(dataset["splits"])
        raise TicketError(f"{where}: no split {split!r}; wanted one of {known}")
    return int(dataset["splits"][split]["rows"])
