"""What every reader of image files declares, and what all share: transparency, orientation, decoders kept quiet."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.data.bad_image import MAX_PIXELS, refuse_bomb
from unpaired.data.formats.meaning import Box, Meaning
from unpaired.data.formats.output import Output
from unpaired.data.parallel import take_memory
from unpaired.data.values import Domain, Image

STRIP_PIXELS = 1 << 20
"""Large images are converted in strips of so many pixels, so that intermediate values take little memory."""


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

    `suffixes`, `probe` and `read` make a reader. What else a format can do is declared by the other methods, each of
    which has a default: several images in one file, what their values mean, pixels without a value, parts of large
    images, and files that are written like one that was read.

    All methods may raise anything for damaged files: `unpaired.data.decode` turns it into `BadImage`. A reader that
    knows a better reason raises `BadImage` itself.
    """

    suffixes: frozenset[str]
    """Suffixes of its files in lower case, with the dot: these are found in folders."""
    containers: frozenset[str] = frozenset()
    """Those of its suffixes whose files may hold several images: only of these `count` is asked."""
    extra: str = ""
    """The extra of the package that brings its libraries; empty where none is needed."""
    libraries: tuple[str, ...] = ()
    """Top-level modules of the extra: where one is missing, such files are left out of folders, and reported."""
    is_moving: bool = False
    """Whether several images of a file are moments of one scene, one after the other: clips and animations."""
    folders: frozenset[str] = frozenset()
    """Those of its suffixes whose files are folders."""
    reads_memory: bool = False
    """Whether it takes `ImageBytes` in place of a path too: it opens files with `path.open("rb")` or `read_bytes`, and
    asks for nothing else but the suffix."""
    version: str = "1"
    """Changes whenever the same file would give other pixels, so that what was kept of it is made again."""

    def is_installed(self) -> bool:
        """Return whether its libraries are there; nothing is imported."""
        return all(find_spec(library) is not None for library in self.libraries)

    def accepts(self, start: bytes, suffix: str) -> bool:
        """Return whether a file is read by this reader, by its first 512 bytes or its suffix in lower case."""
        return suffix in self.suffixes

    def claims(self, path: Path) -> bool:
        """Return whether a file that `accepts` let pass is its own, where only a look further inside tells.

        `path` may be `ImageBytes`: look at it by `path.open("rb")`.
        """
        return True

    @abstractmethod
    def probe(self, path: Path) -> Header:
        """Return what the file announces, without decoding it: too large an image is refused before it is read."""

    @abstractmethod
    def read(self, path: Path, *, stored: bool = False) -> Image:
        """Return the image, [H, W, C], upright, without alpha, integers or floats (which become float32).

        With `stored`, files of one sample give the numbers that they hold, for maps of class indices.
        """

    def with_alpha(self, path: Path) -> Image | None:
        """Return colour as stored and alpha as the last channel, [H, W, 2 or 4], upright; None without alpha."""
        return None

    def count(self, path: Path, axis: int = 0) -> int:
        """Return how many images the file holds along an axis of its volume."""
        return 1

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        """Return one of the images of a file of `containers`, as `read` does; often called in their order."""
        return self.read(path)

    def series(self, path: Path) -> Sequence[Path]:
        """Return the files beside one of a single image that hold its neighbours, itself included, in their order."""
        return ()

    def meaning(self, path: Path) -> Meaning:
        """Return what the file says of its images beyond their pixels, without decoding them."""
        return Meaning()

    def valid(self, path: Path, index: int = 0, axis: int = 0) -> NDArray[np.bool_] | None:
        """Return which pixels have a value, [H, W]: nodata and masks; None where all have. NaN needs no mention."""
        return None

    def levels(self, path: Path) -> list[tuple[int, int]]:
        """Return (height, width) of the image at every resolution that the file holds, the full one first."""
        header = self.probe(path)
        return [(header.height, header.width)]

    def read_window(self, path: Path, box: Box, index: int = 0, level: int = 0) -> Image | None:
        """Return a part of an image as `read` would, without decoding the rest; None where that cannot be done."""
        return None

    def valid_window(self, path: Path, box: Box, index: int = 0, level: int = 0) -> NDArray[np.bool_] | None:
        """Return which pixels of a part of an image have a value, [H, W]; None where all have."""
        mask = self.valid(path, index) if level == 0 else None
        rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
        return None if mask is None else mask[rows, columns]

    def output_suffix(self, path: Path) -> str:
        """Return the suffix of files that `open_output` writes like this one; empty where it writes none."""
        return ""

    def open_output(self, source: Path, path: Path, domain: Domain, size: tuple[int, int], count: int) -> Output | None:
        """Begin a new file at `path` of `count` images of `domain` and (height, width), with what `source` knows.

        That is its geometry and its metadata: what the values mean is said by `domain`. None where that cannot be
        done, for instance where the format cannot hold the values; nothing is written then.
        """
        return None

    def load(self, path: Path, max_pixels: int, *, stored: bool = False, alpha: bool = False) -> Image:
        """Read an image of at most `max_pixels`, with its alpha if asked; `BadImage` before a larger one is decoded."""
        header = self.probe(path)
        admit(path, header, max_pixels)
        image = self.with_alpha(path) if alpha else None
        return self.read(path, stored=stored) if image is None else white_where_hidden(image)


def admit(path: Path, header: Header, max_pixels: int) -> None:
    """Raise `BadImage` for a file that announces too large an image; else wait until there is memory to decode it."""
    refuse_bomb(path, header.height, header.width, header.channels, max_pixels)
    # What the decoder holds, and the array that is made of it.
    take_memory(2 * header.height * header.width * max(header.channels, 4) * np.dtype(header.dtype).itemsize)


