"""Sliced Wasserstein distance of patches of images, scale by scale (Karras, Aila, Laine, Lehtinen 2018, section 5).

It follows the authors' published `sliced_wasserstein.py`: a Laplacian pyramid (binomial filter of 5x5, reflected
borders) down to 16 pixels, 128 random patches of 7x7 per image and level, patches normalised per channel, 512 random
projections, 1-D Wasserstein distances by sorting, times 1000. It needs no weights. Like theirs, it normalises **each
set by itself**, so that a difference in brightness or contrast of a whole level is no distance.

Where it goes further: any number of channels and any size of image (a level of 31 pixels is followed by one of 16);
sets of different sizes are compared by their quantile functions, exactly; a level without any contrast stays zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from unpaired.metrics.estimate import deal, jackknife_error
from unpaired.metrics.inputs import checked_images
from unpaired.metrics.reservoir import Reservoir

PATCH = 7
SMALLEST = 16
"""The pyramid ends at the last level whose shorter side has at least so many pixels."""
CHUNK = 8
"""Images whose pyramid is in memory at a time."""
BLOCK = 64
"""Projections that are sorted at a time."""
ERROR_GROUPS, ERROR_PROJECTIONS = 10, 64
"""Groups and projections of the standard error, which then takes about as long as the distance itself."""
FLAT = 1e-6
"""A deviation below this is rounding error: the level has no contrast."""

Descriptors = NDArray[np.float32]
"""Patches as rows: [n, C * 49]."""


@dataclass(frozen=True, slots=True)
class Level:
    """The distance at one level of the pyramid, times 1000."""

    size: int
    """Pixels of the shorter side."""
    value: float
    error: float | None = None
    """Standard error by the sampling of images; None where it was not asked for or there are too few images."""


@dataclass(frozen=True, slots=True)
class SlicedDistance:
    """Sliced Wasserstein distances, times 1000."""

    levels: tuple[Level, ...]
    """The finest first."""
    mean: float
    """The mean over the levels."""
    error: float | None = None
    """The standard error of the mean by the sampling of images; None as for a level."""


@final
class Patches:
    """Random patches of a set of images, at every level at most `limit`, a uniform sample; memory does not grow.

    Which patches depends on the seed and the order of the images, not on the batches. Two sets of the same seed are cut
    at the same positions, so that a set has the distance 0 to itself.
    """

    def __init__(self, *, per_image: int = 128, seed: int = 0, limit: int = 2**15) -> None:
        """Begin with no images; `ValueError` where `per_image` or `limit` is no positive number."""
        if per_image < 1 or limit < 1:
            raise ValueError(f"per_image and limit must be at least 1; received {per_image} and {limit}")
        self.per_image = per_image
        self.seed = seed
        self.limit = limit
        self.images = 0
        """How many images were added."""
        self.shape: tuple[int, int, int] | None = None
        """Channels, height and width of the images."""
        self._kept: tuple[Reservoir, ...] = ()
        self._given: dict[int, Descriptors] = {}
        self._given_numbers: dict[int, NDArray[np.int64]] = {}
        self._random = np.random.default_rng([seed, 0])

    def add(self, images: Tensor) -> None:
        """Cut patches of images [N, C, H, W] in [-1, 1].

        Raises `ValueError` for images below 16 pixels, of another shape than those before or that are not finite, and
        for patches that came from `from_arrays`.
        """
        images = checked_images(images).detach().float()
        if self._given:
            raise ValueError("patches that were stored are complete; nothing can be added to them")
        channels, height, width = images.shape[1:]
        if min(height, width) < SMALLEST:
            raise ValueError(
                f"the sliced Wasserstein distance needs images of at least {SMALLEST}x{SMALLEST} pixels; "
                f"received {width}x{height}"
            )
        if self.shape is None:
            self.shape = channels, height, width
            self._kept = tuple(
                Reservoir(self.limit, channels * PATCH**2, self.seed + 1 + level) for level in range(len(self.sizes))
            )
        if self.shape != (channels, height, width):
            raise ValueError(
                f"images of different shapes: {list(self.shape)} before, now {[channels, height, width]} "
                "(channels, height, width)"
            )
        for start in range(0, len(images), CHUNK):
            self._cut(images[start : start + CHUNK])
        self.images += len(images)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The pixels of each level's shorter side, the finest first; nothing before the first image."""
        return () if self.shape is None else level_sizes(*self.shape[1:])

    def descriptors(self, size: int) -> Descriptors:
        """Return the patches of the level of this size as rows, not yet normalised; `ValueError` for no such level."""
        if size not in self.sizes:
            raise ValueError(f"there is no level of {size} pixels; there are {list(self.sizes)}")
        return self._given[size] if self._given else self._kept[self.sizes.index(size)].rows()

    def images_of(self, size: int) -> NDArray[np.int64]:
        """Return the number of the image that each row of `descriptors(size)` was cut from, [n]."""
        level = self.sizes.index(size)
        numbers = self._given_numbers[size] if self._given else self._kept[level].numbers()
        return numbers // self.per_image

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return what `from_arrays` takes; `ValueError` where no image was added."""
        if self.shape is None:
            raise ValueError("there are no patches of no images")
        settings = np.array([self.per_image, self.seed, self.limit, self.images, *self.shape], np.int64)
        levels = {f"level_{size}": self.descriptors(size) for size in self.sizes}
        numbers = {f"numbers_{size}": kept.numbers() for size, kept in zip(self.sizes, self._kept, strict=True)}
        return {"settings": settings, **levels, **numbers}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Patches:
        """Return patches that were stored; nothing can be added to them."""
        per_image, seed, limit, images, channels, height, width = (int(value) for value in arrays["settings"])
        patches = cls(per_image=per_image, seed=seed, limit=limit)
        patches.images, patches.shape = images, (channels, height, width)
        patches._given = {size: arrays[f"level_{size}"].astype(np.float32) for size in patches.sizes}
        patches._given_numbers = {size: arrays[f"numbers_{size}"].astype(np.int64) for size in patches.sizes}
        return patches

    def _cut(self, images: Tensor) -> None:
        """Add patches of a few images at random positions, those of an image the same whatever it came with."""
        numbers = np.arange(len(images))[:, None]
        draws = self._random.random((len(images), len(self._kept), 2, self.per_image))
        for level, (kept, band) in enumerate(zip(self._kept, laplacian_pyramid(images), strict=True)):
            windows = sliding_window_view(band.cpu().numpy(), (PATCH, PATCH), axis=(2, 3))
            top = (draws[:, level, 0] * windows.shape[2]).astype(np.int64)
            left = (draws[:, level, 1] * windows.shape[3]).astype(np.int64)
            kept.add(windows[numbers, :, top, left].reshape(-1, kept.dim))


def level_sizes(height: int, width: int) -> tuple[int, ...]:
    """Return the shorter side of every level of the pyramid of an image, the finest first."""
    sizes, size = [], min(height, width)
    while size >= SMALLEST:
        sizes.append(size)
        size = (size + 1) // 2
    return tuple(sizes)


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """Return the bands of images [N, C, H, W], the finest first; the last one holds what is left of the image."""
    bands = [images]
    for _ in level_sizes(*images.shape[-2:])[1:]:
        smaller = _halved(_halved(bands[-1]).mT).mT
        height, width = bands[-1].shape[-2:]
        bands[-1] = bands[-1] - _doubled(_doubled(smaller, height).mT, width).mT
        bands.append(smaller)
    return bands


def sliced_wasserstein(
    real: Patches, fake: Patches, *, projections: int = 512, seed: int = 0, errors: bool = False
) -> SlicedDistance:
    """Return the distance at every level and its mean, times 1000; at least 0, and 0 for the same patches.

    Sets of different sizes are compared exactly: the distance is the area between their quantile functions, which for
    sets of one size is the mean difference of the sorted values. `errors` asks for standard errors by the delete-group
    jackknife over images (see `unpaired.metrics.estimate`), along 64 of the projections; None for fewer than three
    images. Raises `ValueError` where a set is empty or the images of the two differ in channels or size.
    """
    if real.shape is None or fake.shape is None:
        raise ValueError("the sliced Wasserstein distance needs at least one image in each set")
    if real.shape != fake.shape:
        raise ValueError(
            f"images of different shapes: {list(real.shape)} real, {list(fake.shape)} fake (channels, height, width)"
        )
    if projections < 1:
        raise ValueError(f"at least one projection is needed; received {projections}")
    random = np.random.default_rng(seed)
    groups = deal(real.images, fake.images, ERROR_GROUPS) if errors else 0
    levels, left = list[Level](), list[list[float]]()
    for size in real.sizes:
        directions = random.standard_normal((projections, real.shape[0] * PATCH**2))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        along = directions.astype(np.float32)
        left.append(_without_groups(real, fake, size, along[:ERROR_PROJECTIONS], groups))
        value = _distance(real.descriptors(size), fake.descriptors(size), real.shape[0], along)
        levels.append(Level(size, value, jackknife_error(left[-1])))
    mean = float(np.mean([level.value for level in levels]))
    return SlicedDistance(
        tuple(levels), mean, jackknife_error([float(np.mean(each)) for each in zip(*left, strict=True)])
    )


def _without_groups(
    real: Patches, fake: Patches, size: int, directions: NDArray[np.float32], groups: int
) -> list[float]:
    """Return the distance at one level with each group of images left out of both sets."""
    if not groups:
        return []
    channels = 0 if real.shape is None else real.shape[0]
    (a, in_a), (b, in_b) = ((one.descriptors(size), one.images_of(size) % groups) for one in (real, fake))
    return [_distance(a[in_a != group], b[in_b != group], channels, directions) for group in range(groups)]


def _distance(a: Descriptors, b: Descriptors, channels: int, directions: NDArray[np.float32]) -> float:
    """Return the distance of patches that are not yet normalised, times 1000."""
    return 1000 * projected_distance(_normalised(a, channels), _normalised(b, channels), directions)


def projected_distance(a: Descriptors, b: Descriptors, directions: NDArray[np.float32]) -> float:
    """Return the mean over directions of the 1-D Wasserstein distance between two sets of rows."""
    # In units of 1 / (len(a) len(b)), each quantile function is constant between its own steps.
    ends = np.union1d(np.arange(1, len(a) + 1) * len(b), np.arange(1, len(b) + 1) * len(a))
    widths = np.diff(ends, prepend=0) / (len(a) * len(b))
    in_a, in_b = (ends - 1) // len(b), (ends - 1) // len(a)
    total = 0.0
    for block in np.split(directions, range(BLOCK, len(directions), BLOCK)):
        along_a, along_b = np.sort(block @ a.T, axis=1), np.sort(block @ b.T, axis=1)
        if len(a) == len(b):
            total += float(np.abs(along_a - along_b).mean(1, dtype=np.float64).sum())
        else:
            total += float((np.abs(along_a[:, in_a] - along_b[:, in_b]) @ widths).sum())
    return total / len(directions)


def _normalised(rows: Descriptors, channels: int) -> Descriptors:
    """Return the rows with mean 0 and deviation 1 per channel over all of the set; without contrast, with zeros."""
    split = rows.reshape(len(rows), channels, -1)
    centred: Descriptors = split - split.mean((0, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt([np.square(centred[:, c]).mean(dtype=np.float64) for c in range(channels)])
    scale = np.where(deviation > FLAT, 1 / np.maximum(deviation, FLAT), 0)
    centred *= scale.astype(np.float32)[:, None]
    return centred.reshape(rows.shape)


def _halved(images: Tensor) -> Tensor:
    """Return every second row after a blur of the rows with [1, 4, 6, 4, 1] / 16, borders reflected: cv2's pyrDown."""
    rows = (images.shape[-2] + 1) // 2
    padded = pad(images, (0, 0, 2, 2), mode="reflect")
    result = padded[..., 2 : 2 + 2 * rows - 1 : 2, :] * (6 / 16)
    for shift, weight in ((0, 1), (1, 4), (3, 4), (4, 1)):
        result.add_(padded[..., shift : shift + 2 * rows - 1 : 2, :], alpha=weight / 16)
    return result


def _doubled(images: Tensor, rows: int) -> Tensor:
    """Return `rows` rows: zeros between, then the same blur times 2, borders reflected: cv2's pyrUp.

    Of the five weights, the even rows meet 1, 6, 1 and the odd ones 4, 4. Reflecting the widened image reflects its
    second row to before the first; after the last it repeats the last one where `rows` is even.
    """
    last = images[..., -1:, :] if rows % 2 == 0 else images[..., -2:-1, :]
    padded = torch.cat([images[..., 1:2, :], images, last], -2)
    result = images.new_empty(*images.shape[:-2], rows, images.shape[-1])
    result[..., 0::2, :] = (padded[..., :-2, :] + padded[..., 2:, :] + 6 * images) / 8
    result[..., 1::2, :] = ((padded[..., 1:-1, :] + padded[..., 2:, :]) / 2)[..., : rows // 2, :]
    return result
