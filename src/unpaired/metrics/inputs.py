"""Checks of the inputs of metrics, so that a wrong one is named and no result is NaN; all raise `ValueError`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Features = Tensor | NDArray[np.floating]
"""One row of features per image: [N, D]."""
Rows = NDArray[np.float64]
"""Features as they are computed with."""
LARGEST = 1e15
"""Features beyond this are refused: their products, and the variance of cubes of these, would overflow."""


def checked_images(images: Tensor, name: str = "images") -> Tensor:
    """Return images [N, C, H, W] of floating point, at least in single precision; one that is not finite is refused."""
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"{name} must be a tensor [N, C, H, W] of at least one image; received {_shape(images)}")
    if not images.is_floating_point():
        raise ValueError(f"{name} must be floating point; received {images.dtype}")
    if not bool(torch.isfinite(images).all()):
        raise ValueError(f"{name} hold values that are not finite (NaN or infinity)")
    return images if images.dtype == torch.float64 else images.float()


def checked_pair(x: Tensor, y: Tensor, what: str = "images") -> tuple[Tensor, Tensor]:
    """Return two batches of images, or of maps, of the same shape, each as `checked_images` returns it."""
    if x.shape != y.shape:
        raise ValueError(f"{what} of different shapes cannot be compared pair by pair: {_shape(x)} and {_shape(y)}")
    return checked_images(x, f"the first {what}"), checked_images(y, f"the second {what}")


def checked_rows(features: Features, name: str = "features") -> NDArray[np.floating]:
    """Return features [N, D] as an array; what is empty, of another shape, not finite or above 1e15 is refused."""
    if isinstance(features, Tensor):
        own = features.detach().cpu()
        plain = (own.float() if own.dtype == torch.bfloat16 else own).numpy()  # numpy has no bfloat16
    else:
        plain = np.asarray(features)
    if plain.ndim != 2 or 0 in plain.shape:
        raise ValueError(f"{name} must be an array [N, D] of at least one row; received {_shape(plain)}")
    if plain.dtype.kind != "f":
        raise ValueError(f"{name} must be floating point; received {plain.dtype}")
    if not np.isfinite(plain).all():
        raise ValueError(f"{name} hold values that are not finite (NaN or infinity)")
    if (largest := max(float(plain.max()), -float(plain.min()))) > LARGEST:
        raise ValueError(f"{name} are too large to be computed with: {largest:.3g}; at most {LARGEST:g}")
    return plain


def checked_sets(real: Features, fake: Features, *, least: int) -> tuple[Rows, Rows]:
    """Return two sets of features of the same width, each of at least `least` rows, in double precision."""
    sets = (
        checked_rows(real, "real features").astype(np.float64),
        checked_rows(fake, "fake features").astype(np.float64),
    )
    if sets[0].shape[1] != sets[1].shape[1]:
        raise ValueError(f"features of different widths cannot be compared: {_shape(sets[0])} and {_shape(sets[1])}")
    if min(len(rows) for rows in sets) < least:
        raise ValueError(f"each set needs at least {least} rows; received {len(sets[0])} real and {len(sets[1])} fake")
    return sets


def _shape(array: Tensor | NDArray[np.generic]) -> str:
    return str(list(array.shape))
