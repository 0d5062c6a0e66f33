"""What label maps mean where the settings leave it open: how many classes, and which colours they have.

Colours that compression has blurred are distinguished from the palette's own by looking at flat places alone, where all
neighbours of a pixel are about as it is: blurred edges have no place there, and the rest gathers around few colours.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.data.bad_image import BadImage
from unpaired.data.config import MAX_CLASSES, Colour, LabelsConfig
from unpaired.data.directions import Side
from unpaired.data.formats.base import quiet
from unpaired.data.labels import Labels, distinct_colours
from unpaired.data.parallel import for_each
from unpaired.data.reading import Half, ImageFile, halved, read_image, refuse_changed_indices
from unpaired.data.values import Image

FLAT = 16
"""Largest difference in any channel between a pixel of a flat place and its eight neighbours."""
SMALLEST_SHARE = 5e-5
"""Colours of blurred label maps that fill less of all flat places are not found; a palette can be given."""
SMALLEST_COUNT = 100
"""The same in pixels: in few files, a blurred edge that happens to be flat fills a larger share."""
EXPLAINED = 0.9
"""Share of the flat places that the colours found must account for."""
FLAT_SHARE = 0.1
"""Share of all pixels that lie in flat places, at least, in label maps."""
DISTINCT = 12
"""Distance in RGB between any two colours of a palette that networks and people can tell apart, at least."""

_LOSSY = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
_BLUR = 20
_BINS = 32
_COMPARABLE = 0.1
"""Share of a common colour's pixels from which a colour two bins away is one of its own."""


