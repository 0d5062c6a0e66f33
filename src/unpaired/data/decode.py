"""From a file to an array: [H, W, C] in the file's own dtype.

The rules, for every format: the content decides which format a file has, not its suffix; EXIF and TIFF orientation is
applied; colours with a profile become sRGB; 1 bit becomes 8-bit grey; palettes become RGB; transparency is laid over
white, or kept where it is asked for; CMYK, YCbCr and LAB become RGB; more than 8 bits stay 16 bits; floats of any width
become float32; a file of several images is read image by image (`Frame`), else its first is taken; damaged metadata is
ignored, damaged pixels never are. For the axes of arrays see `formats.layout`, for TIFF `formats.tiff`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import plural
from unpaired.data.bad_image import MAX_PIXELS, refuse_bomb
from unpaired.data.bad_image import BadImage as BadImage
from unpaired.data.formats import (
    Box,
    Frame,
    Header,
    ImageBytes,
    Meaning,
    Reader,
    find_reader,
    is_image_folder,
    readable_suffixes,
    suffix_of,
)
from unpaired.data.formats.base import admit, quiet
from unpaired.data.parallel import sharing_memory
from unpaired.data.values import Image

_RAW = "camera raw: develop them to 16-bit TIFF or PNG first"
_DRAWING = "drawings without pixels: render them to PNG first"
_INSTRUMENT = "an instrument's own format: export them as TIFF first"
_PROJECT = "an editor's own format: export them as PNG or TIFF first"
UNSUPPORTED = {
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw"), _RAW),
    **dict.fromkeys((".svg", ".svgz", ".eps", ".ai", ".pdf", ".wmf", ".emf"), _DRAWING),
    **dict.fromkeys((".oib", ".oir", ".vsi", ".dm3", ".dm4", ".mrc", ".ims"), _INSTRUMENT),
    **dict.fromkeys((".xcf", ".kra", ".psb", ".afphoto"), _PROJECT),
    **dict.fromkeys((".grib", ".grb", ".nc"), "grids: write the variable that is meant as GeoTIFF or .npy first"),
}
"""Files of images that nothing here reads, by suffix, and what to do: left out of folders, and reported."""

_HEAD = 512
"""Bytes by which a file's reader is found."""
_CAUSES = {
    r"truncated|too short|premature|unexpected end|not enough": "truncated: the file ends before the image does",
    r"crc|checksum": "damaged: a checksum inside the file is wrong",
    r"unsupported|not supported|not implemented|unavailable": "of a kind that cannot be decoded here, or damaged",
}
"""What decoders say in their many words, and what the message says."""


def decode(
    path: str | os.PathLike[str] | ImageBytes | Frame,
    *,
    max_pixels: int = MAX_PIXELS,
    stored: bool = False,
    alpha: bool = False,
    channels: int | None = None,
    profiles: bool = True,
) -> Image:
    """Read one image file, or its content, as [H, W, C] in its own dtype; the array may be read-only.

    With `stored`, the numbers that files of one sample hold are returned as they are, for maps of class indices: the
    index in place of the palette's colour, 0 and 1 for one bit, no scaling of few bits, no white under transparency.
    With `alpha`, transparency is the last channel of files that have it: 2 or 4 channels, colours not multiplied with
    it, white where nothing is seen. `channels` are those of the domain, where they are known: they settle what files
    leave open (which axis of an array holds them, whether a GeoTIFF's last band is transparency). Without `profiles`,
    colours are taken as stored whatever profile they have.

    Raises `BadImage`, and nothing else, for anything that is not a whole, sound image of at most `max_pixels` pixels.
    """
    image, valid = decode_valid(
        path, max_pixels=max_pixels, stored=stored, alpha=alpha, channels=channels, profiles=profiles
    )
    if valid is not None and image.dtype.kind == "f" and not np.isfinite(image).all():
        raise BadImage(os.fspath(path), "contains NaN or infinite values")
    return image


