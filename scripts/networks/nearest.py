"""The K nearest of many vectors by cosine, exactly, in blocks: the same for any batch, block or device.

Products in float32 choose K + SPARE candidates of each vector; their cosines are then taken again in float64
and rounded to six decimals, ties in the order of the rows. Where rounding of float32 could have hidden a
nearer one (many that are alike), the whole row is done in float64.
"""

from __future__ import annotations

import numpy as np
import torch

SPARE = 16  # candidates beyond K
QUERIES = 512  # vectors that ask at once
COLUMNS = 2048  # vectors that are compared with at once: their products stay in the cache
DEVICE_QUERIES, DEVICE_COLUMNS = 4096, 65536  # the same on a GPU
CHUNK = 16  # products of which only the largest is looked at, unless it is a candidate
FEW = 1024  # so many are compared in float64 at once
DECIMALS = 6
UNIT_ROUNDOFF = 2.0**-24  # of float32


def standardise(vectors: np.ndarray, rows: np.ndarray) -> None:
    """Give each dimension of the rows mean 0 and variance 1, in place; a constant one becomes 0."""
    count = max(1, len(rows))
    mean = sum((block.sum(0, dtype=np.float64) for _, block in _blocks(vectors, rows))) / count
    spread = sum((np.square(block - mean).sum(0) for _, block in _blocks(vectors, rows))) / count
    scale = np.where(spread > 1e-12, 1 / np.sqrt(np.maximum(spread, 1e-12)), 0.0)
    for at, block in _blocks(vectors, rows):
        vectors[at] = (block - mean) * scale


def normalise(vectors: np.ndarray, rows: np.ndarray) -> None:
    """Give the rows length 1, in place; a row of zeros stays, and is 0 like any other."""
    for at, block in _blocks(vectors, rows):
        length = np.linalg.norm(block.astype(np.float64), axis=1, keepdims=True)
        vectors[at] = block / np.where(length > 0, length, 1.0)


def _blocks(vectors: np.ndarray, rows: np.ndarray):
    for first in range(0, len(rows), COLUMNS):
        at = rows[first : first + COLUMNS]
        yield at, vectors[at].astype(np.float64)


