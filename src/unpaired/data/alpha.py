"""What becomes of transparency: images are laid over white."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.data.values import Image


def over_white(colour: Image, alpha: NDArray[Any], *, premultiplied: bool = False) -> Image:
    """Composite `colour` [H, W, C] with `alpha` [H, W] of the same dtype over white; rounded to nearest.

    uint8, uint16 and floats in [0, 1]. Of premultiplied colour only the share of white is added.
    """
    values: NDArray[Any] = colour
    if values.dtype.kind == "f":
        cover = alpha[..., None].astype(np.float32)
        shade = values if premultiplied else values * cover
        return np.asarray(shade + (1 - cover), np.float32)
    assert colour.dtype.name in ("uint8", "uint16"), colour.dtype
    white = int(np.iinfo(values.dtype).max)
    if int(alpha.min()) == white:
        return colour
    # 65535 * 65535 + 32767 is below 2 ** 32, so uint32 holds every intermediate of 16-bit images.
    cover = alpha[..., None].astype(np.uint32)
    shade = values.astype(np.uint32)
    if premultiplied:
        blended = np.minimum(shade + (white - cover), white)
    else:
        blended = (shade * cover + white * (white - cover) + white // 2) // white
    return np.asarray(blended, values.dtype)
