"""Structures of known shape, size, contrast and place, and how they are put into images [N, C, H, W] in [-1, 1].

Contrast is a share of the range of values: a disc of contrast 0.1 is brighter or darker than what it covers by a tenth
of the way from the lowest to the highest value. For a user's own picture it is how opaque the picture is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.data.bad_image import BadImage
from unpaired.data.values import Domain
from unpaired.models.conversion import open_image

KINDS = ("disc", "line", "texture")
SHARES = (1 / 16, 1 / 8)
"""Sizes where none is given, as shares of an image's shorter side; below `LEAST` pixels all kinds would be alike."""
LEAST = 4


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """Something that is put into images."""

    kind: str
    profile: Tensor
    """[h, w] in [-1, 1]: what is added at a contrast of 1, in halves of the range; of a picture, how opaque it is."""
    picture: Tensor | None = None
    """[C, h, w] in [-1, 1] where it covers what is there, in place of being added."""

    @property
    def size(self) -> int:
        """Return its longer side, in pixels."""
        return max(self.profile.shape)

    @property
    def title(self) -> str:
        """Return what tables call it."""
        return f"{self.kind}, {self.size} px"

    @property
    def window(self) -> int:
        """Return the side of the square that an observer looks at, to see it stand out of its surroundings."""
        return self.size + 2 * max(2, self.size // 3)

    @property
    def tolerance(self) -> int:
        """Return by how many pixels a translation may move it."""
        return max(1, self.size // 16)

    def put(self, region: Tensor, contrast: float) -> Tensor:
        """Return a region [C, h, w] of its size with it: brighter where the region is dark, darker where bright."""
        if self.picture is not None:
            return region + contrast * self.profile * (self.picture - region)
        sign = -1.0 if region.mean() > 0 else 1.0
        return (region + sign * 2 * contrast * self.profile).clamp(-1, 1)


def drawn(sizes: Sequence[int]) -> list[Structure]:
    """Return a disc, a line (a bar, a sixth as wide as long) and a texture (stripes in a disc) of every size."""
    return [Structure(kind, _draw(kind, size)) for kind in KINDS for size in sorted({*sizes})]


def sizes_for(height: int, width: int) -> list[int]:
    """Return the sizes of structures for images of (height, width)."""
    return [max(LEAST, round(min(height, width) * share)) for share in SHARES]


def _draw(kind: str, size: int) -> Tensor:
    line = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    across, along = (line[:, None] - line) / 2**0.5, (line[:, None] + line) / 2**0.5
    disc = (size / 2 + 0.5 - torch.hypot(across, along)).clamp(0, 1)
    stripes = torch.sin(across * (2 * math.pi / max(3.0, size / 4)))
    bar = (max(1.5, size / 6) / 2 + 0.5 - across.abs()).clamp(0, 1)
    return disc * {"disc": torch.ones(()), "line": bar, "texture": stripes}[kind]


def read_structure(picture: str | Path | None, mask: str | Path | None, domain: Domain) -> Structure:
    """Return a user's own: a mask alone is a shape that is added; a picture covers, where its mask says so.

    Raises `UserError` for files that cannot be read, do not fit the domain or each other, and a mask without a shape.
    """
    values = None if picture is None else _read("plant", picture, domain)
    shape = torch.ones(1, *values.shape[1:]) if values is not None else torch.zeros(1, 1, 1)
    if mask is not None:
        shape = _read("plant_mask", mask, Domain(channels=1))
        low, high = shape.aminmax()
        if low == high or (values is not None and shape.shape[1:] != values.shape[1:]):
            raise UserError(
                f"{option('plant_mask', mask)} has {shape.shape[1]} x {shape.shape[2]} pixels (height x width), of "
                f"values from {low:g} to {high:g}. Give a mask that varies, of the size of the picture."
            )
        shape = (shape - low) / (high - low)
    name = Path(mask if picture is None and mask is not None else picture or "").stem
    return Structure(name, shape[0], values)


def _read(name: str, path: str | Path, domain: Domain) -> Tensor:
    try:
        return torch.from_numpy(np.nan_to_num(open_image(Path(path), domain).values, nan=-1.0)).permute(2, 0, 1)
    except BadImage as error:
        raise UserError(f"{option(name, path)}: {error.reason}.") from error


@dataclass(frozen=True, slots=True)
class Plan:
    """Where structures stand in images of a size: in cells of a grid, so that they are apart; some cells stay empty."""

    structures: Sequence[Structure]
    cells: Sequence[tuple[int, int]]
    """The centres of all cells, (row, column)."""
    seed: int

    def places(self, number: int) -> list[tuple[int, int]]:
        """Return the cells of an image in an order drawn by its number and the seed: first one for each structure."""
        order = np.random.default_rng([self.seed, number]).permutation(len(self.cells))
        return [self.cells[place] for place in order]

    def plant(self, images: Tensor, numbers: Sequence[int], contrast: float) -> Tensor:
        """Return images with all structures."""
        images = images.clone()
        for image, number in zip(images, numbers, strict=True):
            for one, centre in zip(self.structures, self.places(number), strict=False):
                region = image[box(centre, one.profile.shape)]
                region[:] = one.put(region.clone(), contrast)
        return images


def plan_for(size: tuple[int, int], structures: Sequence[Structure], seed: int) -> Plan:
    """Return a plan for images of (height, width); raises `UserError` where they are too small for the structures."""
    side = max(one.window + 2 * one.tolerance for one in structures)
    rows, columns = (length // side for length in size)
    if rows * columns <= len(structures):
        across = math.isqrt(len(structures)) + 1
        raise UserError(
            f"images of {size[0]} x {size[1]} (height x width) have no room for {len(structures)} structures of at "
            f"most {max(one.size for one in structures)} pixels, which take {across * side} x {across * side}. Give "
            f"larger images ({option('size')}), or smaller structures."
        )
    step = size[0] / rows, size[1] / columns
    centres = [(round((i + 0.5) * step[0]), round((j + 0.5) * step[1])) for i in range(rows) for j in range(columns)]
    return Plan(structures, centres, seed)


def box(centre: tuple[int, int], shape: Sequence[int]) -> tuple[slice, slice, slice]:
    """Return all channels, rows and columns of a box of (height, width) about a centre."""
    top, left = (middle - length // 2 for middle, length in zip(centre, shape, strict=True))
    return slice(None), slice(top, top + shape[0]), slice(left, left + shape[1])
