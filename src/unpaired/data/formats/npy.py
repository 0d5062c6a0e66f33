"""NumPy's `.npy` files: H x W or H x W x C numbers, never objects."""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader
from unpaired.data.values import Image

MAGIC = b"\x93NUMPY"
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
    """Reads [H, W, C] from `.npy` files; their size is known from the header before anything is read."""

    suffixes = frozenset({".npy"})
    reads_memory = True

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start.startswith(MAGIC) or suffix == ".npy"

    def probe(self, path: Path) -> Header:
        found = _read_header(path)
        height, width, channels = (*found.shape, 1)[:3]
        return Header(height, width, channels, found.dtype.name)

    def read(self, path: Path, *, stored: bool = False) -> Image:
        header = _read_header(path)
        count = math.prod(header.shape)
        needed = count * header.dtype.itemsize
        with path.open("rb") as stream:
            stream.seek(header.offset)
            content = stream.read(needed)
        if len(content) < needed:
            raise BadImage(path, f"truncated: {header.offset + len(content)} bytes of {header.offset + needed}")
        flat = np.frombuffer(content, header.dtype, count)
        image = flat.reshape(header.shape, order="F" if header.fortran else "C").reshape((*header.shape, 1)[:3])
        return image.astype(np.uint8) if stored and image.dtype == np.bool_ else image


def _read_header(path: Path) -> _Header:
    # The header is a Python literal; a pattern reads the numbers that it may hold and evaluates nothing.
    with path.open("rb") as stream:
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
    if len(sizes) not in (2, 3):
        raise BadImage(path, f"an array of shape {sizes}; allowed are H x W and H x W x C")
    return _Header(dtype, order[1] == "True", sizes, len(start) + width + length)
