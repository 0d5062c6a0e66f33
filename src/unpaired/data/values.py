"""What pixel values mean: how a stored value becomes a number in [-1, 1] and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from unpaired.core.errors import UserError
from unpaired.core.settings import STRICT
from unpaired.data.directions import DOMAIN_NAME
from unpaired.data.labels import Indices, Labels, classes_of, encoded

if TYPE_CHECKING:
    from torch import Tensor

Image = NDArray[np.generic]
"""[H, W, C] in the file's own dtype."""
Signed = NDArray[np.float32]
"""[H, W, C] in [-1, 1]."""

_VALUES = 1 << 20
"""Larger images are converted in parts of so many values."""
LOW = -1.0
"""What networks see where a pixel has no value: the low end of the range."""
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
    name: Annotated[str, Field(max_length=40, pattern=DOMAIN_NAME)] = ""
    """What people call it, such as `horse`; empty where nobody said."""
    alpha: bool = False
    """Whether the last of two or four channels is transparency; elsewhere images are laid over white."""
    axis: Annotated[int, Field(ge=0, le=2)] = 0
    """Along which axis volumes are cut into slices, see `data.axis`."""
    neighbours: Annotated[int, Field(ge=0, le=64)] = 0
    """Slices on either side that are channels before and behind those of an image's own."""
    spacing: tuple[float, ...] = ()
    """Median distance of the pixels of the training images, down and across, then between images, in millimetres."""
    unit: Annotated[str, Field(max_length=40)] = ""
    """Of the values, such as `HU`, `K`, or `0.01 K` where 100 is one kelvin; empty for pictures."""

    def __post_init__(self) -> None:
        if self.alpha and (self.channels not in (2, 4) or self.labels is not None):
            raise UserError(f"a domain with alpha has 2 or 4 channels; received {self.channels}.")
        if self.labels is not None and (self.channels, self.dtype, self.range) != (self.labels.channels, "uint8", None):
            raise UserError(
                f"a domain of {self.labels.in_words()} has {self.labels.channels} channels of uint8 and no range; "
                f"received {self.channels} of {self.dtype}, range {self.range}."
            )
        if self.range is not None and not self.range[0] < self.range[1]:
            raise UserError(f"a range of values goes from a lower to a higher one; received {self.range}.")

    def title(self, side: str) -> str:
        """Return its name, or its letter (`A`) where it has none."""
        return self.name or side.upper()


_OPTIONAL = ("labels", "name", "alpha", "axis", "neighbours", "spacing", "unit")


def split_unit(unit: str) -> tuple[float, str]:
    """Return what one step of the values is worth, and in which unit: `0.01 K` is (0.01, `K`), `HU` (1, `HU`)."""
    first, _, rest = unit.partition(" ")
    try:
        return float(first), rest
    except ValueError:
        return 1.0, unit


def domain_to_json(domain: Domain) -> dict[str, Any]:
    """Return a domain as JSON holds it; without what is unset and older versions do not know."""
    return {key: value for key, value in asdict(domain).items() if value or key not in _OPTIONAL}


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


def to_signed(image: Image, declared: tuple[float, float] | None = None) -> Signed:
    """Map stored values to [-1, 1], float32; values outside the range are clipped, and NaN stays."""
    low, high = value_range(image.dtype, declared)

    def scaled(part: Image) -> Signed:
        values = (part.astype(np.float32) - np.float32(low)) * np.float32(2.0 / (high - low)) - np.float32(1.0)
        clipped: Signed = np.clip(values, -1.0, 1.0).astype(np.float32, copy=False)
        return clipped

    signed: Signed = _by_parts(scaled, image, np.dtype(np.float32))
    return signed


def with_nan(image: Image, valid: NDArray[np.bool_] | None) -> Image:
    """Return an image with NaN where pixels have no value, [H, W], as float32; itself where all have one."""
    if valid is None:
        return image
    return np.where(valid[:, :, None], image, np.float32(np.nan)).astype(np.float32, copy=False)


