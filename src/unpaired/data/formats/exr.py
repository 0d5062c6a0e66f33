"""OpenEXR files: floating point, any channels, by the field's own library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unpaired.data.bad_image import BadImage
from unpaired.data.formats.base import Header, Reader, over_white
from unpaired.data.formats.meaning import Meaning
from unpaired.data.values import Image

_ORDER = ("R", "G", "B", "Y", "A")


class ExrReader(Reader):
    """Reads the first part: float32 [H, W, C], colours in the order R, G, B, other channels by name; linear light.

    Alpha A beside colour is laid over white, as in every format.
    """

    suffixes = frozenset({".exr"})
    extra, libraries = "exr", ("OpenEXR",)

    def accepts(self, start: bytes, suffix: str) -> bool:
        return start.startswith(b"\x76\x2f\x31\x01")

    def probe(self, path: Path) -> Header:
        header = _opened(path, header_only=True).header()
        (left, top), (right, bottom) = header["dataWindow"]
        return Header(int(bottom - top) + 1, int(right - left) + 1, len(header["channels"]), "float32")

    def read(self, path: Path, *, stored: bool = False) -> Image:
        names, image = _channels(path)
        return over_white(image[..., :-1], image[..., -1], premultiplied=True) if _has_alpha(names) else image

    def with_alpha(self, path: Path) -> Image | None:
        names, image = _channels(path)
        if not _has_alpha(names):
            return None
        straight: Any = image[..., :-1] / np.maximum(image[..., -1:], 1e-6)
        return np.concatenate([straight, image[..., -1:]], axis=2)

    def meaning(self, path: Path) -> Meaning:
        names = _sorted(channel.name for channel in _opened(path, header_only=True).header()["channels"])
        return Meaning(channels=() if set(names) <= set(_ORDER) else tuple(names))


def _opened(path: Path, **options: bool) -> Any:
    import OpenEXR

    return OpenEXR.File(str(path), **options)


def _sorted(names: Any) -> list[str]:
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def _has_alpha(names: list[str]) -> bool:
    return names in (["R", "G", "B", "A"], ["Y", "A"])


def _channels(path: Path) -> tuple[list[str], Image]:
    found = {name: channel.pixels for name, channel in _opened(path, separate_channels=True).channels().items()}
    names = _sorted(found)
    if len({found[name].shape for name in names}) != 1:
        raise BadImage(path, "channels of different sizes; save them at one size")
    return names, np.stack([np.asarray(found[name], np.float32) for name in names], axis=2)
