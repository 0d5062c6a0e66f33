"""OME-TIFF, ImageJ stacks, Aperio slides and other TIFF pyramids, by tifffile: axes, resolutions, micrometres."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.meaning import Box, Meaning
from unpaired.data.formats.stacks import Stack, StackReader, in_micrometres
from unpaired.data.formats.tiff import MAGICS
from unpaired.data.formats.tiff_tags import DESCRIPTION, MASK, REDUCED, SUB_IFDS, TILE_WIDTH, directories, flags
from unpaired.data.formats.tiff_window import window
from unpaired.data.values import Image

if TYPE_CHECKING:
    import tifffile

_KINDS = (b"ImageJ=", b"Aperio", b"<OME ", b":OME ")
_UM = {"um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Micrometres of the units that such files name."""
_MOST_IN_TILE = 1 << 28
_MOST_IMAGES = 1 << 20


class Series(NamedTuple):
    """One resolution of the images of a file."""

    lead: tuple[int, ...]
    """Sizes of the axes before Y and X, as the planes of the file count them."""
    axes: tuple[str, ...]
    """Their names, each once."""
    stored: Any


class OmeReader(StackReader):
    """Reads the first series of a file: C and S are channels, every combination of the other axes is an image.

    Series of another shape (labels, overviews and thumbnails of slides) are passed over.
    """

    suffixes = containers = frozenset({".tif", ".tiff", ".svs", ".btf"})
    extra = ""

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start.startswith(MAGICS) and start[128:132] != b"DICM"

    def claims(self, path: Path) -> bool:
        pages = directories(path)
        if not pages:
            return False
        first = pages[0]
        if any(kind in first.get(DESCRIPTION, b"")[:4096] for kind in _KINDS):
            return True
        reduced = any(flags(page) & (REDUCED | MASK) == REDUCED for page in pages[1:])
        return TILE_WIDTH in first and (SUB_IFDS in first or reduced)

    @contextlib.contextmanager
    def stack(self, path: Path) -> Iterator[Stack]:
        with _opened(path) as file:
            found = [_described(path, level) for level in file.series[0].levels]
            first, page = found[0], found[0].stored.keyframe
            shapes = [_plane_shape(series) for series in found]
            channels = _channels(first)

            def read(at: Mapping[str, int], box: Box, level: int) -> Image:
                return _read(path, file, found[level], at, box)

            def meaning() -> Meaning:
                return in_micrometres(*_spacing(path, file, first), shapes[0][2] * channels)

            yield Stack(
                {name: length for name, length in zip(first.axes, first.lead, strict=True) if name != "C"},
                [shape[:2] for shape in shapes],
                shapes[0][2] * channels,
                np.dtype(first.stored.dtype).name,
                read,
                meaning,
                (page.tilelength, page.tilewidth) if page.is_tiled else None,
            )

    def read_window(self, path: Path, box: Box, index: int = 0, level: int = 0) -> Image | None:
        with _opened(path) as file:
            page = _described(path, file.series[0].levels[level]).stored.keyframe
            if math.prod(page.chunks) * np.dtype(page.dtype).itemsize > _MOST_IN_TILE and page.compression != 1:
                return None
        return super().read_window(path, box, index, level)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        text = file.pages.first.description
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise BadImage(path, "its description declares entities, which is never followed")
        if not file.series:
            raise BadImage(path, "damaged: it holds no image")
        yield file


def _described(path: Path, series: Any) -> Series:
    """Return a series with its axes; the planes of a file count all but Y, X and the samples of a pixel."""
    page = series.keyframe
    if page is None or page.dtype is None or page.imagedepth != 1:
        raise BadImage(path, "damaged, or a volume stored in one page")
    pairs = [(name, length) for name, length in zip(series.axes, series.shape, strict=True) if name not in "YXS"]
    if not {"Y", "X"} <= set(series.axes) or math.prod(length for _, length in pairs) > _MOST_IMAGES:
        raise BadImage(path, f"axes {series.axes} of {series.shape}, which are no images")
    names = [name for name, _ in pairs]
    axes = (name * (names[:number].count(name) + 1) for number, name in enumerate(names))  # Q and QQ of other software
    return Series(tuple(length for _, length in pairs), tuple(axes), series)


