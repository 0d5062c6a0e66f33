"""What every reader of image files declares, and how pictures are turned upright."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from unpaired.data.bad_image import refuse_bomb
from unpaired.data.values import Image


class Header(NamedTuple):
    """What a file announces of its image before anything is decoded, as stored: not yet turned upright."""

    height: int
    width: int
    channels: int
    """Samples per pixel, alpha included."""
    dtype: str
    """Name of the NumPy dtype of the samples."""


class Reader(ABC):
    """Reads one family of image files; safe to use from several threads.

    Both methods may raise anything for damaged files: `unpaired.data.decode` turns it into `BadImage`. A reader that
    knows a better reason raises `BadImage` itself.
    """

    suffixes: frozenset[str]
    """Suffixes of its files in lower case, with the dot: these are found in folders."""
    version: str = "1"
    """Changes whenever the same file would give other pixels, so that what was kept of it is made again."""

    def accepts(self, start: bytes, suffix: str) -> bool:
        """Return whether a file is read by this reader, by its first 32 bytes or its suffix in lower case."""
        return suffix in self.suffixes

    @abstractmethod
    def probe(self, path: Path) -> Header:
        """Return what the file announces, without decoding it: too large an image is refused before it is read."""

    @abstractmethod
    def read(self, path: Path, *, stored: bool = False) -> Image:
        """Return the image, [H, W, C], upright, without alpha, integers or floats (which become float32).

        With `stored`, files of one sample give the numbers that they hold, for maps of class indices.
        """

    def load(self, path: Path, max_pixels: int, *, stored: bool = False) -> Image:
        """Read an image of at most `max_pixels`; raises `BadImage` before a larger one is decoded."""
        header = self.probe(path)
        refuse_bomb(path, header.height, header.width, header.channels, max_pixels)
        return self.read(path, stored=stored)


def upright(image: Image, orientation: int) -> Image:
    """Undo how the camera was held; EXIF 2.3, table of the tag Orientation."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image
