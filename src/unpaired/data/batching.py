"""From the rows of a batch to one tensor.

For a CPU, each row is cut, flipped and mapped to [-1, 1] by the thread that prepares the batch (`signed_rows`).
For a GPU the threads only copy the cut values in the type that they are kept in, a quarter of the bytes for 8-bit
images (`stored_rows`), and the device does the rest for all rows at once (`finish`). Both give the same numbers, bit by
bit: those of `values.to_signed`.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unpaired.data.crops import cropped
from unpaired.data.source import ImageSource
from unpaired.data.transforms import is_flipped
from unpaired.data.values import Domain, Image, value_range

_ALIGNMENT = 64
_KEPT = 32
"""Blocks that wait to be used again; images that keep sizes of their own would pile up more."""

Row = tuple[int, tuple[float, float, float]]
"""Which image of a source, and three uniform numbers in [0, 1): where it is cut and whether it is flipped."""


class ReusedMemory:
    """Makes float32 tensors in memory that earlier ones, dropped since, have left behind.

    Memory that is new to a process is cleared by the system page by page, and given back to it when a batch is dropped:
    that took as long as all the work on an image of 256 x 256. Safe to call from several threads.
    """

    def __init__(self) -> None:
        # A deque's operations are atomic, so blocks may come back in any thread, at any time.
        self._free: deque[NDArray[np.uint8]] = deque(maxlen=_KEPT)

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        """Return a float32 tensor on the CPU whose values are whatever was there."""
        block = self._block(4 * math.prod(shape))
        # PyTorch keeps this one array for as long as any tensor or view needs the memory, and no longer.
        lease = block.view(np.float32).reshape(shape)
        weakref.finalize(lease, self._free.append, block).atexit = False
        return torch.from_numpy(lease)

    def _block(self, size: int) -> NDArray[np.uint8]:
        for _ in range(len(self._free)):
            try:
                block = self._free.pop()
            except IndexError:  # another thread was faster
                break
            if block.nbytes == size:
                return block
            self._free.appendleft(block)
        room = np.empty(size + _ALIGNMENT, np.uint8)
        start = -room.ctypes.data % _ALIGNMENT
        return room[start : start + size]


@dataclass(frozen=True, slots=True)
class Cuts:
    """The rows of one domain's batch, cut but not copied yet."""

    images: list[Image]
    """Each [H, W, C] in its own dtype, a view; all of one shape."""
    flipped: list[bool]
    """Whether each is yet to be flipped."""
    declared: tuple[float, float] | None
    """The domain's range of values; None means by dtype."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N, C, H, W] of the batch."""
        height, width, channels = self.images[0].shape
        return len(self.images), channels, height, width


@dataclass(frozen=True, slots=True)
class Stored:
    """One domain's batch in the type that its images are kept in, and what is left to do."""

    values: Tensor
    """[N, C, H, W]."""
    flipped: Tensor
    """[N], bool."""
    bounds: tuple[float, float] | None
    """The values that become -1 and 1; None where `values` are float32 in [-1, 1] already."""


def cut_rows(
    source: ImageSource, domain: Domain, rows: Sequence[Row], *, size: tuple[int, int] | None, flip: bool
) -> Cuts:
    """Get the images of all rows and cut each to `size` (height, width); None leaves them whole."""
    cuts = [source[index] if size is None else cropped(source, index, size, u) for index, u in rows]
    return Cuts(cuts, [flip and is_flipped(u) for _, u in rows], domain.range)


def signed_rows(cuts: Cuts, memory: ReusedMemory) -> Tensor:
    """Return the finished batch: float32 [N, C, H, W] in [-1, 1]."""
    batch = memory.empty(cuts.shape)
    for out, image, flip in zip(batch.numpy(), cuts.images, cuts.flipped, strict=True):
        write_signed(image, cuts.declared, out, flip=flip)
    return batch


