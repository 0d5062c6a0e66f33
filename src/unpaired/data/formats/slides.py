"""Slides of scanners whose files only OpenSlide knows: Hamamatsu, MIRAX, Leica, Philips, Ventana, Trestle, DICOM."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unpaired.core.errors import needs_extra
from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import over_white
from unpaired.data.formats.meaning import Box, Meaning
from unpaired.data.formats.stacks import Stack, StackReader, in_micrometres
from unpaired.data.formats.tiff import MAGICS
from unpaired.data.formats.tiff_tags import TILE_WIDTH, directories
from unpaired.data.values import Image

_BY_TIFFFILE = (None, "generic-tiff", "aperio")


class SlideReader(StackReader):
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

    @contextlib.contextmanager
    def stack(self, path: Path) -> Iterator[Stack]:
        with _opened(path) as slide:
            levels = [(height, width) for width, height in slide.level_dimensions]

            def meaning() -> Meaning:
                with contextlib.suppress(TypeError, ValueError):
                    return in_micrometres([float(slide.properties.get(f"openslide.mpp-{axis}") or "") for axis in "yx"])
                return Meaning()

            yield Stack({}, levels, 3, "uint8", lambda at, box, level: _region(slide, box, level), meaning)


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
