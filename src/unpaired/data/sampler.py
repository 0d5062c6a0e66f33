"""Which images come when: unaligned sampling as published, as a function of a seed and a position alone."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_EPOCHS_KEPT = 2  # threads that prepare ahead work on both sides of an epoch's end


class Sample(NamedTuple):
    """One row of a batch: which image of A, which of B, and how each is cropped and mirrored."""

    index_a: int
    index_b: int
    u_a: tuple[float, float, float]
    """Uniform in [0, 1): vertical and horizontal position of the crop of A, and whether it is mirrored."""
    u_b: tuple[float, float, float]
    """The same for B."""


class _Epoch(NamedTuple):
    index_a: NDArray[np.int64]
    index_b: NDArray[np.int64]
    u: NDArray[np.float64]


class Unaligned:
    """A shuffled without replacement, B drawn at random, an epoch being `max(num_a, num_b)` images.

    `sample(k)` depends on the seed and k alone, so any process can begin anywhere: resuming and several ranks need no
    state. Where B is larger than A, A is gone through more than once, each image at least
    `max(num_a, num_b) // num_a` times an epoch, as published. The numbers are raw output of Philox turned into
    permutations and positions here, so that no release of NumPy changes them. Safe to call from several threads.
    """

    def __init__(self, num_a: int, num_b: int, seed: int) -> None:
        assert num_a > 0, num_a
        assert num_b > 0, num_b
        self.num_a, self.num_b, self.seed = num_a, num_b, seed
        self.epoch_images = max(num_a, num_b)
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
                self._epochs[number] = self._draw(number)
            return self._epochs[number]

    def _draw(self, number: int) -> _Epoch:
        source = np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=(number,)))
        count = self.epoch_images
        order = np.argsort(source.random_raw(count), kind="stable")
        uniform = (source.random_raw(7 * count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        drawn = np.minimum((uniform[:count] * self.num_b).astype(np.int64), self.num_b - 1)
        return _Epoch(order % self.num_a, drawn, uniform[count:].reshape(count, 6))