def stored_rows(cuts: Cuts, *, pin_memory: bool) -> Stored:
    """Copy the rows as they are, for `finish`; `pin_memory` for copies to a GPU that nothing waits for.

    Images of several dtypes have no common scale; such a batch is mapped to [-1, 1] here, each row by its own range.
    """
    dtypes = {image.dtype for image in cuts.images}
    dtype = dtypes.pop() if len(dtypes) == 1 else None
    kept = torch.float32 if dtype is None else torch.from_numpy(np.empty(0, dtype)).dtype
    values = torch.empty(cuts.shape, dtype=kept, pin_memory=pin_memory)
    for out, image in zip(values.numpy(), cuts.images, strict=True):
        if dtype is None:
            write_signed(image, cuts.declared, out)
        else:
            out[...] = image.transpose(2, 0, 1)
    flipped = torch.tensor(cuts.flipped, pin_memory=pin_memory)
    return Stored(values, flipped, None if dtype is None else value_range(dtype, cuts.declared))


def finish(stored: Stored, device: torch.device) -> Tensor:
    """Bring a batch to the device and finish it there, all rows at once; returns float32 [N, C, H, W] in [-1, 1].

    Nothing in here waits for the device where `stored` is in pinned memory.
    """
    batch = stored.values.to(device, non_blocking=True).to(torch.float32)
    flipped = stored.flipped.to(device, non_blocking=True)
    if stored.bounds is not None:
        low, high = stored.bounds
        # The order of `values.to_signed`, one rounding each: a fused form would give other last bits.
        batch = (
            batch.sub(float(np.float32(low))).mul_(float(np.float32(2.0 / (high - low)))).sub_(1.0).clamp_(-1.0, 1.0)
        )
    return torch.where(flipped[:, None, None, None], batch.flip(-1), batch)


def write_signed(
    image: Image, declared: tuple[float, float] | None, out: NDArray[np.float32], *, flip: bool = False
) -> None:
    """Write [H, W, C] values into `out`, float32 [C, H, W], as [-1, 1]; the same numbers as `values.to_signed`."""
    low, high = value_range(image.dtype, declared)
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    # NumPy's loops release the interpreter lock and, unlike torch's, start no threads of their own in every worker.
    out[...] = _reversed_rows(planes) if flip else planes
    if low != 0:
        out -= np.float32(low)
    out *= np.float32(2.0 / (high - low))
    out -= np.float32(1.0)
    if not _stays_within(image.dtype, low, high):
        np.clip(out, -1.0, 1.0, out=out)


def _reversed_rows(planes: NDArray[Any]) -> NDArray[Any]:
    if planes.itemsize == 1 and planes.shape[-1] % 8 == 0:
        # Eight bytes at a time, backwards: read in one byte order and written in the other. Twelve times as fast.
        return planes.view(">u8")[..., ::-1].astype("<u8").view(planes.dtype)
    return planes[..., ::-1]


@lru_cache(maxsize=32)
def _stays_within(dtype: np.dtype[np.generic], low: float, high: float) -> bool:
    """Return whether no value of an integer dtype leaves [-1, 1]; the arithmetic is monotonic, so its ends tell."""
    if dtype.kind not in "iu":
        return False
    bounds = np.iinfo(dtype.name)
    ends = np.array([bounds.min, bounds.max], dtype).astype(np.float32)
    signed = (ends - np.float32(low)) * np.float32(2.0 / (high - low)) - np.float32(1.0)
    return bool(np.abs(signed).max() <= 1)


Pair = tuple[Tensor, Tensor]
"""`(x, y)`: float32 [N, C, H, W] in [-1, 1] on the training's device, x from domain A and y from B."""


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


Delivery = ToHost | ToCuda
"""Threads call `prepare`, the consumer calls `send` and `receive`, each in order.

`ahead` says how many batches are sent before they are asked for.
"""


def delivery_to(device: torch.device) -> Delivery:
    """Return the way to a device."""
    return ToCuda(device) if device.type == "cuda" else ToHost(device)
