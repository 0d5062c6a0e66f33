"""HEIC and HEIF pictures, by pillow-heif."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unpaired.data.formats.base import Header, Reader, filling, over_white
from unpaired.data.formats.colour import changes_colours, to_srgb
from unpaired.data.formats.meaning import CONVERTED, Meaning
from unpaired.data.values import Image

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class HeifReader(Reader):
    """Reads the first picture: uint8 or, of 10 and 12 bits, uint16 [H, W, 1 or 3], which they fill as in PNG."""

    suffixes = frozenset({".heic", ".heif", ".hif"})
    extra, libraries = "heif", ("pillow_heif",)

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start[4:8] == b"ftyp" and (start[8:12] in _BRANDS[:6] or suffix in self.suffixes)

    def probe(self, path: Path) -> Header:
        found = _opened(path)
        width, height = found.size
        return Header(height, width, 4, "uint16" if found.info["bit_depth"] > 8 else "uint8")

    def read(self, path: Path, *, stored: bool = False) -> Image:
        image = _decoded(path)
        return over_white(image[..., :-1], image[..., -1]) if image.shape[2] in (2, 4) else image

    def with_alpha(self, path: Path) -> Image | None:
        image = _decoded(path)
        return image if image.shape[2] in (2, 4) else None

    def meaning(self, path: Path) -> Meaning:
        return Meaning(remarks=(CONVERTED,) if changes_colours(_opened(path).info.get("icc_profile") or b"") else ())


def _opened(path: Path) -> Any:
    import pillow_heif

    # Turned upright by the decoder, whatever EXIF says.
    return pillow_heif.open_heif(path, convert_hdr_to_8bit=False)


def _decoded(path: Path) -> Image:
    found = _opened(path)
    image: Any = np.atleast_3d(np.asarray(found))
    if image.dtype == np.uint16:  # of fewer bits, the low ones are zero
        bits = int(found.info["bit_depth"])
        image = filling(image >> (16 - bits), bits)
    managed = to_srgb(image[..., :3], found.info.get("icc_profile") or b"") if image.shape[2] > 2 else None
    return image if managed is None else np.concatenate([managed, image[..., 3:]], axis=2)
