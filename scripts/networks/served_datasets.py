"""The data sets below a folder, by name, as a server has them; one that was changed is read anew."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Callable

from media.dataset import DATASET, DatasetError
from media.dataset_reader import DirectReader
from media.tickets import TicketError
from networks import sampler


class ServedDatasets:
    """The folder itself where it is a data set, else the folders in it that are; DatasetError where there is
    none.
    """

    def __init__(
        self, folder: str, cache: str | None, cache_gb: float | None, log: Callable[[str], None]
    ) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._settings = (sampler.batches, sampler.share, cache, cache_gb, log)
        self._readers: dict[str, tuple[tuple[int, int, int], DirectReader]] = {}
        self._lock = threading.Lock()
        if not self.names():
            raise DatasetError(
                f"{self.folder}: neither it nor a folder in it has a {DATASET}; wanted what build_parquet.py "
                "makes"
            )
        for name in self.names():
            self.get(name)

    def names(self) -> list[str]:
        """Return the names of the data sets that are there now, sorted."""
        if (self.folder / DATASET).exists():
            return [self.folder.name]
        return sorted(path.parent.name for path in self.folder.glob(f"*/{DATASET}"))

    def get(self, name: str | None) -> tuple[str, DirectReader]:
        """Return the name and reader of a data set, of the only one where None; TicketError where there is no
        such one.
        """
        names = self.names()
        if name is None and len(names) == 1:
            name = names[0]
        if name not in names:
            raise TicketError(f"{self.folder}: no data set {name!r}; wanted one of {', '.join(names)}")
        folder = self.folder if (self.folder / DATASET).exists() else self.folder / name
        with self._lock:
            found = (folder / DATASET).stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if self._readers.get(name, (None,))[0] != state:
                self._readers[name] = (state, DirectReader(str(folder), *self._settings))
            return name, self._readers[name][1]
