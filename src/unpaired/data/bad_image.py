"""How a file that cannot be used is refused: one exception, one short reason."""

from __future__ import annotations

import math
import os
from pathlib import Path

from unpaired.core.text import printable

MAX_PIXELS = 178_956_970
"""Images with more pixels are refused by default; Pillow's own limit, about 179 megapixels."""


class BadImage(Exception):
    """A file that cannot be used as an image, and why."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.path = Path(path)
        self.reason = reason


class TooLarge(BadImage):
    """An image of more pixels than are read."""


def refuse_bomb(path: str | os.PathLike[str], height: int, width: int, channels: int, max_pixels: int) -> None:
    """Raise `BadImage` for an image without pixels, or with more than `max_pixels` of them.

    A pixel of more than four channels counts once for every four, so that the limit bounds memory whatever the format.
    """
    if height < 1 or width < 1 or channels < 1:
        raise BadImage(path, f"has no pixels: {height} x {width} with {channels} channels")
    if height * width * math.ceil(channels / 4) > max_pixels:
        many = f" with {channels} channels" if channels > 4 else ""
        raise TooLarge(
            path,
            f"absurdly large: {height} x {width} pixels{many}; "
            f"at most {max_pixels} are read (if it is genuine, raise --max-pixels of train or translate, max_pixels in "
            "Python)",
        )
