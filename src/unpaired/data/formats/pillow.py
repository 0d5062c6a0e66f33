"""Everything that Pillow opens, as 8-bit grey or RGB unless the file holds more."""

from __future__ import annotations

import io
import os
import struct
import threading
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageFile

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.animation import SUFFIXES, open_animation
from unpaired.data.formats.base import Header, Reader, over_white, strips, upright
from unpaired.data.formats.colour import Space, changes_colours, to_srgb
from unpaired.data.formats.meaning import ANIMATED, CONVERTED, Meaning
from unpaired.data.formats.output import Output
from unpaired.data.values import Domain, Image

# fmt: off
FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "JPEG2000", "PPM", "DIB", "BLP", "CUR", "DCX", "DDS", "FITS", "FLI",
    "FTEX", "GBR", "ICNS", "ICO", "IM", "IPTC", "MSP", "PCD", "PCX", "PIXAR", "PSD", "QOI", "SGI", "SUN", "XBM",
    "XPM", "TGA",
)
# fmt: on
"""Tried in this order, TGA last because it has no signature. Left out: TIFF, which has a reader of its own; EPS, which
would start Ghostscript; BUFR, GRIB, HDF5, MPEG and WMF, which Pillow recognises but cannot decode by itself; formats
without a file suffix."""

ORIENTATION = 0x0112
"""The EXIF (and TIFF) tag that says how the picture was held."""
_GREY = ("1", "L", "LA", "La")

_MOVING = ("GIF", "PNG", "WEBP", "AVIF", "FLI")
"""Formats whose images follow one another; elsewhere Pillow counts layers, thumbnails and sizes too."""
_HEAD = 1 << 14
_REMARKABLE = (b"ICCP", b"iCCP", b"prof", b"acTL", b"jp2h")
"""Marks of a colour profile or an animation at the beginning of files other than JPEG."""
_PNG, _JPEG, _SCAN, _PROFILE = b"\x89PNG", b"\xff\xd8\xff", b"\xff\xda", b"ICC_PROFILE"
_EXIF, _EXIF_BYTES = 0xE1, 1 << 18
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


class PillowReader(Reader):
    """Reads whatever Pillow opens; the images of animated GIF, APNG and WebP one by one, of others the first.

    1 bit becomes 8-bit grey; palettes, CMYK, YCbCr, HSV and LAB become RGB; transparency is laid over white; 16-bit
    grey stays uint16, 32-bit integers int32, floats float32. Class indices are read by `stored_values`.
    """

    containers = frozenset({".apng", ".avifs", ".flc", ".fli", ".gif", ".webp"})  # PNG: opened only for `meaning`

    reads_memory = is_moving = True
    # fmt: off
    suffixes = frozenset({
        ".apng", ".avif", ".avifs", ".blp", ".bmp", ".bw", ".cur", ".dcx", ".dds", ".dib", ".fit", ".fits", ".flc",
        ".fli", ".ftc", ".ftu", ".gbr", ".gif", ".icb", ".icns", ".ico", ".iim", ".im", ".j2c", ".j2k", ".jfif",
        ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".msp", ".pbm", ".pcd", ".pcx", ".pfm", ".pgm",
        ".png", ".pnm", ".ppm", ".psd", ".pxr", ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".vda", ".vst",
        ".webp", ".xbm", ".xpm",
    })
    # fmt: on

    def probe(self, path: Path) -> Header:
        with path.open("rb") as stream:
            image = _recognised(path, stream)
            return Header(image.height, image.width, len(image.getbands()), _dtype_of(image))

    def read(self, path: Path, *, stored: bool = False) -> Image:
        with path.open("rb") as stream:
            image = _recognised(path, stream)
            bits = few_bits(image)
            image.load()
            return upright(stored_values(image, bits) if stored else to_array(image), _orientation(image))

    def with_alpha(self, path: Path) -> Image | None:
        with path.open("rb") as stream:
            image = _recognised(path, stream)
            if not image.has_transparency_data:
                return None
            image.load()
            return upright(to_array(image, alpha=True), _orientation(image))

    def count(self, path: Path, axis: int = 0) -> int:
        with path.open("rb") as stream:
            return _frames(_recognised(path, stream))

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        image = _last.open(path)
        image.seek(index)
        return upright(to_array(image), _orientation(image))

    def output_suffix(self, path: Path) -> str:
        suffix = path.suffix.lower()
        return suffix if suffix in SUFFIXES and self.count(path) > 1 else ""

    def open_output(self, source: Path, path: Path, domain: Domain, size: tuple[int, int], count: int) -> Output | None:
        with source.open("rb") as stream:
            return open_animation(_recognised(source, stream), path, domain)

    def meaning(self, path: Path) -> Meaning:
        with path.open("rb") as stream:
            if not _is_remarkable(stream):
                return Meaning()
            stream.seek(0)
            image = _recognised(path, stream)
            space: Space = "cmyk" if image.mode == "CMYK" else "rgb"
            converted = image.mode not in _GREY and changes_colours(profile_of(image), space)
            moving = path.suffix.lower() not in self.containers and _frames(image) > 1
            return Meaning(remarks=(CONVERTED,) * converted + (ANIMATED,) * moving)