def upright(image: Image, orientation: int) -> Image:
    """Undo how the camera was held; EXIF 2.3, table of the tag Orientation."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def filling(image: Image, bits: int) -> Image:
    """Scale unsigned samples of so many bits to the full range of their type; rounded to nearest."""
    top, own = int(np.iinfo(image.dtype.name).max), 2**bits - 1
    if own >= top:
        return image
    wide: NDArray[Any] = image.astype(np.uint32)
    return np.asarray((wide * top + own // 2) // own, image.dtype)


def strips(height: int, width: int) -> list[slice]:
    """Return the rows of an image, `STRIP_PIXELS` at a time."""
    rows = max(1, STRIP_PIXELS // width)
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def over_white(colour: Image, alpha: NDArray[Any], *, premultiplied: bool = False) -> Image:
    """Composite `colour` [H, W, C] with `alpha` [H, W] of the same dtype over white; rounded to nearest.

    uint8, uint16 and floats in [0, 1]. Of premultiplied colour only the share of white is added.
    """
    if colour.dtype.kind != "f" and int(alpha.min()) == np.iinfo(colour.dtype.name).max:
        return colour
    laid = np.empty(colour.shape, np.float32 if colour.dtype.kind == "f" else colour.dtype)
    for rows in strips(*alpha.shape[:2]):
        laid[rows] = _laid(colour[rows], alpha[rows][..., None], premultiplied)
    return laid


def white_where_hidden(image: Image) -> Image:
    """Make colour white where alpha, the last channel, is 0: what files hold there was never meant to be seen."""
    image = image if image.flags.writeable else image.copy()
    image[..., :-1][image[..., -1] == 0] = 1.0 if image.dtype.kind == "f" else np.iinfo(image.dtype.name).max
    return image


def _laid(colour: NDArray[Any], alpha: NDArray[Any], premultiplied: bool) -> NDArray[Any]:
    if colour.dtype.kind == "f":
        cover = alpha.astype(np.float32)
        return np.asarray((colour if premultiplied else colour * cover) + (1 - cover))
    assert colour.dtype.name in ("uint8", "uint16"), colour.dtype
    white = int(np.iinfo(colour.dtype).max)
    # 65535 * 65535 + 32767 is below 2 ** 32, so uint32 holds every intermediate of 16-bit images.
    cover, shade = alpha.astype(np.uint32), colour.astype(np.uint32)
    if premultiplied:
        return np.asarray(np.minimum(shade + (white - cover), white))
    return np.asarray((shade * cover + white * (white - cover) + white // 2) // white)


# ---------------------------------------------------------------------------------------- decoders that are kept quiet


class _Thread(threading.local):
    decoding = 0
    max_pixels = MAX_PIXELS
    channels: int | None = None
    profiles = True


class _WhileDecoding(logging.Filter):
    """Drops what a thread logs while it decodes."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _thread.decoding == 0


_thread = _Thread()
_lock = threading.Lock()
_entered = 0
_IGNORED = ("ignore", None, Warning, re.compile(r"(PIL|unpaired\.data\.formats|nibabel|pydicom|rasterio)\b"), 0)
for _name in ("tifffile", "pydicom", "nibabel.global"):
    logging.getLogger(_name).addFilter(_WhileDecoding())


def wanted_channels() -> int | None:
    """Return how many channels the domain has whose image this thread reads, where a file leaves that open."""
    return _thread.channels


def profiles_count() -> bool:
    """Return whether this thread reads pictures, whose colour profiles are applied, and no label maps."""
    return _thread.profiles


@contextmanager
def quiet(max_pixels: int = MAX_PIXELS, *, channels: int | None = None, profiles: bool = True) -> Iterator[None]:
    """Silence decoders' warnings (odd metadata, old formats) and their logs while an image is decoded.

    Images inside of files (PNG in icons) have at most `max_pixels`, which is known only when Pillow opens them; in the
    same way `channels` and `profiles` reach the readers that ask for `wanted_channels` and `profiles_count`.
    `warnings.catch_warnings` swaps the filters of the whole process and is not safe with several threads; here one
    filter for Pillow's own modules is put in by the first thread that decodes and taken out by the last.
    """
    global _entered
    before = _thread.max_pixels, _thread.channels, _thread.profiles
    _thread.decoding += 1
    _thread.max_pixels, _thread.channels, _thread.profiles = max_pixels, channels, profiles
    with _lock:
        _entered += 1
        filters = cast("list[Any]", warnings.filters)
        if not filters or filters[0] != _IGNORED:
            filters.insert(0, _IGNORED)
    try:
        yield
    finally:
        _thread.decoding -= 1
        _thread.max_pixels, _thread.channels, _thread.profiles = before
        with _lock:
            _entered -= 1
            if _entered == 0:
                filters = cast("list[Any]", warnings.filters)
                filters[:] = [item for item in filters if item != _IGNORED]


def _check_inner_size(size: tuple[int, int], *rest: Any, **options: Any) -> None:
    """Stand in for Pillow's own check of images inside of files, whose limit is a setting of the whole process."""
    if _thread.decoding:
        refuse_bomb(Path(), size[1], size[0], 4, _thread.max_pixels)
    else:
        _pillows_check(size, *rest, **options)


_pillows_check: Any = PillowImage._decompression_bomb_check
PillowImage._decompression_bomb_check = _check_inner_size
