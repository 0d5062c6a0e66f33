"""TIFF files: any number of channels, 8 and 16 bits, integers and floats, planar or not, compressed or not."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.core.settings import option
from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import (
    Header,
    Reader,
    admit,
    filling,
    over_white,
    upright,
    wanted_channels,
    white_where_hidden,
)
from unpaired.data.formats.colour import changes_colours, to_srgb
from unpaired.data.formats.layout import MOST_CHANNELS
from unpaired.data.formats.meaning import BANDS, CONVERTED, Box, Meaning
from unpaired.data.formats.tiff_tags import GEOGRAPHIC, MASK, directories
from unpaired.data.values import Image

if TYPE_CHECKING:
    import tifffile

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_PAGES = 4096
"""More pages than this are no channels of an image."""

# Values of the TIFF tags PhotometricInterpretation, ExtraSamples, Compression and NewSubfileType, and other tags.
_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 1, 2, 3, 5, 6
_PREMULTIPLIED, _STRAIGHT = 1, 2
_JPEG_COMPRESSIONS = (6, 7)
_ORIENTATION, _PROFILE, _NODATA = 274, 34675, 42113


class TiffReader(Reader):
    """Reads TIFF files of any number of channels.

    Samples of up to 8 bits are scaled to the full range of uint8; of more bits they are kept as stored, and `meaning`
    has their range. White-is-zero is inverted, palettes, CMYK and YCbCr become 8-bit RGB, a sample marked as alpha is
    laid over white, but for files that say where on Earth they lie: GDAL marks the fourth of any bands so, and where
    the domain has one channel less it must be a mask, which says which pixels have a value. Samples of
    unspecified meaning are channels. Several pages of one sample each and of one shape are the channels of one image,
    up to 32, or several images where the domain has one channel; other files of several pages hold several images.
    Pages marked as reduced copies or masks are no images. A stack that tifffile wrote from an array of [H, W, C] with
    at most 32 channels is recognised.
    """

    suffixes = containers = frozenset({".tif", ".tiff"})
    reads_memory = True
    version = "2"

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start.startswith(MAGICS) and start[128:132] != b"DICM"  # DICOM may begin like a TIFF file

    def probe(self, path: Path) -> Header:
        with _opened(path) as file:
            return _header(path, _images(path, file)[0])

    def read(self, path: Path, *, stored: bool = False) -> Image:
        return self.load(path, sys.maxsize, stored=stored)

    def load(self, path: Path, max_pixels: int, *, stored: bool = False, alpha: bool = False) -> Image:
        with _opened(path) as file:  # once: opening takes as long as decoding a small image
            pages = _images(path, file)[0]
            admit(path, _header(path, pages), max_pixels)
            _require_end(path, file)
            return _read(path, file, pages, stored, alpha)

    def count(self, path: Path, axis: int = 0) -> int:
        if len(directories(path, most=2)) == 1:  # most files; said without parsing all of their tags
            return 1
        with _opened(path) as file:
            return len(_images(path, file))

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        with _opened(path) as file:
            return _read(path, file, _images(path, file)[index], stored=False, alpha=False)

    def meaning(self, path: Path) -> Meaning:
        with _opened(path) as file:
            page = _images(path, file)[0][0]
            remarks = []
            if _is_located(page) and len(page.extrasamples) and int(page.extrasamples[-1]) in (1, 2):
                remarks.append(BANDS)
            if int(page.photometric) == _RGB and changes_colours(_profile(page)):
                remarks.append(CONVERTED)
            bits, dtype = page.bitspersample, np.dtype(page.dtype)
            few = dtype.kind == "u" and 8 < bits < 8 * dtype.itemsize <= 16
            return Meaning(range=(0.0, 2.0**bits - 1) if few else None, remarks=tuple(remarks))

    def valid(self, path: Path, index: int = 0, axis: int = 0) -> NDArray[np.bool_] | None:
        with _opened(path) as file:
            pages = _images(path, file)[index]
            masks = [page for page in _every(path, file) if page.subfiletype == MASK]
            mask = masks[index] if index < len(masks) else None
            nodata = pages[0].tags.get(_NODATA)
            if mask is not None and mask.shaped[2:4] == pages[0].shaped[2:4]:
                _require_sound(path, mask, file.filehandle.size)
                shown: Image = _samples(mask) != 0
            elif _is_located(pages[0]) and _is_mask_asked(pages[0]):
                shown = _samples(pages[0])[..., -1:] != 0
            elif nodata is not None and (value := _number(nodata.value)) is not None:
                shown = np.concatenate([_samples(page) for page in pages], axis=2) != value
            else:
                return None
            return np.asarray(upright(shown, _orientation(pages[0])).any(axis=2))

    def levels(self, path: Path) -> list[tuple[int, int]]:
        with _opened(path) as file:
            return [(page.imagelength, page.imagewidth) for page in _pyramid(path, file, 0)]

    def read_window(self, path: Path, box: Box, index: int = 0, level: int = 0) -> Image | None:
        from unpaired.data.formats.tiff_window import window

        with _opened(path) as file:
            pages = _images(path, file)[index]
            if level:
                pages = [_pyramid(path, file, index)[level]]
            if _orientation(pages[0]) != 1 or (file.is_shaped and len(pages) > 1):
                return None
            parts = [window(page, file.filehandle, box) for page in pages]
            if len(parts) > 1:
                return np.concatenate(
                    [_full_range(page, part) for page, part in zip(pages, parts, strict=True)], axis=2
                )
            return _colour(path, pages[0], parts[0], False)


def _opened(path: Path) -> tifffile.TiffFile:
    import tifffile

    return tifffile.TiffFile(path if isinstance(path, Path) else path.open("rb"))


def _header(path: Path, pages: list[tifffile.TiffPage]) -> Header:
    height, width = pages[0].imagelength, pages[0].imagewidth
    if not (isinstance(height, int) and isinstance(width, int)):  # a forged tag may hold several numbers
        raise BadImage(path, "damaged: height or width is no single number")
    return Header(height, width, len(pages) * pages[0].samplesperpixel, str(pages[0].dtype))


def _every(path: Path, file: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    import tifffile

    if len(file.pages) > MAX_PAGES:
        raise BadImage(path, f"{len(file.pages)} pages; at most {MAX_PAGES} are read")
    return [page for page in file.pages if isinstance(page, tifffile.TiffPage)]


def _images(path: Path, file: tifffile.TiffFile) -> list[list[tifffile.TiffPage]]:
    """Return the pages of every image."""
    every = _every(path, file)
    pages = [page for page in every if not (page.is_reduced or page.subfiletype & MASK)] or every[:1]
    kinds = {(page.imagelength, page.imagewidth, page.samplesperpixel, page.photometric, page.dtype) for page in pages}
    alike = len(kinds) == 1 and pages[0].samplesperpixel == 1 and pages[0].photometric != _PALETTE
    channels = wanted_channels()
    few = len(pages) <= MOST_CHANNELS or (file.is_shaped and min(pages[0].shape) <= MOST_CHANNELS)
    if alike and channels != 1 and (few or channels == len(pages)):
        return [pages]
    return [[page] for page in pages]


def _pyramid(path: Path, file: tifffile.TiffFile, index: int) -> list[tifffile.TiffPage]:
    """Return the page of an image at every resolution, the full one first."""
    first = _images(path, file)[index][0]
    every = _every(path, file)
    behind = every[every.index(first) + 1 :]
    end = next((n for n, page in enumerate(behind) if not (page.is_reduced or page.subfiletype & MASK)), len(behind))
    reduced = [page for page in behind[:end] if page.is_reduced and not page.subfiletype & MASK]
    return [first, *(page for page in reduced if page.samplesperpixel == first.samplesperpixel)]


def _read(path: Path, file: tifffile.TiffFile, pages: list[tifffile.TiffPage], stored: bool, alpha: bool) -> Image:
    for page in pages:
        _require_sound(path, page, file.filehandle.size)
    if len(pages) > 1:
        stack = np.concatenate([_full_range(page, _samples(page)) for page in pages], axis=2)
        return _channels_last(stack) if file.is_shaped else stack
    samples = _samples(pages[0])
    if stored and pages[0].samplesperpixel == 1:
        image = samples.astype(np.uint8) if samples.dtype == np.bool_ else samples
    else:
        image = _colour(path, pages[0], samples, alpha)
    return upright(image, _orientation(pages[0]))


def _is_located(page: tifffile.TiffPage) -> bool:
    return any(tag in page.tags for tag in GEOGRAPHIC)


def _profile(page: tifffile.TiffPage) -> bytes:
    tag = page.tags.get(_PROFILE)
    return tag.value if tag is not None and isinstance(tag.value, bytes) else b""


def _number(text: object) -> float | None:
    """Return the number in GDAL's tag; None where it is damaged, or NaN, which needs no mention."""
    try:
        value = float(str(text).strip("\0 "))
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _require_end(path: Path, file: tifffile.TiffFile) -> None:
    # tifffile drops the pages from the first that it cannot reach: the last one read must say that it is the last.
    at = file.pages.next_page_offset
    if at is not None:
        file.filehandle.seek(at)
        if file.filehandle.read(file.tiff.offsetsize) != bytes(file.tiff.offsetsize):
            raise BadImage(path, "truncated or damaged: pages are missing")