def _is_remarkable(stream: BinaryIO) -> bool:
    """Return whether the beginning of a file has marks of a colour profile or an animation, before it is parsed."""
    head = stream.read(_HEAD)
    if head.startswith(_JPEG):
        if head[3] == _EXIF:  # thumbnails and notes of cameras come before the profile
            return _PROFILE in head + stream.read(_EXIF_BYTES)
        return _PROFILE in head.partition(_SCAN)[0]
    marks = head.partition(b"IDAT")[0] if head.startswith(_PNG) else head
    return any(mark in marks for mark in _REMARKABLE)


class _Last(threading.local):
    """The animation that this thread read last, so that its images in their order are each decoded once."""

    key: tuple[str, int, int] | None = None
    image: ImageFile.ImageFile

    def open(self, path: Path) -> ImageFile.ImageFile:
        status = os.stat(path)
        key = (os.fspath(path), status.st_size, status.st_mtime_ns)
        if key != self.key:
            content = io.BytesIO(path.read_bytes())
            self.image, self.key = _recognised(path, content), key
        return self.image


_last = _Last()


def _frames(image: ImageFile.ImageFile) -> int:
    return int(getattr(image, "n_frames", 1)) if image.format in _MOVING else 1


def announced(path: Path) -> tuple[Header, int, bytes]:
    """Return what a file announces, how it was held (1 to 8), and its colour profile."""
    with path.open("rb") as stream:
        image = _recognised(path, stream)
        header = Header(image.height, image.width, len(image.getbands()), _dtype_of(image))
        return header, _orientation(image), profile_of(image)


def properties(path: Path) -> tuple[tuple[float, float] | None, PillowImage.Exif] | None:
    """Return a picture's pixels per inch (across, down) and its EXIF; None for files that Pillow does not open."""
    with path.open("rb") as stream:
        try:
            image: PillowImage.Image = PillowImage.open(stream)
        except (OSError, SyntaxError, ValueError, BadImage):
            return None
        dpi = image.info.get("dpi")
        known = isinstance(dpi, tuple) and len(dpi) == 2 and all(0 < float(value) < 1e6 for value in dpi)
        exif = image.getexif()
        return (float(dpi[0]), float(dpi[1])) if dpi is not None and known else None, exif


def profile_of(image: PillowImage.Image) -> bytes:
    """Return the colour profile of a picture; empty where it has none."""
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) else b""


