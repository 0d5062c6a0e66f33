"""The same work for many files, on several threads, in memory that is bounded."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_THREADS = 8
"""Threads taken by default on large machines; decoding and copying rarely gain from more."""
MEMORY = 2**30
"""Bytes that all threads together take for images that they decode; a larger image is decoded alone."""


class _Held(threading.local):
    bytes = depth = 0


_held = _Held()
_changed = threading.Condition()
_taken = 0


def num_threads(workers: int) -> int:
    """Return the threads to use: `workers`, or for 0 one per CPU core that this process may use, at most 8."""
    if workers > 0:
        return workers
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows cannot tell
        cores = os.cpu_count() or 1
    return max(1, min(cores, MAX_THREADS))


@contextmanager
def sharing_memory() -> Iterator[None]:
    """Give back at the end what `take_memory` took in this thread; of blocks inside one another, the outermost does."""
    global _taken
    _held.depth += 1
    try:
        yield
    finally:
        _held.depth -= 1
        if _held.depth == 0 and _held.bytes:
            with _changed:
                _taken -= _held.bytes
                _changed.notify_all()
            _held.bytes = 0


def take_memory(count: int) -> None:
    """Wait until all threads together need no more than `MEMORY` bytes; a thread that has some already never waits."""
    global _taken
    if _held.depth:
        with _changed:
            while _taken and not _held.bytes and _taken + count > MEMORY:
                _changed.wait()
            _taken += count
            _held.bytes += count


def for_each(
    count: int, work: Callable[[int], None], *, workers: int, progress: Callable[[int, int], None] | None = None
) -> None:
    """Call `work(i)` for every i below `count`, on several threads.

    `progress(done, count)` is called in the calling thread, about ten times a second and at the end. The first
    exception that `work` raises stops everything and is raised here; so is an interruption of the calling thread.
    """
    job = _Job(count, work)
    threads = [threading.Thread(target=job.run, daemon=True) for _ in range(min(num_threads(workers), count))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                if progress is not None:
                    progress(job.done, count)
    finally:
        job.stopped = True
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    if job.error is not None:
        raise job.error
    if progress is not None:
        progress(count, count)


class _Job:
    def __init__(self, count: int, work: Callable[[int], None]) -> None:
        self.count, self.work = count, work
        self.next = self.done = 0
        self.lock = threading.Lock()
        self.stopped = False
        self.error: BaseException | None = None

    def run(self) -> None:
        while not self.stopped:
            with self.lock:
                index, self.next = self.next, self.next + 1
            if index >= self.count:
                return
            try:
                self.work(index)
            except BaseException as error:  # handed to the calling thread
                self.error = self.error or error
                self.stopped = True
                return
            with self.lock:
                self.done += 1
