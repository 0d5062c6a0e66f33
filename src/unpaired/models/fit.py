"""Whether the values of an image are those that a model was trained on: its type and range against the domain's.

The rule. Values are read by the domain's declared range, else by the type of the image (8 bits: 0 to 255, 16 bits: 0 to
65535, ...). Refused is what this would misread for certain:

- another unit than the model's, where both are known;
- an 8-bit image for a model whose declared range 8 bits do not hold: levels of a picture are no Hounsfield units;
- 16 bits for a model of 8-bit pictures where the file says that its values do not fill its type (12 bits), or where
  int16 values use little of it: networks would see black, or one grey.

Reported, with counts, is what can be meant: values outside the declared range, which are clipped, and images whose
values use little of what the model's range, or their type, allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.core.text import plural, small_percent
from unpaired.data.decode import meaning_of
from unpaired.data.describe import NARROW
from unpaired.data.formats import Frame, ImageBytes, Meaning
from unpaired.data.reading import ImageFile
from unpaired.data.values import DTYPE_RANGES, Domain, Image

FLAT = 0.01
"""Share of the declared range up to which the values of an image of another type are taken to have other units."""
NOTICEABLE = 0.1
"""Pixels that differ by this share from those of training are reported or, in volumes, resampled to them."""
_SLACK = 1e-6
"""Of the range: floats this far outside are taken for rounding."""


class Fit(NamedTuple):
    """How well an image fits a model."""

    outside: float = 0.0
    """Share of the values that lie outside the declared range and are clipped."""
    is_narrow: bool = False
    """Whether the values use little of the range by which they are read."""
    pixels: float = 1.0
    """How many times as large its pixels are as those of training, in millimetres; 1 where that is unknown."""


GOOD_FIT = Fit()


def judge(
    image: Image, valid: NDArray[np.bool_] | None, source: Domain, meaning: Callable[[], Meaning] = Meaning
) -> Fit:
    """Return how an image [H, W, C] fits the domain of a model's inputs; `UserError` where it would be misread.

    `meaning` returns what its file says, and is called only where that matters.
    """
    if source.labels is not None or (source.dtype, image.dtype.name, source.range) == ("uint8", "uint8", None):
        return GOOD_FIT
    known: NDArray[Any] = image if valid is None else image[valid]
    if not known.size:  # a part of a large image in which nothing has a value
        return GOOD_FIT
    low, high = float(known.min()), float(known.max())
    said = meaning()
    if said.unit and source.unit and said.unit != source.unit:
        raise UserError(
            f"its values are in {said.unit}, and the model was trained on {source.unit}. Convert them first."
        )
    if source.range is None:
        return Fit(is_narrow=_is_narrow(image.dtype.name, (low, high), source, said))
    first, last = source.range
    is_picture = image.dtype == np.uint8 and source.dtype != "uint8" and not (said.unit and said.unit == source.unit)
    if is_picture and (first < 0 or last > DTYPE_RANGES["uint8"][1]):
        raise UserError(
            f"an 8-bit image, and the model was trained on {_in_words(source)}: levels from 0 to 255 would be taken "
            "for such values. Give images of that kind."
        )
    slack = (last - first) * _SLACK if image.dtype.kind == "f" else 0.0
    outside = 0.0
    if low < first - slack or high > last + slack:
        outside = float(((known < first - slack) | (known > last + slack)).mean())
    flat = high - low <= FLAT * (last - first) and image.dtype.name != source.dtype
    return Fit(outside, is_narrow=flat)


def _is_narrow(dtype: str, values: tuple[float, float], source: Domain, said: Meaning) -> bool:
    """Whether 16-bit values are nearly black, or one grey, to a model of 8-bit pictures."""
    if source.dtype != "uint8" or dtype not in ("uint16", "int16"):
        return False
    ends = DTYPE_RANGES[dtype]
    most = NARROW * (ends[1] - ends[0])
    means_little = said.range is not None and said.range[1] - said.range[0] <= most
    uses_little = values[1] - values[0] <= most if dtype == "int16" else values[1] <= most
    if means_little or (uses_little and dtype == "int16"):
        span, seen = said.range or values, "black" if dtype == "uint16" else "one grey"
        raise UserError(
            f"{dtype} with values from {span[0]:g} to {span[1]:g}, and the model was trained on 8-bit pictures: read "
            f"as {ends[0]:g} to {ends[1]:g} it would be {seen}. Convert it to 8 bits, "
            "or to values that fill 16 bits."
        )
    return uses_little


def pixels_of(path: ImageFile, source: Domain) -> float:
    """Return how many times as large the pixels of an image are as those of training; 1 where that is unknown."""
    found = said_of(path).millimetres(source.axis) if len(source.spacing) >= 2 else ()
    return math.sqrt(found[0] * found[1] / (source.spacing[0] * source.spacing[1])) if len(found) >= 2 else 1.0


def said_of(path: ImageFile) -> Meaning:
    """Return what a file says of its image beyond its pixels; nothing of what is no file."""
    return meaning_of(path) if isinstance(path, Path | ImageBytes | Frame) else Meaning()


def _in_words(source: Domain) -> str:
    assert source.range is not None
    return f"values from {source.range[0]:g} to {source.range[1]:g}{f' {source.unit}' if source.unit else ''}"


def refuse_outside(fit: Fit, source: Domain, out_of_range: str) -> None:
    """Raise `UserError` for an image with values outside the declared range where these are to be refused."""
    if fit.outside and out_of_range == "refuse":
        raise UserError(
            f"{small_percent(fit.outside)} of its values lie outside the range that the model was trained on "
            f"({_in_words(source)}), and such files are refused"
        )


def fit_notices(fits: list[Fit], source: Domain, *, by_pixels: bool) -> list[str]:
    """Return what a person should know of translated images; `by_pixels` where networks saw them at their own size."""
    notices, clipped = list[str](), [fit.outside for fit in fits if fit.outside]
    if clipped:
        has, share = "has" if len(clipped) == 1 else "have", small_percent(sum(clipped) / len(clipped))
        notices.append(
            f"{plural(len(clipped), 'image')} of {len(fits):,} {has} values outside the range that the model was "
            f"trained on ({_in_words(source)}), {share} of theirs; they were clipped"
        )
    others = sorted(fit.pixels for fit in fits if abs(fit.pixels - 1) > NOTICEABLE)
    if others and by_pixels:
        factor, seen = others[len(others) // 2], "smaller" if others[len(others) // 2] > 1 else "larger"
        notices.append(
            f"{plural(len(others), 'image')} of {len(fits):,} with pixels {factor:.3g} times as large as those of "
            f"training ({' x '.join(f'{one:.3g}' for one in source.spacing[:2])} mm): networks see everything {seen}. "
            f"{option('size', 'PIXELS')}, {factor:.3g} times the shorter side, brings it to the size of training"
        )
    narrow = sum(fit.is_narrow for fit in fits)
    if narrow:
        uses, their = ("uses", "its type") if narrow == 1 else ("use", "their type")
        where = their if source.range is None else f"what the model was trained on, {_in_words(source)}"
        ask = "Do they have fewer bits?" if source.range is None else "Are they in the model's units?"
        notices.append(
            f"{plural(narrow, 'image')} of {len(fits):,} {uses} little of {where}: networks see almost no "
            f"contrast. {ask}"
        )
    return notices
