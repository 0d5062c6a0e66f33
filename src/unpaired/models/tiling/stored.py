"""What is kept between passes: parts of results, in memory or in files of a folder."""

from __future__ import annotations

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

    def across(self, axis: int, span: Span, length: int) -> range:
        """Return the rows (axis 0) or columns (axis 1) of tiles that hold a part of a result of this length."""
        count = self.rows if axis == 0 else self.columns
        about = span[0] * count // length  # tiles but the last are equal
        near = range(max(about - 1, 0), count)
        found = []
        for each in near:
            part = self._span(axis, each, length)
            if part[0] >= span[1]:
                break
            found += [each] if max(part[0], span[0]) < min(part[1], span[1]) else []
        return range(found[0], found[-1] + 1) if found else range(0)

    def _span(self, axis: int, number: int, length: int) -> Span:
        first, last = (edge * length // self.size[axis] for edge in self.edges[axis][number : number + 2])
        return first, last


@final
class Stored:
    """Parts of results, [h, w, C] each, one for each tile of a grid."""

    def __init__(self, grid: Grid, folder: Path | None) -> None:
        """Keep them in files of an existing folder, or in memory."""
        self._grid, self._folder = grid, folder
        self._arrays: dict[tuple[int, int, int], NDArray[Any]] = {}

    def put(self, number: int, row: int, column: int, part: NDArray[Any]) -> None:
        """Keep what belongs to a tile of result `number`."""
        if part.size == 0:
            return
        if self._folder is None:
            self._arrays[number, row, column] = part
        else:
            part.tofile(self._path(number, row, column))

    def read(self, number: int, spans: Spans, size: Size, channels: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a part [h, w, C] of a result of `size`, a copy."""
        rows, columns = spans
        array = np.empty((rows[1] - rows[0], columns[1] - columns[0], channels), dtype)
        for row in self._grid.across(0, rows, size[0]):
            for column in self._grid.across(1, columns, size[1]):
                has = self._grid.spans(row, column, size)
                if any(first == last for first, last in has):
                    continue
                target, source = (
                    tuple(
                        slice(max(h[0], s[0]) - origin[axis][0], min(h[1], s[1]) - origin[axis][0])
                        for axis, (h, s) in enumerate(zip(has, spans, strict=True))
                    )
                    for origin in (spans, has)
                )
                array[target] = self._array(number, row, column, has, channels, dtype)[source]
        return array

    def drop(self, number: int, rows: range) -> None:
        """Forget the parts of a result in these rows of tiles."""
        for row in rows:
            for column in range(self._grid.columns):
                self._arrays.pop((number, row, column), None)
                if self._folder is not None:
                    self._path(number, row, column).unlink(missing_ok=True)

    def _array(
        self, number: int, row: int, column: int, has: Spans, channels: int, dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        if self._folder is None:
            return self._arrays[number, row, column]
        shape = (has[0][1] - has[0][0], has[1][1] - has[1][0], channels)
        return np.memmap(self._path(number, row, column), dtype, "r", shape=shape)

    def _path(self, number: int, row: int, column: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{number}-{row}-{column}.bin"
