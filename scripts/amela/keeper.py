"""The keeper of a shard: feeds the workers, writes results, errors and heartbeats, and outlives what dies.

A batch that raises, or whose worker dies, is done again record by record: the culprit gets an error line, the
others their results. A batch that runs out of memory is halved first.
"""

from __future__ import annotations

import argparse
import math
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import wait
from typing import Any, NamedTuple

from amela import beats, workers
from amela.beats import RUNNING, write_beat
from amela.errors import BAD_CALL, BUG, OK, STOPPED, TOO_MANY_ERRORS, StoppedError
from amela.log import error, log, printable
from amela.manifest import Record
from amela.progress import Progress
from amela.results import ResultsWriter
from amela.signals import Stop
from amela.spool import Item, Spool
from amela.workers import Answer, Load, Process, Worker

# Deaths of a worker alone with a record until that record is the culprit. Others can kill a worker too (a
# person, the out-of-memory killer), so a kill convicts only when it happens again and again; a crash of its
# own counts double.
CONVICTING = 4
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
LOADS_THAT_MAY_DIE = 3
JUDGED_FROM = 20  # records tried before the error rate means anything; of fewer, the merge judges the whole
SURE = 2.0  # standard errors by which the rate must exceed the budget before the end
POLL_S = 0.25
BATCH_AUDIO_S = (
    3600.0  # a batch ends here at the latest: it must be done between a warning and the time limit
)


class Attempt(NamedTuple):
    """One try of a task at its shard."""

    name: str  # <job>-<restart>-<host>-<pid>, no two alike
    beat: (
        Record  # what stays the same in its heartbeats: job, task, deal, shard, num_shards, restart, started
    )
    beat_path: str