def _require_sound(path: Path, page: tifffile.TiffPage, file_bytes: int) -> None:
    """Refuse what would decode to zeros or to far more than the page announces."""
    if page.dtype is None:
        raise BadImage(path, f"samples of {page.bitspersample} bits of an unknown type")
    if page.imagedepth != 1:
        raise BadImage(path, f"a volume of depth {page.imagedepth}; an image is flat")
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(segments) < (1 if page.is_contiguous else math.prod(page.chunked)):
        raise BadImage(path, "damaged: parts of the image are missing")
    if any(offset + count > file_bytes for offset, count in segments):
        raise BadImage(path, "truncated: the file ends before the image does")
    # A tile may be larger than a small image, but not as large as a forged tag can say.
    if math.prod(page.chunks) > max(4 * math.prod(page.shape), 2**24):
        raise BadImage(path, f"damaged: tiles of {' x '.join(map(str, page.chunks))} samples")


def _orientation(page: tifffile.TiffPage) -> int:
    tag = page.tags.get(_ORIENTATION)
    value = tag.value if tag is not None else 1
    return int(value) if value in range(1, 9) else 1


def _samples(page: tifffile.TiffPage) -> Image:
    """Return the stored samples as [H, W, S]."""
    separate, _, height, width, together = page.shaped
    stored = page.asarray(maxworkers=1).reshape(separate, height, width, together)
    return np.moveaxis(stored, 0, 2).reshape(height, width, separate * together)


