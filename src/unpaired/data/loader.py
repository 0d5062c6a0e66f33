"""Batches of images as tensors, prepared ahead by threads, in an order that a seed fixes."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import torch

from unpaired.data.batching import Delivery, Pair, cut_rows, delivery_to
from unpaired.data.order import Order, order_of
from unpaired.data.parallel import num_threads
from unpaired.data.training import TrainingData, require_one_size

CPU = torch.device("cpu")


class UnpairedLoader:
    """An endless iterator of batches `(x, y)`: float32 [N, C, H, W] in [-1, 1] on `device`, x from domain A, y from B.

    The rows are consecutive positions of an `Order`, see `order_of`; a batch may straddle the end of an epoch, so that
    every batch is full (the authors end each epoch with whatever is left). With several ranks, a global batch of
    `batch_size * world_size` rows is cut among them. The batches depend on the seed and on the position alone: a loader
    that starts at `start_images` goes on exactly where another one stopped.

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
        sampler = order_of(len(data.a), len(data.b), seed, paired=data.paired, windows=data.windows)
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
