"""Random crops of large images, read straight from their files; sampling by area; crops without content drawn again."""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unpaired.core.settings import option
from unpaired.core.text import plural
from unpaired.data.check import ImageInfo
from unpaired.data.config import DataConfig
from unpaired.data.decode import explained
from unpaired.data.formats import Box, Frame, cut
from unpaired.data.source import FolderSource, ImageSource
from unpaired.data.transforms import crop_offsets, height_width, random_crop
from unpaired.data.values import Image
from unpaired.data.windows import crops_inside, grid, held_out_grid

MOST_DRAWS = {"valid": 16, "tissue": 64}
"""How often a crop is drawn until one has enough of what is to be kept; the best of them is taken then."""
LEAST = {"valid": 0.5, "tissue": 0.25}
"""Share of a crop's pixels that must have a value, or show tissue."""
_PIXELS = 1 << 24
"""The smallest resolution of a file is inspected whole up to this size; of larger ones small windows."""
_CELLS, _CELL = 24, 16
_LEAST_SATURATION = 0.06
"""Glass is never less saturated than this threshold, however little a slide shows."""


class CropSource:
    """Another source's images as training takes them: by position, once each or as often as crops fit into them."""

    def __init__(self, opened: ImageSource, source: FolderSource) -> None:
        """`opened` gives the images that are decoded whole (from a cache), `source` all of them by their files."""
        self.opened, self._source, self._config = opened, source, source.config
        sizes = [source.size(index) for index in range(len(source))]
        by_area = self._config.sampling == "area"
        times = [crops_inside(size, self._config) if by_area else 1 for size in sizes]
        self._image = np.repeat(np.arange(len(sizes)), times)
        self._maps: dict[int, NDArray[np.float64]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._image)

    def __getitem__(self, index: int) -> Image:
        return self.opened[int(self._image[index])]

    def name(self, index: int) -> str:
        """Return the other source's name."""
        return self._source.name(int(self._image[index]))

    def cut(self, index: int, size: tuple[int, int], u: Sequence[float]) -> Image:
        """Return a random crop (height, width), a function of `u`; of several draws the first that has content."""
        image = int(self._image[index])
        if self._config.keep == "all":
            return self._cut(image, size, u)
        best: tuple[float, Image | None, Sequence[float]] = (-1.0, None, u)
        for number in range(MOST_DRAWS[self._config.keep]):
            drawn = u if number == 0 else _again(u, number)
            cut = self._cut(image, size, drawn) if self._config.keep == "valid" else None
            box = Box(*crop_offsets(self._source.size(image), size, drawn), *size)
            share = self._tissue(image, box) if cut is None else valid_share(cut)
            if share > best[0]:
                best = share, cut, drawn
            if share >= LEAST[self._config.keep]:
                break
        return self._cut(image, size, best[2]) if best[1] is None else best[1]

    def _cut(self, image: int, size: tuple[int, int], u: Sequence[float]) -> Image:
        if not self._source.images[image].by_windows:
            return random_crop(self.opened[image], size, u)
        return self._source.window(image, Box(*crop_offsets(self._source.size(image), size, u), *size))

    def _tissue(self, image: int, box: Box) -> float:
        with self._lock:  # two threads would make the same map twice
            if image not in self._maps:
                self._maps[image] = _totals(tissue(thumbnail(self._source, image, self.opened)))
        return share_in(self._maps[image], self._source.size(image), box)


def for_training(source: FolderSource, opened: ImageSource) -> ImageSource:
    """Return the images of `opened` as training takes them."""
    config: DataConfig = source.config
    return (
        CropSource(opened, source) if source.has_large or (config.sampling, config.keep) != ("image", "all") else opened
    )


def cropped(source: ImageSource, index: int, size: tuple[int, int], u: Sequence[float]) -> Image:
    """Return a random crop of an image of any source, given uniform numbers in [0, 1)."""
    return source.cut(index, size, u) if isinstance(source, CropSource) else random_crop(source[index], size, u)


def in_windows(source: FolderSource) -> FolderSource:
    """Return a source with some windows in place of every large image; itself where there is none."""
    if not source.has_large:
        return source
    images, crop = list[ImageInfo](), height_width(source.config.crop_size)
    for index, info in enumerate(source.images):
        if not (info.by_windows and isinstance(info.path, Path | Frame)):
            images.append(info)
            continue
        for box in _with_content(source, index, held_out_grid((info.height, info.width), crop)):
            images.append(_part_of(info, cut(info.path, box), source))
    multiple, reading = source.size_multiple, source.reading
    return FolderSource(
        images, source.config, channels=source.channels, size_multiple=multiple, reading=reading, padded=source.padded
    )


def _part_of(info: ImageInfo, window: Frame, source: FolderSource) -> ImageInfo:
    """Describe a window of a large image as an image of its own."""
    image, valid = source.reading.read_valid(window, max_pixels=source.config.max_pixels)
    missing = 0.0 if valid is None else float(1 - valid.mean())
    digest = hashlib.blake2b(info.digest + window.key.encode(), digest_size=16).digest()
    height, width = image.shape[:2]
    return replace(info, path=window, height=height, width=width, digest=digest, missing=missing, by_windows=False)


