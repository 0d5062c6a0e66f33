"""Slides of scanners whose files only OpenSlide knows: Hamamatsu, MIRAX, Leica, Philips, Ventana, Trestle, DICOM."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unpaired.core.errors import needs_extra
from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader, over_white
from unpaired.data.formats.meaning import Box, Meaning
from unpaired.data.formats.output import Output
from unpaired.data.formats.pyramid import PyramidOutput
from unpaired.data.formats.tiff import MAGICS
from unpaired.data.formats.tiff_tags import TILE_WIDTH, directories
from unpaired.data.values import DTYPE_RANGES, Domain, Image

_BY_TIFFFILE = (None, "generic-tiff", "aperio")


class SlideReader(Reader):
    """Reads 8-bit RGB at every resolution that a slide holds; where nothing was scanned it is white."""

    suffixes = frozenset({".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".svslide", ".bif"})
    extra = "slides"
    libraries = ("openslide",)

    def accepts(self, start: bytes, suffix: str) -> bool:
        return suffix in self.suffixes or start.startswith(MAGICS)

    def claims(self, path: Path) -> bool:
        if path.suffix.lower() in self.suffixes:
            return True
        if not self.is_installed() or not isinstance(path, Path) or not directories(path, 1):
            return False
        if TILE_WIDTH not in directories(path, 1)[0]:
            return False
        import openslide

        return openslide.OpenSlide.detect_format(path) not in _BY_TIFFFILE

    def probe(self, path: Path) -> Header:
        with _opened(path) as slide:
            return Header(slide.dimensions[1], slide.dimensions[0], 3, "uint8")

    def read(self, path: Path, *, stored: bool = False) -> Image:
        with _opened(path) as slide:
            width, height = slide.dimensions
            return _region(slide, Box(0, 0, height, width), 0)

    def meaning(self, path: Path) -> Meaning:
        with _opened(path) as slide:
            sizes = [slide.properties.get(f"openslide.mpp-{axis}") for axis in "yx"]
        with contextlib.suppress(TypeError, ValueError):
            spacing = float(sizes[0] or ""), float(sizes[1] or "")
            return Meaning(spacing=spacing, spacing_unit="um")
        return Meaning()

    def levels(self, path: Path) -> list[tuple[int, int]]:
        with _opened(path) as slide:
            return [(height, width) for width, height in slide.level_dimensions]

    def read_window(self, path: Path, box: Box, index: int = 0, level: int = 0) -> Image | None:
        with _opened(path) as slide:
            width, height = slide.level_dimensions[level]
            if not (0 <= box.top <= box.top + box.height <= height and 0 <= box.left <= box.left + box.width <= width):
                raise ValueError(f"{box} lies outside of {height} x {width} pixels")
            return _region(slide, box, level)

    def output_suffix(self, path: Path) -> str:
        return ".ome.tif"

    def open_output(self, source: Path, path: Path, domain: Domain, size: tuple[int, int], count: int) -> Output | None:
        if domain.dtype not in DTYPE_RANGES or count != 1:
            return None
        levels = self.levels(source)
        factor = levels[0][0] / size[0], levels[0][1] / size[1]
        meaning = self.meaning(source)
        return PyramidOutput(
            path, domain, size, 1, tile=None, smallest=levels[-1], frames={}, meaning=meaning, factor=factor
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with needs_extra("slides", "this slide", "openslide"):
        import openslide
    try:
        with openslide.OpenSlide(path) as slide:
            yield slide
    except openslide.OpenSlideError as error:
        raise BadImage(path, "damaged, or no slide that OpenSlide reads") from error


def _region(slide: Any, box: Box, level: int) -> Image:
    factor = slide.level_downsamples[level]
    place = round(box.left * factor), round(box.top * factor)
    pixels = np.asarray(slide.read_region(place, level, (box.width, box.height)))
    return over_white(pixels[:, :, :3], pixels[:, :, 3])
