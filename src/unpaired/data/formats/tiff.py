"""TIFF files: any number of channels, 8 and 16 bits, integers and floats, planar or not, compressed or not."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader, admit, over_white, upright, white_where_hidden
from unpaired.data.values import Image

if TYPE_CHECKING:
    import tifffile

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_PAGES = 4096
"""More pages than this are no channels of an image."""

MAX_LAST_AXIS = 32
"""Pages this narrow are rows of an image whose channels are its last axis."""

# Values of the TIFF tags PhotometricInterpretation, ExtraSamples and Compression.
_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 1, 2, 3, 5, 6
_PREMULTIPLIED, _STRAIGHT = 1, 2
_JPEG_COMPRESSIONS = (6, 7)
_ORIENTATION = 274


class TiffReader(Reader):
    """Reads TIFF files of any number of channels.

    Samples of odd widths (1, 4, 12 bits) are scaled to the full range of the type that holds them. White-is-zero is
    inverted, palettes, CMYK and YCbCr become 8-bit RGB, a sample marked as alpha is laid over white; samples of
    unspecified meaning are channels. Several pages of one sample each and of one shape are the channels of one image;
    pages marked as reduced copies are ignored; other files of several pages are refused. A stack that tifffile wrote
    from an array of [H, W, C] with at most 32 channels is recognised.
    """

    suffixes = frozenset({".tif", ".tiff"})
    reads_memory = True

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start.startswith(MAGICS)

    def probe(self, path: Path) -> Header:
        with _opened(path) as file:
            return _header(path, _pages(path, file))

    def read(self, path: Path, *, stored: bool = False) -> Image:
        return self.load(path, sys.maxsize, stored=stored)

    def load(self, path: Path, max_pixels: int, *, stored: bool = False, alpha: bool = False) -> Image:
        with _opened(path) as file:  # once: opening takes as long as decoding a small image
            pages = _pages(path, file)
            admit(path, _header(path, pages), max_pixels)
            _require_end(path, file)
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


def _opened(path: Path) -> tifffile.TiffFile:
    import tifffile

    return tifffile.TiffFile(path if isinstance(path, Path) else path.open("rb"))


def _header(path: Path, pages: list[tifffile.TiffPage]) -> Header:
    height, width = pages[0].imagelength, pages[0].imagewidth
    if not (isinstance(height, int) and isinstance(width, int)):  # a forged tag may hold several numbers
        raise BadImage(path, "damaged: height or width is no single number")
    return Header(height, width, len(pages) * pages[0].samplesperpixel, str(pages[0].dtype))


def _pages(path: Path, file: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    import tifffile

    if len(file.pages) > MAX_PAGES:
        raise BadImage(path, f"{len(file.pages)} pages; at most {MAX_PAGES} are read as channels")
    every = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
    pages = [page for page in every if not page.is_reduced] or every[:1]
    kinds = {(page.imagelength, page.imagewidth, page.samplesperpixel, page.photometric, page.dtype) for page in pages}
    if len(pages) > 1 and (len(kinds) > 1 or pages[0].samplesperpixel != 1 or pages[0].photometric == _PALETTE):
        raise BadImage(
            path,
            f"{len(pages)} pages that are not the channels of one image (these have one sample and one shape); "
            "save one image per file",
        )
    return pages


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
    """Scale samples of odd widths to their container and turn white-is-zero round."""
    bits = page.bitspersample
    if image.dtype == np.bool_:
        image = np.where(image, 255, 0).astype(np.uint8)
    elif image.dtype.kind == "u" and page.photometric != _PALETTE and bits < 8 * image.dtype.itemsize <= 16:
        top = np.iinfo(image.dtype).max
        image = ((image.astype(np.uint32) * top + (2**bits - 1) // 2) // (2**bits - 1)).astype(image.dtype)
    if page.photometric == _MINISWHITE and image.dtype.kind == "u":
        image = np.iinfo(image.dtype).max - image
    return image


def _colour(path: Path, page: tifffile.TiffPage, image: Image, alpha: bool) -> Image:
    kind = int(page.photometric)
    image = _full_range(page, image)
    if kind in (_MINISWHITE, _MINISBLACK, _RGB):
        return _composited(page, image, 3 if kind == _RGB else 1, alpha)
    if kind == _PALETTE and page.colormap is not None:
        return _looked_up(path, page.colormap, image)
    if image.dtype == np.uint8 and kind == _SEPARATED and image.shape[2] == 4:
        return _converted(image, "CMYK")
    if image.dtype == np.uint8 and kind == _YCBCR and image.shape[2] == 3:
        # JPEG decoding has already turned YCbCr into RGB.
        return image if page.compression in _JPEG_COMPRESSIONS else _converted(image, "YCbCr")
    raise BadImage(
        path, f"TIFF colours of kind {kind} with {image.shape[2]} samples of {image.dtype} are not supported"
    )


def _composited(page: tifffile.TiffPage, image: Image, colours: int, keep: bool) -> Image:
    """Lay colour over white where a sample is alpha; with `keep`, return it straight, and alpha beside it."""
    extra = [int(meaning) for meaning in page.extrasamples]
    transparent = image.shape[2] == colours + 1 and extra in ([_PREMULTIPLIED], [_STRAIGHT])
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
    return np.moveaxis(stack, 2, 0) if columns <= MAX_LAST_AXIS and columns < min(rows, pages) else stack