def by_windows(source: FolderSource) -> str:
    """Say what becomes of the large images of a source."""
    count = sum(info.by_windows for info in source.images)
    are, limit = "is" if count == 1 else "are", option("data.whole_pixels", f"{source.config.whole_pixels:,}")
    return f"{plural(count, 'image')} of more pixels than {limit} {are} read crop by crop and not kept decoded"


def _with_content(source: FolderSource, index: int, boxes: list[Box]) -> list[Box]:
    """Return those of some windows of a large image that have enough of what is to be kept, or the best of them."""
    keep = source.config.keep
    if keep == "all":
        return boxes
    if keep == "valid":
        shares = [valid_share(source.window(index, box)) for box in boxes]
    else:
        totals = _totals(tissue(thumbnail(source, index, source)))
        shares = [share_in(totals, source.size(index), box) for box in boxes]
    kept = [box for box, share in zip(boxes, shares, strict=True) if share >= LEAST[keep]]
    return kept or [boxes[int(np.argmax(shares))]]


def valid_share(image: Image) -> float:
    """Return the share of pixels that have a value; those without one are NaN."""
    return float(np.isfinite(image).all(axis=2).mean())


def thumbnail(source: FolderSource, index: int, opened: ImageSource) -> Image:
    """Return a small view of an image [h, w, C]: its smallest resolution, or a grid of small windows of it."""
    if not source.images[index].by_windows:
        image = opened[index]
        step = max(1, max(image.shape[:2]) // 1024)
        return image[::step, ::step]
    file, size = source.images[index].path, source.size(index)
    assert isinstance(file, Path | Frame), file
    path, number = (file.path, file.index) if isinstance(file, Frame) else (file, 0)
    with explained(path) as (opened_path, reader):
        levels = reader.levels(opened_path)
    if levels[-1][0] * levels[-1][1] <= _PIXELS and len(levels) > 1:
        return source.reading.read(Frame(path, number, level=len(levels) - 1, box=Box(0, 0, *levels[-1])))
    rows, columns = min(_CELLS, max(1, size[0] // _CELL)), min(_CELLS, max(1, size[1] // _CELL))
    cells = grid(size, (min(_CELL, size[0]), min(_CELL, size[1])), rows, columns)
    means = [_mean(source.window(index, box)) for box in cells]
    return np.asarray(means, np.float32).reshape(rows, columns, -1)


def _mean(image: Image) -> NDArray[np.float64]:
    known = np.isfinite(image).all(axis=2)
    mean: NDArray[np.float64] = (
        image[known].astype(np.float64).mean(axis=0) if known.any() else np.full(image.shape[2], np.nan)
    )
    return mean


def tissue(image: Image) -> NDArray[np.bool_]:
    """Return where a slide shows tissue, [H, W]: saturated pixels, or dark ones in grey images; Otsu's threshold.

    N. Otsu: A threshold selection method from gray-level histograms, 1979.
    """
    known, values = np.isfinite(image).all(axis=2), np.nan_to_num(np.asarray(image, np.float64))
    if image.shape[2] < 3:
        shown: NDArray[np.float64] = 1.0 - values.mean(axis=2) / (float(values.max()) or 1.0)
        least = otsu(shown[known])
    else:
        bright = values[:, :, :3].max(axis=2)
        shown = (bright - values[:, :, :3].min(axis=2)) / np.maximum(bright, 1e-9)
        least = max(otsu(shown[known]), _LEAST_SATURATION)
    return np.asarray(known & (shown > least))


def otsu(values: NDArray[np.float64]) -> float:
    """Return the threshold that separates numbers in [0, 1] best: the largest variance between the two classes."""
    counts, edges = np.histogram(values, 256, (0.0, 1.0))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts).astype(np.float64)
    total, sums = below[-1], np.cumsum(counts * centres)
    above = total - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    between = np.nan_to_num(between)
    return float(edges[1:][between == between.max()].mean())  # the middle of what separates them equally well


def share_in(totals: NDArray[np.float64], size: tuple[int, int], box: Box) -> float:
    """Return the share of a box that a map covers, by the sums over its rectangles from the corner."""
    height, width = totals.shape[0] - 1, totals.shape[1] - 1
    top, left = box.top * height // size[0], box.left * width // size[1]
    bottom = max(top + 1, -(-(box.top + box.height) * height // size[0]))
    right = max(left + 1, -(-(box.left + box.width) * width // size[1]))
    inside = totals[bottom, right] - totals[top, right] - totals[bottom, left] + totals[top, left]
    return float(inside / ((bottom - top) * (right - left)))


def _totals(where: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.pad(where.astype(np.float64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))


def _again(u: Sequence[float], number: int) -> tuple[float, float]:
    """Return other uniform numbers in [0, 1) that follow from the first ones alone."""
    digest = hashlib.blake2b(struct.pack("<ddI", u[0], u[1], number), digest_size=16).digest()
    first, second = struct.unpack("<QQ", digest)
    return (first >> 11) * 2.0**-53, (second >> 11) * 2.0**-53