def _full_range(page: tifffile.TiffPage, image: NDArray[Any]) -> Image:
    """Scale samples of up to 8 bits to all of uint8 and turn white-is-zero round."""
    bits = page.bitspersample
    if image.dtype == np.bool_:
        image = np.where(image, 255, 0).astype(np.uint8)
    elif image.dtype == np.uint8 and page.photometric != _PALETTE:
        image = filling(image, bits)
    if page.photometric == _MINISWHITE and image.dtype.kind == "u":
        image = (2**bits - 1 if bits > 8 else 255) - image
    return image


def _colour(path: Path, page: tifffile.TiffPage, image: Image, alpha: bool) -> Image:
    kind = int(page.photometric)
    image = _full_range(page, image)
    if kind == _RGB and image.shape[2] >= 3 and (profile := _profile(page)) and not _is_located(page):
        managed = to_srgb(image[..., :3], profile)
        image = image if managed is None else np.concatenate([managed, image[..., 3:]], axis=2)
    if kind in (_MINISWHITE, _MINISBLACK, _RGB):
        return _composited(path, page, image, 3 if kind == _RGB else 1, alpha)
    if kind == _PALETTE and page.colormap is not None:
        return _looked_up(path, page.colormap, image)
    if image.dtype == np.uint8 and kind == _SEPARATED and image.shape[2] == 4:
        managed = to_srgb(image, _profile(page), "cmyk")
        return _converted(image, "CMYK") if managed is None else managed
    if image.dtype == np.uint8 and kind == _YCBCR and image.shape[2] == 3:
        # JPEG decoding has already turned YCbCr into RGB.
        return image if page.compression in _JPEG_COMPRESSIONS else _converted(image, "YCbCr")
    raise BadImage(
        path, f"TIFF colours of kind {kind} with {image.shape[2]} samples of {image.dtype} are not supported"
    )


