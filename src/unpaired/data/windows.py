"""Images that are never decoded whole: which these are, what checking sees of them, what of them is held out."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.data.bad_image import BadImage
from unpaired.data.config import DataConfig
from unpaired.data.decode import explained
from unpaired.data.formats import Box, Frame, Reader, cut
from unpaired.data.reading import ImageFile, Reading
from unpaired.data.transforms import height_width
from unpaired.data.values import Image

HELD_OUT = 16
"""Windows of a large image that stand for it among held-out images, at most."""
_GRID, _GLIMPSE = 3, 256
"""Checking sees so many rows and columns of windows of so many pixels."""
_SPECKS, _SPECK = 12, 16
"""Gaps are sought in so many rows and columns of windows of so many pixels."""
_ENDS = 1 << 20
"""Bytes at both ends of a large file that tell it from others."""


class Large(NamedTuple):
    """Above which size images are read by windows."""

    pixels: int

    def size(self, file: ImageFile) -> tuple[int, int] | None:
        """Return the (height, width) of an image that is read by windows; None for others. `BadImage` as `decode`."""
        if not isinstance(file, Path | Frame) or (
            isinstance(file, Frame) and (file.box or file.axis or file.neighbours)
        ):
            return None
        path, level = (file.path, file.level) if isinstance(file, Frame) else (file, 0)
        with explained(path) as (opened, reader):
            if type(reader).read_window is Reader.read_window:
                return None
            header = reader.probe(opened)
            levels = reader.levels(opened) if level else [(header.height, header.width)]
            if level >= len(levels) or math.prod(levels[level]) <= self.pixels:
                return None
            return levels[level] if reader.read_window(opened, Box(0, 0, 1, 1), level=level) is not None else None


def large_of(config: DataConfig, reading: Reading) -> Large | None:
    """Return which images are read by windows; None where all are decoded whole.

    Crops at the images' own scale need no more than themselves; label maps, halves of side-by-side files and images
    with transparency are decoded whole.
    """
    plain = reading.half is None and reading.labels is None and not reading.alpha
    return Large(config.whole_pixels) if config.preprocess == "crop" and plain else None


def without_large(files: Sequence[ImageFile], large: Large | None) -> list[ImageFile]:
    """Return those of some images that are decoded whole; of many a few, spread evenly."""
    few = files[:: max(1, len(files) // 16)]
    if large is None:
        return [*few]
    whole = list[ImageFile]()
    for file in few:
        with contextlib.suppress(BadImage):
            whole += [] if large.size(file) is not None else [file]
    return whole


def check_windows(config: DataConfig, *, paired: bool) -> None:
    """Raise `UserError` for settings of crops that contradict the mode or one another."""
    for name, value, usual in (("sampling", config.sampling, "image"), ("keep", config.keep, "all")):
        if value != usual and config.preprocess != "crop":
            raise UserError(
                f"{option(f'data.{name}', value)} chooses among the crops of images at their own scale, and "
                f"{option('data.preprocess', config.preprocess)} resizes images or takes them whole. Set "
                f"{option('data.preprocess', 'crop')}, or leave {option(f'data.{name}')} out."
            )
    if config.keep != "all" and paired:
        raise UserError(
            f"{option('data.keep', config.keep)} draws crops again, and both images of a pair are cut alike. Leave "
            f"{option('data.keep')} out."
        )
    if config.sampling == "area" and config.window is not None:
        raise UserError(
            f"{option('data.sampling', 'area')} and {option('data.window', config.window)} are given together: windows "
            "of shards count images. Leave one of them out."
        )


def at_level(files: Sequence[ImageFile], level: int) -> Sequence[ImageFile]:
    """Return images at one of the resolutions that their files hold."""
    if level == 0:
        return files
    return [
        replace(file, level=level)
        if isinstance(file, Frame)
        else Frame(file, 0, level=level)
        if isinstance(file, Path)
        else file
        for file in files
    ]


def trained_level(file: ImageFile, level: int) -> ImageFile:
    """Return an image at the resolution of training; one of which its file holds no others is taken as it is.

    Raises `BadImage` as `decode`.
    """
    if level == 0 or not isinstance(file, Path | Frame):
        return file
    with explained(file.path if isinstance(file, Frame) else file) as (path, reader):
        several = len(reader.levels(path)) > 1
    return at_level([file], level)[0] if several else file


def glimpse(file: Path | Frame, size: tuple[int, int]) -> Iterator[Frame]:
    """Yield a grid of windows of a large image of (height, width), as what stands for images."""
    height, width = min(_GLIMPSE, size[0]), min(_GLIMPSE, size[1])
    for box in grid(size, (height, width), _GRID, _GRID):
        yield cut(file, box)


def parts_of(file: ImageFile, size: tuple[int, int], *, by_windows: bool) -> list[ImageFile]:
    """Return what is inspected of an image: all of it, or some windows of a large one."""
    return [*glimpse(file, size)] if by_windows and isinstance(file, Path | Frame) else [file]


def share_of_gaps(file: Path | Frame, size: tuple[int, int]) -> float:
    """Return how many pixels of a large image have no value, by many small windows of it; 0 where none is seen."""
    frame = file if isinstance(file, Frame) else Frame(file, 0)
    part = min(_SPECK, size[0]), min(_SPECK, size[1])
    with explained(frame.path) as (path, reader):
        if type(reader).valid_window is Reader.valid_window and type(reader).valid is Reader.valid:
            return 0.0
        masks = [reader.valid_window(path, box, frame.index, frame.level) for box in grid(size, part, _SPECKS, _SPECKS)]
    return float(np.mean([0.0 if mask is None else 1 - mask.mean() for mask in masks]))


def grid(size: tuple[int, int], part: tuple[int, int], rows: int, columns: int) -> list[Box]:
    """Return so many windows of (height, width), spread evenly over an image and inside of it."""
    tops, lefts = (
        [min(max(round((n + 0.5) * length / count - piece / 2), 0), length - piece) for n in range(count)]
        for length, piece, count in ((size[0], part[0], rows), (size[1], part[1], columns))
    )
    return [Box(top, left, *part) for top in tops for left in lefts]


def held_out_grid(size: tuple[int, int], crop: tuple[int, int], most: int = HELD_OUT) -> list[Box]:
    """Return the windows that stand for a large image: at most `most`, in rows and columns as its sides are."""
    across = max(1, min(size[1] // crop[1], round(math.sqrt(most * size[1] / size[0])), most))
    return grid(size, crop, max(1, min(size[0] // crop[0], most // across)), across)


def crops_inside(size: tuple[int, int], config: DataConfig) -> int:
    """Return how many crops fit into an image side by side; at least 1."""
    crop = height_width(config.crop_size)
    return max(1, (size[0] // crop[0]) * (size[1] // crop[1]))


def digest_of(file: Path | Frame, seen: Sequence[Image]) -> bytes:
    """Return what tells a large image from others without reading all of it: size, both ends, the windows seen."""
    path, view = (file.path, file.key) if isinstance(file, Frame) else (file, "")
    digest = hashlib.blake2b(view.encode(), digest_size=16, person=b"windows")
    for part in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if part.is_file():
            size = part.stat().st_size
            digest.update(f"{part.relative_to(path)}:{size}:".encode("utf-8", "surrogateescape"))
            with part.open("rb") as stream:
                if part == path:
                    digest.update(stream.read(_ENDS))
                    stream.seek(max(0, size - _ENDS))
                    digest.update(stream.read(_ENDS))
    for image in seen:
        digest.update(image.tobytes())
    return digest.digest()
