"""How much of an image's structure a translation keeps, whatever it did to colours and textures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from unpaired.metrics.inputs import checked_images, checked_pair

POSITIONS = 32
"""Maps of more rows or columns than this are pooled to it, so that a similarity matrix is at most 1024x1024."""
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""
FLAT = 1e-6
"""A deviation of gradients below this is rounding error: the image has no edges."""


def self_similarity(features_x: Tensor, features_y: Tensor) -> Tensor:
    """Return the structure distance of maps of features [N, D, h, w]: one figure per pair, [N], in [0, 4].

    S_ij is the cosine between the features at positions i and j; the distance is the mean squared difference of the two
    matrices S. (Tumanyan et al. 2022, eq. 3 and 4, take the Frobenius norm; the mean does not grow with the size.) Maps
    of more than 32 rows or columns are averaged down to 32. A position without any feature is similar to none.
    Raises `ValueError` for different shapes, a single position, or values that are not finite.
    """
    x, y = checked_pair(features_x, features_y, "features")
    height, width = x.shape[-2:]
    if height * width < 2:
        raise ValueError("self-similarity needs features at two positions or more; received maps of 1x1")
    return (_similarities(x) - _similarities(y)).square().mean((1, 2))


def edge_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return 1 - the correlation of the edges of images [N, C, H, W]: one figure per pair, [N], in [0, 2].

    Edges are gradient magnitudes of the luminance by Sobel's filters, within the image. The luminance of images of
    three channels is that of RGB, else the mean of the channels, so that x and y may differ in their channels. Two
    images without any edges have the distance 0, one without and one with edges 1.
    Raises `ValueError` for different sizes, images below 4x4 pixels, or values that are not finite.
    """
    x, y = checked_images(x, "the first images"), checked_images(y, "the second images")
    if (len(x), x.shape[-2:]) != (len(y), y.shape[-2:]):
        raise ValueError(
            f"images of different sizes cannot be compared pair by pair: {list(x.shape)} and {list(y.shape)}"
        )
    if min(x.shape[-2:]) < 4:
        raise ValueError(f"edges need images of at least 4x4 pixels; received {x.shape[-1]}x{x.shape[-2]}")
    a, b = _edges(x).flatten(1), _edges(y).flatten(1)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    spread_a, spread_b = a.square().mean(1).sqrt(), b.square().mean(1).sqrt()
    flat_a, flat_b = spread_a < FLAT, spread_b < FLAT
    correlation = (a * b).mean(1) / (spread_a * spread_b).clamp(min=FLAT**2)
    distance = 1 - correlation.clamp(-1, 1)
    one_flat = torch.where(flat_a ^ flat_b, torch.ones_like(distance), distance)
    return torch.where(flat_a & flat_b, torch.zeros_like(distance), one_flat)


def _similarities(features: Tensor) -> Tensor:
    """Return the cosine between the features at every two positions, [N, P, P]."""
    height, width = features.shape[-2:]
    if max(height, width) > POSITIONS:
        features = adaptive_avg_pool2d(features, (min(height, POSITIONS), min(width, POSITIONS)))
    directions = normalize(features.flatten(2), dim=1)
    return directions.mT @ directions


def _edges(images: Tensor) -> Tensor:
    """Return gradient magnitudes per pixel, [N, H - 2, W - 2]."""
    weights = LUMINANCE if images.shape[1] == 3 else (1 / images.shape[1],) * images.shape[1]
    luminance = torch.stack([weight * images[:, channel] for channel, weight in enumerate(weights)]).sum(0)
    # Differences first, so that a constant image has gradients of exactly zero.
    across = luminance[:, :, 2:] - luminance[:, :, :-2]
    down = luminance[:, 2:, :] - luminance[:, :-2, :]
    across = (across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]) / 8
    down = (down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]) / 8
    return torch.hypot(across, down)
