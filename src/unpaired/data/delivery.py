"""How prepared batches reach the device that computes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from unpaired.data.batching import Cuts, ReusedMemory, Stored, finish, signed_rows, stored_rows

Pair = tuple[Tensor, Tensor]
"""`(x, y)`: float32 [N, C, H, W] in [-1, 1] on the training's device, x from domain A and y from B."""


class Delivery(Protocol):
    """What the loader asks: threads call `prepare`, the consumer calls `send` and `receive`, each in order.

    What a batch is on its way is each delivery's own matter; the loader only passes it on.
    """

    ahead: int
    """Batches that are sent before they are asked for."""

    def prepare(self, x: Cuts, y: Cuts) -> Any:
        """Make a batch of its rows, in the memory of the CPU."""

    def send(self, prepared: Any) -> Any:
        """Start its way to the device, without waiting for the device."""

    def receive(self, sent: Any) -> Pair:
        """Return it, ready for operations that are called from now on."""


class ToHost:
    """For CPUs, and for devices without streams of ours: the threads do everything, and the result is copied."""

    ahead = 0

    def __init__(self, device: torch.device) -> None:
        self._device, self._memory = device, ReusedMemory()

    def prepare(self, x: Cuts, y: Cuts) -> Pair:
        """Finish a batch."""
        return signed_rows(x, self._memory), signed_rows(y, self._memory)

    def send(self, prepared: Pair) -> Pair:
        """Copy it to the device; on a CPU there is nothing to copy."""
        return prepared[0].to(self._device), prepared[1].to(self._device)

    def receive(self, sent: Pair) -> Pair:
        """Return it as it is."""
        return sent


@dataclass(frozen=True, slots=True)
class OnItsWay:
    """A batch whose copy to a GPU has been started."""

    pair: Pair
    arrived: torch.cuda.Event


class ToCuda:
    """For CUDA: pinned memory in the images' own type, copied and finished on a stream beside the training's.

    Only the consumer's thread calls CUDA, beyond the threads' pinned memory, so that a step can be recorded as a graph
    while batches are prepared. PyTorch keeps a pinned buffer until the copy from it has finished.
    """

    ahead = 2
    _STEPS_QUEUED = 2

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._received: deque[torch.cuda.Event] = deque()

    def prepare(self, x: Cuts, y: Cuts) -> tuple[Stored, Stored]:
        """Copy the rows into pinned memory."""
        return stored_rows(x, pin_memory=True), stored_rows(y, pin_memory=True)

    def send(self, prepared: tuple[Stored, Stored]) -> OnItsWay:
        """Queue the copy and what is left to do on the stream beside the training's."""
        with torch.cuda.stream(self._stream):
            pair = finish(prepared[0], self._device), finish(prepared[1], self._device)
            return OnItsWay(pair, self._stream.record_event())

    def receive(self, sent: OnItsWay) -> Pair:
        """Let the consumer's stream wait for the batch; the CPU waits only when it is two steps ahead."""
        current = torch.cuda.current_stream(self._device)
        current.wait_event(sent.arrived)
        for tensor in sent.pair:
            # Made on one stream and used on another: its memory must not be given away before the other is done.
            tensor.record_stream(current)
        # Replaying graphs, the CPU would run far ahead, and each step ahead holds a batch in the GPU's memory.
        if len(self._received) == self._STEPS_QUEUED:
            self._received.popleft().synchronize()
        self._received.append(current.record_event())
        return sent.pair


def delivery_to(device: torch.device) -> Delivery:
    """Return the way to a device."""
    return ToCuda(device) if device.type == "cuda" else ToHost(device)
