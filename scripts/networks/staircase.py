"""The staircase schedule: sequences of different lengths through an ordinary recurrent kernel, next to no
padding.

A batch is sorted by length and time is cut where sequences end; each piece of time is a dense rectangle of
the sequences still alive, which the fused kernel runs over with the state carried on. Exact: a left-to-right
model never sees what is padded at the right, so loss and gradients are those of a padded batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

MIN_STEPS = 16  # shorter pieces cost more in kernel calls than they save in padding
WHOLE = 1 << 62  # min_steps of one single rectangle: an ordinary padded batch


class Stairs(NamedTuple):
    """A batch of sequences laid out as rectangles (steps, rows), one after the other, each time-major.

    Inputs are the sequences behind a start symbol, targets the sequences: position t predicts unit t. Targets
    stand by time, then by row, rows being sequences from the longest to the shortest.
    """

    inputs: Tensor  # (cells,) int64; padding holds 0
    targets: Tensor  # (tokens,) int64
    places: Tensor | None  # (tokens,) int64: the cell of each target; None where there is no padding
    shapes: tuple[tuple[int, int], ...]  # (steps, rows) of each rectangle
    lengths: tuple[int, ...]  # of the rows
    order: tuple[int, ...]  # which of the sequences given each row is

    def to(self, device: torch.device) -> Stairs:
        """Return the batch on a device."""
        inputs, targets, places = (
            part if part is None else part.to(device, non_blocking=True) for part in self[:3]
        )
        return self._replace(inputs=inputs, targets=targets, places=places)

    def pin_memory(self) -> Stairs:
        """Return the batch in memory that a GPU can fetch by itself."""
        inputs, targets, places = (part if part is None else part.pin_memory() for part in self[:3])
        return self._replace(inputs=inputs, targets=targets, places=places)

    def sequences(self) -> Tensor:
        """Return which of the sequences given each target belongs to, (tokens,) int64 on the CPU."""
        alive = _alive(self.lengths, 0, max(self.lengths))
        return torch.from_numpy(np.asarray(self.order)[np.nonzero(alive)[1]])


def rectangles(lengths: Sequence[int], min_steps: int = MIN_STEPS) -> list[tuple[int, int, int]]:
    """Return (start, stop, rows) of the rectangles for lengths from the longest to the shortest."""
    descending = -np.asarray(lengths)
    found, start = [], 0
    for stop in sorted(set(lengths)):
        is_short = stop - start < min_steps
        if is_short and stop == lengths[0] and found:  # the last steps: with the piece before
            found[-1] = (found[-1][0], stop, found[-1][2])
        elif not is_short or stop == lengths[0]:
            found.append((start, stop, int(np.searchsorted(descending, -start, side="left"))))
            start = stop
    return found


def lay_out(
    sequences: Sequence[np.ndarray], first: int | Sequence[int], min_steps: int = MIN_STEPS
) -> Stairs:
    """Return a batch of sequences, each a 1-D integer array of at least one unit, as rectangles.

    `first` is the input before a sequence: the start symbol, or one for each sequence.
    """
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
    lengths = tuple(len(sequences[index]) for index in order)
    inputs = np.zeros((lengths[0], len(order)), np.int64)
    inputs[0] = first if isinstance(first, int) else [first[index] for index in order]
    targets = np.zeros_like(inputs)
    for row, index in enumerate(order):
        inputs[1 : lengths[row], row] = sequences[index][:-1]
        targets[: lengths[row], row] = sequences[index]
    pieces = rectangles(lengths, min_steps)
    valid = [_alive(lengths[:rows], start, stop).ravel() for start, stop, rows in pieces]
    is_valid = np.concatenate(valid)
    flat = np.concatenate([targets[start:stop, :rows].ravel() for start, stop, rows in pieces])
    return Stairs(
        torch.from_numpy(np.concatenate([inputs[start:stop, :rows].ravel() for start, stop, rows in pieces])),
        torch.from_numpy(flat[is_valid]),
        None if is_valid.all() else torch.from_numpy(np.flatnonzero(is_valid)),
        tuple((stop - start, rows) for start, stop, rows in pieces),
        lengths,
        tuple(order),
    )


def _alive(lengths: Sequence[int], start: int, stop: int) -> np.ndarray:
    """Return (steps, rows) bool: whether a row has a unit at that time."""
    return np.arange(start, stop)[:, None] < np.asarray(lengths)[None, :]


def run(lstm: nn.LSTM, cells: Tensor, batch: Stairs) -> Tensor:
    """Return the LSTM's outputs at the targets, (tokens, hidden), for inputs (cells, width)."""
    outputs, state = [], None
    # split, not slices: the gradient of each slice would be a zero-filled copy of all cells
    for piece, (steps, rows) in zip(
        cells.split([steps * rows for steps, rows in batch.shapes]), batch.shapes
    ):
        if state is not None:
            state = tuple(part[:, :rows].contiguous() for part in state)
        output, state = lstm(piece.view(steps, rows, -1), state)
        outputs.append(output.reshape(steps * rows, -1))
    return _valid(torch.cat(outputs) if len(outputs) > 1 else outputs[0], batch)


def run_packed(lstm: nn.LSTM, cells: Tensor, batch: Stairs) -> Tensor:
    """Return what `run` returns, by torch's packed sequences: the peer to compare with."""
    data = _valid(cells, batch)
    alive = _alive(batch.lengths, 0, batch.lengths[0])
    packed = nn.utils.rnn.PackedSequence(data, torch.from_numpy(alive.sum(1)))
    return lstm(packed)[0].data


def _valid(cells: Tensor, batch: Stairs) -> Tensor:
    return cells if batch.places is None else cells.index_select(0, batch.places)