class Keeper:
    """Runs one attempt; `run` returns its exit status."""

    def __init__(
        self,
        args: argparse.Namespace,
        load: Load,
        process: Process,
        fields: dict[str, str],
        spool: Spool,
        writer: ResultsWriter,
        attempt: Attempt,
        progress: Progress,
        stop: Stop,
    ) -> None:
        self.args, self.load, self.process, self.fields = args, load, process, fields
        self.writer, self.attempt, self.progress, self.stop = writer, attempt, progress, stop
        self.left = len(spool)
        self.again: deque[list[Item]] = deque()  # batches to do again, smaller
        self.fresh = _batches(spool.items(), args.batch_size)
        self.workers: list[Worker] = []
        self.deaths: dict[str, int] = {}
        self.load_deaths = 0
        self.tried_first = self.failed_first = 0  # records that no attempt before had failed on
        self.status = OK
        self._beaten = -math.inf

    def run(self) -> int:
        """Do the shard; return 0, or the status that ended it early. Whatever happens, lines written stay."""
        self.beat(RUNNING)
        try:
            self._loop()
        except StoppedError as exc:
            error(str(exc))
            self.status = STOPPED
        finally:
            for worker in self.workers:
                worker.end()
        if self.stop and self.status == OK and self.left:
            self.status = STOPPED
        self.conclude()
        return self.status

    def conclude(self) -> None:
        """Judge the whole attempt, and take its errors back where so much failed that it is not the data."""
        self._judge(at_end=True)
        if self.status == TOO_MANY_ERRORS:
            text = f"{self.failed_first} of {self.tried_first} records failed, more than --max-error-rate "
            text += str(self.args.max_error_rate)
            self.writer.void_errors(text)  # the last line of the file
            error(f"{text}: their errors do not count; mend the environment and give the same command again")
        self.progress.finish()

    def _loop(self) -> None:
        while self.status == OK:
            if self.stop:
                self.workers = [worker for worker in self.workers if worker.batch or self._dismiss(worker)]
                if not self.workers or self.stop.patience_is_over():
                    return
            elif not self._feed():
                return
            self.beat(RUNNING)
            self._listen()
            self.progress.show()

    def _dismiss(self, worker: Worker) -> bool:
        worker.end()
        return False

    def _feed(self) -> bool:
        """Start workers and give idle ones a batch; False where nothing is left to do."""
        wanted = min(self.args.workers, self.left)
        while len(self.workers) < wanted:
            self.workers.append(Worker(self.load, self.process, self.args, self.fields))
        for worker in self.workers:
            if worker.ready and not worker.batch:
                batch = self.again.popleft() if self.again else next(self.fresh, [])
                if batch:
                    worker.give(batch)
        return self.left > 0

    def _listen(self) -> None:
        """Take the answers that workers have, for at most a moment."""
        by_connection = {worker.connection: worker for worker in self.workers}
        for connection in wait(list(by_connection), timeout=POLL_S):
            worker = by_connection[connection]  # type: ignore[index]
            said = worker.take()
            if said is None:
                self._bury(worker)
            elif said.kind == workers.READY:
                worker.ready, self.load_deaths = True, 0
            elif not worker.ready:
                self._load_failed(said)
            else:
                self._sort(worker, said)

    def _load_failed(self, said: Answer) -> None:
        error(f"loading failed: {said.text}" if said.kind != workers.BAD_CALL else said.text)
        self.status = {workers.BAD_CALL: BAD_CALL, workers.BROKEN: STOPPED}.get(said.kind, BUG)

    def _sort(self, worker: Worker, said: Answer) -> None:
        """Write what came back of a batch, or put it up again in smaller parts."""
        batch, worker.batch = worker.batch, []
        if said.kind == workers.DONE:
            for item, outcome in zip(batch, said.outcomes):
                self.record(item, outcome)
            self.writer.sync()
            self._judge(at_end=False)
        elif said.kind == workers.BAD_CALL:
            error(said.text)
            self.status = BAD_CALL
        elif said.kind == workers.MUST_STOP:
            raise StoppedError(said.text)
        elif said.kind == workers.BROKEN:
            self._lose(worker, batch, f"the device broke: {said.text}", weight=2)
        elif len(batch) == 1:
            self.record(batch[0], _error("OutOfMemoryError", said.text))
        elif said.kind == workers.NO_MEMORY:
            half = len(batch) // 2
            log(f"out of memory with {len(batch)} records: trying {half}")
            self.again.extendleft([batch[half:], batch[:half]])
        else:
            log(f"a batch of {len(batch)} failed ({said.text}): trying its records one by one")
            self.again.extendleft([item] for item in reversed(batch))

    def _bury(self, worker: Worker) -> None:
        """Replace a worker that died."""
        cause = worker.cause_of_death()
        if not worker.ready:
            self.load_deaths += 1
            if self.load_deaths >= LOADS_THAT_MAY_DIE:
                raise StoppedError(
                    f"{cause} while loading, {self.load_deaths} times in a row: more memory "
                    "(`--mem`), or another node, then the same command"
                )
        self._lose(worker, worker.batch, cause, 2 if -(worker.child.exitcode or 0) in CRASHES else 1)

    def _lose(self, worker: Worker, batch: list[Item], cause: str, weight: int) -> None:
        """Put the batch of a lost worker up again, one by one; a record that was alone too often is the
        culprit.
        """
        worker.end()
        self.workers.remove(worker)
        if self.stop or not batch:
            return
        if len(batch) > 1:
            log(f"{cause}, with a batch of {len(batch)}: trying its records one by one")
            self.again.extendleft([item] for item in reversed(batch))
            return
        item = batch[0]
        self.deaths[item.key] = self.deaths.get(item.key, 0) + weight
        if self.deaths[item.key] >= CONVICTING:
            self.record(item, _error("WorkerDied", cause))
        else:
            log(f"{cause}, alone with {printable(item.key)}: trying it again")
            self.again.appendleft(batch)

    def record(self, item: Item, outcome: dict[str, Any]) -> None:
        """Write one record's line and count it."""
        failed = "error" in outcome
        if failed:
            if self.stop:
                return  # a machine that is being taken away says nothing about the data
            outcome["error"].update(attempt=self.attempt.name, host=socket.gethostname())
            self.progress.clear()
            error(f"{printable(item.key)}: {outcome['error']['class']}: {outcome['error']['message']}")
        self.writer.write(item.line, item.key, outcome)
        self.left -= 1
        audio_s = item.duration_s or float(
            outcome.get("fields", {}).get("duration") or 0
        )  # where VAD found it out
        self.progress.count(audio_s, failed)
        if not item.failed_before:
            self.tried_first += 1
            self.failed_first += failed

    def _judge(self, at_end: bool) -> None:
        """Stop where so much fails that the environment must be broken, not the data: see `conclude`."""
        failed, tried = self.failed_first, self.tried_first
        if self.status != OK or tried < JUDGED_FROM:
            return
        rate, budget = failed / tried, self.args.max_error_rate
        margin = 0.0 if at_end else SURE * math.sqrt(budget * (1 - budget) / tried)
        if rate > budget + margin:
            self.status = TOO_MANY_ERRORS

    def beat(self, state: str) -> None:
        """Write a heartbeat, while running at most every 30 s."""
        if state == RUNNING and time.monotonic() - self._beaten < beats.BEAT_S:
            return
        self._beaten = time.monotonic()
        progress = self.progress
        busy = [worker.batch[0].key for worker in self.workers if worker.batch][:4]
        write_beat(
            self.attempt.beat_path,
            {
                **self.attempt.beat,
                "state": state,
                "status": self.status if state != RUNNING else None,
                "signal": self.stop.signal,
                "total": progress.total,
                "done": progress.done,
                "failed": progress.failed,
                "audio_s": round(progress.audio_s, 3),
                "total_audio_s": round(progress.total_audio_s, 3),
                "x_real_time": round(progress.x_real_time(), 2),
                "eta_s": progress.eta_s(),
                "in_flight": busy,
            },
        )


def _error(name: str, message: str) -> dict[str, Any]:
    return {"error": {"class": name, "message": message}}


def _batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size or sum(one.duration_s for one in batch) >= BATCH_AUDIO_S:
            yield batch
            batch = []
    if batch:
        yield batch
