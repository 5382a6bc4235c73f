"""k-means over more frames than memory holds: scikit-learn's MiniBatchKMeans over seeded mini-batches of an
array that may be memory-mapped. The same frames and settings give the same bits: one thread, seeded draws.

Sources: Sculley 2010 (mini-batches); Arthur & Vassilvitskii 2007 (k-means++).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

import numpy as np

BATCH = 1024  # frames, and at least one for each cluster
STARTS = 3  # k-means++ draws, of which the best begins (n_init)
START_FRAMES = 20_000  # that these draws look at; ten for each cluster where that is more
STRETCH, HELD_OUT = 100, 20  # frames in a row; one of so many such stretches is held out
ROWS = 8192  # frames at once where all are gone through


class Fitted(NamedTuple):
    """Centres (K, width) float32; inertia (squared distance) a held-out frame after each pass; and by pass
    the clusters that were left without a frame and got a new centre.
    """

    centers: np.ndarray
    inertia: list[float]
    reseeded: dict[int, list[int]]


def fit(frames: np.ndarray, clusters: int, passes: int, seed: int, log: Callable[[str], None]) -> Fitted:
    """Return the k-means of frames (n, width), n ≥ clusters; frames held out are only measured."""
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    random = np.random.RandomState(seed)
    train, test = _split(len(frames), clusters)
    size = max(BATCH, clusters)
    inertia, reseeded = [], {}
    with threadpool_limits(1):
        start = _start(frames, train, clusters, random)
        model = MiniBatchKMeans(clusters, init=start, n_init=1, batch_size=size, reassignment_ratio=0)
        for number in range(1, passes + 1):
            used = np.zeros(clusters, np.int64)
            random.shuffle(train)
            for first in range(0, len(train), size):
                model.partial_fit(frames[np.sort(train[first : first + size])])
                used += np.bincount(model.labels_, minlength=clusters)
            if not used.all():
                reseeded[number] = _reseed(model.cluster_centers_, used == 0, frames, train, random)
            inertia.append(_inertia(frames, test, model.cluster_centers_))
            log(f"pass {number} of {passes}: inertia {inertia[-1]:.5g} a held-out frame")
        centers = model.cluster_centers_.astype(np.float32)
        for _ in range(3):  # a cluster that the last pass left empty gets the frame farthest from any
            counts = sum(np.bincount(found, minlength=clusters) for _, found, _ in assign(frames, centers))
            if counts.all():
                break
            again = _reseed(centers, counts == 0, frames, train, random)
            reseeded[passes] = sorted({*reseeded.get(passes, []), *again})
    return Fitted(centers, inertia, reseeded)


def assign(
    frames: np.ndarray, centers: np.ndarray, rows: np.ndarray | None = None
) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Yield (which rows, their nearest centres, squared distances to these) of all frames, or of `rows`; in
    double precision, as encode.py finds units.
    """
    centers = centers.astype(np.float64)
    squares = (centers**2).sum(1)
    for first in range(0, len(frames) if rows is None else len(rows), ROWS):
        part = slice(first, first + ROWS) if rows is None else np.sort(rows[first : first + ROWS])
        x = frames[part].astype(np.float64)
        distances = squares - 2 * x @ centers.T
        nearest = distances.argmin(1)
        yield part, nearest, distances[np.arange(len(x)), nearest] + (x**2).sum(1)


def _split(count: int, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and those held out; all for both where there are too few."""
    held = np.arange(count) // STRETCH % HELD_OUT == HELD_OUT - 1
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    return (train, test) if len(train) >= clusters and len(test) else (np.arange(count), np.arange(count))


def _start(frames: np.ndarray, train: np.ndarray, clusters: int, random: Any) -> np.ndarray:
    """Return the best of several k-means++ draws (K, width)."""
    from sklearn.cluster import kmeans_plusplus

    rows = random.permutation(train)[: max(START_FRAMES, 10 * clusters)]
    seen = frames[np.sort(rows)]
    draws = [kmeans_plusplus(seen, clusters, random_state=random)[0] for _ in range(STARTS)]
    return min(draws, key=lambda centers: _inertia(seen, np.arange(len(seen)), centers))


def _inertia(frames: np.ndarray, rows: np.ndarray, centers: np.ndarray) -> float:
    return float(sum(far.sum() for *_, far in assign(frames, centers, rows)) / len(rows))


def _reseed(
    centers: np.ndarray, empty: np.ndarray, frames: np.ndarray, train: np.ndarray, random: Any
) -> list[int]:
    """Move the empty clusters' centres, in place, to those of some frames that lie farthest from any centre;
    return their numbers.
    """
    rows = np.sort(random.permutation(train)[: max(START_FRAMES, 10 * len(centers))])
    far = np.concatenate([distances for *_, distances in assign(frames, centers, rows)])
    numbers = np.flatnonzero(empty)
    centers[numbers] = frames[rows[np.argsort(-far, kind="stable")[: len(numbers)]]]
    return numbers.tolist()
