"""From a file to an array: [H, W, C] in the file's own dtype.

The rules, for every format: the content decides which format a file has, not its suffix; EXIF and TIFF orientation is
applied; 1 bit becomes 8-bit grey; palettes become RGB; transparency is laid over white; CMYK, YCbCr and LAB become RGB;
16-bit grey and RGB stay 16 bits; floats of any width become float32; of an animation the first frame is taken; damaged
metadata is ignored, damaged pixels never are. `.npy` files hold H x W or H x W x C; for TIFF see `formats.tiff`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps

from unpaired.core.errors import UserError
from unpaired.data.bad_image import MAX_PIXELS, BadImage
from unpaired.data.formats import find_reader, own_readers
from unpaired.data.formats.quiet import quiet
from unpaired.data.values import Image

__all__ = ["UNSUPPORTED", "BadImage", "as_channels", "decode", "plain"]

UNSUPPORTED = {
    suffix: f"{suffix} files are not supported; convert them to PNG or TIFF, or give a reader (data.readers)"
    for suffix in (".heic", ".heif", ".jxl", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".svg", ".npz")
}
"""Image files that are recognised only to be refused with a reason, by suffix, unless an own reader takes them."""

_TELLING = (OSError, ValueError, SyntaxError, RuntimeError, EOFError)
# Of other types the text speaks of the decoder, not of the file.


def decode(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, stored: bool = False) -> Image:
    """Read one image file as [H, W, C] in its own dtype; the array may be read-only.

    With `stored`, the numbers that files of one sample hold are returned as they are, for maps of class indices: the
    index in place of the palette's colour, 0 and 1 for one bit, no scaling of few bits, no white under transparency.

    Raises `BadImage`, and nothing else, for anything that is not a whole, sound image of at most `max_pixels` pixels.
    """
    path = Path(path)
    try:
        with quiet(), np.errstate(all="ignore"):
            reader = find_reader(_start(path), path.suffix.lower())
            return plain(path, reader.load(path, max_pixels, stored=stored))
    except BadImage:
        raise
    except Exception as error:  # decoders raise anything on damaged files
        raise BadImage(path, _reason(error)) from error


def read_alpha(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Image | None:
    """Return how opaque a file's pixels are, [H, W]; None for files without transparency. BadImage as `decode`."""
    decode(path, max_pixels=max_pixels)
    try:
        with quiet(), PillowImage.open(path) as image:
            if not image.has_transparency_data:
                return None
            alpha = ImageOps.exif_transpose(image).convert("RGBA").getchannel("A")
    except (OSError, ValueError, SyntaxError):
        return None
    values = np.asarray(alpha)
    return None if bool((values == 255).all()) else values


def as_channels(image: Image, channels: int) -> Image:
    """Return the image with this many channels: grey is repeated, RGB becomes luma (ITU-R 601, as Pillow's "L").

    Raises `UserError` for every other change.
    """
    found = image.shape[2]
    if found == channels:
        return image
    if found == 1 and channels == 3:
        return np.repeat(image, 3, axis=2)
    if found == 3 and channels == 1:
        return _luma(image)
    raise UserError(
        f"an image of {found} channels cannot become one of {channels}. "
        "Only grey becomes RGB and RGB becomes grey; set the channels that the images have."
    )


def plain(path: str | os.PathLike[str], image: Image) -> Image:
    """Return [H, W, C] as a contiguous array in the machine's byte order, floats as float32; `BadImage` for others."""
    if image.ndim != 3 or 0 in image.shape:
        raise BadImage(path, f"has no pixels: an array of shape {image.shape}")
    if image.dtype.kind == "b":
        image = np.where(image, 255, 0).astype(np.uint8)
    if image.dtype.kind not in "iuf":
        raise BadImage(path, f"values of type {image.dtype}; allowed are integers and floats")
    if image.dtype.kind == "f":
        image = image.astype(np.float32, copy=False)
        if not (np.isfinite(image.min()) and np.isfinite(image.max())):
            raise BadImage(path, "contains NaN or infinite values")
    return np.ascontiguousarray(image.astype(image.dtype.newbyteorder("="), copy=False))


def _start(path: Path) -> bytes:
    suffix = path.suffix.lower()
    if suffix in UNSUPPORTED and not any(suffix in reader.suffixes for reader in own_readers().values()):
        raise BadImage(path, UNSUPPORTED[suffix])
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BadImage(path, "wrongly typed: not a regular file")
    if status.st_size == 0:
        raise BadImage(path, "empty: 0 bytes")
    with path.open("rb") as stream:
        return stream.read(32)


def _luma(image: Image) -> Image:
    colours: NDArray[Any] = image
    red, green, blue = colours[..., 0:1], colours[..., 1:2], colours[..., 2:3]
    if image.dtype.kind == "f":
        return np.asarray(red * 0.299 + green * 0.587 + blue * 0.114, image.dtype)
    # Pillow's fixed-point weights; they sum to 2 ** 16, so uint32 is enough for 8 and 16 bits without a sign.
    wide: type[Any] = np.uint32 if image.dtype.name in ("uint8", "uint16") else np.int64
    weighted: NDArray[Any] = red.astype(wide) * 19595 + green.astype(wide) * 38470 + blue.astype(wide) * 7471
    return ((weighted + 0x8000) >> 16).astype(image.dtype)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing: no such file, or a broken link"
    if isinstance(error, PermissionError):
        return "unreadable: no permission"
    if isinstance(error, MemoryError):
        return "too large for the memory of this machine, or damaged"
    if not isinstance(error, _TELLING):
        return "damaged: it cannot be decoded"
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0].strip() if lines else ""
    if "truncated" in text.lower():
        return "truncated: the file ends before the image does"
    # Native decoders sometimes hand back bytes that are no text.
    readable = text.isascii() and text.isprintable() and len(text) <= 120
    return f"damaged or unreadable: {text if text and readable else type(error).__name__}"
