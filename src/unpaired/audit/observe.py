"""An observer that needs no training: how much a place looks like a structure, and the area under its ROC curve.

The observer knows shape and place of what it looks for, and neither colour nor sign. Its score is the share of the
variation within a window that the structure's shape explains, over all channels: the squared normalised
cross-correlation, also called adaptive coherence estimator, whose rate of false alarms does not depend on the strength
of a noise (Kraut and Scharf 1999); the largest within a few pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from unpaired.audit.disturb import LEVEL
from unpaired.audit.measure import Values
from unpaired.audit.plant import Structure, box


def filters_of(one: Structure) -> Tensor:
    """Return orthonormal filters [K, w, w] without a mean: its shape, and of a picture the pattern within it."""
    shapes, (height, width), side = [one.profile.double()], one.profile.shape, one.window
    if one.picture is not None:
        pattern = one.picture.double().mean(0)
        shapes.append(shapes[0] * (pattern - (shapes[0] * pattern).sum() / shapes[0].sum()))
    padded = torch.zeros(len(shapes), side, side, dtype=torch.float64)
    padded[box((side // 2, side // 2), (height, width))] = torch.stack(shapes)
    q, r = torch.linalg.qr((padded - padded.mean((1, 2), keepdim=True)).flatten(1).T)
    filters: Tensor = q.T[r.diagonal().abs() > 1e-6 * side]
    return filters.reshape(-1, side, side)


def scores(images: Tensor, centres: Sequence[tuple[int, int]], one: Structure, floor: float = LEVEL) -> Tensor:
    """Return how much of images [N, C, H, W], each at a centre of its own, is a structure: [N] from 0 to below 1.

    Variations below `floor` are no structure: where a window is flat, so much noise at every pixel is assumed.
    """
    filters = filters_of(one)
    side = filters.shape[-1]
    around = (side + 2 * one.tolerance,) * 2
    crops = torch.stack([image[box(centre, around)] for image, centre in zip(images, centres, strict=True)]).double()
    flat = crops.flatten(0, 1)[:, None]
    explained = nnf.conv2d(flat, filters[:, None]).square().sum(1)
    mean, square = (nnf.avg_pool2d(values, side, stride=1)[:, 0] for values in (flat, flat.square()))
    energy = ((square - mean.square()).clamp(min=0) + floor**2) * side**2
    shape = (*crops.shape[:2], *energy.shape[1:])
    found: Tensor = explained.reshape(shape).sum(1) / energy.reshape(shape).sum(1)
    return found.amax((1, 2))


@dataclass(frozen=True, slots=True)
class Area:
    """An area under ROC curves: how often, of an image with and one without a structure, the right one is named."""

    value: float
    influence: Values
    """[N]: what each image adds, so that means and differences of areas of the same images have errors too."""

    @property
    def error(self) -> float | None:
        """Return the standard error over images, within which places are not independent (Obuchowski 1997)."""
        return error_of(self.influence)


def error_of(influence: Values) -> float | None:
    """Return the standard error of what images add; None for one image."""
    count = len(influence)
    return float(np.sqrt(np.square(influence).sum() / (count * (count - 1)))) if count > 1 else None


def area(positive: Values, negative: Values) -> Area:
    """Return the area for scores with the structure, [N], and without it, [N, P], image by image; ties count half."""

    def below(values: Values, others: Values) -> Values:
        known = np.sort(others, axis=None)
        left, right = np.searchsorted(known, values, "left"), np.searchsorted(known, values, "right")
        return np.asarray((left + right) / (2 * known.size))

    with_it, without = below(positive, negative), 1 - below(negative, positive)
    value = float(with_it.mean())
    return Area(value, with_it + without.mean(axis=1) - 2 * value)


def mean_area(areas: Sequence[Area]) -> Area:
    """Return the mean of areas of the same images."""
    return Area(float(np.mean([each.value for each in areas])), np.mean([each.influence for each in areas], axis=0))
