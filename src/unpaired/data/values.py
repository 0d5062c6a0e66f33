"""What pixel values mean: how a stored value becomes a number in [-1, 1] and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from unpaired.core.errors import UserError
from unpaired.core.settings import STRICT
from unpaired.data.labels import Labels

Image = NDArray[np.generic]
"""[H, W, C] in the file's own dtype."""

DTYPE_RANGES: dict[str, tuple[float, float]] = {
    "bool": (0.0, 1.0),
    "uint8": (0.0, 255.0),
    "uint16": (0.0, 65535.0),
    "int16": (-32768.0, 32767.0),
    "float16": (0.0, 1.0),
    "float32": (0.0, 1.0),
    "float64": (0.0, 1.0),
}
"""The values that become -1 and 1 where no range is declared."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Domain:
    """What the images of one domain are; stored with every model, so that translating asks nothing again."""

    channels: Annotated[int, Field(gt=0)]
    """Channels of every image."""
    dtype: Literal["uint8", "uint16", "int16", "float32"] = "uint8"
    """Type in which images of this domain are written: the widest that training met."""
    range: tuple[float, float] | None = None
    """Declared values that become -1 and 1; None means by dtype, see `DTYPE_RANGES`."""

    labels: Labels | None = None
    """What label maps mean, where this domain holds label maps and no pictures."""

    def __post_init__(self) -> None:
        """Refuse a range without values, and label maps in another form than the one that they are fed in."""
        if self.labels is not None and (self.channels, self.dtype, self.range) != (self.labels.channels, "uint8", None):
            raise UserError(
                f"a domain of {self.labels.in_words()} has {self.labels.channels} channels of uint8 and no range; "
                f"received {self.channels} of {self.dtype}, range {self.range}."
            )
        if self.range is not None and not self.range[0] < self.range[1]:
            raise UserError(f"a range of values goes from a lower to a higher one; received {self.range}.")


def domain_to_json(domain: Domain) -> dict[str, Any]:
    """Return a domain as JSON holds it; without `labels` for pictures, as before there were label maps."""
    document = asdict(domain)
    if domain.labels is None:
        del document["labels"]
    return document


def value_range(dtype: np.dtype[np.generic], declared: tuple[float, float] | None) -> tuple[float, float]:
    """Return the values that become -1 and 1: the declared ones, else those of the dtype.

    Raises `UserError` for a dtype that has no obvious range (such as int32) and none declared.
    """
    if declared is not None:
        return declared
    if dtype.name not in DTYPE_RANGES:
        raise UserError(
            f"values of type {dtype.name} have no obvious range. Declare the values that become -1 and 1 "
            f"(data.range_a, data.range_b), or store the images as one of: {', '.join(DTYPE_RANGES)}."
        )
    return DTYPE_RANGES[dtype.name]


def to_signed(image: Image, declared: tuple[float, float] | None = None) -> NDArray[np.float32]:
    """Map stored values to [-1, 1], float32; values outside the range are clipped."""
    low, high = value_range(image.dtype, declared)
    scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(2.0 / (high - low)) - np.float32(1.0)
    clipped: NDArray[np.float32] = np.clip(scaled, -1.0, 1.0).astype(np.float32, copy=False)
    return clipped


def from_signed(signed: NDArray[np.float32], domain: Domain) -> Image:
    """Map [-1, 1] back to the values and dtype of `domain`: clipped, and rounded to nearest for integers."""
    dtype = np.dtype(domain.dtype)
    low, high = value_range(dtype, domain.range)
    values = (np.clip(signed, -1.0, 1.0).astype(np.float64) + 1.0) * ((high - low) / 2.0) + low
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        values = np.clip(np.rint(values), bounds.min, bounds.max)
    return values.astype(dtype)
