"""What files of microscopes and scanners share: planes are images, channels are channels, out comes OME-TIFF."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader
from unpaired.data.formats.meaning import PARTS, Box, Meaning
from unpaired.data.formats.output import Output
from unpaired.data.formats.pyramid import PyramidOutput
from unpaired.data.values import DTYPE_RANGES, Domain, Image


class Stack(NamedTuple):
    """The images of a file that is open."""

    frames: Mapping[str, int]
    """Names and lengths of the axes before Y and X but for channels, in their order: each combination is an image."""
    levels: Sequence[tuple[int, int]]
    """(height, width) of every resolution, the full one first."""
    channels: int
    dtype: str
    read: Callable[[Mapping[str, int], Box, int], Image]
    """Returns a part of the image at a place along the axes, at one of the resolutions: [H, W, C]."""
    meaning: Callable[[], Meaning]
    tile: tuple[int, int] | None = None
    """(height, width) of its tiles, which those of translations have."""


class StackReader(Reader):
    """Reads what `stack` opens; translations are OME-TIFF with as many resolutions."""

    extra = "microscopy"

    @abstractmethod
    def stack(self, path: Path) -> AbstractContextManager[Stack]:
        """Open a file."""

    def probe(self, path: Path) -> Header:
        with self.stack(path) as stack:
            return Header(*stack.levels[0], stack.channels, stack.dtype)

    def read(self, path: Path, *, stored: bool = False) -> Image:
        return self.read_frame(path, 0)

    def count(self, path: Path, axis: int = 0) -> int:
        if axis:
            raise BadImage(path, f"axis {axis}: the images of stacks are its planes, axis 0")
        with self.stack(path) as stack:
            return math.prod(stack.frames.values())

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        with self.stack(path) as stack:
            return _part(stack, Box(0, 0, *stack.levels[0]), index, 0)

    def read_window(self, path: Path, box: Box, index: int = 0, level: int = 0) -> Image | None:
        with self.stack(path) as stack:
            return _part(stack, box, index, level)

    def meaning(self, path: Path) -> Meaning:
        with self.stack(path) as stack:
            return stack.meaning()

    def levels(self, path: Path) -> list[tuple[int, int]]:
        with self.stack(path) as stack:
            return list(stack.levels)

    def output_suffix(self, path: Path) -> str:
        return ".ome.tif"

    def open_output(self, source: Path, path: Path, domain: Domain, size: tuple[int, int], count: int) -> Output | None:
        if domain.dtype not in DTYPE_RANGES:
            return None
        with self.stack(source) as stack:
            levels, meaning = stack.levels, stack.meaning()
        return PyramidOutput(
            path,
            domain,
            size,
            count,
            tile=stack.tile,
            smallest=levels[-1] if len(levels) > 1 else None,
            frames={name: length for name, length in stack.frames.items() if name in "TZ" or length > 1},
            meaning=meaning,
            factor=(levels[0][0] / size[0], levels[0][1] / size[1]),
        )


def _part(stack: Stack, box: Box, index: int, level: int) -> Image:
    height, width = stack.levels[level]
    if not (0 <= box.top <= box.top + box.height <= height and 0 <= box.left <= box.left + box.width <= width):
        raise ValueError(f"{box} lies outside of {height} x {width} pixels")
    place = np.unravel_index(index, tuple(stack.frames.values())) if stack.frames else ()
    return stack.read(dict(zip(stack.frames, map(int, place), strict=True)), box, level)


def cropped(planes: Sequence[Image], box: Box) -> Image:
    """Return a part of planes [H, W] or [H, W, samples] as the channels of one image."""
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    parts = [plane[rows, columns].reshape(box.height, box.width, -1) for plane in planes]
    return np.concatenate(parts, axis=2)


def in_micrometres(
    spacing: Sequence[float], names: Sequence[str] = (), channels: int = 0, *, is_whole: bool = True
) -> Meaning:
    """Return what a file says: distances down, across and between planes, NaN where unknown, and names of channels.

    `is_whole` is false where some of its images are left out.
    """
    usable = [math.isfinite(length) and length > 0 for length in spacing]
    kept = tuple(spacing) if all(usable) else tuple(spacing[:2]) if all(usable[:2]) else ()
    named = tuple(names) if any(names) and len(names) == channels else ()
    remarks = () if is_whole else (PARTS,)
    return Meaning(spacing=kept, spacing_unit="um" if kept else "", channels=named, remarks=remarks)
