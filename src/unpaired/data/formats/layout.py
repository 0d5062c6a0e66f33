"""Which axes an array of numbers has: rows and columns, channels in front or behind, or several images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unpaired.core.settings import option
from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header
from unpaired.data.values import Image

_COLOURS, MOST_CHANNELS = 4, 32
"""An axis of at most so many is taken for colours; one of at most so many, the shortest and the last, for channels."""


class Axes(NamedTuple):
    """What each axis of an array is: Y rows, X columns, C channels, Z images."""

    names: str

    @property
    def several(self) -> bool:
        """Whether the array holds several images."""
        return "Z" in self.names

    def cut(self, axis: int) -> int:
        """Return the axis of the array along which images are counted: 0 to 2 for Z, Y, X."""
        return self.names.index("ZYX"[axis])

    def header(self, shape: Sequence[int], dtype: str, axis: int = 0) -> Header:
        """Return what one image of an array of this shape is."""
        rows, columns = list("ZYX".replace("ZYX"[axis], "") if self.several else "YX")
        channels = shape[self.names.index("C")] if "C" in self.names else 1
        return Header(shape[self.names.index(rows)], shape[self.names.index(columns)], channels, dtype)

    def image(self, array: NDArray[Any], index: int = 0, axis: int = 0) -> Image:
        """Return one image, [H, W, C]; only that part of the array is read."""
        names = self.names
        if self.several:
            array = array[(slice(None),) * self.cut(axis) + (index,)]
            names = names.replace("ZYX"[axis], "")
        array = np.asarray(array)
        return np.moveaxis(array, names.index("C"), -1) if "C" in names else array[..., None]


def axes_of(path: Path, shape: Sequence[int], channels: int | None) -> Axes:
    """Return what the axes of an array are, by its shape and, where that leaves it open, by the domain's channels.

    [H, W]; [H, W, C] where the last axis is at most 4 long or, up to 32, the shortest; [C, H, W] where the first is at
    most 4 long; else [Z, H, W], several images, where the last two are equal or the first is the shortest. Four axes
    are several images with colours behind or in front. Raises `BadImage` for anything else.
    """
    known = _by_channels(shape, channels) if len(shape) == 3 and channels is not None else ""
    names = known or {2: _two, 3: _three, 4: _four}.get(len(shape), lambda _: "")(shape)
    if names:
        return Axes(names)
    said = " x ".join(map(str, shape)) if shape else "none"
    if len(shape) == 3:
        reason = (
            f"an array of shape {said} is either {shape[0]} images or one with channels; say how many channels the "
            f"images have ({option('data.channels_a')}, {option('data.channels_b')}): 1, {shape[0]} or {shape[2]}"
        )
    else:
        reason = f"an array of shape {said}; allowed are H x W, H x W x C, C x H x W, and several of these"
    raise BadImage(path, reason)


def _by_channels(shape: Sequence[int], channels: int | None) -> str:
    first, _, last = shape
    if channels == last:
        return "YXC"
    return "CYX" if channels == first else "ZYX" if channels == 1 and last > 1 and first > 1 else ""


def _two(shape: Sequence[int]) -> str:
    return "YX"


def _three(shape: Sequence[int]) -> str:
    first, middle, last = shape
    if last <= _COLOURS:
        return "YXC"
    if first <= _COLOURS:
        return "CYX"
    if last <= MOST_CHANNELS and last < min(first, middle):
        return "YXC"
    return "ZYX" if middle == last or first < min(middle, last) else ""


def _four(shape: Sequence[int]) -> str:
    return "ZYXC" if shape[3] <= _COLOURS else "ZCYX" if shape[1] <= _COLOURS else ""
