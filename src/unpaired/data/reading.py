"""How the files of one domain are read: whole or half of a side-by-side file, as pictures or as label maps."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from unpaired.core.errors import UserError
from unpaired.data.bad_image import MAX_PIXELS, BadImage
from unpaired.data.directions import Side
from unpaired.data.formats import own_readers
from unpaired.data.labels import Labels, to_indices
from unpaired.data.own import ImageFile, OwnImage, read_image
from unpaired.data.values import Image

_JPEG = b"\xff\xd8\xff"

Half = Literal["left", "right"]
SideBySide = Literal["ab", "ba"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is taken from a file, and what it means."""

    half: Half | None = None
    """Which half of a side-by-side file; None for the whole."""
    labels: Labels | None = None
    """What label maps mean; None for pictures."""

    def key(self) -> str:
        """Return a text that differs where the same file would give other pixels; empty for whole pictures."""
        readers = " ".join(f"{name} {reader.version}" for name, reader in own_readers().items())
        return f"{self.half or ''} {asdict(self.labels) if self.labels else ''}".strip() + (readers and f" {readers}")

    def read(self, path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Image:
        """Return a file's picture [H, W, C] in its own dtype, or the class indices of a label map, uint8 [H, W, 1].

        Raises `BadImage` for damaged files, side-by-side files of odd width, class indices in JPEG, and values or
        colours that are no class.
        """
        file = path if isinstance(path, OwnImage) else Path(path)
        stored = self.labels is not None and self.labels.kind == "index"
        image = halved(file, read_image(file, max_pixels=max_pixels, stored=stored), self.half)
        if self.labels is None:
            return image
        if stored:
            refuse_changed_indices(file, image)
        try:
            return to_indices(image, self.labels)[:, :, None]
        except UserError as error:
            raise BadImage(file, f"no label map: {error}") from error


PICTURES = Reading()
"""Whole files that hold pictures."""


def halved(file: ImageFile, image: Image, half: Half | None) -> Image:
    """Return one half of a side-by-side image [H, W, C], a view; the whole where `half` is None."""
    if half is None:
        return image
    width = image.shape[1]
    if width % 2:
        raise BadImage(file, f"an odd width of {width} pixels, which two images side by side cannot have")
    cut = image[:, : width // 2] if half == "left" else image[:, width // 2 :]
    return np.ascontiguousarray(cut)


def refuse_changed_indices(file: ImageFile, image: Image) -> None:
    """Raise `BadImage` for class indices that a JPEG file holds: other classes appear at every edge, unnoticed."""
    if isinstance(file, Path) and image.shape[2] == 1:
        with file.open("rb") as stream:
            if stream.read(3) == _JPEG:
                raise BadImage(file, "JPEG, which is lossy: its values are not the class indices that were stored")


def half_of(side: Side, order: SideBySide | None) -> Half | None:
    """Return which half of side-by-side files a domain takes: "ab" has A on the left."""
    if order is None:
        return None
    return "left" if (side == "a") == (order == "ab") else "right"