def _composited(path: Path, page: tifffile.TiffPage, image: Image, colours: int, keep: bool) -> Image:
    """Lay colour over white where a sample is alpha; with `keep`, return it straight, and alpha beside it."""
    extra = [int(meaning) for meaning in page.extrasamples]
    transparent = image.shape[2] == colours + 1 and extra in ([_PREMULTIPLIED], [_STRAIGHT])
    if transparent and _is_located(page):
        return _without_mask(path, image) if _is_mask_asked(page) else image
    if not transparent or image.dtype.name not in ("uint8", "uint16", "float16", "float32", "float64"):
        return image
    premultiplied = extra == [_PREMULTIPLIED]
    if not keep:
        return over_white(image[..., :-1], image[..., -1], premultiplied=premultiplied)
    if premultiplied:
        top = 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype.name).max)
        values: NDArray[Any] = image.astype(np.float64)
        straight = np.minimum(values[..., :-1] * top / np.maximum(values[..., -1:], 1e-6), top)
        straight = straight if image.dtype.kind == "f" else np.rint(straight)
        image = np.concatenate([straight.astype(image.dtype), image[..., -1:]], axis=2)
    return white_where_hidden(image)


def _is_mask_asked(page: tifffile.TiffPage) -> bool:
    """Return whether the last band of a GeoTIFF is called alpha and is no channel of the domain."""
    called = len(page.extrasamples) > 0 and int(page.extrasamples[-1]) in (_PREMULTIPLIED, _STRAIGHT)
    return called and wanted_channels() in (1, 3) and page.samplesperpixel == (wanted_channels() or 0) + 1


def _without_mask(path: Path, image: Image) -> Image:
    """Return the bands before a last one that is called alpha and says which pixels have a value; see `valid`."""
    top = 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype.name).max)
    last: NDArray[Any] = image[..., -1]
    if bool(((last != 0) & (last != top)).any()):
        bands = image.shape[2]
        raise BadImage(
            path,
            f"{bands - 1} channels are asked for, and its last band of {bands}, called alpha, is no mask: it has more "
            f"than 0 and {top:g}. Take it as a channel ({option('data.channels_a', bands)}), or give files without it",
        )
    return image[..., :-1]


def _looked_up(path: Path, colormap: Any, image: Image) -> Image:
    indices = image[..., 0]
    if indices.dtype.kind != "u" or int(indices.max()) >= colormap.shape[1]:
        raise BadImage(path, "damaged: pixels outside the palette")
    palette = (np.asarray(colormap).T >> 8).astype(np.uint8)
    return palette[indices.astype(np.intp)]


def _converted(image: Image, mode: str) -> Image:
    height, width = image.shape[:2]
    return np.asarray(PillowImage.frombytes(mode, (width, height), image.tobytes()).convert("RGB"))


def _channels_last(stack: Image) -> Image:
    """Undo tifffile's guess for an array saved as [H, W, C] without naming its axes: H pages of W x C.

    Such files say only that tifffile wrote them. A last axis that is the shortest and at most 32 is taken for channels.
    """
    rows, columns, pages = stack.shape
    return np.moveaxis(stack, 2, 0) if columns <= MOST_CHANNELS and columns < min(rows, pages) else stack
