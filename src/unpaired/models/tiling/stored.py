"""What is kept between passes: parts of results, in memory or in files of a folder."""

from __future__ import annotations

import contextlib
import math
import mmap
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from unpaired.models.tiling.local import Size, Span, Spans


@final
class Grid:
    """Tiles of an image, and the part of a result of any size that belongs to each."""

    def __init__(self, size: Size, tile: Size) -> None:
        self.size = size
        self.edges = tuple(
            [*range(0, length, side), length] for length, side in zip(size, tile, strict=True)
        )  # of rows and of columns
        self.rows, self.columns = (len(edges) - 1 for edges in self.edges)

    def spans(self, row: int, column: int, size: Size) -> Spans:
        """Return the part of a result of `size` that belongs to a tile; it may be empty."""
        return self._span(0, row, size[0]), self._span(1, column, size[1])

    def rows_across(self, span: Span, length: int) -> range:
        """Return the rows of tiles that hold a part, from top to bottom, of a result of this height."""
        found = []
        for each in range(max(span[0] * self.rows // length - 1, 0), self.rows):  # tiles but the last are equal
            part = self._span(0, each, length)
            if part[0] >= span[1]:
                break
            found += [each] if max(part[0], span[0]) < min(part[1], span[1]) else []
        return range(found[0], found[-1] + 1) if found else range(0)

    def _span(self, axis: int, number: int, length: int) -> Span:
        first, last = (edge * length // self.size[axis] for edge in self.edges[axis][number : number + 2])
        return first, last


@final
class Stored:
    """Results, [h, W, C] for each row of tiles.

    In memory each is a mapping of its own: what is dropped leaves the process, whatever was allocated after it.
    """

    def __init__(self, grid: Grid, folder: Path | None) -> None:
        """Keep them in files of an existing folder, or in memory."""
        self._grid, self._folder = grid, folder
        self._arrays: dict[tuple[int, int], NDArray[Any]] = {}

    def put(self, number: int, row: int, column: int, part: NDArray[Any], size: Size) -> None:
        """Keep what belongs to a tile of result `number`, which has `size` as a whole."""
        if part.size == 0:
            return
        (top, bottom), (left, right) = self._grid.spans(row, column, size)
        if self._folder is None:
            array = self._arrays.get((number, row))
            if array is None:
                shape = (bottom - top, size[1], part.shape[2])
                array = np.frombuffer(_mapping(math.prod(shape) * part.itemsize), part.dtype).reshape(shape)
                self._arrays[number, row] = array
            array[:, left:right] = part
        else:
            path, pixel_bytes = self._path(number, row), part.shape[2] * part.itemsize
            with path.open("r+b" if path.exists() else "w+b", buffering=0) as file:
                for line, values in enumerate(part):
                    file.seek((line * size[1] + left) * pixel_bytes)
                    file.write(np.ascontiguousarray(values).data.cast("B"))

    def read(self, number: int, spans: Spans, size: Size, channels: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a part [h, w, C] of a result of `size`, a copy."""
        (top, bottom), (left, right) = spans
        array = np.empty((bottom - top, right - left, channels), dtype)
        for row in self._grid.rows_across(spans[0], size[0]):
            first, last = self._grid.spans(row, 0, size)[0]
            lines = range(max(first, top), min(last, bottom))
            if not lines:  # where a result is much smaller than the image, some rows of tiles hold nothing of it
                continue
            if self._folder is None:
                kept = self._arrays[number, row]
                array[lines.start - top : lines.stop - top] = kept[lines.start - first : lines.stop - first, left:right]
                continue
            with self._path(number, row).open("rb", buffering=0) as file:
                for line in lines:
                    file.seek(((line - first) * size[1] + left) * channels * dtype.itemsize)
                    file.readinto(array[line - top].data.cast("B"))
        return array

    def drop(self, number: int, rows: range) -> None:
        """Forget a result in these rows of tiles."""
        for row in rows:
            self._arrays.pop((number, row), None)
            if self._folder is not None:
                self._path(number, row).unlink(missing_ok=True)

    def _path(self, number: int, row: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{number}-{row}.bin"


def _mapping(size: int) -> mmap.mmap:
    """Return memory that leaves the process as soon as nobody holds it; in large pages where the system has them."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    mapping = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping
