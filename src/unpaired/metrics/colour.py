"""How far the colours of two sets of images are apart: the sliced Wasserstein distance of their pixels' values.

Images are taken for bags of pixels, and all pixels of a set together. The distance of two such sets is the mean 1-D
Wasserstein distance along random directions of colour space (Rabin, Peyré, Delon, Bernot 2011; Pitié, Kokaram, Dahyot
2007 match colours so). The unit is a level, 1/255 of the range: images that all become d levels brighter in every
channel are at distance d. It sees brightness, contrast, saturation and colour casts, and nothing of where colours are.
"""

from __future__ import annotations

import math
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unpaired.metrics.estimate import deal, jackknife_error
from unpaired.metrics.inputs import checked_images
from unpaired.metrics.reservoir import Reservoir
from unpaired.metrics.sliced import ERROR_GROUPS, projected_distance

PIXELS = 256
"""Pixels that are drawn of every image, at random places."""
PROJECTIONS = 64
HALF_RANGE = 127.5


class Colours(NamedTuple):
    """Pixels of a set of images."""

    rows: NDArray[np.float32]
    """Values in [-1, 1], [n, C]."""
    images: NDArray[np.int64]
    """The number of the image that each was taken of, [n]."""


@final
class ColourSample:
    """Draws pixels of images that go by, of which at most `limit` are kept, a uniform sample.

    Which ones depends on the seed and the order of the images, not on the batches.
    """

    def __init__(self, seed: int = 0, limit: int = 2**15) -> None:
        self._seed, self._limit, self._random = seed, limit, np.random.default_rng([seed, 1])
        self._kept: Reservoir | None = None

    def add(self, images: Tensor) -> None:
        """Draw pixels of images [N, C, H, W] in [-1, 1]; `ValueError` where they are not finite."""
        pixels = checked_images(images).detach().float().flatten(2).cpu().numpy()
        self._kept = self._kept or Reservoir(self._limit, pixels.shape[1], self._seed)
        places = (self._random.random((len(pixels), PIXELS)) * pixels.shape[2]).astype(np.int64)
        drawn = np.take_along_axis(pixels, places[:, None], axis=2)
        self._kept.add(drawn.transpose(0, 2, 1).reshape(-1, pixels.shape[1]))

    def colours(self) -> Colours:
        """Return what was drawn; `ValueError` where there was no image."""
        if self._kept is None:
            raise ValueError("there are no pixels of no images")
        return Colours(self._kept.rows(), self._kept.numbers() // PIXELS)


def colour_distance(real: Colours, fake: Colours, *, seed: int = 0, errors: bool = False) -> tuple[float, float | None]:
    """Return the distance in levels, at least 0, and its standard error by the delete-group jackknife over images.

    The error is None for fewer than three images in a set, and without `errors`. `ValueError` where channels differ.
    """
    channels = real.rows.shape[1]
    if fake.rows.shape[1] != channels:
        raise ValueError(f"images of different channels: {channels} real, {fake.rows.shape[1]} fake")
    directions = np.random.default_rng(seed).standard_normal((PROJECTIONS if channels > 1 else 1, channels))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # The mean of |cos| over all directions, so that a shift of all channels by one level is 1.
    mean = math.exp(math.lgamma(channels / 2) - math.lgamma((channels + 1) / 2)) / math.sqrt(math.pi)
    along = (directions * (HALF_RANGE / mean / math.sqrt(channels))).astype(np.float32)
    groups = deal(int(real.images[-1]) + 1, int(fake.images[-1]) + 1, ERROR_GROUPS) if errors else 0
    left = []
    for group in range(groups):
        a, b = (one.rows[one.images % groups != group] for one in (real, fake))
        left.append(projected_distance(a, b, along))
    return projected_distance(real.rows, fake.rows, along), jackknife_error(left)
