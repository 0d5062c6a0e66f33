"""Models that see neighbouring slices as channels: translations of overlapping slabs become one volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from unpaired.data.values import Domain, Signed
from unpaired.models.translation import Translation

Put = Callable[[Translation, int], None]
"""Takes the translation of an image and its index."""


def single(domain: Domain) -> Domain:
    """Return what one slice of a domain is."""
    return replace(domain, channels=domain.channels // (2 * domain.neighbours + 1), neighbours=0)


def middle(translation: Translation) -> Translation:
    """Return a slab's own slice."""
    domain = translation.domain
    if not domain.neighbours:
        return translation
    channels = single(domain).channels
    start = domain.neighbours * channels
    return Translation(translation.values[..., start : start + channels], single(domain), translation.missing)


@final
class Blend:
    """Averages, for every slice of a volume, what all slabs that hold it say; in memory for one slab.

    Slab i holds the slices from i - neighbours to i + neighbours. What stands in for slices beyond the ends is left
    out, and pixels of slabs whose own slice has no value there.
    """

    def __init__(self, neighbours: int, count: int) -> None:
        self._neighbours, self._count = neighbours, count
        self._sums: dict[int, tuple[Signed, Signed]] = {}

    def put(self, index: int, slab: Signed, missing: NDArray[np.bool_] | None = None) -> list[tuple[int, Signed]]:
        """Take the next slab [H, W, (2 neighbours + 1) C]; return the slices that are whole now, with their index.

        `missing` [H, W] is where its own slice has no value.
        """
        weight: Signed = np.ones((1, 1, 1), np.float32)
        if missing is not None:
            weight = np.asarray(~missing[:, :, None], np.float32)
        near = range(-self._neighbours, self._neighbours + 1)
        for step, part in zip(near, np.split(slab, len(near), axis=2), strict=True):
            if 0 <= index + step < self._count:
                before, weights = self._sums.get(index + step, (np.zeros_like(part), np.zeros_like(weight)))
                self._sums[index + step] = before + part * weight, weights + weight
        last = self._count - 1 if index == self._count - 1 else index - self._neighbours
        whole = sorted(number for number in self._sums if number <= last)
        made = [(number, *self._sums.pop(number)) for number in whole]
        return [(number, np.asarray(total / np.maximum(weights, 1), np.float32)) for number, total, weights in made]


def blended(put: Put, target: Domain, count: int) -> Put:
    """Return what takes translations of slabs in their order and gives `put` those of slices."""
    if not target.neighbours:
        return put
    blend, domain = Blend(target.neighbours, count), single(target)
    gaps: dict[int, NDArray[np.bool_] | None] = {}

    def take(translation: Translation, index: int) -> None:
        gaps[index] = translation.missing  # of its own slice
        for number, values in blend.put(index, translation.values, translation.missing):
            put(Translation(values, domain, gaps.pop(number)), number)

    return take
