"""OME-TIFF, ImageJ stacks, Aperio slides and other TIFF pyramids, by tifffile: axes, resolutions, micrometres."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader
from unpaired.data.formats.meaning import Box, Meaning
from unpaired.data.formats.output import Output
from unpaired.data.formats.pyramid import PyramidOutput
from unpaired.data.formats.tiff import MAGICS
from unpaired.data.formats.tiff_tags import DESCRIPTION, MASK, REDUCED, SUB_IFDS, TILE_WIDTH, directories, flags
from unpaired.data.formats.tiff_window import window
from unpaired.data.values import DTYPE_RANGES, Domain, Image

if TYPE_CHECKING:
    import tifffile

_KINDS = (b"ImageJ=", b"Aperio", b"<OME ", b":OME ")
_UM = {"um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Micrometres of the units that such files name."""
_MOST_IN_TILE = 1 << 28
_MOST_IMAGES = 1 << 20


class Stack(NamedTuple):
    """One resolution of the images of a file."""

    lead: tuple[int, ...]
    """Sizes of the axes before Y and X, as the planes of the file count them."""
    axes: str
    """Their names."""
    series: Any


class OmeReader(Reader):
    """Reads the first series of a file: C and S are channels, every combination of the other axes is an image.

    Series of another shape (labels, overviews and thumbnails of slides) are passed over.
    """

    suffixes = containers = frozenset({".tif", ".tiff", ".svs", ".btf"})

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

    def probe(self, path: Path) -> Header:
        with _stack(path) as (_, stack):
            height, width, samples = _plane_shape(stack)
            return Header(height, width, samples * _channels(stack), np.dtype(stack.series.dtype).name)

    def read(self, path: Path, *, stored: bool = False) -> Image:
        return self.read_frame(path, 0)

    def count(self, path: Path, axis: int = 0) -> int:
        if axis:
            raise BadImage(path, f"axis {axis}: the images of stacks are its planes, axis 0")
        with _stack(path) as (_, stack):
            return math.prod(stack.lead) // _channels(stack)

    def read_frame(self, path: Path, index: int, axis: int = 0) -> Image:
        with _stack(path) as (file, stack):
            height, width, _ = _plane_shape(stack)
            return _read(path, file, stack, index, Box(0, 0, height, width))

    def meaning(self, path: Path) -> Meaning:
        with _stack(path) as (file, stack):
            spacing, names = _spacing(path, file, stack)
            unit = "um" if spacing else ""
            return Meaning(spacing=spacing, spacing_unit=unit, channels=names)

    def levels(self, path: Path) -> list[tuple[int, int]]:
        with _stack(path) as (_, stack):
            return [_plane_shape(_described(path, level))[:2] for level in stack.series.levels]

    def read_window(self, path: Path, box: Box, index: int = 0, level: int = 0) -> Image | None:
        with _stack(path, level) as (file, stack):
            page = stack.series.keyframe
            if math.prod(page.chunks) * np.dtype(page.dtype).itemsize > _MOST_IN_TILE and page.compression != 1:
                return None
            return _read(path, file, stack, index, box)

    def output_suffix(self, path: Path) -> str:
        return ".ome.tif"

    def open_output(self, source: Path, path: Path, domain: Domain, size: tuple[int, int], count: int) -> Output | None:
        if domain.dtype not in DTYPE_RANGES:
            return None
        levels, meaning = self.levels(source), self.meaning(source)
        with _stack(source) as (_, stack):
            page = stack.series.keyframe
            tile = (page.tilelength, page.tilewidth) if page.is_tiled else None
            other = [length for name, length in zip(stack.axes, stack.lead, strict=True) if name != "C"]
            axes = "".join(name for name in stack.axes if name != "C")
        frames = {name: length for name, length in zip(axes, other, strict=True) if name in "TZ"}
        return PyramidOutput(
            path,
            domain,
            size,
            count,
            tile=tile,
            smallest=levels[-1] if len(levels) > 1 else None,
            frames=frames,
            meaning=meaning,
            factor=(levels[0][0] / size[0], levels[0][1] / size[1]),
        )


