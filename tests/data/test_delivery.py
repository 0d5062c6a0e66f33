from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from unpaired.data.batching import Cuts, OnItsWay, ToCuda, ToHost, delivery_to, stored_rows

CPU = torch.device("cpu")


def cuts(count: int = 2, dtype: str = "uint8", seed: int = 0) -> Cuts:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (8, 16, 3)).astype(dtype) for _ in range(count)]
    return Cuts(images, [bool(row % 2) for row in range(count)], None)


def test_CPUs_get_batches_without_a_copy() -> None:
    delivery = delivery_to(CPU)
    assert isinstance(delivery, ToHost)
    assert delivery.ahead == 0
    prepared = delivery.prepare(cuts(), cuts(seed=1))
    x, y = delivery.receive(delivery.send(prepared))
    assert x is prepared[0]
    assert y is prepared[1]


class Calls(list[str]):
    """What was asked of a make-believe GPU, in order."""


class FakeEvent:
    def __init__(self, name: str, calls: Calls) -> None:
        self.name, self.calls = name, calls

    def synchronize(self) -> None:
        self.calls.append(f"processor waits for {self.name}")


class FakeStream:
    def __init__(self, name: str, calls: Calls) -> None:
        self.name, self.calls, self.events = name, calls, 0

    def record_event(self) -> FakeEvent:
        self.events += 1
        return FakeEvent(f"{self.name} {self.events}", self.calls)

    def wait_event(self, event: FakeEvent) -> None:
        self.calls.append(f"{self.name} waits for {event.name}")


class FakeTensor:
    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    def record_stream(self, stream: FakeStream) -> None:
        self.calls.append(f"kept for {stream.name}")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Streams and events that only take notes."""
    noted = Calls()
    training = FakeStream("training", noted)

    @contextlib.contextmanager
    def inside(stream: FakeStream) -> Iterator[None]:
        noted.append(f"in {stream.name}")
        yield
        noted.append(f"out of {stream.name}")

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream("loading", noted))
    monkeypatch.setattr(torch.cuda, "stream", inside)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: training)
    return noted


def test_sending_happens_on_a_stream_of_its_own(calls: Calls) -> None:
    delivery = ToCuda(CPU)  # its tensors stay here; only streams are make-believe
    batch = cuts()
    sent = delivery.send((stored_rows(batch, pin_memory=False), stored_rows(batch, pin_memory=False)))
    assert calls == ["in loading", "out of loading"]
    assert sent.arrived.name == "loading 1"  # type: ignore[attr-defined]
    truth = ToHost(CPU).prepare(batch, batch)
    assert torch.equal(sent.pair[0], truth[0])
    assert torch.equal(sent.pair[1], truth[1])


def test_receiving_waits_on_the_device_and_keeps_the_memory(calls: Calls) -> None:
    delivery = ToCuda(CPU)

    def receive(number: int) -> list[str]:
        calls.clear()
        pair: Any = (FakeTensor(calls), FakeTensor(calls))
        event: Any = FakeEvent(f"batch {number}", calls)
        assert delivery.receive(OnItsWay(pair, event)) is pair
        return list(calls)

    ordinary = ["training waits for batch 0", "kept for training", "kept for training"]
    assert receive(0) == ordinary
    assert receive(0) == ordinary
    assert receive(0) == [*ordinary, "processor waits for training 1"]
    assert receive(0) == [*ordinary, "processor waits for training 2"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_cuda_gives_the_same_numbers(dtype: str) -> None:
    device = torch.device("cuda")
    delivery = delivery_to(device)
    sent = []
    for seed in range(8):
        prepared = delivery.prepare(cuts(3, dtype, seed), cuts(3, dtype, seed + 100))
        assert prepared[0].values.is_pinned()
        sent.append(delivery.send(prepared))
        del prepared  # the pinned memory may be used again, once the copy is over
    for seed, each in enumerate(sent):
        x, y = delivery.receive(each)
        assert x.device.type == "cuda"
        truth = ToHost(CPU).prepare(cuts(3, dtype, seed), cuts(3, dtype, seed + 100))
        assert torch.equal(x.cpu(), truth[0])
        assert torch.equal(y.cpu(), truth[1])
