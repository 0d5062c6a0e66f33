"""NumPy's `.npy` and `.npz` files: images, or several of them, of plain numbers; never objects."""

from __future__ import annotations

import math
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader, wanted_channels
from unpaired.data.formats.layout import Axes, axes_of
from unpaired.data.formats.meaning import CHANNELS_FIRST, Meaning, Remark
from unpaired.data.values import Image

MAGIC = b"\x93NUMPY"
_ZIP = b"PK\3\4"
_DESCR = re.compile(r"'descr': *'([<>|=]?)([a-zA-Z?])(\d*)'")
_ORDER = re.compile(r"'fortran_order': *(True|False)")
_SHAPE = re.compile(r"'shape': *\(([\d, L]*)\)")
_NUMBERS = "biuf?"


class _Header(NamedTuple):
    dtype: np.dtype[np.generic]
    fortran: bool
    shape: tuple[int, ...]
    offset: int


class NpyReader(Reader):
    """Reads images from `.npy` files, and from `.npz` files of one array: [H, W], [H, W, C], [C, H, W] or several.

    See `layout.axes_of`. The size is known from the header before anything is read.
    """

    suffixes = containers = frozenset({".npy", ".npz"})
    reads_memory = True
    version = "2"

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start.startswith(MAGIC) or suffix == ".npy" or (suffix == ".npz" and start.startswith(_ZIP))

    def probe(self, path: Path) -> Header:
        header, axes = _described(path)
        return axes.header(header.shape, header.dtype.name)

    def read(self, path: Path, *, stored: bool = False) -> Image:
        return self._image(path, 0, 0, stored)

    def count(self, path: Path, axis: int = 0) -> int:
        header, axes = _described(path)
        return header.shape[axes.cut(axis)] if axes.several else 1

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        return self._image(path, index, axis, stored=False)

    def meaning(self, path: Path) -> Meaning:
        return Meaning(remarks=axes_remarks(_described(path)[1]))

    def _image(self, path: Path, index: int, axis: int, stored: bool) -> Image:
        header, axes = _described(path)
        image = axes.image(_array(path, header), index, axis)
        return image.astype(np.uint8) if stored and image.dtype == np.bool_ else image


def axes_remarks(axes: Axes) -> tuple[Remark, ...]:
    """Return what a person should know about how an array was read."""
    return (CHANNELS_FIRST,) if axes.names in ("CYX", "ZCYX") else ()


def _described(path: Path) -> tuple[_Header, Axes]:
    with _opened(path) as stream:
        header = _read_header(path, stream)
    return header, axes_of(path, header.shape, wanted_channels())


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Yield the array of a file as a stream that begins with NumPy's header."""
    with path.open("rb") as stream:
        if stream.read(4) != _ZIP:
            stream.seek(0)
            yield stream
            return
        with zipfile.ZipFile(stream) as archive:
            arrays = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            with archive.open(f"{the_array(path, arrays)}.npy") as member:
                yield member


def the_array(path: Path, arrays: list[str]) -> str:
    """Return the array of a file that is its image: the only one, or the one that is called `image`."""
    if len(arrays) == 1:
        return arrays[0]
    if "image" in arrays:
        return "image"
    found = f"{len(arrays)} arrays ({', '.join(arrays[:8])}{', ...' if len(arrays) > 8 else ''})" if arrays else "none"
    raise BadImage(
        path, f"one array of numbers is read, or that called image; found {found}. Save the one that is meant"
    )


def _array(path: Path, header: _Header) -> NDArray[Any]:
    count = math.prod(header.shape)
    needed = count * header.dtype.itemsize
    order: Any = "F" if header.fortran else "C"
    with _opened(path) as stream:
        stream.seek(header.offset)
        if len(header.shape) > 2 and isinstance(path, Path) and path.stat().st_size >= header.offset + needed > needed:
            with path.open("rb") as file:
                plain = file.read(len(MAGIC)) == MAGIC
            if plain:  # of several images only one is read
                return np.memmap(path, header.dtype.str, "r", header.offset, header.shape, order)
        content = stream.read(needed)
    if len(content) < needed:
        raise BadImage(path, f"truncated: {header.offset + len(content)} bytes of {header.offset + needed}")
    flat: NDArray[Any] = np.frombuffer(content, header.dtype, count)
    return flat.reshape(header.shape, order=order)


def _read_header(path: Path, stream: IO[bytes]) -> _Header:
    # The header is a Python literal; a pattern reads the numbers that it may hold and evaluates nothing.
    start = stream.read(len(MAGIC) + 2)
    if len(start) < len(MAGIC) + 2 or not start.startswith(MAGIC):
        raise BadImage(path, "wrongly typed: a .npy file without NumPy's header")
    width, code = (2, "<H") if start[-2] == 1 else (4, "<I")
    raw = stream.read(width)
    if len(raw) < width:
        raise BadImage(path, "truncated: the file ends in its header")
    (length,) = struct.unpack(code, raw)
    text = stream.read(min(length, 65536)).decode("latin-1")
    if len(text) < length:
        raise BadImage(path, "truncated: the file ends in its header")
    descr, order, shape = _DESCR.search(text), _ORDER.search(text), _SHAPE.search(text)
    if descr is None or order is None or shape is None or descr[2] not in _NUMBERS:
        kind = "objects or records" if shape is not None else "something unknown"
        raise BadImage(path, f"an array of {kind}; allowed are plain integers, floats and booleans")
    sizes = tuple(int(number.strip(" L")) for number in shape[1].split(",") if number.strip(" L"))
    dtype = np.dtype(f"{descr[1]}{descr[2]}{descr[3]}")
    return _Header(dtype, order[1] == "True", sizes, len(start) + width + length)