def _plane_shape(stack: Series) -> tuple[int, int, int]:
    separate, _, height, width, together = stack.stored.keyframe.shaped
    return height, width, separate * together


def _channels(stack: Series) -> int:
    return stack.lead[stack.axes.index("C")] if "C" in stack.axes else 1


def _read(path: Path, file: tifffile.TiffFile, stack: Series, at: Mapping[str, int], box: Box) -> Image:
    places = [{**at, "C": channel} for channel in range(_channels(stack))]
    each = [tuple(place[name] for name in stack.axes) for place in places]
    planes = [int(np.ravel_multi_index(one, stack.lead)) if one else 0 for one in each]
    series = stack.stored
    if len(series.pages) < math.prod(stack.lead):  # ImageJ writes one page before the samples of all planes
        return _contiguous(path, file, stack, planes, box)
    found = []
    for number in planes:
        page = series.pages[number]
        if page is None:
            raise BadImage(path, "planes are missing, or lie in other files")
        page = page.aspage()
        if math.prod(page.chunks) > max(4 * math.prod(page.shape), _MOST_IN_TILE):
            raise BadImage(path, f"damaged: tiles of {' x '.join(map(str, page.chunks))} samples")
        if any(
            at + size > file.filehandle.size for at, size in zip(page.dataoffsets, page.databytecounts, strict=False)
        ):
            raise BadImage(path, "truncated: the file ends before the image does")
        found.append(window(page, file.filehandle, box))
    return found[0] if len(found) == 1 else np.concatenate(found, axis=2)


def _contiguous(path: Path, file: tifffile.TiffFile, stack: Series, planes: Sequence[int], box: Box) -> Image:
    series = stack.stored
    height, width, samples = _plane_shape(stack)
    dtype = np.dtype(series.dtype).newbyteorder(file.byteorder)
    shape = (math.prod(stack.lead), height, width, samples)
    if series.dataoffset is None or series.dataoffset + math.prod(shape) * dtype.itemsize > file.filehandle.size:
        raise BadImage(path, "truncated or damaged: planes are missing")
    stored = np.memmap(path, dtype, "r", series.dataoffset, shape)
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    return np.concatenate([np.asarray(stored[number, rows, columns]) for number in planes], axis=2)


def _spacing(path: Path, file: tifffile.TiffFile, stack: Series) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return micrometres between pixels down and across (and between planes), and the channels' names."""
    if file.is_ome:
        return _ome_spacing(path, file.ome_metadata or "", stack)
    page, text = file.pages.first, file.pages.first.description
    found = re.search(r"\bMPP\s*=\s*([0-9.eE+-]+)", text)
    if found is not None:
        with contextlib.suppress(ValueError):
            return (float(found[1]), float(found[1])), ()
    described = (file.imagej_metadata or {}) if file.is_imagej else {}
    unit = str(described.get("unit", "")).replace("\\u00B5", "µ")
    scale = _UM.get(unit) if file.is_imagej else {3: 1e4, 2: 25400.0}.get(int(page.resolutionunit))
    across, down = (page.tags.get(name) for name in ("XResolution", "YResolution"))
    if scale is None or across is None or down is None or (not file.is_imagej and int(page.resolutionunit) != 3):
        return (), ()
    (top, below), (left, beside) = across.value, down.value
    if not (top and left):
        return (), ()
    between = float(described.get("spacing", 0)) * scale
    flat = beside / left * scale, below / top * scale
    return ((*flat, between) if "Z" in stack.axes else flat), ()


def _ome_spacing(path: Path, text: str, stack: Series) -> tuple[tuple[float, ...], tuple[str, ...]]:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise BadImage(path, "damaged: its OME description is no XML") from error
    pixels = root.find(".//{*}Pixels")
    if pixels is None:
        return (), ()
    names = tuple(channel.get("Name", "") for channel in pixels.findall("{*}Channel"))
    sized = {axis: pixels.get(f"PhysicalSize{axis}", "nan") for axis in ("YXZ" if "Z" in stack.axes else "YX")}
    with contextlib.suppress(ValueError):
        units = {axis: _UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"), math.nan) for axis in sized}
        return tuple(float(size) * units[axis] for axis, size in sized.items()), names
    return (), names
