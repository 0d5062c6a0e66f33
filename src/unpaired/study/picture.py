"""Pictures for a study: 8-bit RGB PNG of one size in pixels and one length in bytes, without metadata.

What a file is called, how long it is, which program wrote it and what it says of itself would tell real from generated.
So every picture is decoded and encoded again by the same code, and filled up to the length of the longest.
"""

from __future__ import annotations

import io
import secrets
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.core.errors import UserError
from unpaired.core.text import printable
from unpaired.data.bad_image import BadImage
from unpaired.data.decode import decode
from unpaired.data.values import DTYPE_RANGES, to_signed

Pixels = NDArray[np.uint8]
"""[H, W, 3], uint8."""

_FILLING = b"paDd"
"""An ancillary, private chunk that is safe to copy (PNG specification, section 5.4): decoders skip it."""
_CHUNK = 12
"""Bytes of a chunk beside its content: length, type, checksum."""
_END = 12
"""Bytes of the closing chunk IEND."""


def read_pixels(path: Path) -> Pixels:
    """Decode any image that the package reads as [H, W, 3] uint8; grey becomes RGB. Raises `UserError`."""
    try:
        image = decode(path)
    except BadImage as error:
        raise UserError(f"{error}. Repair it, or take it out of the folder.") from error
    if image.shape[2] not in (1, 3):
        raise UserError(f'"{printable(path)}" has {image.shape[2]} channels. People see grey (1) or RGB (3) pictures.')
    if image.dtype.name not in DTYPE_RANGES:
        raise UserError(
            f'"{printable(path)}" holds values of type {image.dtype.name}, for which no brightness is obvious. '
            f"Store it as one of: {', '.join(DTYPE_RANGES)}."
        )
    if image.dtype != np.uint8:
        image = np.rint((to_signed(image) + 1.0) * 127.5).astype(np.uint8)
    pixels: Pixels = np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)), dtype=np.uint8)
    return pixels


def fit(pixels: Pixels, height: int, width: int) -> Pixels:
    """Crop the middle to the shape of (height, width) and resample it to that size (Lanczos)."""
    rows, columns = pixels.shape[:2]
    if (rows, columns) == (height, width):
        return pixels
    scale = min(rows / height, columns / width)
    box_height, box_width = height * scale, width * scale
    top, left = (rows - box_height) / 2, (columns - box_width) / 2
    resized = PillowImage.fromarray(pixels).resize(
        (width, height), PillowImage.Resampling.LANCZOS, box=(left, top, left + box_width, top + box_height)
    )
    return np.asarray(resized, dtype=np.uint8)


def spoiled(pixels: Pixels, random: Generator) -> Pixels:
    """Return the picture cut into tiles that are shuffled, every second one a negative: nobody takes it for real."""
    rows, columns = pixels.shape[:2]
    side = max(1, min(rows, columns) // 8)
    high, wide = rows // side, columns // side
    inner = pixels[: high * side, : wide * side].reshape(high, side, wide, side, 3).swapaxes(1, 2)
    tiles = inner.reshape(high * wide, side, side, 3)[random.permutation(high * wide)].copy()
    tiles[::2] = 255 - tiles[::2]
    whole = pixels.copy()
    whole[: high * side, : wide * side] = (
        tiles.reshape(high, wide, side, side, 3).swapaxes(1, 2).reshape(high * side, wide * side, 3)
    )
    return whole


def encode(pixels: Pixels) -> bytes:
    """Return the pixels as a PNG file without metadata."""
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def filled_length(lengths: list[int]) -> int:
    """Return the length that files of these lengths are filled up to."""
    return max(lengths) + _CHUNK


def filled(png: bytes, length: int) -> bytes:
    """Return the PNG file made exactly `length` bytes long by a chunk of random bytes that decoders skip."""
    missing = length - len(png) - _CHUNK
    if missing < 0:
        raise ValueError(f"a file of {len(png)} bytes cannot be filled up to {length}")
    content = secrets.token_bytes(missing)
    checksum = zlib.crc32(_FILLING + content)
    chunk = struct.pack(">I", missing) + _FILLING + content + struct.pack(">I", checksum)
    return png[:-_END] + chunk + png[-_END:]