class Nearest:
    """Vectors (rows, width) float32 of length 1, of which neighbours are asked for."""

    def __init__(self, vectors: np.ndarray, device: torch.device) -> None:
        self.vectors, self.device = vectors, device
        on_cpu = device.type == "cpu"
        self.tile, self.columns = (QUERIES, COLUMNS) if on_cpu else (DEVICE_QUERIES, DEVICE_COLUMNS)
        self.slack = vectors.shape[1] * UNIT_ROUNDOFF + 0.5 * 10.0**-DECIMALS  # what a cosine may be off by
        self._scores = torch.empty(0, device=device)

    def of(
        self, queries: np.ndarray, among: np.ndarray, barred: list[np.ndarray], k: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return (rows, cosines) of the nearest of each query, the nearest first, at most k.

        Args:
            queries: rows that ask.
            among: rows that are compared with, ascending.
            barred: rows that each query must not find, itself too.
            k: neighbours.
        """
        if len(among) <= FEW:
            return [self._whole(query, among, bar, k) for query, bar in zip(queries, barred)]
        found = []
        for first in range(0, len(queries), self.tile):
            tile = slice(first, first + self.tile)
            found += self._tile(queries[tile], among, barred[tile], k)
        return found

    def _tile(
        self, queries: np.ndarray, among: np.ndarray, barred: list[np.ndarray], k: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        scores, at = self._candidates(queries, among, barred, k + SPARE)
        asking, candidates = self.vectors[queries], self.vectors[among[at]]
        exact = np.einsum("qd,qcd->qc", asking.astype(np.float64), candidates.astype(np.float64))
        exact[np.isneginf(scores)] = -np.inf
        rows, cosines = _best(among[at], exact, k)
        hidden = scores.min(1)  # no row that is no candidate is above this, by float32
        unsure = (cosines[:, -1] <= hidden + 2 * self.slack) & ~np.isneginf(hidden)
        found = []
        for number, query in enumerate(queries):
            if unsure[number]:
                found.append(self._whole(query, among, barred[number], k))
            else:
                there = ~np.isneginf(cosines[number])
                found.append((rows[number][there], cosines[number][there]))
        return found

    def _candidates(
        self, queries: np.ndarray, among: np.ndarray, barred: list[np.ndarray], wanted: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and places in `among` (queries, wanted) of the best by float32; -inf: too few."""
        size = self.columns
        if self._scores.shape != (len(queries), size):
            self._scores = torch.empty((len(queries), size), device=self.device)  # once: pages cost time
        asking, scores = self._take(queries), self._scores
        best = Best(len(queries), wanted, self.device)
        bars, who = _bars(among, barred)
        for first in range(0, len(among), size):
            block = self._take(among[first : first + size])
            if len(block) == size:
                torch.mm(asking, block.T, out=scores)
            else:
                scores[:, : len(block)] = asking @ block.T
                scores[:, len(block) :] = -torch.inf
            low, high = np.searchsorted(bars, [first, first + size])
            if high > low:
                barring = torch.from_numpy(who[low:high]), torch.from_numpy(bars[low:high] - first)
                scores[barring] = -torch.inf
            best.add(scores, first)
        return best.found()

    def _take(self, rows: np.ndarray) -> torch.Tensor:
        whole = rows[-1] - rows[0] == len(rows) - 1
        block = self.vectors[rows[0] : rows[-1] + 1] if whole else self.vectors[rows]
        return torch.from_numpy(np.ascontiguousarray(block)).to(self.device)

    def _whole(self, query: int, among: np.ndarray, bar: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest of one row, all in float64."""
        asking = self.vectors[query].astype(np.float64)
        parts = [among[first : first + COLUMNS] for first in range(0, len(among), COLUMNS)]
        cosines = np.concatenate([self.vectors[part].astype(np.float64) @ asking for part in parts])
        cosines[np.isin(among, bar)] = -np.inf
        near = np.arange(len(cosines))
        if len(cosines) > k:
            near = np.flatnonzero(cosines >= np.partition(cosines, -k)[-k] - 10.0**-DECIMALS)
        rows, cosines = _best(among[near][None], cosines[near][None], k)
        there = ~np.isneginf(cosines[0])
        return rows[0][there], cosines[0][there]


class Best:
    """The `wanted` best of each query so far; what is found is sorted in only when it has become much."""

    def __init__(self, queries: int, wanted: int, device: torch.device) -> None:
        self.scores = torch.full((queries, wanted), -torch.inf, device=device)
        self.places = torch.zeros((queries, wanted), dtype=torch.int64, device=device)
        self.worst = torch.full((queries,), -torch.inf, device=device)  # below it none is wanted
        self._new: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._count = 0

    def add(self, scores: torch.Tensor, first: int) -> None:
        """Add the scores (queries, columns) of the places from `first` on.

        They are cut into chunks. Of a chunk whose largest is below the worst of the best, nothing is wanted.
        """
        queries, wanted = self.scores.shape
        chunk = min(CHUNK, max(1, scores.shape[1] // (2 * wanted)))
        chunk = 1 << (chunk.bit_length() - 1)  # columns are a power of two too
        stacked = scores.view(queries, chunk, -1)  # a chunk lies across: the maximum runs along memory
        maxima = stacked.amax(1)
        if first == 0 and maxima.shape[1] >= wanted:
            self.worst = maxima.topk(wanted, dim=1).values[:, -1]  # as many are as large at least
        query, column = (maxima >= self.worst[:, None]).nonzero(as_tuple=True)
        values = stacked[query, :, column]
        hit, within = (values >= self.worst[query][:, None]).nonzero(as_tuple=True)
        places = first + within * stacked.shape[2] + column[hit]
        self._new.append((query[hit], values[hit, within], places))
        self._count += len(hit)
        if self._count >= queries * wanted:
            self._sort()

    def _sort(self) -> None:
        queries, wanted = self.scores.shape
        mine = torch.arange(queries, device=self.scores.device).repeat_interleave(wanted)
        parts = [*self._new, (mine, self.scores.flatten(), self.places.flatten())]
        query, scores, places = (torch.cat(one) for one in zip(*parts))
        order = (4 * query - scores.double().clamp(min=-2)).argsort()  # by query, the largest first
        starts = torch.searchsorted(query[order], torch.arange(queries, device=query.device))
        keep = order[starts[:, None] + torch.arange(wanted, device=query.device)]
        self.scores, self.places = scores[keep], places[keep]
        self.worst = torch.maximum(self.worst, self.scores[:, -1])
        self._new, self._count = [], 0

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        """Return scores, the largest first, and places (queries, wanted)."""
        self._sort()
        return self.scores.cpu().numpy(), self.places.cpu().numpy()


def _bars(among: np.ndarray, barred: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return places in `among` that are barred, ascending, and the number of the query of each."""
    rows = np.concatenate(barred)
    who = np.repeat(np.arange(len(barred)), [len(bar) for bar in barred])
    at = np.minimum(np.searchsorted(among, rows), len(among) - 1)
    there = among[at] == rows
    order = np.argsort(at[there], kind="stable")
    return at[there][order], who[there][order]


def _best(rows: np.ndarray, cosines: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best rows and cosines of each line (lines, candidates), rounded, ties by row."""
    cosines = cosines.round(DECIMALS) + 0.0  # no -0.0
    order = np.argsort(rows, axis=1, kind="stable")
    rows, cosines = np.take_along_axis(rows, order, 1), np.take_along_axis(cosines, order, 1)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(cosines, order, 1)
