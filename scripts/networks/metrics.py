"""What a run leaves behind a line at a time: metrics.jsonl, which data and settings alone decide, and
speed.jsonl.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Callable

METRICS, SPEED = "metrics.jsonl", "speed.jsonl"


class Metrics:
    """Appends lines to metrics.jsonl; a resumed run cuts the file to what its checkpoint knows of.

    So the bytes of a run that was killed and went on are those of one that was not.
    """

    def __init__(self, folder: str, size: int, also: Callable[[dict[str, Any]], None]) -> None:
        self.path = os.path.join(folder, METRICS)
        self.speed_path = os.path.join(folder, SPEED)
        self.also = also
        with open(self.path, "ab") as file:
            file.truncate(min(size, file.tell()))

    def write(self, **values: Any) -> None:
        """Append a line; numbers as they are, null for none."""
        with open(self.path, "a", encoding="utf-8") as file:
            print(json.dumps(values), file=file)
        self.also(values)

    def write_speed(self, **values: Any) -> None:
        """Append a line to speed.jsonl, with the time of day; it differs from run to run."""
        with open(self.speed_path, "a", encoding="utf-8") as file:
            print(json.dumps({"time": round(time.time(), 3), **values}), file=file)

    def size(self) -> int:
        """Return the bytes written, on the disk by then."""
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size
