"""Mean and standard error of one number per image, and the images with the largest or smallest numbers."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from unpaired.report.image_grid import LARGEST_CELL, grid, png

Shown = NDArray[np.uint8]
"""A picture to look at, [H, W, 3] uint8."""


@final
class RunningMean:
    """Mean and standard error of the mean of numbers that are not kept."""

    def __init__(self) -> None:
        self.count = 0
        """Numbers so far."""
        self._mean = self._squares = 0.0

    def add(self, values: Iterable[float]) -> None:
        """Add numbers; raises `ValueError` for one that is not finite."""
        for value in values:
            if not math.isfinite(value):
                raise ValueError("the number of an image is not finite")
            self.count += 1
            before = value - self._mean
            self._mean += before / self.count
            self._squares += before * (value - self._mean)

    def mean(self) -> float | None:
        """Return the mean, None where there is none."""
        return self._mean if self.count else None

    def error(self) -> float | None:
        """Return the standard error of the mean, None for fewer than two numbers."""
        return math.sqrt(self._squares / (self.count - 1) / self.count) if self.count > 1 else None


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a grid of pictures."""

    cells: Mapping[str, Shown]
    caption: str


@final
class Extremes:
    """The few images with the largest (or smallest) number, with their pictures; the rest is forgotten."""

    def __init__(self, most: int, end: Literal["largest", "smallest"]) -> None:
        self._most, self._sign = most, 1.0 if end == "largest" else -1.0
        self._heap: list[tuple[float, int, Example]] = []

    def wants(self, value: float) -> bool:
        """Say whether an image of this number is among them so far, so that its pictures are worth making."""
        return len(self._heap) < self._most or self._sign * value > self._heap[0][0]

    def add(self, value: float, number: int, example: Example) -> None:
        """Consider an image; `number` decides between equals, the earlier stays."""
        cells = {name: _small(picture) for name, picture in example.cells.items()}
        entry = (self._sign * value, -number, Example(cells, example.caption))
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def examples(self) -> list[Example]:
        """Return them, the most extreme first."""
        return [example for _, _, example in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def png_grid(examples: list[Example], title: str) -> bytes:
    """Return examples as a labelled grid, a PNG file."""
    columns = list(dict.fromkeys(name for example in examples for name in example.cells))
    picture = grid([example.cells for example in examples], columns, title, [example.caption for example in examples])
    return png(picture)


def _small(picture: Shown) -> Shown:
    """Return a picture no larger than it will be shown, so that what is kept stays small."""
    longest = max(picture.shape[:2])
    if longest <= LARGEST_CELL:
        return picture
    image = PillowImage.fromarray(picture)
    size = [max(1, round(side * LARGEST_CELL / longest)) for side in image.size]
    return np.asarray(image.resize((size[0], size[1]), PillowImage.Resampling.LANCZOS))
