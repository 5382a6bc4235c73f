"""Mean and standard deviation of numbers that come in pieces, each column for itself.

Pieces are joined by the rule of Chan, Golub & LeVeque 1983, which loses no digits where the mean is large
beside the spread. Joined in the same order, the same pieces give the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class Moments:
    """Count, mean and sum of squared deviations of each column, float64; NaN is a value that is not there."""

    def __init__(self, width: int) -> None:
        import numpy as np

        self.count, self.mean, self.squares = (np.zeros(width) for _ in range(3))

    def add(self, values: np.ndarray) -> None:
        """Add rows of numbers, (rows, width)."""
        import numpy as np

        values = np.asarray(values, np.float64)
        known = ~np.isnan(values)
        piece = Moments(values.shape[1])
        if known.all():  # the usual way, at half the cost
            piece.count[:] = len(values)
            piece.mean = values.sum(0) / max(1, len(values))
            values = values - piece.mean
        else:
            piece.count = known.sum(0).astype(np.float64)
            piece.mean = np.where(known, values, 0).sum(0) / np.maximum(1, piece.count)
            values = np.where(known, values - piece.mean, 0)
        piece.squares = np.einsum("ij,ij->j", values, values)
        self.join(piece)

    def join(self, other: Moments) -> None:
        """Take in the moments of another piece, which came after."""
        import numpy as np

        count = self.count + other.count
        share = other.count / np.maximum(1, count)
        apart = other.mean - self.mean
        self.mean = self.mean + apart * share
        self.squares = self.squares + other.squares + apart * apart * self.count * share
        self.count = count

    def to_json(self) -> list[list[float]]:
        """Return what `from_json` makes the same moments of, to the last bit."""
        return [self.count.tolist(), self.mean.tolist(), self.squares.tolist()]

    @classmethod
    def from_json(cls, values: list[list[float]]) -> Moments:
        """Return the moments that `to_json` wrote."""
        import numpy as np

        found = cls(0)
        found.count, found.mean, found.squares = (np.array(value, np.float64) for value in values)
        return found

    def figures(self) -> dict[str, list[Any]]:
        """Return `mean`, `std` and `count`, a value a column: mean 0 where there is no value, std 1 where
        nothing varies, so that (x - mean) / std is always a number.
        """
        import numpy as np

        std = np.sqrt(self.squares / np.maximum(1, self.count))
        return {
            "mean": self.mean.tolist(),
            "std": np.where(std > 0, std, 1.0).tolist(),
            "count": self.count.astype(np.int64).tolist(),
        }
