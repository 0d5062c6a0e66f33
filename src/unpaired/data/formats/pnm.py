"""PGM and PPM files of more than 8 bits: Pillow scales grey ones and cuts coloured ones to 8 bits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader
from unpaired.data.formats.meaning import Meaning
from unpaired.data.values import Image

_START = re.compile(rb"P([2356])" + rb"(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})" * 3 + rb"\s")
"""Kind, width, height, largest value; netpbm's manual allows comments between them."""
_HEAD = 1 << 16


class _Start(NamedTuple):
    plain: bool
    """Whether the samples are written as text."""
    channels: int
    width: int
    height: int
    largest: int
    offset: int


class DeepPnmReader(Reader):
    """Reads PGM and PPM whose largest value is above 255: uint16 [H, W, 1 or 3], as stored."""

    suffixes = frozenset({".pgm", ".ppm", ".pnm"})
    reads_memory = True

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start[:2] in (b"P2", b"P3", b"P5", b"P6")

    def claims(self, path: Path) -> bool:
        found = _start(path)
        return found is not None and 255 < found.largest < 65536

    def probe(self, path: Path) -> Header:
        found = _found(path)
        return Header(found.height, found.width, found.channels, "uint16")

    def read(self, path: Path, *, stored: bool = False) -> Image:
        found = _found(path)
        count = found.height * found.width * found.channels
        with path.open("rb") as stream:
            stream.seek(found.offset)
            if found.plain:
                values = np.array(re.sub(rb"#[^\n\r]*", b"", stream.read()).split()[:count], np.uint16)
            else:
                content = stream.read(2 * count)
                values = np.frombuffer(content, ">u2", len(content) // 2)
        if values.size < count:
            raise BadImage(path, "truncated: the file ends before the image does")
        return values.reshape(found.height, found.width, found.channels)

    def meaning(self, path: Path) -> Meaning:
        return Meaning(range=(0.0, float(_found(path).largest)))


def _start(path: Path) -> _Start | None:
    with path.open("rb") as stream:
        match = _START.match(stream.read(_HEAD))
    if match is None:
        return None
    kind, width, height, largest = map(int, match.groups())
    return _Start(kind < 4, 3 if kind in (3, 6) else 1, width, height, largest, match.end())


def _found(path: Path) -> _Start:
    found = _start(path)
    if found is None:
        raise BadImage(path, "damaged: the numbers at its beginning make no sense")
    return found