def decode_valid(
    path: str | os.PathLike[str] | ImageBytes | Frame,
    *,
    max_pixels: int = MAX_PIXELS,
    stored: bool = False,
    alpha: bool = False,
    channels: int | None = None,
    profiles: bool = True,
) -> tuple[Image, NDArray[np.bool_] | None]:
    """Return what `decode` does and which pixels have a value, [H, W]; None where all have one.

    Those without one (nodata, masks, NaN, infinity) hold whatever the file holds. Raises `BadImage`, also where no
    pixel has a value.
    """
    source, each = path, channels
    if isinstance(path, Frame):
        source, each = path.path, None if channels is None else max(1, channels // (2 * path.neighbours + 1))
    with explained(source, max_pixels, channels=each, profiles=profiles) as (file, reader):
        if isinstance(path, Frame):
            image, valid = _frame(path, file, reader, max_pixels)
        else:
            image, valid = reader.load(file, max_pixels, stored=stored, alpha=alpha), reader.valid(file)
        image = plain(file, image)
        return image, which_valid(path, image, valid)


def which_valid(
    path: str | os.PathLike[str] | ImageBytes | Frame, image: Image, valid: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_] | None:
    """Return which pixels are valid and finite, [H, W]; None where all are, `BadImage` where none of an image is."""
    if image.dtype.kind == "f" and not (np.isfinite(image.min()) and np.isfinite(image.max())):
        finite = np.asarray(np.isfinite(image).all(axis=2))
        valid = finite if valid is None else valid & finite
    if valid is None or valid.all():
        return None
    is_part = isinstance(path, Frame) and path.box is not None
    if not is_part and not valid.any():
        raise BadImage(path, "no pixel has a value: all are NaN, nodata or masked")
    return valid


def count_frames(path: Path | ImageBytes, axis: int = 0, channels: int | None = None) -> int:
    """Return how many images a file holds along an axis; 1 for an ordinary image; `BadImage` as `decode`."""
    with explained(path, MAX_PIXELS, channels=channels) as (file, reader):
        return reader.count(file, axis) if reader.containers else 1


def reader_of(path: Path) -> Reader:
    """Return the reader of a file; `BadImage` as `decode`."""
    with explained(path) as (_, reader):
        return reader


def meaning_of(path: Path | ImageBytes | Frame, *, channels: int | None = None) -> Meaning:
    """Return what a file says of its images beyond their pixels; `BadImage` as `decode`."""
    with explained(path.path if isinstance(path, Frame) else path, channels=channels) as (file, reader):
        meaning = reader.meaning(file)
        if not isinstance(path, Frame) or not path.level or not meaning.spacing:
            return meaning
        levels = reader.levels(file)
        factors = *(full / own for full, own in zip(levels[0], levels[path.level], strict=True)), 1.0
        spacing = tuple(length * factor for length, factor in zip(meaning.spacing, factors, strict=False))
        return meaning._replace(spacing=spacing)


def _frame(frame: Frame, file: Path, reader: Reader, max_pixels: int) -> tuple[Image, NDArray[np.bool_] | None]:
    """Return one image of a file, or a part of it, and which pixels have a value as the file says it."""
    header = reader.probe(file)
    if frame.level or frame.box is not None:
        return _view(file, reader, header, frame, max_pixels)
    admit(file, header, max_pixels)
    last, near = reader.count(file, frame.axis) - 1, range(-frame.neighbours, frame.neighbours + 1)
    if frame.index > last:
        raise BadImage(frame.path, f"it has {last + 1} images, and image {frame.index} is asked for (from 0)")
    valid = reader.valid(file, frame.index, frame.axis)
    series = reader.series(file) if frame.neighbours and not last else ()
    if series:
        own = series.index(file)
        beside = [series[min(max(own + step, 0), len(series) - 1)] for step in near]
        return as_slab([reader.read_frame(one, 0) for one in beside]), valid
    seen = [min(max(frame.index + step, 0), last) for step in near]
    images = {index: reader.read_frame(file, index, frame.axis) for index in sorted(set(seen))}
    return as_slab([images[index] for index in seen]), valid


def as_slab(images: Sequence[Image]) -> Image:
    """Return an image, the middle one, and its neighbours as channels [H, W, N C].

    Where a neighbour has no value (NaN), it takes the image's own, as beyond the ends.
    """
    own: Image = images[len(images) // 2]
    if own.dtype.kind == "f" and len(images) > 1:
        images = [np.where(np.isfinite(image.astype(np.float32)), image, own) for image in images]
    return np.concatenate(images, axis=2)


def _view(
    file: Path, reader: Reader, header: Header, frame: Frame, max_pixels: int
) -> tuple[Image, NDArray[np.bool_] | None]:
    """Read one resolution of an image, or a part of it: without decoding the rest, where the reader can."""
    levels = reader.levels(file) if frame.level else [(header.height, header.width)]
    if frame.level >= len(levels):
        held = plural(len(levels), "resolution")
        raise BadImage(
            file, f"it holds {held} of the image, and number {frame.level} is asked for (from 0: data.level)"
        )
    box = frame.box or Box(0, 0, *levels[frame.level])
    height, width = levels[frame.level]
    if not (0 <= box.top < box.top + box.height <= height and 0 <= box.left < box.left + box.width <= width):
        raise BadImage(file, f"{height} x {width} pixels, and {tuple(box)} (top, left, height, width) is asked for")
    admit(file, header._replace(height=box.height, width=box.width), max_pixels)
    part = reader.read_window(file, box, frame.index, frame.level)
    if part is None:
        admit(file, header, max_pixels)
        image = reader.read_frame(file, frame.index, frame.axis)
        part = image[box.top : box.top + box.height, box.left : box.left + box.width]
    return part, reader.valid_window(file, box, frame.index, frame.level)


def probe(path: str | os.PathLike[str] | ImageBytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Return what a file announces of its image, at most `max_pixels`, without decoding it; `BadImage` as `decode`."""
    with explained(path, max_pixels) as (file, reader):
        header = reader.probe(file)
        refuse_bomb(file, header.height, header.width, header.channels, max_pixels)
        return header


@contextmanager
def explained(
    path: str | os.PathLike[str] | ImageBytes,
    max_pixels: int = MAX_PIXELS,
    *,
    channels: int | None = None,
    profiles: bool = True,
) -> Iterator[tuple[Path, Reader]]:
    """Yield a file's path, or content in its place, and its reader; whatever the block raises becomes `BadImage`."""
    file = path if isinstance(path, ImageBytes) else Path(path)
    path = Path(file)
    try:
        with sharing_memory(), quiet(max_pixels, channels=channels, profiles=profiles), np.errstate(all="ignore"):
            reader = find_reader(_start(file), suffix_of(path), cast(Path, file))
            with _library(path, reader):
                if isinstance(file, Path) or reader.reads_memory:
                    yield cast(Path, file), reader  # such readers use of a path what ImageBytes has as well
                    return
                with file.on_disk() as copy:
                    yield copy, reader
    except BadImage as error:
        if error.path == path:
            raise
        raise type(error)(path, error.reason) from error  # of an image inside of the file
    except UserError as error:  # such as a library that is missing
        raise BadImage(path, str(error)) from error
    except Exception as error:  # decoders raise anything on damaged files
        raise BadImage(path, _reason(error)) from error


@contextmanager
def _library(path: Path, reader: Reader) -> Iterator[None]:
    """Say which extra brings the library that a reader lacks."""
    try:
        yield
    except ModuleNotFoundError as error:
        if not reader.extra:
            raise
        raise BadImage(
            path, f"{error.name} reads such files and is not installed: pip install 'unpaired[{reader.extra}]'"
        ) from error


def read_alpha(path: str | os.PathLike[str] | ImageBytes, *, max_pixels: int = MAX_PIXELS) -> Image | None:
    """Return how opaque a file's pixels are, [H, W] in its dtype; None for files without transparency.

    Raises `BadImage` as `decode` does.
    """
    image, _ = decode_valid(path, max_pixels=max_pixels, alpha=True)
    if image.shape[2] not in (2, 4) or decode_valid(path, max_pixels=max_pixels)[0].shape[2] == image.shape[2]:
        return None  # samples of another meaning
    alpha = image[..., -1]
    opaque = 1.0 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype.name).max
    return None if bool((alpha == opaque).all()) else alpha


def as_channels(image: Image, channels: int, *, alpha: bool = False) -> Image:
    """Return the image with this many channels: grey is repeated, RGB becomes luma (ITU-R 601, as Pillow's "L").

    With `alpha`, two and four channels are grey and RGB with alpha, and images without it are opaque. Raises
    `UserError` for every other change.
    """
    found = image.shape[2]
    if found == channels:
        return image
    if found == 1 and channels == 3:
        return np.repeat(image, 3, axis=2)
    if found == 3 and channels == 1:
        return _luma(image)
    if alpha and channels in (2, 4) and found <= 4:
        cover: NDArray[Any] = image[..., -1:] if found in (2, 4) else _opaque(image)
        colour = image[..., :-1] if found in (2, 4) else image
        return np.concatenate([as_channels(colour, channels - 1), cover], axis=2)
    raise UserError(
        f"an image of {found} channels cannot become one of {channels}. "
        "Only grey becomes RGB and RGB becomes grey; set the channels that the images have."
    )


def plain(path: str | os.PathLike[str], image: Image) -> Image:
    """Return [H, W, C] as a contiguous array in the machine's byte order, floats as float32; `BadImage` for others.

    NaN and infinity stay: see `which_valid`.
    """
    if image.ndim != 3 or 0 in image.shape:
        raise BadImage(path, f"has no pixels: an array of shape {image.shape}")
    if image.dtype.kind == "b":
        image = np.where(image, 255, 0).astype(np.uint8)
    if image.dtype.kind not in "iuf":
        raise BadImage(path, f"values of type {image.dtype}; allowed are integers and floats")
    if image.dtype.kind == "f":
        image = image.astype(np.float32, copy=False)
    return np.ascontiguousarray(image.astype(image.dtype.newbyteorder("="), copy=False))


def _start(path: Path | ImageBytes) -> bytes:
    suffix = path.suffix.lower()
    if suffix in UNSUPPORTED and suffix not in readable_suffixes():
        raise BadImage(path, f"{suffix} files are {UNSUPPORTED[suffix]}, or give a reader ({option('data.readers')})")
    if isinstance(path, ImageBytes):
        if not path.content:
            raise BadImage(path, "empty: 0 bytes")
        return path.content[:_HEAD]
    status = path.stat()
    if stat.S_ISDIR(status.st_mode) and is_image_folder(path):
        return b""
    if not stat.S_ISREG(status.st_mode):
        raise BadImage(path, "wrongly typed: not a regular file")
    if status.st_size == 0:
        raise BadImage(path, "empty: 0 bytes")
    with path.open("rb") as stream:
        return stream.read(_HEAD)


def _opaque(image: Image) -> Image:
    top = 1.0 if image.dtype.kind == "f" else np.iinfo(image.dtype.name).max
    return np.full((*image.shape[:2], 1), top, image.dtype)


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
    if isinstance(error, MemoryError):
        return "too large for the memory of this machine, or damaged"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return f"unreadable: {error.strerror[:1].lower()}{error.strerror[1:]}"
    causes = (reason for words, reason in _CAUSES.items() if re.search(words, str(error), re.IGNORECASE))
    return next(causes, "damaged: it cannot be decoded")
