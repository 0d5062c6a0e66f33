"""Pixels without a value, which are NaN in batches: what networks see of them, and where they come back.

No method knows of them. Networks see the low end of the range, -1, and what a generator makes of such a pixel has no
value either, so `losses.l1` leaves it out. A discriminator would tell real images from translations by their gaps:
within a row of a batch both images have the gaps of both.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.data.values import LOW
from unpaired.methods.base import Batch, Method
from unpaired.methods.pool import ImagePool, RaggedImagePool
from unpaired.networks import Generator

_CALLED = ("forward", "predict", "features", "with_features")
"""What methods call of networks with images."""


def leave_out_missing(method: Method) -> None:
    """Let the networks of a method take images with NaN; `UserError` for one whose images are made of noise."""
    for network in method.children():
        if isinstance(network, ImagePool | RaggedImagePool):
            continue  # keeps images as they are
        for name in _CALLED:
            if name in dir(network):
                function, returns_image = attrgetter(name)(network), isinstance(network, Generator)
                # Of this object alone: its class, and copies that users get, stay as they are.
                vars(network)[name] = _taking_nan(function, returns_image and name != "features")
    if any(network.is_search for network in method.translators().values()):
        raise UserError(
            "images have pixels without a value (NaN, nodata or masks), and this method makes its images of noise, "
            "where every pixel has one. Train another method, or give images without gaps."
        )


def share_missing(batch: Batch) -> Batch:
    """Give both images of every row the gaps of both, where they are of one size."""
    x, y = batch
    if x.shape[2:] != y.shape[2:]:
        return batch
    missing = x.isnan().any(1, keepdim=True) | y.isnan().any(1, keepdim=True)
    return Batch(x.masked_fill(missing, torch.nan), y.masked_fill(missing, torch.nan))


def _taking_nan(function: Callable[..., Any], returns_image: bool) -> Callable[..., Any]:
    """Return a function of an image that sees NaN as the low end and, where it returns one, puts NaN back."""

    def call(image: Any, *rest: Any, **options: Any) -> Any:
        if not isinstance(image, Tensor) or image.dim() != 4:
            return function(image, *rest, **options)
        missing = image.isnan()
        result = function(image.masked_fill(missing, LOW), *rest, **options)
        if not returns_image:
            return result
        gaps = missing.any(1, keepdim=True)
        if isinstance(result, tuple):
            return (result[0].masked_fill(gaps, torch.nan), *result[1:])
        return result.masked_fill(gaps, torch.nan)

    return call
