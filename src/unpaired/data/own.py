"""Images that the user's own code gives, in place of a folder: `data.source_a = "package.module:Source"`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unpaired.core.errors import UserError
from unpaired.core.extensions import find_extension
from unpaired.core.settings import option
from unpaired.data.bad_image import BadImage, refuse_bomb
from unpaired.data.decode import decode, plain
from unpaired.data.values import Image

if TYPE_CHECKING:
    from unpaired.data.source import ImageSource


@dataclass(frozen=True, slots=True, eq=False)
class OwnImage:
    """One image of an own source; it stands where a path stands for files."""

    source: ImageSource
    index: int

    def __fspath__(self) -> str:
        return str(self.source.name(self.index))


ImageFile = Path | OwnImage
"""Where an image comes from."""


def open_source(setting: str, spec: str) -> ImageSource:
    """Return the user's own source: `spec` names an object with `len`, `[index]` and `name(index)`, or what makes one.

    `[index]` is an image [H, W, C] or [H, W] of any size, integers or floats, not prepared; several threads ask at
    once. Raises `UserError` where it cannot be made, holds nothing or lacks one of the three.
    """
    found: Any = find_extension(spec, "source", option(setting))
    if (callable(found) and not hasattr(found, "__getitem__")) or isinstance(found, type):
        try:
            found = found()
        except Exception as error:  # the user's code can raise anything
            raise UserError(
                f"{option(setting, spec)}: it cannot be made without arguments ({type(error).__name__}: {error})."
            ) from error
    lacking = [name for name in ("__len__", "__getitem__", "name") if name not in dir(found)]
    if lacking:
        raise UserError(
            f"{option(setting, spec)} is no image source: it lacks {', '.join(lacking)}. A source has len(source), "
            "source[index] and source.name(index)."
        )
    if len(found) == 0:
        raise UserError(f"{option(setting, spec)} holds no images.")
    source: ImageSource = found
    return source


def read_image(file: ImageFile, *, max_pixels: int, stored: bool = False) -> Image:
    """Return the image of a file or of an own source, [H, W, C] in its own dtype; raises `BadImage` alone."""
    if isinstance(file, Path):
        return decode(file, max_pixels=max_pixels, stored=stored)
    try:
        image = np.asarray(file.source[file.index])
    except Exception as error:  # the user's code can raise anything
        raise BadImage(file, f"its source raised {type(error).__name__}: {error}") from error
    if image.ndim not in (2, 3):
        raise BadImage(file, f"an array of shape {image.shape}; allowed are H x W and H x W x C")
    image = image if image.ndim == 3 else image[:, :, None]
    height, width, channels = image.shape
    refuse_bomb(Path(file), height, width, channels, max_pixels)
    return plain(file, image.astype(np.uint8) if stored and image.dtype == np.bool_ else image)
