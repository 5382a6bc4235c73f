"""Items made ahead on a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
LOOK_S = 0.1  # how soon the thread notices that nobody reads on


def prefetched(items: Generator[T, None, None], depth: int) -> Iterator[T]:
    """Yield items in their order, up to `depth` of them made ahead; what making them raises is raised here.
    Where the reader leaves early, `items` is closed too.
    """
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    over = threading.Event()

    def put(item: Any, error: BaseException | None) -> None:
        while not over.is_set():
            try:
                return ready.put((item, error), timeout=LOOK_S)
            except queue.Full:
                pass
        return None

    def work() -> None:
        try:
            for item in items:
                put(item, None)
                if over.is_set():
                    break
            items.close()
            put(None, StopIteration())
        except BaseException as error:
            put(None, error)

    threading.Thread(target=work, name="prefetch", daemon=True).start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        over.set()
