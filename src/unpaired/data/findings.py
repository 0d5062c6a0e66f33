"""What files hold that their settings do not say: values that fill a sliver of their range, and class indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unpaired.core.text import listing, number, percent
from unpaired.data.bad_image import BadImage
from unpaired.data.check import ImageInfo
from unpaired.data.directions import Side
from unpaired.data.reading import Reading
from unpaired.data.values import DTYPE_RANGES

NARROW = 0.3
"""Share of the range of their type up to which values are taken to have another range: 14 bits in 16 are a quarter."""
_SAMPLES, _SAMPLED_PIXELS = 8, 1 << 24
_MOST_CLASSES, _MOST_INDEX, _FLAT = 64, 200, 0.85
_VOID = (255, 65535)


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowRange:
    """The values of a domain fill a small share of what their type can hold, so networks see little contrast."""

    side: Side
    dtype: str
    low: float
    """The smallest value found."""
    high: float
    share: float
    """The share of the type's range that lies between the two."""
    suggested: tuple[float, float]
    """A range to declare."""

    def in_words(self, title: str) -> str:
        """Return it with the setting to copy."""
        values = ",".join(f"{value:.6g}" for value in self.suggested)
        return (
            f"{title}: all values lie from {number(self.low)} to {number(self.high)}, {percent(self.share)} of what "
            f"{self.dtype} can hold, so networks see almost no contrast; declare what becomes -1 and 1: "
            f"--set data.range_{self.side}=[{values}]"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelyLabels:
    """The grey images of a domain look like maps of class indices, which are read as nearly black pictures."""

    side: Side
    classes: tuple[int, ...]
    """The values found."""
    void: tuple[int, ...]
    """The value that is probably no class, if there is one."""

    def in_words(self, title: str) -> str:
        """Return it with the settings to copy."""
        more = ["..."] if len(self.classes) > 6 else []
        values = listing([*map(str, self.classes[:6]), *more, *map(str, self.void)])
        void = f" --set data.labels_{self.side}.void=[{self.void[0]}]" if self.void else ""
        return (
            f"{title}: the images hold few values in flat areas ({values}), as class indices do, and are read as grey "
            f"pictures; if they are label maps, declare it: --set data.labels_{self.side}.kind=index{void}"
        )


Finding = NarrowRange | LikelyLabels


def find_in_values(side: Side, infos: Sequence[ImageInfo], reading: Reading, max_pixels: int) -> tuple[Finding, ...]:
    """Return what is odd about the values of a domain of pictures without a declared range; a few files are decoded."""
    dtypes = {info.dtype for info in infos}
    if len(dtypes) > 1 or not dtypes <= set(DTYPE_RANGES):
        return ()
    dtype, samples = dtypes.pop(), _sampled(infos, reading, max_pixels)
    if not samples:
        return ()
    if dtype != "float32" and all(image.shape[2] == 1 for image in samples):
        values = np.unique(np.concatenate([np.unique(image) for image in samples])).tolist()
        void = tuple(value for value in values if value in _VOID)
        classes = tuple(value for value in values if value not in void)
        few = 2 <= len(classes) <= _MOST_CLASSES and classes[0] >= 0
        if few and classes[-1] < (_MOST_CLASSES if void else _MOST_INDEX) and _flat_share(samples) >= _FLAT:
            return (LikelyLabels(side=side, classes=classes, void=void),)
    lows = [info.low for info in infos if info.low is not None] or [float(image.min()) for image in samples]
    highs = [info.high for info in infos if info.high is not None] or [float(image.max()) for image in samples]
    low, high, ends = min(lows), max(highs), DTYPE_RANGES[dtype]
    share = (high - low) / (ends[1] - ends[0])
    if not 0 < share <= NARROW:
        return ()
    suggested = low, high
    if 0 <= low < high / 2:  # a number of bits
        suggested = 0.0, high if dtype == "float32" else 2.0 ** math.ceil(math.log2(high + 1)) - 1
    return (NarrowRange(side=side, dtype=dtype, low=low, high=high, share=share, suggested=suggested),)


def _sampled(infos: Sequence[ImageInfo], reading: Reading, max_pixels: int) -> list[NDArray[np.generic]]:
    images, pixels = list[NDArray[np.generic]](), 0
    for info in infos[:: max(1, len(infos) // _SAMPLES)][:_SAMPLES]:
        if images and pixels + info.height * info.width > _SAMPLED_PIXELS:
            break
        try:
            images.append(reading.read(info.path, max_pixels=max_pixels))
        except BadImage:  # it has changed since it was checked, which is said when it is trained on
            continue
        pixels += info.height * info.width
    return images


def _flat_share(images: Sequence[NDArray[np.generic]]) -> float:
    """Return how many pixels have the value of their right neighbour."""
    same = sum(int((image[:, 1:] == image[:, :-1]).sum()) for image in images)
    return same / max(1, sum(image[:, 1:].size for image in images))
