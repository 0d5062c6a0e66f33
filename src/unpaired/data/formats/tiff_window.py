"""A part of a TIFF page, of which only the tiles or strips that it touches are read and decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unpaired.data.formats.meaning import Box
from unpaired.data.values import Image

if TYPE_CHECKING:
    import tifffile


def window(page: tifffile.TiffPage, file: tifffile.FileHandle, box: Box) -> Image:
    """Return the stored samples of a part of a page, [H, W, S]; raises `ValueError` for a part outside of it."""
    _, _, height, width, together = page.shaped
    if not (0 <= box.top <= box.top + box.height <= height and 0 <= box.left <= box.left + box.width <= width):
        raise ValueError(f"{box} lies outside of {height} x {width} pixels")
    if page.compression == 1 and not page.is_tiled and page.is_contiguous and page.bitspersample % 8 == 0:
        return _rows(page, file, box)
    separate = page.shaped[0]
    strip = min(page.rowsperstrip, height), width
    tall, wide = (page.tilelength, page.tilewidth) if page.is_tiled else strip
    down, across = -(-height // tall), -(-width // wide)
    found: NDArray[Any] = np.full((box.height, box.width, separate * together), page.nodata, page.dtype)
    for plane in range(separate):
        for row in range(box.top // tall, -(-(box.top + box.height) // tall)):
            for column in range(box.left // wide, -(-(box.left + box.width) // wide)):
                segment = _segment(page, file, (plane * down + row) * across + column)
                if segment is None:  # left out of a sparse file
                    continue
                top, left = row * tall, column * wide
                rows = slice(max(box.top, top), min(box.top + box.height, top + segment.shape[0]))
                columns = slice(max(box.left, left), min(box.left + box.width, left + segment.shape[1]))
                found[
                    rows.start - box.top : rows.stop - box.top,
                    columns.start - box.left : columns.stop - box.left,
                    plane * together : (plane + 1) * together,
                ] = segment[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return found


def _segment(page: tifffile.TiffPage, file: tifffile.FileHandle, index: int) -> Image | None:
    """Return a tile or strip as [H, W, S]."""
    count = page.databytecounts[index]
    if count == 0:
        return None
    file.seek(page.dataoffsets[index])
    content = file.read(count)
    if len(content) < count:
        raise ValueError("truncated: the file ends before the image does")
    tables: dict[str, Any] = {"jpegtables": page.jpegtables} if page.jpegtables is not None else {}
    decoded, _, shape = page.decode(content, index, **tables)
    if decoded is None:
        return None
    segment: Image = decoded[0, : shape[1], : shape[2]]
    return segment


def _rows(page: tifffile.TiffPage, file: tifffile.FileHandle, box: Box) -> Image:
    """Return a part of samples that lie one behind the other, whatever their strips."""
    separate, _, height, width, together = page.shaped
    assert page.dtype is not None
    dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    row = width * together * dtype.itemsize
    planes = list[Image]()
    for plane in range(separate):
        file.seek(page.dataoffsets[0] + (plane * height + box.top) * row)
        content = file.read(box.height * row)
        if len(content) < box.height * row:
            raise ValueError("truncated: the file ends before the image does")
        rows = np.frombuffer(content, dtype).reshape(box.height, width, together)
        planes.append(rows[:, box.left : box.left + box.width].astype(page.dtype))
    return np.concatenate(planes, axis=2)
