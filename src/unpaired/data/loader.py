"""Batches of images as tensors, prepared ahead by threads, in an order that a seed fixes."""

from __future__ import annotations

import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from unpaired.data.batching import Delivery, Pair, cut_rows, delivery_to
from unpaired.data.parallel import num_threads
from unpaired.data.training import TrainingData, require_one_size

CPU = torch.device("cpu")
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


def _shuffled(source: np.random.Philox, count: int) -> NDArray[np.int64]:
    return np.argsort(source.random_raw(count), kind="stable")


def _uniform(source: np.random.Philox, count: int) -> NDArray[np.float64]:
    """Return numbers in [0, 1) with 53 random bits each."""
    return np.asarray((source.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


class UnpairedLoader:
    """An endless iterator of batches `(x, y)`: float32 [N, C, H, W] in [-1, 1] on `device`, x from domain A, y from B.

    The rows are consecutive positions of `Unaligned`, or of `Aligned` where the data is paired; a batch may straddle
    the end of an epoch, so that every batch is full (the authors end each epoch with whatever is left). With several
    ranks, a global batch of `batch_size * world_size` rows is cut among them. The batches depend on the seed and on the
    position alone: a loader that starts at `start_images` goes on exactly where another one stopped.

    An error while an image is prepared is raised where its batch would come. `close` ends the threads; so does leaving
    a `with` block, dropping the loader, or the end of the process.

    On CUDA two batches are on their way while the consumer works on one; see `delivery`. What is done with a batch must
    be called on the stream that was current when it was handed out, or wait for that stream.
    """

    def __init__(
        self,
        data: TrainingData,
        *,
        batch_size: int,
        seed: int,
        start_images: int = 0,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        prefetch: int = 4,
        device: torch.device = CPU,
    ) -> None:
        """Start preparing; `start_images` counts the images of all ranks, `workers` 0 is one thread per core."""
        assert batch_size > 0, batch_size
        assert 0 <= rank < world_size, (rank, world_size)
        require_one_size(data.size, batch_size)
        sampler: Order = Aligned(len(data.a), seed) if data.paired else Unaligned(len(data.a), len(data.b), seed)
        self.epoch_images = sampler.epoch_images
        """Images that make an epoch: `max(len(A), len(B))`."""
        self.images_seen = start_images
        """Images handed out so far by all ranks together, from the beginning of the run."""
        self.waiting_seconds = 0.0
        """Time that the consumer has spent waiting for batches to be prepared."""
        self._global_batch = batch_size * world_size
        threads = num_threads(workers)
        self._delivery = delivery_to(device)
        self._sent: deque[Any] = deque()
        self._work = _Work(data, sampler, batch_size, self._global_batch, self._delivery, max(prefetch, threads))
        self._work.start = start_images + rank * batch_size
        self._threads = [threading.Thread(target=_prepare, args=(self._work,), daemon=True) for _ in range(threads)]
        self._finalizer = weakref.finalize(self, _stop, self._work, self._threads)
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[Pair]:
        return self

    def __next__(self) -> Pair:
        if not self._sent:
            began = time.perf_counter()
            prepared = self._work.take()
            self.waiting_seconds += time.perf_counter() - began
            self._send(prepared)
        sent = self._sent.popleft()
        while len(self._sent) < self._delivery.ahead and (prepared := self._work.take(wait=False)) is not None:
            self._send(prepared)
        if isinstance(sent, BaseException):
            self.close()
            raise sent
        pair = self._delivery.receive(sent)
        self.images_seen += self._global_batch
        return pair

    def _send(self, prepared: Any) -> None:
        # An error waits for its turn like the batch in whose place it came.
        self._sent.append(prepared if isinstance(prepared, BaseException) else self._delivery.send(prepared))

    def close(self) -> None:
        """End the threads and forget what they have prepared; may be called more than once."""
        self._finalizer()
        self._sent.clear()

    def __enter__(self) -> UnpairedLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Work:
    """What consumer and threads share; it knows nothing of the loader, so that a dropped loader can be collected."""

    def __init__(
        self, data: TrainingData, sampler: Order, rows: int, stride: int, delivery: Delivery, ahead: int
    ) -> None:
        self.data, self.sampler = data, sampler
        self.rows, self.stride, self.delivery, self.ahead = rows, stride, delivery, ahead
        self.start = 0
        self.begun = self.taken = 0
        self.ready: dict[int, Any] = {}
        """Prepared batches by number, or the error that took a batch's place."""
        self.stopped = False
        self.lock = threading.Lock()
        # Two conditions, so that nobody is woken without something to do: with small batches that was most of the time.
        self.room = threading.Condition(self.lock)
        self.arrived = threading.Condition(self.lock)

    def take(self, *, wait: bool = True) -> Any:
        """Return the next batch in order, or the error in its place; None where it is not ready and `wait` is off."""
        with self.lock:
            while self.taken not in self.ready:
                if self.stopped:
                    raise RuntimeError("the loader is closed")
                if not wait:
                    return None
                self.arrived.wait()
            batch = self.ready.pop(self.taken)
            self.taken += 1
            self.room.notify()
        return batch

    def claim(self) -> int | None:
        """Wait until another batch may be prepared ahead and return its number; None when it is over."""
        with self.lock:
            while not self.stopped and self.begun >= self.taken + self.ahead:
                self.room.wait()
            if self.stopped:
                return None
            self.begun += 1
            return self.begun - 1

    def put(self, number: int, batch: Any) -> None:
        """Hand over a batch, or the error that took its place; batches after an error are not begun."""
        with self.lock:
            if self.stopped:  # meanwhile; a closed loader has no batches
                return
            self.ready[number] = batch
            if isinstance(batch, BaseException):
                self.begun = max(self.begun, self.taken + self.ahead) + self.ahead
            if number == self.taken:
                self.arrived.notify()

    def stop(self) -> None:
        """Let everyone who waits go home."""
        with self.lock:
            self.stopped = True
            self.ready.clear()
            self.room.notify_all()
            self.arrived.notify_all()


def _prepare(work: _Work) -> None:
    while (number := work.claim()) is not None:
        try:
            batch = _batch(work, number)
        except BaseException as error:  # handed to the consumer
            batch = error
        work.put(number, batch)


def _stop(work: _Work, threads: list[threading.Thread]) -> None:
    work.stop()
    for thread in threads:
        if thread is not threading.current_thread() and thread.ident is not None:
            thread.join()


def _batch(work: _Work, number: int) -> Any:
    data = work.data
    first = work.start + number * work.stride
    samples = [work.sampler.sample(first + row) for row in range(work.rows)]
    rows_a = [(sample.index_a, sample.u_a) for sample in samples]
    rows_b = [(sample.index_b, sample.u_b) for sample in samples]
    return work.delivery.prepare(
        cut_rows(data.a, data.domain_a, rows_a, size=data.size, flip=data.flip),
        cut_rows(data.b, data.domain_b, rows_b, size=data.size, flip=data.flip),
    )
