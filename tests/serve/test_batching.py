from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unpaired.data.values import Domain, Signed
from unpaired.models.translation import Translation
from unpaired.models.translator import Translator
from unpaired.serve.batching import Batcher, Budget
from unpaired.serve.monitor import Monitor

RGB = Domain(channels=3)


class Network:
    """Stands for a translator: negates, remembers its batches, and fails where an image says so."""

    def __init__(self, engine: str = "one", sizing: int = 0) -> None:
        self.engine, self.sizing = engine, sizing
        self.batches: list[int] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def translate_values(self, images: list[Signed], batch_size: int) -> list[Translation]:
        self.begun.set()
        assert self.go.wait(60)
        assert len({image.shape for image in images}) == 1
        self.batches.append(len(images))
        if any(image.max() > 0.9 for image in images):
            raise RuntimeError("too bright")
        return [Translation(-image, RGB) for image in images]

    @property
    def translator(self) -> Translator:
        return cast("Translator", self)


def image(value: float, side: int = 4) -> Signed:
    return np.full((side, side, 3), value, np.float32)


def run(test: Callable[[Batcher], Coroutine[Any, Any, None]], window: float = 0.0, size: int = 4) -> None:
    async def main() -> None:
        batcher = Batcher("m", size, window, Monitor())
        try:
            await asyncio.wait_for(test(batcher), 60)
        finally:
            batcher.close()

    asyncio.run(main())


def test_images_that_come_within_the_window_go_together() -> None:
    network = Network()

    async def test(batcher: Batcher) -> None:
        asked = [asyncio.create_task(batcher.translate(network.translator, image(n / 10))) for n in range(4)]
        done = await asyncio.gather(*asked)  # the fourth fills the batch, long before the window is over
        assert [float(each.values[0, 0, 0]) for each in done] == pytest.approx([0, -0.1, -0.2, -0.3])
        assert network.batches == [4]

    run(test, window=3600.0)


def test_a_lone_image_waits_no_longer_than_the_window() -> None:
    network = Network()

    async def test(batcher: Batcher) -> None:
        await batcher.translate(network.translator, image(0.5))
        assert network.batches == [1]

    run(test, window=0.01)


def test_what_comes_while_the_network_computes_goes_together_next() -> None:
    network = Network()

    async def test(batcher: Batcher) -> None:
        network.go.clear()
        asked = [asyncio.create_task(batcher.translate(network.translator, image(0)))]
        await asyncio.to_thread(network.begun.wait)
        asked += [asyncio.create_task(batcher.translate(network.translator, image(0, side))) for side in (4, 8, 4, 4)]
        await asyncio.sleep(0)
        assert len(batcher) == 4
        network.go.set()
        await asyncio.gather(*asked)
        assert network.batches == [1, 3, 1]  # by size

    run(test)


def test_other_networks_and_sizings_go_by_themselves() -> None:
    one, other, sized = Network(), Network("other"), Network(sizing=1)

    async def test(batcher: Batcher) -> None:
        asked = [batcher.translate(each.translator, image(0)) for each in (one, other, sized, one)]
        await asyncio.gather(*asked)
        assert (one.batches, other.batches, sized.batches) == ([2], [1], [1])

    run(test, window=0.05)


def test_one_image_that_fails_spoils_no_other() -> None:
    network = Network()

    async def test(batcher: Batcher) -> None:
        asked = [batcher.translate(network.translator, image(value)) for value in (0.0, 1.0, 0.5)]
        first, bright, last = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, Translation)
        assert isinstance(bright, RuntimeError)
        assert isinstance(last, Translation)
        assert isinstance(await batcher.translate(network.translator, image(0)), Translation)

    run(test, window=0.05)


def test_nothing_is_computed_for_who_has_gone() -> None:
    network = Network()

    async def test(batcher: Batcher) -> None:
        network.go.clear()
        first = asyncio.create_task(batcher.translate(network.translator, image(0)))
        await asyncio.to_thread(network.begun.wait)
        gone = [asyncio.create_task(batcher.translate(network.translator, image(0))) for _ in range(3)]
        await asyncio.sleep(0)
        for task in (*gone, first):  # the first one is being computed, and nobody takes it
            task.cancel()
        await asyncio.gather(*gone, first, return_exceptions=True)
        assert len(batcher) == 0
        network.go.set()
        await batcher.translate(network.translator, image(0))
        assert network.batches == [1, 1]

    run(test)


# -------------------------------------------------------------------------------------------------------------- budget


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 3), st.booleans()), max_size=20))
def test_a_budget_is_never_exceeded_and_always_given_back(wishes: list[tuple[int, int, bool]]) -> None:
    async def main() -> None:
        budget, held, order = Budget(10), 0, []

        async def hold(number: int, amount: int, turns: int) -> None:
            nonlocal held
            async with budget.take(amount):
                order.append(number)
                held += min(amount, 10)
                assert held <= 10
                try:
                    for _ in range(turns):
                        await asyncio.sleep(0)
                finally:
                    held -= min(amount, 10)

        tasks = [asyncio.create_task(hold(number, amount, turns)) for number, (amount, turns, _) in enumerate(wishes)]
        await asyncio.sleep(0)
        for task, (_, _, cancelled) in zip(tasks, wishes, strict=True):
            if cancelled:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == sorted(order)  # first come, first served
        async with asyncio.timeout(60):
            async with budget.take(10):
                assert held == 0

    asyncio.run(main())
