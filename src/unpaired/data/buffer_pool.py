"""Memory for batches that is used again once nobody needs the batch any more."""

from __future__ import annotations

import math
import weakref
from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ALIGNMENT = 64
_KEPT = 32
"""Blocks that wait to be used again; images that keep sizes of their own would pile up more."""


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
