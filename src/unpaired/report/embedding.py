"""Pictures inside a page: made small enough, encoded once, and as the rows of a picture table."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.report.image_grid import TINY, png

JPEG_QUALITY = 85
WIDEST_CELL, SMALL_CELL = 224, 128
"""Pixels that a picture takes in a table: tiny ones are magnified in whole steps up to the second."""


@dataclass(frozen=True, slots=True)
class Image:
    """An embedded picture."""

    width: int
    height: int
    url: str
    """A `data:` URL."""
    small: bool = False
    """Whether it is magnified, each pixel a square."""


@dataclass(frozen=True, slots=True)
class PictureRows:
    """Pictures side by side: a row an input, a column what became of it."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Image]]
    given: int
    """How many of the first columns are given images (input, true image): the others are translations."""


def picture_rows(
    columns: Sequence[str], rows: Sequence[Mapping[str, NDArray[np.uint8]]], *, given: int = 1
) -> PictureRows:
    """Return pictures, [H, W, 3] or [H, W, 1] uint8, as rows of a page, without loss; a row may lack a column."""
    return PictureRows(columns, [{name: _cell(picture) for name, picture in row.items()} for row in rows], given)


def embedded(content: bytes) -> Image:
    """Return a PNG or JPEG file as a page holds it."""
    with PillowImage.open(io.BytesIO(content)) as image:
        width, height = image.size
    kind = "jpeg" if content.startswith(b"\xff\xd8") else "png"
    return Image(width, height, f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}")


def encode(picture: NDArray[np.uint8], widest: int) -> tuple[str, bytes]:
    """Return a picture, [H, W, 3] uint8, at most `widest` pixels wide and twice as tall, with its suffix.

    It is the smaller of a PNG (few colours, large pixels) and a JPEG (photographs).
    """
    image = PillowImage.fromarray(np.ascontiguousarray(picture))
    factor = min(widest / image.width, 2 * widest / image.height, 1.0)
    if factor < 1:
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, PillowImage.Resampling.LANCZOS, reducing_gap=2.0)
    as_png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(jpeg, "JPEG", quality=JPEG_QUALITY)
    if factor == 1:
        image.save(as_png, "PNG", compress_level=3)
        # JPEG blurs the edges of magnified pixels, so a PNG may be a little larger.
        if as_png.tell() <= 1.25 * jpeg.tell():
            return "png", as_png.getvalue()
    return "jpg", jpeg.getvalue()


def split_grid(grid: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the two directions of a sample grid, where its middle is the margin between them, else the grid whole."""
    middle = grid.shape[0] // 2
    seam = grid[max(0, middle - 6) : middle + 6]
    if grid.shape[0] < 2 * grid.shape[1] // 3 or (seam != seam[:1, :1]).any():
        return [grid]
    return [grid[:middle], grid[middle:]]


def _cell(picture: NDArray[np.uint8]) -> Image:
    found = embedded(png(picture))
    longest = max(found.width, found.height)
    small = longest < TINY
    factor = SMALL_CELL // longest if small else min(1.0, WIDEST_CELL / found.width)
    return Image(round(found.width * factor), round(found.height * factor), found.url, small)
