"""Batches of unpaired images as tensors, prepared ahead by threads, in an order that a seed fixes."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unpaired.data.parallel import num_threads
from unpaired.data.sampler import Unaligned
from unpaired.data.source import ImageSource
from unpaired.data.training import TrainingData, require_one_size
from unpaired.data.transforms import crop_and_flip
from unpaired.data.values import Domain, Image, value_range

Pair = tuple[Tensor, Tensor]


class UnpairedLoader:
    """An endless iterator of batches `(x, y)`: float32 [N, C, H, W] in [-1, 1], x from domain A and y from B.

    The rows are consecutive positions of `Unaligned`; a batch may straddle the end of an epoch, so that every batch is
    full (the authors end each epoch with whatever is left). With several ranks, a global batch of
    `batch_size * world_size` rows is cut among them. The batches depend on the seed and on the position alone: a loader
    that starts at `start_images` goes on exactly where another one stopped.

    An error while an image is prepared is raised where its batch would come. `close` ends the threads; so does leaving
    a `with` block, dropping the loader, or the end of the process.
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
        pin_memory: bool = False,
    ) -> None:
        """Start preparing; `start_images` counts the images of all ranks, `workers` 0 is one thread per core."""
        assert batch_size > 0, batch_size
        assert 0 <= rank < world_size, (rank, world_size)
        require_one_size(data.size, batch_size)
        sampler = Unaligned(len(data.a), len(data.b), seed)
        self.epoch_images = sampler.epoch_images
        """Images that make an epoch: `max(len(A), len(B))`."""
        self.images_seen = start_images
        """Images handed out so far by all ranks together, from the beginning of the run."""
        self.waiting_seconds = 0.0
        """Time that the consumer has spent waiting for batches."""
        self._global_batch = batch_size * world_size
        threads = num_threads(workers)
        self._work = _Work(data, sampler, batch_size, self._global_batch, pin_memory, max(prefetch, threads))
        self._work.start = start_images + rank * batch_size
        self._threads = [threading.Thread(target=_prepare, args=(self._work,), daemon=True) for _ in range(threads)]
        self._finalizer = weakref.finalize(self, _stop, self._work, self._threads)
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[Pair]:
        return self

    def __next__(self) -> Pair:
        began = time.perf_counter()
        batch = self._work.take()
        self.waiting_seconds += time.perf_counter() - began
        if isinstance(batch, BaseException):
            self.close()
            raise batch
        self.images_seen += self._global_batch
        return batch

    def close(self) -> None:
        """End the threads and forget what they have prepared; may be called more than once."""
        self._finalizer()

    def __enter__(self) -> UnpairedLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Work:
    """What consumer and threads share; it knows nothing of the loader, so that a dropped loader can be collected."""

    def __init__(
        self, data: TrainingData, sampler: Unaligned, rows: int, stride: int, pin_memory: bool, ahead: int
    ) -> None:
        self.data, self.sampler = data, sampler
        self.rows, self.stride, self.pin_memory, self.ahead = rows, stride, pin_memory, ahead
        self.start = 0
        self.begun = self.taken = 0
        self.ready: dict[int, Pair | BaseException] = {}
        self.changed = threading.Condition()
        self.stopped = False

    def take(self) -> Pair | BaseException:
        """Wait for the next batch, in order."""
        with self.changed:
            while self.taken not in self.ready:
                if self.stopped:
                    raise RuntimeError("the loader is closed")
                self.changed.wait()
            batch = self.ready.pop(self.taken)
            self.taken += 1
            self.changed.notify_all()
        return batch

    def claim(self) -> int | None:
        """Wait until another batch may be prepared ahead and return its number; None when it is over."""
        with self.changed:
            while not self.stopped and self.begun >= self.taken + self.ahead:
                self.changed.wait()
            if self.stopped:
                return None
            self.begun += 1
            return self.begun - 1

    def put(self, number: int, batch: Pair | BaseException) -> None:
        """Hand over a batch, or the error that took its place; batches after an error are not begun."""
        with self.changed:
            self.ready[number] = batch
            if isinstance(batch, BaseException):
                self.begun = max(self.begun, self.taken + self.ahead) + self.ahead
            self.changed.notify_all()


def _prepare(work: _Work) -> None:
    """Prepare batches until the work is stopped; the body of each thread."""
    while (number := work.claim()) is not None:
        try:
            batch: Pair | BaseException = _batch(work, number)
        except BaseException as error:  # handed to the consumer
            batch = error
        work.put(number, batch)


def _stop(work: _Work, threads: list[threading.Thread]) -> None:
    with work.changed:
        work.stopped = True
        work.ready.clear()
        work.changed.notify_all()
    for thread in threads:
        if thread is not threading.current_thread() and thread.ident is not None:
            thread.join()


def _batch(work: _Work, number: int) -> Pair:
    data = work.data
    first = work.start + number * work.stride
    samples = [work.sampler.sample(first + row) for row in range(work.rows)]
    x = _stack(work, data.a, data.domain_a, [(sample.index_a, sample.u_a) for sample in samples])
    y = _stack(work, data.b, data.domain_b, [(sample.index_b, sample.u_b) for sample in samples])
    return x, y


def _stack(
    work: _Work, source: ImageSource, domain: Domain, rows: list[tuple[int, tuple[float, float, float]]]
) -> Tensor:
    result: Tensor | None = None
    for row, (index, u) in enumerate(rows):
        image = source[index]
        height, width = work.data.size or image.shape[:2]
        cut = crop_and_flip(image, (height, width), u, flip=work.data.flip)
        if result is None:
            result = torch.empty((len(rows), cut.shape[2], height, width), pin_memory=work.pin_memory)
        write_signed(cut, domain.range, result[row].numpy())
    assert result is not None
    return result


def write_signed(image: Image, declared: tuple[float, float] | None, out: NDArray[np.float32]) -> None:
    """Write [H, W, C] values into `out`, float32 [C, H, W], as [-1, 1]; the same numbers as `values.to_signed`."""
    low, high = value_range(image.dtype, declared)
    # NumPy's loops release the interpreter lock and, unlike torch's, start no threads of their own in every worker.
    out[...] = np.ascontiguousarray(image.transpose(2, 0, 1))
    if low != 0:
        out -= np.float32(low)
    out *= np.float32(2.0 / (high - low))
    out -= np.float32(1.0)
    np.clip(out, -1.0, 1.0, out=out)
