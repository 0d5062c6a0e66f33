"""Images of different requests, translated together: one queue and one computing thread for each model."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import final

from unpaired.data.values import Signed
from unpaired.models.translation import Translation
from unpaired.models.translator import Translator, images_per_batch
from unpaired.serve.monitor import Monitor


@dataclass(eq=False, slots=True)
class _Work:
    """One image that waits to be translated."""

    translator: Translator
    values: Signed
    size: tuple[int, int]
    """At which the network sees it, with padding."""
    done: asyncio.Future[Translation]
    since: float = field(default_factory=time.monotonic)

    def joins(self, other: _Work) -> bool:
        """Say whether both can be translated in one call."""
        mine, its = self.translator, other.translator
        return mine.engine is its.engine and mine.sizing == its.sizing and self.size == other.size


@final
class Batcher:
    """Translates what is asked for, images of one size together; `translate` may be cancelled at any time."""

    def __init__(self, name: str, batch_size: int, window_seconds: float, monitor: Monitor) -> None:
        self._name, self._batch_size, self._window, self._monitor = name, batch_size, window_seconds, monitor
        self._thread = ThreadPoolExecutor(1, f"translate {name}")
        self._waiting: deque[_Work] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.seconds_per_image = 0.1
        """Lately."""

    def __len__(self) -> int:
        """Count the images that wait."""
        return len(self._waiting)

    async def translate(self, translator: Translator, values: Signed) -> Translation:
        """Translate an image [H, W, C] in [-1, 1]; raises what computing raises."""
        size = translator.padded_size(values.shape[0], values.shape[1])
        work = _Work(translator, values, size, asyncio.get_running_loop().create_future())
        self._waiting.append(work)
        self._arrived.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            return await work.done
        finally:
            with contextlib.suppress(ValueError):  # nobody waits for it any longer
                self._waiting.remove(work)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        while self._waiting:
            await self._wait_for_others(self._waiting[0])
            if not self._waiting:
                return
            first = self._waiting[0]
            batch = self._joining(first)
            for work in batch:
                self._waiting.remove(work)
            started = time.monotonic()
            call = asyncio.get_running_loop().run_in_executor(self._thread, _compute, batch, self._batch_size)
            for work, result in zip(batch, await call, strict=True):
                if work.done.done():
                    continue
                if isinstance(result, Exception):
                    work.done.set_exception(result)
                else:
                    work.done.set_result(result)
            taken = time.monotonic() - started
            self.seconds_per_image += 0.2 * (taken / len(batch) - self.seconds_per_image)
            self._monitor.batch(self._name, len(batch), taken)

    def _joining(self, first: _Work) -> list[_Work]:
        most = images_per_batch(*first.size, self._batch_size)
        return [work for work in self._waiting if work.joins(first)][:most]

    async def _wait_for_others(self, first: _Work) -> None:
        """Wait until the window of an image is over, or its batch full; what waited for the thread waits no longer."""
        most = images_per_batch(*first.size, self._batch_size)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(first.since + self._window - time.monotonic()):
                while len(self._joining(first)) < most and not first.done.done():
                    self._arrived.clear()
                    await self._arrived.wait()


def _compute(batch: Sequence[_Work], batch_size: int) -> list[Translation | Exception]:
    """Translate a batch; where that fails, each image by itself, so that one cannot spoil the others."""
    try:
        return [*batch[0].translator.translate_values([work.values for work in batch], batch_size)]
    except Exception as error:  # whatever it is, the requests are answered and the service goes on
        if len(batch) == 1:
            return [error]
    return [result for work in batch for result in _compute([work], 1)]


@final
class Budget:
    """An amount that all requests share; whoever wants some waits for those who came before."""

    def __init__(self, total: int) -> None:
        self._free = self._total = total
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextlib.asynccontextmanager
    async def take(self, amount: int) -> AsyncIterator[None]:
        """Hold an amount while the block runs; more than there is altogether is all of it."""
        amount = min(amount, self._total)
        if self._queue or amount > self._free:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append((amount, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # at the same moment it was given
                    self._give(amount)
                else:
                    self._queue.remove((amount, turn))
                    self._give(0)
                raise
        else:
            self._free -= amount
        try:
            yield
        finally:
            self._give(amount)

    def _give(self, amount: int) -> None:
        self._free += amount
        while self._queue and self._queue[0][0] <= self._free:
            amount, turn = self._queue.popleft()
            if not turn.done():
                self._free -= amount
                turn.set_result(None)
