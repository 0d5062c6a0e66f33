"""A uniform sample of rows of bounded size, drawn while the rows go by."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from unpaired.metrics.inputs import Features, checked_rows


@final
class Reservoir:
    """A sample without replacement of the rows added so far, of at most `limit`: memory is the same for any number.

    Every row gets a random number, and the rows of the `limit` smallest numbers stay. So every set of rows is equally
    likely, and the sample depends on the seed and the order of the rows, not on how they were split into batches.
    """

    def __init__(self, limit: int, dim: int, seed: int = 0) -> None:
        """Begin with no rows; raises `ValueError` where `limit` or `dim` is no positive number."""
        if limit < 1 or dim < 1:
            raise ValueError(f"limit and dim must be at least 1; received {limit} and {dim}")
        self.limit = limit
        self.dim = dim
        self.seen = 0
        """How many rows were added."""
        self._random = np.random.default_rng(seed)
        self._rows = np.empty((limit, dim), np.float32)  # takes real memory only as it is written to
        self._priorities = np.empty(limit)
        self._numbers = np.empty(limit, np.int64)

    def __len__(self) -> int:
        return min(self.seen, self.limit)

    def add(self, features: Features) -> None:
        """Consider rows [N, dim]; `ValueError` where the width is another or a value is not finite."""
        rows = checked_rows(features)
        if rows.shape[1] != self.dim:
            raise ValueError(f"features of different widths: {self.dim} expected, received {rows.shape[1]}")
        numbers = self.seen + np.arange(len(rows))
        priorities = self._random.random(len(rows))
        room = slice(len(self), min(len(self) + len(rows), self.limit))
        fitting = room.stop - room.start
        self._put(room, rows[:fitting], priorities[:fitting], numbers[:fitting])
        self.seen += len(rows)
        if fitting < len(rows):
            self._contest(rows[fitting:], priorities[fitting:], numbers[fitting:])

    def rows(self) -> NDArray[np.float32]:
        """Return the kept rows [n, dim] in the order in which they were added."""
        return self._rows[: len(self)][np.argsort(self._numbers[: len(self)])]

    def numbers(self) -> NDArray[np.int64]:
        """Return which of all added rows the kept ones are, [n], counted from 0 and rising."""
        return np.sort(self._numbers[: len(self)])

    def _contest(self, rows: NDArray[np.floating], priorities: NDArray[np.float64], numbers: NDArray[np.int64]) -> None:
        """Put those of the new rows that are among the smallest in the place of those that no longer are."""
        order = np.argpartition(np.concatenate([self._priorities, priorities]), self.limit - 1)
        leaving = order[self.limit :]
        leaving = leaving[leaving < self.limit]
        entering = order[: self.limit]
        entering = entering[entering >= self.limit] - self.limit
        self._put(leaving, rows[entering], priorities[entering], numbers[entering])

    def _put(
        self,
        places: slice | NDArray[np.int64],
        rows: NDArray[np.floating],
        priorities: NDArray[np.float64],
        numbers: NDArray[np.int64],
    ) -> None:
        self._rows[places], self._priorities[places], self._numbers[places] = rows, priorities, numbers