def filled(signed: Signed) -> tuple[Signed, NDArray[np.bool_] | None]:
    """Return an image in [-1, 1] as networks see it and where pixels have no value, [H, W]; None where all have one.

    These, which are NaN, become the low end of the range: -1.
    """
    missing = np.asarray(np.isnan(signed).any(axis=2))
    if not missing.any():
        return signed, None
    return np.where(missing[:, :, None], np.float32(LOW), signed), missing


def from_signed(signed: Signed, domain: Domain) -> Image:
    """Map [-1, 1] back to the values and dtype of `domain`: clipped, and rounded to nearest for integers.

    NaN stays NaN in floats and becomes the low end of the range in integers.
    """
    dtype = np.dtype(domain.dtype)
    low, high = value_range(dtype, domain.range)

    def stored(part: Signed) -> Image:
        if dtype.kind in "iu" and np.isnan(part).any():
            part = np.nan_to_num(part, nan=LOW)
        values = (np.clip(part, -1.0, 1.0).astype(np.float64) + 1.0) * ((high - low) / 2.0) + low
        if dtype.kind in "iu":
            bounds = np.iinfo(dtype)
            values = np.clip(np.rint(values), bounds.min, bounds.max)
        return values.astype(dtype)

    image: Image = _by_parts(stored, signed, dtype)
    return image


def _by_parts(function: Callable[[NDArray[Any]], NDArray[Any]], image: NDArray[Any], dtype: np.dtype[Any]) -> Any:
    """Return a function of each value; of a large image part by part, so that no wider copy of it stands beside it."""
    if image.size <= _VALUES:
        return function(image)
    result = np.empty(image.shape, dtype)
    lines = max(_VALUES * len(image) // image.size, 1)
    for first in range(0, len(image), lines):
        result[first : first + lines] = function(image[first : first + lines])
    return result


def as_stored(signed: Signed, domain: Domain) -> Image:
    """Return what a network made, [H, W, C] in [-1, 1], as a file of its domain holds it.

    Rounded to the levels of the dtype. In label maps every pixel takes the class of the largest channel or, in 8 bits,
    of the nearest palette colour, and is encoded as networks see it.
    """
    if domain.labels is None:
        return from_signed(signed, domain)
    return encoded(stored_classes(signed, domain.labels), domain.labels)


def stored_classes(signed: Signed, labels: Labels) -> Indices:
    """Return the classes of a label map that a network made, [H, W, C] in [-1, 1]: uint8 [H, W]; none is void."""
    if labels.feed == "one_hot":  # in full precision: equal bytes need not be equal values
        return classes_of(signed, labels)
    return classes_of(from_signed(signed, Domain(channels=3)), labels)


def rounded(images: Tensor, domain: Domain) -> Tensor:
    """Return what a network made, [N, C, H, W] in [-1, 1], as its files hold it, in [-1, 1]: see `as_stored`.

    On the same device, float32; what is not finite stays so.
    """
    import torch

    if domain.labels is not None:
        made = images.float().permute(0, 2, 3, 1).nan_to_num().cpu().numpy()
        stored = np.stack([to_signed(as_stored(image, domain)) for image in made])
        snapped = torch.from_numpy(stored).permute(0, 3, 1, 2).to(images.device)
        return torch.where(images.isfinite().all(1, keepdim=True), snapped, images.float())
    dtype = np.dtype(domain.dtype)
    if dtype.kind not in "iu":
        return images.float().clamp(-1, 1)
    low, high = value_range(dtype, domain.range)
    bounds = np.iinfo(dtype)
    wide = images.to(torch.float32 if images.device.type == "mps" else torch.float64)
    levels = ((wide.clamp(-1, 1) + 1) * ((high - low) / 2) + low).round().clamp(int(bounds.min), int(bounds.max))
    scale = float(np.float32(2.0 / (high - low)))
    return levels.float().sub(float(np.float32(low))).mul(scale).sub(1).clamp(-1, 1)
