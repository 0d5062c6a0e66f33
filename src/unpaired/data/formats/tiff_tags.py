"""What the directories of a TIFF file say, read without a library: enough to tell who reads it. TIFF 6.0, section 2."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

SUBFILE, DESCRIPTION, TILE_WIDTH, SUB_IFDS, EXTRA_SAMPLES = 254, 270, 322, 330, 338
GEOGRAPHIC = frozenset({33550, 33922, 34264, 34735, 42112, 42113, 50844})
"""Pixel scale, tie points, transformation, GeoKeyDirectory; GDAL's metadata and nodata; RPC coefficients."""
REDUCED, MASK = 1, 4
_MOST_TAGS = 4096
_LONGEST = 4096
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 13: 4, 16: 8, 18: 8}


def directories(path: Path, most: int = 32) -> list[dict[int, bytes]]:
    """Return the tags of the first directories: number -> value (its beginning; empty for types of no interest).

    Empty for files that are no TIFF; what a damaged file says after the damage is left out.
    """
    with path.open("rb") as stream:
        start = stream.read(16)
        order = {b"II": "<", b"MM": ">"}.get(start[:2], "")
        if not order or start[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+") or len(start) < 16:
            return []
        big = start[2:4] in (b"+\0", b"\0+")
        (at,) = struct.unpack(order + ("Q" if big else "I"), start[8:16] if big else start[4:8])
        found, seen = list[dict[int, bytes]](), set[int]()
        while at and at not in seen and len(found) < most:
            seen.add(at)
            try:
                tags, at = _directory(stream, at, order, big)
            except (struct.error, OSError, OverflowError, ValueError):
                break
            found.append(tags)
        return found


def flags(tags: dict[int, bytes]) -> int:
    """Return NewSubfileType: bits of `REDUCED` and `MASK`."""
    value = tags.get(SUBFILE, b"")
    return max(value) if value else 0  # the flags fit into one byte, whatever the byte order


def _directory(stream: BinaryIO, at: int, order: str, big: bool) -> tuple[dict[int, bytes], int]:
    count_format, entry, offset = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    stream.seek(at)
    (count,) = struct.unpack(order + count_format, stream.read(struct.calcsize(order + count_format)))
    if count > _MOST_TAGS:
        raise ValueError(count)
    size, width = struct.calcsize(order + entry), struct.calcsize(order + offset)
    block = stream.read(count * size + width)
    tags = dict[int, bytes]()
    for number in range(count):
        tag, kind, length, value = struct.unpack_from(order + entry, block, number * size)
        stored = _WIDTHS.get(kind, 0) * min(length, _LONGEST)
        if stored > width and tag == DESCRIPTION:
            stream.seek(struct.unpack(order + offset, value)[0])
            value = stream.read(stored)
        tags[tag] = value[:stored]
    (following,) = struct.unpack(order + offset, block[count * size :])
    return tags, following
