"""Conversion between stored numbers and values; and what was made of the files that were opened last."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from unpaired.data.values import Domain, Image, value_range

Opened = TypeVar("Opened")
_INT16 = np.iinfo(np.int16)
KEPT_BYTES = 1 << 30
_LEVELS = 255
"""Fewer levels than this between the ends of a domain of floats are no way to store it."""


class Scaling(NamedTuple):
    """A value is slope x stored + intercept, computed in double precision."""

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether values are the stored numbers."""
        return self == (1.0, 0.0)

    @property
    def is_whole(self) -> bool:
        """Whether whole numbers become whole numbers."""
        return self.slope == round(self.slope) and self.intercept == round(self.intercept)

    def ends(self, low: float, high: float) -> tuple[float, float]:
        """Return the values between which the numbers from `low` to `high` lie."""
        one, two = (self.slope * end + self.intercept for end in (low, high))
        return min(one, two), max(one, two)

    def values(self, stored: Image, low: float, high: float) -> Image:
        """Return the values of numbers from `low` to `high`: int16 where these are whole and fit, else float32."""
        if self.is_identity:
            return stored
        least, most = self.ends(low, high)
        if stored.dtype.kind in "iu" and self.is_whole and _INT16.min <= least and most <= _INT16.max:
            return (stored.astype(np.int64) * int(self.slope) + int(self.intercept)).astype(np.int16)
        return (stored.astype(np.float64) * self.slope + self.intercept).astype(np.float32)

    def stored(self, values: Image, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the numbers that stand for values: the nearest ones that `dtype` holds."""
        numbers: NDArray[Any] = values
        if not self.is_identity:
            numbers = (values.astype(np.float64) - self.intercept) / self.slope
        if dtype.kind in "iu" and numbers.dtype != dtype:
            bounds = np.iinfo(dtype)
            numbers = np.clip(np.rint(np.nan_to_num(numbers.astype(np.float64))), bounds.min, bounds.max)
        return numbers.astype(dtype)

    def holds(self, domain: Domain, low: float, high: float) -> bool:
        """Return whether the numbers from `low` to `high` can stand for all values of a domain, finely enough."""
        least, most = value_range(np.dtype(domain.dtype), domain.range)
        fine = np.dtype(domain.dtype).kind != "f" or (most - least) / abs(self.slope) >= _LEVELS
        (start, end), slack = self.ends(low, high), abs(self.slope) / 2
        return fine and start <= least + slack and most - slack <= end


@final
class Recent(Generic[Opened]):
    """Keeps what was made of the few files that were asked for last; safe to use from several threads.

    A file is opened once, also where several threads ask for it together, and again when it has changed.
    """

    def __init__(self, make: Callable[[Path], Opened], most: int, size: Callable[[Opened], int] | None = None) -> None:
        """`size` says how many bytes of memory something takes: all but the newest take at most `KEPT_BYTES`."""
        self._make, self._most, self._size = make, most, size
        self._kept: OrderedDict[tuple[str, int, int], _Entry[Opened]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, path: Path) -> Opened:
        """Return what `make` makes of a file."""
        status = os.stat(path)
        key = os.path.abspath(path), status.st_size, status.st_mtime_ns
        with self._lock:
            entry = self._kept.setdefault(key, _Entry())
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        with entry.lock:
            if not entry.made:
                entry.made.append(self._make(path))
                self._make_room()
        return entry.made[0]

    def _make_room(self) -> None:
        if self._size is None:
            return
        with self._lock:
            taken = 0
            for key, entry in reversed(list(self._kept.items())):
                taken += sum(map(self._size, entry.made))
                if taken > KEPT_BYTES and key != next(reversed(self._kept)):
                    del self._kept[key]


class _Entry(Generic[Opened]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: list[Opened] = []
