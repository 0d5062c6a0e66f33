"""NumPy's `.npy` files: H x W or H x W x C numbers, never objects."""

from __future__ import annotations

import math
import os
import re
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from unpaired.data.bad_image import BadImage, refuse_bomb
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


def read_npy(path: Path, max_pixels: int) -> Image:
    """Read [H, W, C] from a `.npy` file; its size is judged from the header before anything is read."""
    with path.open("rb") as stream:
        header = _read_header(path, stream)
        if len(header.shape) not in (2, 3):
            raise BadImage(path, f"an array of shape {header.shape}; allowed are H x W and H x W x C")
        height, width, channels = (*header.shape, 1)[:3]
        refuse_bomb(path, height, width, channels, max_pixels)
        count = math.prod(header.shape)
        needed = header.offset + count * header.dtype.itemsize
        found = os.fstat(stream.fileno()).st_size
        if found < needed:
            raise BadImage(path, f"truncated: {found} bytes of {needed}")
        stream.seek(header.offset)
        flat = np.fromfile(stream, header.dtype, count)
    return flat.reshape(header.shape, order="F" if header.fortran else "C").reshape(height, width, channels)


def _read_header(path: Path, stream: BinaryIO) -> _Header:
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
