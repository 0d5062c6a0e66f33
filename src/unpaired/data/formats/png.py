"""PNG files of 16 bits per sample, which Pillow would silently cut to 8 bits when they are coloured."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unpaired.data.alpha import over_white
from unpaired.data.bad_image import BadImage, refuse_bomb
from unpaired.data.values import Image

MAGIC = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"IHDR", b"tRNS", b"IDAT", b"IEND")


def is_sixteen_bit(start: bytes) -> bool:
    """Say whether the first 25 bytes of a PNG file announce 16 bits per sample."""
    return len(start) >= 25 and start[12:16] == b"IHDR" and start[24] == 16


def read_png(path: Path, max_pixels: int) -> tuple[Image, bytes]:
    """Read a 16-bit PNG: uint16 [H, W, 1 or 3], transparency laid over white, and its EXIF block (may be empty)."""
    import imagecodecs

    content = path.read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    refuse_bomb(path, height, width, 4, max_pixels)
    exif, kept = b"", [MAGIC]
    for kind, chunk in _chunks(path, content):
        if kind in _KEPT:
            kept.append(chunk)
        elif kind == b"eXIf":
            exif = chunk[8:-4]
    # Other chunks (profiles, text) change no pixel, and libpng prints its complaints about them to the terminal.
    image = np.atleast_3d(imagecodecs.png_decode(b"".join(kept)))
    if image.shape[:2] != (height, width) or image.dtype != np.uint16:
        raise BadImage(path, "cannot be decoded: the pixels do not fit the header")
    if image.shape[2] in (2, 4):
        image = over_white(image[..., :-1], image[..., -1])
    return image, exif


def _chunks(path: Path, content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and bytes of every chunk up to IEND, each with its checksum verified."""
    at, kind = len(MAGIC), b""
    while kind != b"IEND":
        if at + 12 > len(content):
            raise BadImage(path, "truncated: the file ends before the image does")
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        end = at + 12 + length
        if end > len(content):
            raise BadImage(path, "truncated: the file ends before the image does")
        if zlib.crc32(content[at + 4 : end - 4]) != struct.unpack(">I", content[end - 4 : end])[0]:
            raise BadImage(path, "damaged: a checksum inside the file is wrong")
        yield kind, content[at:end]
        at = end
