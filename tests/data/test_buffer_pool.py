from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable

import pytest
import torch

from unpaired.data.batching import ReusedMemory


def test_memory_is_used_again_once_its_tensor_is_gone() -> None:
    memory = ReusedMemory()
    first = memory.empty((2, 3, 5))
    assert first.shape == (2, 3, 5)
    assert first.dtype == torch.float32
    place = first.data_ptr()
    assert place % 64 == 0
    second = memory.empty((2, 3, 5))
    assert second.data_ptr() != place
    del first
    assert memory.empty((5, 6)).data_ptr() == place, "of the same size, whatever the shape"


def hold_view() -> tuple[ReusedMemory, torch.Tensor]:
    memory = ReusedMemory()
    return memory, memory.empty((4, 4))[1:, ::2]


def hold_array() -> tuple[ReusedMemory, object]:
    memory = ReusedMemory()
    return memory, memory.empty((4, 4)).numpy()


@pytest.mark.parametrize("hold", [hold_view, hold_array])
def test_memory_that_anyone_still_needs_is_left_alone(hold: Callable[[], tuple[ReusedMemory, object]]) -> None:
    memory, held = hold()
    fresh = memory.empty((4, 4))
    del fresh
    assert len(memory._free) == 1
    del held
    assert len(memory._free) == 2


def test_what_autograd_keeps_is_left_alone() -> None:
    memory = ReusedMemory()
    weight = torch.ones(4, 4, requires_grad=True)
    loss = (memory.empty((4, 4)).fill_(3) * weight).sum()
    memory.empty((4, 4)).fill_(7)
    loss.backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.full((4, 4), 3.0))


def test_other_sizes_get_other_memory_and_do_not_pile_up() -> None:
    memory = ReusedMemory()
    small = memory.empty((4,))
    place = small.data_ptr()
    del small
    large = memory.empty((1000,))
    large.fill_(1)
    assert memory.empty((4,)).data_ptr() == place
    for size in range(1, 200):
        memory.empty((size,))
    assert len(memory._free) <= 32


def test_memory_ends_with_its_last_tensor() -> None:
    memory = ReusedMemory()
    kept = memory.empty((3,)).fill_(2)
    gone = weakref.ref(memory)
    del memory
    gc.collect()
    assert gone() is None
    assert kept.tolist() == [2, 2, 2]


def test_threads_never_share_memory() -> None:
    memory = ReusedMemory()
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(500):
            mine = [memory.empty((100 + number % 2,)).fill_(number) for _ in range(3)]
            if any(bool((tensor != number).any()) for tensor in mine):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
