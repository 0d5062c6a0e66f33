"""The order of a training's rows: which images, crops and flips, as a function of the seed and the position alone."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_EPOCHS_KEPT = 2  # threads that prepare ahead work on both sides of an epoch's end


class Sample(NamedTuple):
    """One row of a batch: which image of A, which of B, and how each is cropped and flipped."""

    index_a: int
    index_b: int
    u_a: tuple[float, float, float]
    """Uniform in [0, 1): vertical and horizontal position of the crop of A, and whether it is flipped."""
    u_b: tuple[float, float, float]
    """The same for B."""


class _Epoch(NamedTuple):
    index_a: NDArray[np.int64]
    index_b: NDArray[np.int64]
    u: NDArray[np.float64]


class Order(ABC):
    """An order of rows that goes on for ever, epoch by epoch.

    `sample(k)` depends on the seed and k alone, so any process can begin anywhere: resuming and several ranks need no
    state. The numbers are raw output of Philox turned into permutations and positions here, so that no release of NumPy
    changes them. Safe to call from several threads.
    """

    def __init__(self, epoch_images: int, seed: int) -> None:
        self.epoch_images, self.seed = epoch_images, seed
        self._lock = threading.Lock()
        self._epochs: dict[int, _Epoch] = {}

    def sample(self, k: int) -> Sample:
        """Return the k-th row of the whole run, counted from 0."""
        number, row = divmod(k, self.epoch_images)
        epoch = self._epoch(number)
        u = epoch.u[row].tolist()
        return Sample(int(epoch.index_a[row]), int(epoch.index_b[row]), (u[0], u[1], u[2]), (u[3], u[4], u[5]))

    def _epoch(self, number: int) -> _Epoch:
        with self._lock:
            if number not in self._epochs:
                while len(self._epochs) >= _EPOCHS_KEPT:
                    del self._epochs[next(iter(self._epochs))]
                source = np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=(number,)))
                self._epochs[number] = self._draw(source)
            return self._epochs[number]

    @abstractmethod
    def _draw(self, source: np.random.Philox) -> _Epoch:
        """Draw one epoch."""


class Aligned(Order):
    """Pairs, shuffled without replacement, an epoch being all of them; both images are cut and flipped alike."""

    def __init__(self, num_pairs: int, seed: int) -> None:
        assert num_pairs > 0, num_pairs
        super().__init__(num_pairs, seed)

    def _draw(self, source: np.random.Philox) -> _Epoch:
        order = _shuffled(source, self.epoch_images)
        u = _uniform(source, 3 * self.epoch_images).reshape(self.epoch_images, 3)
        return _Epoch(order, order, np.concatenate([u, u], axis=1))


class Unaligned(Order):
    """A shuffled without replacement, B drawn at random, an epoch being `max(num_a, num_b)` images.

    Where B is larger than A, A is gone through more than once, each image at least `max(num_a, num_b) // num_a` times
    an epoch, as published.
    """

    def __init__(self, num_a: int, num_b: int, seed: int) -> None:
        assert num_a > 0, num_a
        assert num_b > 0, num_b
        super().__init__(max(num_a, num_b), seed)
        self.num_a, self.num_b = num_a, num_b

    def _draw(self, source: np.random.Philox) -> _Epoch:
        count = self.epoch_images
        order = _shuffled(source, count)
        uniform = _uniform(source, 7 * count)
        drawn = np.minimum((uniform[:count] * self.num_b).astype(np.int64), self.num_b - 1)
        return _Epoch(order % self.num_a, drawn, uniform[count:].reshape(count, 6))


class Windows(NamedTuple):
    """Few shards at a time: the shard of every image of A and of B, and how many shards are in use at once."""

    shards_a: NDArray[np.int64]
    shards_b: NDArray[np.int64]
    size: int


class Windowed(Order):
    """As `Unaligned` or `Aligned`, and at any time all images come from `windows.size` shards of each domain.

    Every epoch draws an order of the shards and takes them window by window; within a window images are shuffled. B is
    drawn at random from the window that lies as far in its own order, so both domains go through their shards together.
    """

    def __init__(self, windows: Windows, seed: int, *, paired: bool = False) -> None:
        self.windows, self.paired = windows, paired
        counts = len(windows.shards_a), len(windows.shards_b)
        super().__init__(counts[0] if paired else max(counts), seed)

    def _draw(self, source: np.random.Philox) -> _Epoch:
        count, (shards_a, shards_b, size) = self.epoch_images, self.windows
        passes = [_by_window(source, shards_a, size)[0] for _ in range(-(-count // len(shards_a)))]
        order = np.concatenate(passes)[:count]
        if self.paired:
            u = _uniform(source, 3 * count).reshape(count, 3)
            return _Epoch(order, order, np.concatenate([u, u], axis=1))
        order_b, window = _by_window(source, shards_b, size)
        uniform = _uniform(source, 7 * count)
        # Both ends, in B's order, of the window that row k of the epoch draws from.
        at = window[np.arange(count) * len(order_b) // count]
        first, end = np.searchsorted(window, at, "left"), np.searchsorted(window, at, "right")
        drawn = np.minimum(first + (uniform[:count] * (end - first)).astype(np.int64), end - 1)
        return _Epoch(order, order_b[drawn], uniform[count:].reshape(count, 6))


def order_of(num_a: int, num_b: int, seed: int, *, paired: bool = False, windows: Windows | None = None) -> Order:
    """Return the order of a training: pairs together or not, from all images at once or from a window of shards."""
    if windows is not None:
        return Windowed(windows, seed, paired=paired)
    return Aligned(num_a, seed) if paired else Unaligned(num_a, num_b, seed)


def _by_window(
    source: np.random.Philox, shards: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all positions, shuffled inside windows of shards in a drawn order, and the window of each, ascending."""
    turns = np.argsort(_shuffled(source, int(shards.max()) + 1))
    window = turns[shards] // size
    order = np.lexsort((source.random_raw(len(shards)), window))
    return order, window[order]


def _shuffled(source: np.random.Philox, count: int) -> NDArray[np.int64]:
    return np.argsort(source.random_raw(count), kind="stable")


def _uniform(source: np.random.Philox, count: int) -> NDArray[np.float64]:
    """Return numbers in [0, 1) with 53 random bits each."""
    return np.asarray((source.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53)
