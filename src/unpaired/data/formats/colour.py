"""Colour profiles (ICC): pictures in another RGB space or in CMYK become sRGB, as all that shows pictures assumes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np

from unpaired.data.formats.base import profiles_count
from unpaired.data.values import Image

Space = Literal["rgb", "cmyk"]
_RELATIVE = 1
"""Rendering intent: relative colorimetric, which leaves every colour that sRGB has as it is."""
_EXACT = 0x0100
"""Without tables between, which are up to 15 of 255 levels wrong in 16 bits (lcms2: cmsFLAGS_NOOPTIMIZE)."""
_SAME = 2
"""Levels of 255: a profile that changes no colour by more is sRGB, whatever it is called."""
_LARGEST = 1 << 23
_KNOWN = 64


def to_srgb(image: Image, profile: bytes, space: Space = "rgb") -> Image | None:
    """Return colours [H, W, 3 or, of CMYK, 4], uint8 or uint16, as sRGB [H, W, 3] in their type.

    None where nothing is to be done: the profile is that of sRGB, damaged, or none of this colour space, or what is
    read are label maps.
    """
    if not profiles_count() or image.dtype.name not in ("uint8", "uint16") or not changes_colours(profile, space):
        return None
    return _transformed(image, profile, space)


def changes_colours(profile: bytes, space: Space = "rgb") -> bool:
    """Return whether a profile describes other colours than sRGB; False for a damaged one, or of another space."""
    return 128 < len(profile) <= _LARGEST and _changes(profile, space)


@lru_cache(_KNOWN)
def _changes(profile: bytes, space: Space) -> bool:
    steps = np.arange(0, 256, 51)
    grid = np.stack(np.meshgrid(*[steps] * len(space)), axis=-1).reshape(-1, 6, len(space)).astype(np.uint8)
    try:
        seen = _transformed(grid, profile, space)
    except Exception:  # damaged metadata raises anything and changes no pixel
        return False
    return space == "cmyk" or int(np.abs(seen.astype(int) - grid).max()) > _SAME


def _transformed(image: Image, profile: bytes, space: Space) -> Image:
    import imagecodecs

    flags = _EXACT if image.dtype == np.uint16 else None
    result: Any = imagecodecs.cms_transform(
        np.ascontiguousarray(image),
        profile,
        imagecodecs.cms_profile("srgb"),
        colorspace=space,
        outcolorspace="rgb",
        intent=_RELATIVE,
        flags=flags,
    )
    return np.asarray(result)
