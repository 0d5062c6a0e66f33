"""How the images of one domain are read: from files or the user's own code, whole or halves, pictures or label maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.core.extensions import find_extension
from unpaired.core.settings import option
from unpaired.data.bad_image import MAX_PIXELS, BadImage, refuse_bomb
from unpaired.data.decode import as_channels, decode_valid, plain, which_valid
from unpaired.data.directions import Side
from unpaired.data.formats import Frame, ImageBytes, own_readers
from unpaired.data.labels import Labels, to_indices
from unpaired.data.streams.shards import StoredImage
from unpaired.data.values import Image, with_nan

if TYPE_CHECKING:
    from unpaired.data.source import ImageSource

Pixel = TypeVar("Pixel", bound=np.generic)
_JPEG = b"\xff\xd8\xff"

Half = Literal["left", "right"]
SideBySide = Literal["ab", "ba"]


@dataclass(frozen=True, slots=True, eq=False)
class OwnImage:
    """One image of an own source; it stands where a path stands for files."""

    source: ImageSource
    index: int

    def __fspath__(self) -> str:
        return str(self.source.name(self.index))


ImageFile = Path | OwnImage | StoredImage | ImageBytes | Frame
"""Where an image comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is taken from a file, and what it means."""

    half: Half | None = None
    """Which half of a side-by-side file; None for the whole."""
    labels: Labels | None = None
    """What label maps mean; None for pictures."""
    alpha: bool = False
    """Whether transparency is the last channel of 2 or 4, opaque where a file has none; else it is laid over white."""
    channels: int | None = None
    """Channels of the domain where they are known, which settle what files leave open; see `decode`."""

    def key(self) -> str:
        """Return a text that differs where the same file would give other pixels; empty for whole pictures."""
        readers = " ".join(f"{name} {reader.version}" for name, reader in own_readers().items())
        parts = (
            self.half or "",
            str(asdict(self.labels)) if self.labels else "",
            "alpha" if self.alpha else "",
            f"{self.channels} channels" if self.channels is not None else "",
            readers,
        )
        return " ".join(part for part in parts if part)

    def read(self, path: ImageFile | str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Image:
        """Return a file's picture [H, W, C], or the class indices of a label map, uint8 [H, W, 1].

        Pictures have their own dtype or, where some pixels have no value, are float32 with NaN there. Raises as
        `read_valid` does.
        """
        return with_nan(*self.read_valid(path, max_pixels=max_pixels))

    def read_valid(
        self, path: ImageFile | str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS
    ) -> tuple[Image, NDArray[np.bool_] | None]:
        """Return a file's image in its own dtype and which pixels have a value, [H, W]; None where all have one.

        Those of label maps all have one; void is theirs. Raises `BadImage` for damaged files, side-by-side files of odd
        width, class indices in JPEG, and values or colours that are no class.
        """
        file = path if isinstance(path, OwnImage | StoredImage | ImageBytes | Frame) else Path(path)
        stored = self.labels is not None and self.labels.kind == "index"
        image, valid = read_image(
            file,
            max_pixels=max_pixels,
            stored=stored,
            alpha=self.alpha,
            channels=self.channels,
            profiles=self.labels is None,
        )
        image = halved(file, image, self.half)
        if valid is not None:
            valid = which_valid(file, image, halved(file, valid[:, :, None], self.half)[:, :, 0])
        if self.labels is None:
            return as_channels(image, image.shape[2] + image.shape[2] % 2, alpha=True) if self.alpha else image, valid
        if stored:
            refuse_changed_indices(file, image)
        try:
            return to_indices(image, self.labels)[:, :, None], None
        except UserError as error:
            raise BadImage(file, f"no label map: {error}") from error


PICTURES = Reading()
"""Whole files that hold pictures."""


def halved(file: ImageFile, image: NDArray[Pixel], half: Half | None) -> NDArray[Pixel]:
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


def read_image(
    file: ImageFile,
    *,
    max_pixels: int,
    stored: bool = False,
    alpha: bool = False,
    channels: int | None = None,
    profiles: bool = True,
) -> tuple[Image, NDArray[np.bool_] | None]:
    """Return the image of a file or of an own source, [H, W, C] in its own dtype, and which pixels have a value.

    Options are those of `decode`. Raises `BadImage` alone.
    """
    if isinstance(file, StoredImage):
        file = file.load()
    if isinstance(file, Path | ImageBytes | Frame):
        return decode_valid(
            file, max_pixels=max_pixels, stored=stored, alpha=alpha, channels=channels, profiles=profiles
        )
    try:
        image = np.asarray(file.source[file.index])
    except Exception as error:  # the user's code can raise anything
        raise BadImage(file, f"its source raised {type(error).__name__}: {error}") from error
    if image.ndim not in (2, 3):
        raise BadImage(file, f"an array of shape {image.shape}; allowed are H x W and H x W x C")
    image = image if image.ndim == 3 else image[:, :, None]
    height, width, channels = image.shape
    refuse_bomb(Path(file), height, width, channels, max_pixels)
    image = plain(file, image.astype(np.uint8) if stored and image.dtype == np.bool_ else image)
    return image, which_valid(file, image)


def holds_alpha(files: Sequence[ImageFile], max_pixels: int) -> bool:
    """Return whether image files have transparency, by a few of them; unreadable ones are passed over."""
    for file in files[:: max(1, len(files) // 16)]:
        try:
            found = [read_image(file, max_pixels=max_pixels, alpha=alpha)[0].shape[2] for alpha in (True, False)]
        except BadImage:
            continue
        if found[0] != found[1]:
            return True
    return False
