"""Where each image of a source lies in one block of bytes; known before any of them is decoded.

The channels of an image lie one after the other, as networks take them: a crop is then rows of one channel, which are
copied and converted many values at a time. To everyone who asks, images are [H, W, C] all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unpaired.data.source import FolderSource
from unpaired.data.values import Image

_ALIGNMENT = 64
_DTYPES = ("uint8", "uint16", "int16", "float32", "int8", "int32", "uint32", "int64", "uint64")


@dataclass(frozen=True, slots=True)
class Packing:
    """The layout of a block: where each image begins, its size and its dtype."""

    entries: NDArray[np.int64]
    """[N, 4]: offset in bytes, height, width, number of the dtype."""
    channels: int
    total_bytes: int

    def view(self, data: NDArray[np.uint8], index: int) -> Image:
        """Return image `index` of the block, [H, W, C], without a copy; its transpose to [C, H, W] is contiguous."""
        offset, height, width, code = self.entries[index].tolist()
        dtype = np.dtype(_DTYPES[code])
        count = height * width * self.channels * dtype.itemsize
        return data[offset : offset + count].view(dtype).reshape(self.channels, height, width).transpose(1, 2, 0)


def pack(source: FolderSource) -> Packing:
    """Lay out the prepared images of a source, one after the other, each aligned for any dtype."""
    entries = np.zeros((len(source), 4), np.int64)
    at = 0
    for index, info in enumerate(source.images):
        height, width = source.size(index)
        entries[index] = (at, height, width, _DTYPES.index(info.dtype))
        at += -(-height * width * source.channels * np.dtype(info.dtype).itemsize // _ALIGNMENT) * _ALIGNMENT
    return Packing(entries, source.channels, at)
