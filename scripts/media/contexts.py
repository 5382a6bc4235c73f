"""The sentences around a sentence: its context, within one recording or text (dialogue, story)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, islice
from typing import Any, Callable

PIECE = 4096  # records of a recording that are in memory at once, and put in order of time

Record = dict[str, Any]
Window = tuple[Record, list[str], list[str]]


def windows(
    records: Iterable[Record], size: int, text_of: Callable[[Record], str | None]
) -> Iterator[Window]:
    """Yield (record, previous, following) of each record, in the order given.

    `previous` and `following` are up to `size` sentences said before and after it in the same recording, in
    the order of time, the record's own left out. Records of a recording have to stand together, as sources
    and `explode` write them; among themselves they may stand in any order (within PIECE). A record whose
    `text_of` is None or blank is yielded too, and is nobody's context.
    """
    for _, group in groupby(records, key=recording_of):
        yield from _of_one(group, size, text_of)


def recording_of(record: Record) -> Any:
    """Return what the records of one recording or text share; a record of nothing else stands alone."""
    for field in ("parent_filepath", "text_filepath", "audio_filepath", "parent"):
        if record.get(field) is not None:
            return record[field]
    return record.get("id")


def _of_one(group: Iterator[Record], size: int, text_of: Callable[[Record], str | None]) -> Iterator[Window]:
    first, second = next(group), next(group, None)
    if second is None:  # the usual case where each file is an utterance
        yield first, [], []
        return
    group = chain((first, second), group)
    said: list[str] = []  # of the recording so far, in the order of time; the first `gone` dropped again
    gone = 0
    waiting: deque[tuple[Record, int, int]] = deque()  # a record, the sentences before it, and with it
    while piece := list(islice(group, PIECE)):
        placed = {}
        for place in sorted(range(len(piece)), key=lambda place: _position(piece[place])):
            before = gone + len(said)
            said += [text for text in ((text_of(piece[place]) or "").strip(),) if text]
            placed[place] = (before, gone + len(said))
        waiting.extend((record, *placed[place]) for place, record in enumerate(piece))
        while waiting and waiting[0][2] + size <= gone + len(said):
            yield _window(*waiting.popleft(), said, gone, size)
        first = min((before for _, before, _ in waiting), default=gone + len(said)) - size
        del said[: max(0, first - gone)]
        gone = max(gone, first)
    while waiting:
        yield _window(*waiting.popleft(), said, gone, size)


def _position(record: Record) -> float:
    """Return where a record stands in its recording, in s or sentences; 0 where nothing says so."""
    for field in ("offset", "start_s", "sentence"):
        value = record.get(field)
        if isinstance(value, (int, float)):
            return value
    return 0.0


def _window(record: Record, before: int, after: int, said: list[str], gone: int, size: int) -> Window:
    here, there = before - gone, after - gone
    return record, said[max(0, here - size) : here], said[there : there + size]
