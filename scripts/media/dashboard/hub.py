"""The hub: follows runs and stages by the files they leave, and brings every open page up to date."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Callable

from media.dashboard.columns import Columns
from media.dashboard.viewer import Viewer, dumps

READ_S = 1.0  # between looks at runs that are being written
SCAN_S = 5.0  # between looks for new runs, at all others, and at stages
QUIET_S = 60.0  # a file that has not grown for so long is looked at less often
FILES = ("metrics", "speed")  # .jsonl, of a run


class Run:
    """A run folder as it is followed: the files of metrics, and what is told of it besides."""

    def __init__(self, path: str, tail: Callable[[Path], Any]) -> None:
        self.path, self.facts = path, {"state": "missing", "changed": 0}
        self.tails = {name: tail(Path(path) / f"{name}.jsonl") for name in FILES}
        self.columns = {name: Columns() for name in self.tails}
        self.reading = asyncio.Lock()

    async def read(self) -> None:
        """Take in what was appended to its files; the reading is done beside the event loop."""
        async with self.reading:
            for name, tail in self.tails.items():
                more = True
                while more:
                    news = await asyncio.to_thread(tail.read)
                    if news.cut:
                        self.columns[name].clear()
                    self.columns[name].add(news.marks, news.rows)
                    more = news.more

    def is_quiet(self) -> bool:
        """Tell whether nothing is to be expected of it soon."""
        return self.facts["state"] != "running" and time.time() - self.facts["changed"] > QUIET_S

    def best(self) -> dict[str, Any]:
        """Return best_loss, best_step and step, as grid_runs.py has them."""
        loss, step = self.columns["metrics"].lowest("valid_loss")
        return {"best_loss": loss, "best_step": step, "step": self.columns["metrics"].last("step")}

    def told(self) -> dict[str, Any]:
        """Return the message about it."""
        metrics, speed = self.columns["metrics"], self.columns["speed"]
        latest = {name: metrics.last(name) for name in ("epoch", "tokens", "loss", "accuracy", "valid_loss")}
        return {"type": "run", "run": self.path, **self.facts, **self.best(), **latest,
                "tokens_per_s": speed.last("tokens_per_s"), "data_wait": speed.last("data_wait"),
                "steps_per_epoch": metrics.steps_per_epoch}  # fmt: skip


class Hub:
    """Follows the runs and stages of some folders, and brings every open page up to date.

    What it looks with is given: `find_runs()` returns facts by path, `find_others(known)` grids and stages,
    `tail(path)` follows a file (amela/watching.py, amela/run_tail.py). They wait for the disk, so they run in
    threads.
    """

    def __init__(
        self,
        folders: list[str],
        find_runs: Callable[[], dict[str, dict[str, Any]]],
        find_others: Callable[[dict[str, Any]], tuple[list[Any], list[Any]]],
        tail: Callable[[Path], Any],
    ) -> None:
        self.folders = folders
        self.find_runs, self.find_others, self.tail = find_runs, find_others, tail
        self.runs: dict[str, Run] = {}
        self.subjects: dict[str, str] = {}  # the message about each run, and of stages, grids and the hub
        self.pages: set[asyncio.Event] = set()  # set when there may be news

    async def scan(self) -> None:
        """Look for runs, grids and stages, again and again."""
        while True:
            found = await asyncio.to_thread(self.find_runs)
            for path in [path for path in self.runs if path not in found]:
                del self.runs[path], self.subjects[path]
            for path, facts in found.items():
                run = self.runs.get(path) or Run(path, self.tail)
                run.facts = facts
                if path not in self.runs or run.is_quiet():
                    await run.read()
                self.runs[path] = run
                self.tell(path, run.told())
                self.tell_itself(len(found))
            self.tell_itself(len(found))
            known = {path: run.best() for path, run in self.runs.items()}
            grids, stages = await asyncio.to_thread(self.find_others, known)
            self.tell("grids", {"type": "grids", "grids": grids})
            self.tell("stages", {"type": "stages", "stages": stages})
            await asyncio.sleep(SCAN_S)

    async def follow(self) -> None:
        """Read what the runs that are at work append, again and again."""
        while True:
            for path, run in list(self.runs.items()):
                if not run.is_quiet():
                    await run.read()
                    if path in self.runs:
                        self.tell(path, run.told())
            await asyncio.sleep(READ_S)

    def tell_itself(self, found: int) -> None:
        """Have the message about the hub: where it looks, how many of the runs found it has read.

        It is the last of all, so that a page that gets it knows the runs that were there.
        """
        self.subjects.pop("hub", None)
        self.tell("hub", {"type": "hub", "folders": self.folders, "runs": len(self.runs), "found": found})

    def tell(self, subject: str, message: dict[str, Any]) -> None:
        """Have a message about a subject for all pages, in the place of the one before."""
        self.subjects[subject] = dumps(message)
        for page in self.pages:
            page.set()

    async def serve_page(self, connection: Any) -> None:
        """Bring one page up to date until it goes away; a slow one delays nobody else."""
        from websockets.exceptions import ConnectionClosed

        viewer, news = Viewer(), asyncio.Event()
        self.pages.add(news)
        listener = asyncio.create_task(self._listen(connection, viewer, news))
        try:
            while not listener.done():
                news.clear()
                files = {path: run.columns for path, run in self.runs.items()}
                for text in viewer.news(self.subjects, files):
                    await connection.send(text)
                await news.wait()
        except ConnectionClosed:
            pass
        finally:
            self.pages.discard(news)
            listener.cancel()

    async def _listen(self, connection: Any, viewer: Any, news: asyncio.Event) -> None:
        try:
            async for text in connection:
                viewer.watch(json.loads(text), {path: run.columns for path, run in self.runs.items()})
                news.set()
        except (ValueError, RecursionError) as exc:
            await connection.close(1008, str(exc)[:120])
        finally:
            news.set()
