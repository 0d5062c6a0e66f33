"""PNG files of 16 bits per sample, which Pillow would silently cut to 8 bits when they are coloured."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader, over_white, upright
from unpaired.data.formats.colour import changes_colours, to_srgb
from unpaired.data.formats.meaning import CONVERTED, Meaning
from unpaired.data.formats.pillow import orientation_of
from unpaired.data.values import Image

MAGIC = b"\x89PNG\r\n\x1a\n"
_PROFILE, _LARGEST = b"iCCP", 1 << 23
_KEPT = (b"IHDR", b"tRNS", b"IDAT", b"IEND")


class DeepPngReader(Reader):
    """Reads PNG files of 16 bits: uint16 [H, W, 1 or 3]."""

    suffixes = frozenset({".png"})
    reads_memory = True

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start.startswith(MAGIC) and len(start) >= 25 and start[12:16] == b"IHDR" and start[24] == 16

    def probe(self, path: Path) -> Header:
        with path.open("rb") as stream:
            width, height = struct.unpack(">16xII", stream.read(24))
        return Header(height, width, 4, "uint16")

    def read(self, path: Path, *, stored: bool = False) -> Image:
        image, orientation = _decoded(path)
        if image.shape[2] in (2, 4):
            image = over_white(image[..., :-1], image[..., -1])
        return upright(image, orientation)

    def with_alpha(self, path: Path) -> Image | None:
        image, orientation = _decoded(path)
        return upright(image, orientation) if image.shape[2] in (2, 4) else None

    def meaning(self, path: Path) -> Meaning:
        content = path.read_bytes()
        profiles = [_profile(chunk) for kind, chunk in _chunks(path, content) if kind == _PROFILE]
        colour = len(content) > 25 and content[25] & 2
        return Meaning(remarks=(CONVERTED,) if colour and any(map(changes_colours, profiles)) else ())


def _decoded(path: Path) -> tuple[Image, int]:
    """Return all samples [H, W, S] as stored, and the orientation."""
    import imagecodecs

    content = path.read_bytes()
    exif, profile, kept = b"", b"", [MAGIC]
    for kind, chunk in _chunks(path, content):
        if kind in _KEPT:
            kept.append(chunk)
        elif kind == b"eXIf":
            exif = chunk[8:-4]
        elif kind == _PROFILE:
            profile = _profile(chunk)
    # Other chunks (profiles, text) change no pixel, and libpng prints its complaints about them to the terminal.
    image = np.atleast_3d(imagecodecs.png_decode(b"".join(kept)))
    if image.shape[1::-1] != struct.unpack(">II", content[16:24]) or image.dtype != np.uint16:
        raise BadImage(path, "cannot be decoded: the pixels do not fit the header")
    managed = to_srgb(image[..., :3], profile) if image.shape[2] > 2 else None
    image = image if managed is None else np.concatenate([managed, image[..., 3:]], axis=2)
    return image, orientation_of(exif) if exif else 1


def _profile(chunk: bytes) -> bytes:
    """Return the profile in a chunk iCCP; empty where it is damaged."""
    try:
        return zlib.decompressobj().decompress(chunk[chunk.index(b"\0", 8) + 2 : -4], _LARGEST)
    except (ValueError, zlib.error):
        return b""


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