def settled_labels(
    side: Side,
    config: LabelsConfig,
    paths: Sequence[ImageFile],
    half: Half | None = None,
    *,
    max_pixels: int,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Labels:
    """Return what the label maps of a domain mean: as set, and what is left open found from the files.

    Damaged files are passed over, to be reported by the check. Raises `UserError` where the files are plainly no label
    maps of that kind.
    """
    palette = config.palette
    if palette is None:
        search = _IndexSearch() if config.kind == "index" else _ColourSearch()

        def work(number: int) -> None:
            try:
                search.look_at(paths[number], half, max_pixels)
            except BadImage as error:
                search.refused = error

        for_each(len(paths), work, workers=workers, progress=progress)
        palette = search.palette(side, config, half)
    return Labels(kind=config.kind, palette=palette, names=config.names, void=config.void, feed=config.feed)


@dataclass(slots=True)
class _Search:
    """What all files of a domain hold; several threads add to it."""

    refused: BadImage | None = None
    """What is wrong with one of the files that were passed over."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reason(self) -> str:
        return "" if self.refused is None else f" ({self.refused})"


@dataclass(slots=True)
class _IndexSearch(_Search):
    """The values of all files, and the palettes that files bring with them."""

    values: dict[int, ImageFile] = field(default_factory=dict)
    """Each value that occurs, and a file where it does."""
    palettes: set[tuple[Colour, ...]] = field(default_factory=set)

    def look_at(self, path: ImageFile, half: Half | None, max_pixels: int) -> None:
        image: NDArray[Any] = halved(path, read_image(path, max_pixels=max_pixels, stored=True)[0], half)
        if image.dtype.kind not in "iu" or image.shape[2] != 1:
            raise BadImage(path, "not one channel of whole numbers")
        refuse_changed_indices(path, image)
        found = np.flatnonzero(np.bincount(image.ravel())) if image.dtype == np.uint8 else np.unique(image)
        palette = _palette_of_file(path)
        with self.lock:
            for value in found.tolist():
                self.values.setdefault(value, path)
            if palette is not None:
                self.palettes.add(palette)

    def palette(self, side: Side, config: LabelsConfig, half: Half | None) -> tuple[Colour, ...]:
        if config.names is not None:
            return self._colours(len(config.names))  # values beyond are for the check to list
        classes = [value for value in self.values if value not in config.void]
        setting = f"data.labels_{side}"
        if not classes:
            raise UserError(
                f"the files of domain {side.upper()} hold no class indices: none has one channel of whole numbers that "
                f"are not void{self.reason()}. For label maps in colours set "
                f"{option(setting + '.kind', 'colour')}.{_other_half(half)}"
            )
        count = max(classes) + 1
        if count > MAX_CLASSES or min(classes) < 0:
            odd = min(classes) if min(classes) < 0 else max(classes)
            raise UserError(
                f"the files of domain {side.upper()} hold {len(classes)} different values, and {odd} (such as in "
                f'"{self.values[odd]}") is no class index: these are 0 to {MAX_CLASSES - 1}. Name the values that are '
                f"no class in {option(setting + '.void')}, such as [255]."
            )
        return self._colours(count)

    def _colours(self, count: int) -> tuple[Colour, ...]:
        """Return the palette all palette files share where its colours differ enough, else distinct ones."""
        own = {palette[:count] for palette in self.palettes}
        colours = own.pop() if len(own) == 1 else ()
        return colours if len(colours) == count and _are_distinguishable(colours) else distinct_colours(count)


def _are_distinguishable(colours: tuple[Colour, ...]) -> bool:
    points = np.array(colours, np.int64)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    return bool((distance[np.triu_indices(len(points), 1)] >= DISTINCT).all())


def _palette_of_file(path: ImageFile) -> tuple[Colour, ...] | None:
    """Return the colours of a palette file (PNG, GIF, BMP, ...); None for all others."""
    if not isinstance(path, Path):
        return None
    try:
        with quiet(), PillowImage.open(path) as picture:
            flat = picture.getpalette("RGB") if picture.mode == "P" else None
    except Exception:  # the pixels were decoded by our own rules; Pillow may not open what those do (.npy)
        return None
    if flat is None:
        return None
    return tuple((flat[at], flat[at + 1], flat[at + 2]) for at in range(0, len(flat) - 2, 3))


@dataclass(slots=True)
class _ColourSearch(_Search):
    """The colours of all files: every one while they are few, and those of flat places."""

    exact: set[int] | None = field(default_factory=set)
    """Packed colours; None once there are too many for a palette, or a file was compressed with loss."""
    files: int = 0
    pixels: int = 0
    flat: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1 << 24, np.int64))
    """Pixels of flat places by packed colour."""

    def look_at(self, path: ImageFile, half: Half | None, max_pixels: int) -> None:
        image = halved(path, read_image(path, max_pixels=max_pixels, profiles=False)[0], half)
        if image.dtype != np.uint8 or image.shape[2] not in (1, 3):
            raise BadImage(path, "not RGB of 8 bits")
        colours = np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.int32)
        packed = (colours[:, :, 0] << 16) | (colours[:, :, 1] << 8) | colours[:, :, 2]
        blurred = _may_be_blurred(path)
        values, counts = np.unique(packed[1:-1, 1:-1][_is_flat(image)], return_counts=True)
        with self.lock:
            self.files += 1
            self.pixels += image.shape[0] * image.shape[1]
            self.flat[values] += counts
            if self.exact is not None:
                self.exact |= set(np.unique(packed).tolist())
                self.exact = None if blurred or len(self.exact) > MAX_CLASSES else self.exact

    def palette(self, side: Side, config: LabelsConfig, half: Half | None) -> tuple[Colour, ...]:
        setting = f"data.labels_{side}"
        if not self.files:
            raise UserError(
                f"the files of domain {side.upper()} hold no label maps in colours: none is grey or RGB of 8 bits"
                f"{self.reason()}."
            )
        if self.exact is not None:
            return tuple((value >> 16, value >> 8 & 255, value & 255) for value in sorted(self.exact))
        cube = self.flat.reshape(256, 256, 256)
        peaks = _peaks(cube)
        total, covered = int(self.flat.sum()), np.zeros(cube.shape, np.bool_)
        for colour in peaks:
            covered[tuple(slice(max(0, value - _BLUR), value + _BLUR + 1) for value in colour)] = True
        share = float(cube[covered].sum()) / max(total, 1)
        flat = total / self.pixels
        if flat < FLAT_SHARE or share < EXPLAINED or not 1 <= len(peaks) <= MAX_CLASSES:
            many = int((cube.reshape(_BINS, 8, _BINS, 8, _BINS, 8).sum(axis=(1, 3, 5)) > 0).sum())
            raise UserError(
                f"the files of domain {side.upper()} are plainly no label maps: they hold too many colours. Their flat "
                f"places ({flat:.0%} of all pixels) have {int((self.flat > 0).sum()):,} ({many:,} when similar ones "
                f"count once), and the {len(peaks)} most common ones make up {share:.0%} of these. If they are label "
                f"maps all the same, give {option(setting + '.palette')}; if not, leave {option(setting)} out."
                f"{_other_half(half)}"
            )
        return tuple(sorted(peaks))


def _other_half(half: Half | None) -> str:
    return (
        ""
        if half is None
        else f" The label maps may also be in the other half of the files: see {option('data.side_by_side')}."
    )


def _may_be_blurred(path: ImageFile) -> bool:
    """Return whether a file has a format that loses something: JPEG, JPEG 2000, AVIF, or WebP that is not lossless."""
    if not isinstance(path, Path):
        return False
    with path.open("rb") as stream:
        start = stream.read(16)
    webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return start.startswith(_LOSSY) or start[4:8] in (b"ftyp", b"jP  ") or (webp and start[12:] != b"VP8L")


def _is_flat(image: Image) -> NDArray[np.bool_]:
    """Say for every pixel but the outermost whether its eight neighbours are about as it is: [H - 2, W - 2]."""
    pixels: NDArray[Any] = image
    high, low = (f(f(pixels[:-2], pixels[1:-1]), pixels[2:]) for f in (np.maximum, np.minimum))
    high = np.maximum(np.maximum(high[:, :-2], high[:, 1:-1]), high[:, 2:])
    low = np.minimum(np.minimum(low[:, :-2], low[:, 1:-1]), low[:, 2:])
    return np.asarray(((high - low) <= FLAT).all(axis=2))


def _peaks(cube: NDArray[np.int64]) -> list[Colour]:
    """Return the colours that pixels gather around: local maxima of a histogram [256, 256, 256]."""
    width = 256 // _BINS
    coarse = cube.reshape(_BINS, width, _BINS, width, _BINS, width).sum(axis=(1, 3, 5))
    beside, near = (_highest_within(coarse, reach) for reach in (1, 2))
    # A bin that holds much less than one nearby is the noise of that one's colour.
    distinct = (coarse == beside) & (coarse >= _COMPARABLE * near)
    found = np.argwhere(distinct & (coarse > max(SMALLEST_SHARE * coarse.sum(), SMALLEST_COUNT)))
    colours = {_centre(cube, [int(place) * width for place in peak], width) for peak in found}
    return sorted(colours)


def _highest_within(coarse: NDArray[np.int64], reach: int) -> NDArray[np.int64]:
    """Return for every bin the largest count of the bins up to `reach` away in each channel."""
    padded, highest = np.pad(coarse, reach), np.zeros_like(coarse)
    for red, green, blue in itertools.product(range(2 * reach + 1), repeat=3):
        highest = np.maximum(highest, padded[red : red + _BINS, green : green + _BINS, blue : blue + _BINS])
    return highest


def _centre(cube: NDArray[np.int64], corner: list[int], width: int) -> Colour:
    """Return the median colour, channel by channel, of a bin and its neighbours."""
    low = [max(0, at - width) for at in corner]
    around = cube[tuple(slice(start, at + 2 * width) for start, at in zip(low, corner, strict=True))]
    middle = []
    for axis, start in enumerate(low):
        counts = around.sum(axis=tuple(other for other in range(3) if other != axis))
        middle.append(start + int(np.searchsorted(np.cumsum(counts), counts.sum() / 2)))
    return middle[0], middle[1], middle[2]