def orientation_of(exif: bytes) -> int:
    """Return the orientation (1 to 8) in an EXIF block; 1 where there is none or the block is damaged."""
    block = PillowImage.Exif()
    try:
        block.load(exif)
        value = block.get(ORIENTATION)
    except Exception:  # damaged metadata raises anything and changes no pixel
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _recognised(path: Path, stream: BinaryIO) -> ImageFile.ImageFile:
    # Instead of Image.open: its own pixel limit is a global setting, and it would try the formats left out above.
    PillowImage.init()
    start = stream.read(16)
    for name in FORMATS:
        if name not in PillowImage.OPEN:
            continue
        factory, accept = PillowImage.OPEN[name]
        if accept is not None and accept(start) is not True:
            continue
        stream.seek(0)
        if name == "SGI" and start[3] == 2:  # bytes a sample, of which Pillow keeps one
            raise BadImage(path, "SGI with 16 bits, of which 8 would be read: save it as 16-bit PNG or TIFF")
        try:
            return factory(stream, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # as Image.open does: not this format after all
    raise BadImage(path, "wrongly typed: not an image")


def _dtype_of(image: PillowImage.Image) -> str:
    if image.mode in _SIXTEEN_BIT or (image.mode == "I" and image.format == "PPM"):
        return "uint16"
    return {"I": "int32", "F": "float32"}.get(image.mode, "uint8")


def _orientation(image: ImageFile.ImageFile) -> int:
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # damaged metadata raises anything and changes no pixel
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def stored_values(image: PillowImage.Image, bits: int = 8) -> Image:
    """Return the numbers that a picture of one sample holds: [H, W, 1]; others as `to_array` does.

    Palette pictures give their indices, 1-bit ones 0 and 1, grey ones of `bits` bits the values before Pillow scaled
    them; transparency is left aside.
    """
    if image.mode in ("P", "PA", "1", "L", "LA"):
        band = image.getchannel(0) if image.mode in ("PA", "LA") else image
        values = np.asarray(band).astype(np.uint8)[..., None]
        return values // np.uint8(255 // (2**bits - 1)) if image.mode == "L" else values
    return to_array(image)


def few_bits(image: PillowImage.Image) -> int:
    """Return the bits per sample of a grey PNG before it is loaded: 8, or 2 or 4, which Pillow scales to 8."""
    waiting = image.tile if isinstance(image, ImageFile.ImageFile) and image.format == "PNG" else []
    raw = waiting[0][3] if waiting else None
    return {"L;2": 2, "L;4": 4}.get(raw, 8) if isinstance(raw, str) else 8


def to_array(image: PillowImage.Image, *, alpha: bool = False) -> Image:
    """Return a decoded picture of any Pillow mode as [H, W, C]: what holds more than 8 bits keeps them.

    Transparency is laid over white or, with `alpha`, the last channel.
    """
    if image.mode in _SIXTEEN_BIT:
        return np.asarray(image).astype(np.uint16, copy=False)[..., None]
    if image.mode == "I":
        # Pillow widens 16-bit PGM and the like to 32 bits.
        return np.asarray(image).astype(_dtype_of(image), copy=False)[..., None]
    if image.mode == "F":
        return np.asarray(image, np.float32)[..., None]
    grey, transparent = image.mode in _GREY, image.has_transparency_data
    mode = "RGBA" if transparent else "L" if grey else "RGB"
    shown = slice(1 if grey else 3)
    pixels = np.empty((image.height, image.width, shown.stop + (transparent and alpha)), np.uint8)
    profile = b"" if grey else profile_of(image)
    parts = strips(image.height, image.width)
    for rows in parts:
        part = image if len(parts) == 1 else image.crop((0, rows.start, image.width, rows.stop))
        values = _in_mode(part, mode, profile)
        pixels[rows, :, shown] = (
            over_white(values[..., shown], values[..., 3]) if transparent and not alpha else values[..., shown]
        )
        if transparent and alpha:
            pixels[rows, :, -1] = values[..., 3]
    return pixels


def _in_mode(image: PillowImage.Image, mode: str, profile: bytes) -> Image:
    """Return a picture in a mode, [H, W, C]; with a colour profile, its colours in sRGB."""
    if image.mode == "CMYK" and profile:
        managed = to_srgb(np.asarray(image), profile, "cmyk")
        if managed is not None:
            return managed
    values = np.atleast_3d(np.asarray(image if image.mode == mode else image.convert(mode)))
    managed = to_srgb(values[..., :3], profile) if profile else None
    return values if managed is None else np.concatenate([managed, values[..., 3:]], axis=2)
