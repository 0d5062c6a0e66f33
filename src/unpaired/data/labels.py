"""Label maps: from what files hold to class indices, and from there to what networks see and people look at."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from unpaired.core.errors import UserError
from unpaired.core.settings import STRICT
from unpaired.data.config import Colour, Feed, LabelKind, check_classes

Indices = NDArray[np.uint8]
"""[H, W], the class of each pixel; `VOID` where it has none."""
Pixels = NDArray[np.generic]

VOID = 255
"""The index of pixels that belong to no class."""
TOLERANCE = 32.0
"""Distance in RGB (Euclidean, of 0 to 255) up to which a pixel is taken for a colour blurred by compression."""
STRAY_SHARE = 0.5
"""Label maps of which more than this share lies farther from every colour are no label maps of this palette."""
_STRAY_SHARE_PAINTED = 0.25
"""The same for maps of class indices that somebody painted: wide palettes come near half the pixels of any photo."""

_NO_CLASS = 254
_DIVIDED = 255
_HALF_DIAGONAL = 3.5 * 3**0.5
"""From the middle of a cell of 8 x 8 x 8 colours to its farthest one."""
_ROWS_AT_ONCE = 1 << 15
_LISTED = 8


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Labels:
    """What the label maps of a domain mean; stored with every model."""

    kind: LabelKind
    """Whether files hold class indices or colours."""
    palette: tuple[Colour, ...]
    """Colour of each class; the position is the class index."""
    names: tuple[str, ...] | None = None
    """Name of each class."""
    void: tuple[int, ...] = ()
    """Values of files that are no class: indices, or positions in the palette."""
    feed: Feed = "colour"
    """What networks see: colours, or one channel per class."""

    def __post_init__(self) -> None:
        check_classes(self.kind, self.palette, self.names, self.void)

    @property
    def classes(self) -> list[int]:
        """Indices of the classes, without those that are void."""
        return [index for index in range(len(self.palette)) if index not in self.void]

    @property
    def channels(self) -> int:
        """Channels that networks see: 3 for colours, one for each colour of the palette for one-hot."""
        return 3 if self.feed == "colour" else len(self.palette)

    @property
    def hidden_in(self) -> int | None:
        """The class that networks cannot tell from void, because both are black; None where there is no such class."""
        shown_alike = [index for index in self.classes if self.palette[index] == (0, 0, 0)]
        return shown_alike[0] if shown_alike and self.void and self.feed == "colour" else None

    def in_words(self) -> str:
        """Return what a person wants to know: `label maps of 11 classes, fed as colours`."""
        count = len(self.classes)
        fed = "colours" if self.feed == "colour" else "one channel per class"
        return f"label maps of {count} class{'es' if count > 1 else ''}, fed as {fed}"


def to_indices(image: Pixels, labels: Labels) -> Indices:
    """Return the class of every pixel, uint8 [H, W], `VOID` where there is none.

    `image` is what a file holds: integers [H, W] or [H, W, 1] for kind "index", uint8 [H, W, 3] (or grey) for kind
    "colour", where every pixel takes the nearest colour. Raises `UserError`, one clause, for values that are no class
    and for images of which more than `STRAY_SHARE` lies farther than `TOLERANCE` from all colours.
    """
    if labels.kind == "index":
        return _from_values(image, labels)
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype != np.uint8 or image.shape[2] not in (1, 3):
        raise UserError(f"{image.shape[2]} channels of {image.dtype}, where a label map in colours has RGB of 8 bits")
    return from_colours(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image, labels)


def from_colours(image: Pixels, labels: Labels) -> Indices:
    """Return the class of every pixel of a picture in palette colours, uint8 [H, W, 3]; black is void where void is.

    Raises `UserError`, one clause, for pictures of which more than `STRAY_SHARE` (a quarter for kind "index", whose
    files hold no colours that compression could blur) is farther than `TOLERANCE` from all.
    """
    colours, meaning = _colours_of_files(labels)
    chosen = nearest(image, colours)
    difference = image.astype(np.int16) - np.array(colours, np.int16).take(chosen, axis=0)
    distance = np.einsum("hwc,hwc->hw", difference, difference, dtype=np.int32)
    stray = float((distance > TOLERANCE**2).mean())
    if stray > (_STRAY_SHARE_PAINTED if labels.kind == "index" else STRAY_SHARE):
        raise UserError(
            f"{stray:.0%} of the pixels are far from all {len(labels.palette)} colours of the palette; "
            "it is no label map, or one of another palette"
        )
    return np.asarray(meaning[chosen])


def paint(indices: Indices, labels: Labels) -> NDArray[np.uint8]:
    """Return [H, W, 3] uint8: every class in its colour of the palette, void in black."""
    return _lookup(labels.palette, labels.void).take(indices, axis=0)


def encoded(indices: Indices, labels: Labels) -> NDArray[np.uint8]:
    """Return what networks see, uint8 [H, W, C]: palette colours, or 255 in the channel of the class and 0 elsewhere.

    Void is black, or 0 in all channels.
    """
    return paint(indices, labels) if labels.feed == "colour" else _one_hot(len(labels.palette)).take(indices, axis=0)


def decoded(image: Pixels, labels: Labels) -> Indices:
    """Return the classes of a true label map in the form that networks see, uint8 [H, W]; `VOID` where it has none."""
    if labels.feed == "colour":
        return from_colours(image, labels)
    indices: Indices = np.argmax(image, axis=2).astype(np.uint8)
    indices[~image.any(axis=2)] = VOID
    return indices


def nearest(rgb: Pixels, palette: tuple[Colour, ...]) -> Indices:
    """Return the position of the nearest colour (squared distance in RGB, the first of equals): uint8 [H, W].

    `rgb` is uint8 [H, W, 3]; `palette` has at most 255 colours.
    """
    pixels: NDArray[Any] = rgb
    red, green, blue = ((pixels[:, :, channel] >> 3).astype(np.uint16) for channel in range(3))
    chosen = _cells(palette)[(red << 10) | (green << 5) | blue]
    rows, columns = np.nonzero(chosen == _DIVIDED)
    chosen[rows, columns] = _nearest_exactly(pixels[rows, columns], palette)
    return np.asarray(chosen)


def classes_of(picture: Pixels, labels: Labels) -> Indices:
    """Return the class of every pixel of a picture in the form that networks see, uint8 [H, W, C]; none is void.

    The class of the nearest palette colour, or of the largest channel; the first of equals.
    """
    classes = np.array(labels.classes, np.uint8)
    if labels.feed == "one_hot":
        return np.asarray(classes[np.argmax(picture[:, :, classes], axis=2)])
    return np.asarray(classes[nearest(picture, tuple(labels.palette[index] for index in labels.classes))])


def as_picture(picture: Pixels, labels: Labels) -> NDArray[np.uint8]:
    """Return a picture that a person can look at, [H, W, 3] uint8, of one in the form that networks see.

    Colours stay as they are; one-hot is painted, black where all channels are 0.
    """
    if labels.feed == "colour":
        return np.asarray(picture, np.uint8)
    indices = classes_of(picture, labels)
    indices[~picture.any(axis=2)] = VOID
    return paint(indices, labels)


def distinct_colours(count: int) -> tuple[Colour, ...]:
    """Return `count` colours (at most 254) that differ from one another and from black as much as a grid allows.

    Each is the grid colour farthest from all before it and from black, so the first ones never change with `count`.
    """
    steps = (0, 85, 170, 255) if count <= 63 else (0, 42, 85, 128, 170, 212, 255)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int64)
    chosen: list[Colour] = []
    distance = (grid**2).sum(axis=1)
    for _ in range(count):
        best = int(np.argmax(distance))
        red, green, blue = grid[best].tolist()
        chosen.append((red, green, blue))
        distance = np.minimum(distance, ((grid - grid[best]) ** 2).sum(axis=1))
    return tuple(chosen)


# ----------------------------------------------------------------------------------------------------------- details


def _from_values(image: Pixels, labels: Labels) -> Indices:
    if image.ndim == 3 and image.shape[2] != 1:
        raise UserError(f"{image.shape[2]} channels, where a map of class indices has one")
    values: NDArray[Any] = image[:, :, 0] if image.ndim == 3 else image
    if values.dtype.kind not in "iub":
        raise UserError(f"values of type {values.dtype}, where class indices are whole numbers")
    if values.dtype.itemsize == 1 and values.dtype.kind != "i":
        indices = _meaning_of_bytes(len(labels.palette), labels.void)[values.astype(np.uint8, copy=False)]
    else:  # other widths by way of the few values that mean something
        indices = np.full(values.shape, _NO_CLASS, np.uint8)
        inside = (values >= 0) & (values < len(labels.palette))
        indices[inside] = values[inside].astype(np.uint8)
        indices[np.isin(values, labels.void)] = VOID
    strange = np.unique(values[indices == _NO_CLASS]).tolist()
    if strange:
        listed = ", ".join(map(str, strange[:_LISTED])) + (", ..." if len(strange) > _LISTED else "")
        void = f" and void {', '.join(map(str, labels.void))}" if labels.void else ""
        raise UserError(f"values that are no class: {listed} (classes are 0 to {len(labels.palette) - 1}{void})")
    return indices


@lru_cache(maxsize=32)
def _meaning_of_bytes(count: int, void: tuple[int, ...]) -> Indices:
    table = np.full(256, _NO_CLASS, np.uint8)
    table[:count] = np.arange(count)
    table[[value for value in void if 0 <= value < 256]] = VOID
    return table


@lru_cache(maxsize=32)
def _lookup(palette: tuple[Colour, ...], void: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return [256, 3]: the colour of every index; black for void."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[[value for value in void if 0 <= value < 256]] = 0
    return table


@lru_cache(maxsize=32)
def _one_hot(count: int) -> NDArray[np.uint8]:
    """Return [256, count]: 255 in the channel of an index, nothing for void."""
    table = np.zeros((256, count), np.uint8)
    np.fill_diagonal(table, 255)
    return table


@lru_cache(maxsize=32)
def _colours_of_files(labels: Labels) -> tuple[tuple[Colour, ...], Indices]:
    """Return the colours that pixels of files may have and the index that each means, [N]."""
    colours = list(labels.palette)
    meaning = [VOID if index in labels.void else index for index in range(len(colours))]
    if labels.void and (0, 0, 0) not in colours:  # void is painted black
        colours.append((0, 0, 0))
        meaning.append(VOID)
    return tuple(colours), np.array(meaning, np.uint8)


@lru_cache(maxsize=16)
def _cells(palette: tuple[Colour, ...]) -> NDArray[np.uint8]:
    """Return the nearest colour for each of 32^3 cells of 8^3 colours, [32768]; `_DIVIDED` where a cell has several."""
    axis = np.arange(4, 256, 8, dtype=np.float32) - np.float32(0.5)
    middles = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    cells = _nearest_exactly(middles, palette)
    distances = np.linalg.norm(middles - np.array(palette, np.float32)[cells], axis=1)
    divided = np.zeros(len(cells), np.bool_)
    for index, colour in enumerate(palette):
        # A colour may win somewhere in a cell unless it is farther from the middle by more than the cell's diagonal.
        other = np.linalg.norm(middles - np.array(colour, np.float32), axis=1)
        divided |= (cells != index) & (other <= distances + 2 * _HALF_DIAGONAL)
    cells[divided] = _DIVIDED
    return cells


def _nearest_exactly(colours: NDArray[Any], palette: tuple[Colour, ...]) -> NDArray[np.uint8]:
    """Return the position of the nearest palette colour of each colour, [N, 3] to [N]; the first of equals."""
    targets = np.array(palette, np.float32)
    chosen = np.empty(len(colours), np.uint8)
    # |c|^2 - 2 c.x orders the colours like |c - x|^2; all are whole numbers below 2^24, which float32 holds exactly.
    squares, doubled = (targets**2).sum(axis=1)[:, None], -2 * targets
    for start in range(0, len(colours), _ROWS_AT_ONCE):
        part = colours[start : start + _ROWS_AT_ONCE].astype(np.float32)
        chosen[start : start + len(part)] = (doubled @ part.T + squares).argmin(axis=0)
    return chosen
