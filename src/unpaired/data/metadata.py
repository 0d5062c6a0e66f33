"""What a picture says of itself beside its pixels, as far as its translation can say the same: resolution and EXIF."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image as PillowImage

from unpaired.data.decode import explained
from unpaired.data.formats.pillow import properties

TEXTS = {270: "ImageDescription", 271: "Make", 272: "Model", 306: "DateTime", 315: "Artist", 33432: "Copyright"}
"""Tags of EXIF and TIFF that hold text; what describes the encoding of pixels belongs to the file alone."""
_MORE_TEXTS = (40091, 40092, 40093, 40094, 40095)
"""Title, comment, author, keywords and subject as Windows writes them."""
_EXIF, _GPS = 0x8769, 0x8825
_MAKER_NOTE = 0x927C
"""Notes of cameras refer to places in their own file, which a copy does not have."""
_METRE = 39.37007874015748
"""Inches."""


class Metadata(NamedTuple):
    """What a file says of its picture."""

    dpi: tuple[float, float] | None = None
    """Pixels per inch, across and down."""
    exif: bytes = b""
    """An EXIF block without orientation (it has been applied), thumbnail and notes of the camera."""
    texts: tuple[tuple[int, str], ...] = ()
    """Those of the tags `TEXTS` that it has."""


def metadata_of(path: Path) -> Metadata:
    """Return what a picture says of itself; empty for files that Pillow does not open; `BadImage` as `decode`."""
    with explained(path) as (file, _):
        found = properties(file)
        if found is None:
            return Metadata()
        dpi, exif = found
        kept, texts = PillowImage.Exif(), list[tuple[int, str]]()
        for tag, value in exif.items():
            if tag in TEXTS and isinstance(value, str):
                kept[tag] = value
                texts.append((tag, value))
            elif tag in _MORE_TEXTS:
                kept[tag] = value
        for block in (_EXIF, _GPS):
            if inner := {tag: value for tag, value in exif.get_ifd(block).items() if tag != _MAKER_NOTE}:
                kept[block] = inner
        return Metadata(dpi, kept.tobytes() if len(kept) else b"", tuple(texts))


def pillow_options(metadata: Metadata) -> dict[str, Any]:
    """Return the options with which Pillow writes it."""
    options: dict[str, Any] = {"exif": metadata.exif} if metadata.exif else {}
    return options if metadata.dpi is None else {**options, "dpi": metadata.dpi}


def tiff_options(metadata: Metadata) -> dict[str, Any]:
    """Return the options with which tifffile writes it: resolution and texts."""
    options: dict[str, Any] = {"extratags": [(tag, 2, 0, text, True) for tag, text in metadata.texts]}
    return options if metadata.dpi is None else {**options, "resolution": metadata.dpi, "resolutionunit": "INCH"}


def in_png(content: bytes, metadata: Metadata) -> bytes:
    """Return a PNG file with it, in chunks behind the header; PNG specification, third edition, 11.3.2 and 11.3.4."""
    chunks = b""
    if metadata.dpi is not None:
        across, down = (round(value * _METRE) for value in metadata.dpi)
        chunks += _chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    if metadata.exif:
        chunks += _chunk(b"eXIf", metadata.exif.removeprefix(b"Exif\0\0"))
    return content[:33] + chunks + content[33:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