@contextlib.contextmanager
def _stack(path: Path, level: int = 0) -> Iterator[tuple[tifffile.TiffFile, Stack]]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        text = file.pages.first.description
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise BadImage(path, "its description declares entities, which is never followed")
        if not file.series:
            raise BadImage(path, "damaged: it holds no image")
        yield file, _described(path, file.series[0].levels[level])


def _described(path: Path, series: Any) -> Stack:
    """Return a series with its axes; the planes of a file count all but Y, X and the samples of a pixel."""
    page = series.keyframe
    if page is None or page.dtype is None or page.imagedepth != 1:
        raise BadImage(path, "damaged, or a volume stored in one page")
    pairs = [(name, length) for name, length in zip(series.axes, series.shape, strict=True) if name not in "YXS"]
    if not {"Y", "X"} <= set(series.axes) or math.prod(length for _, length in pairs) > _MOST_IMAGES:
        raise BadImage(path, f"axes {series.axes} of {series.shape}, which are no images")
    return Stack(tuple(length for _, length in pairs), "".join(name for name, _ in pairs), series)


def _plane_shape(stack: Stack) -> tuple[int, int, int]:
    separate, _, height, width, together = stack.series.keyframe.shaped
    return height, width, separate * together


def _channels(stack: Stack) -> int:
    return stack.lead[stack.axes.index("C")] if "C" in stack.axes else 1


def _planes(stack: Stack, index: int) -> list[int]:
    """Return which planes of the file are the channels of an image."""
    numbers = np.arange(math.prod(stack.lead)).reshape(stack.lead)
    if "C" in stack.axes:
        numbers = np.moveaxis(numbers, stack.axes.index("C"), -1)
    return [int(number) for number in numbers.reshape(-1, _channels(stack))[index]]


def _read(path: Path, file: tifffile.TiffFile, stack: Stack, index: int, box: Box) -> Image:
    series, planes = stack.series, _planes(stack, index)
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


def _contiguous(path: Path, file: tifffile.TiffFile, stack: Stack, planes: Sequence[int], box: Box) -> Image:
    series = stack.series
    height, width, samples = _plane_shape(stack)
    dtype = np.dtype(series.dtype).newbyteorder(file.byteorder)
    shape = (math.prod(stack.lead), height, width, samples)
    if series.dataoffset is None or series.dataoffset + math.prod(shape) * dtype.itemsize > file.filehandle.size:
        raise BadImage(path, "truncated or damaged: planes are missing")
    stored = np.memmap(path, dtype, "r", series.dataoffset, shape)
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    return np.concatenate([np.asarray(stored[number, rows, columns]) for number in planes], axis=2)


def _spacing(path: Path, file: tifffile.TiffFile, stack: Stack) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return micrometres between pixels down and across (and between planes), and the channels' names."""
    if file.is_ome:
        return _ome_spacing(path, file.ome_metadata or "", stack)
    page, text = file.pages.first, file.pages.first.description
    found = re.search(r"\bMPP\s*=\s*([0-9.eE+-]+)", text)
    if found is not None:
        with contextlib.suppress(ValueError):
            return _known((float(found[1]), float(found[1]))), ()
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
    return _known((*flat, between) if between and "Z" in stack.axes else flat), ()


def _ome_spacing(path: Path, text: str, stack: Stack) -> tuple[tuple[float, ...], tuple[str, ...]]:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise BadImage(path, "damaged: its OME description is no XML") from error
    pixels = root.find(".//{*}Pixels")
    if pixels is None:
        return (), ()
    sizes = []
    for axis in ("Y", "X", "Z"):
        scale = _UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        with contextlib.suppress(ValueError):
            size = float(pixels.get(f"PhysicalSize{axis}", "nan"))
            if scale is not None and math.isfinite(size):
                sizes.append(size * scale)
    names = tuple(channel.get("Name", "") for channel in pixels.findall("{*}Channel"))
    complete = 3 if "Z" in stack.axes and len(sizes) == 3 else 2
    return _known(tuple(sizes[:complete]) if len(sizes) >= 2 else ()), names if any(names) else ()


def _known(spacing: tuple[float, ...]) -> tuple[float, ...]:
    return spacing if all(math.isfinite(length) and length > 0 for length in spacing) else ()
