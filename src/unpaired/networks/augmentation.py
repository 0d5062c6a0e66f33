"""Differentiable augmentation: what a discriminator sees is varied, real and generated images alike.

"Differentiable Augmentation for Data-Efficient GAN Training", Zhao et al., NeurIPS 2020, arXiv:2006.10738: with few
images a discriminator learns them by heart. Since gradients flow through the change, translations do not learn it.
Every image of a batch is varied for itself; random numbers are drawn on the device, so a CUDA graph can hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor

Augmentation = Literal["colour", "translation", "cutout"]
"""Brightness, saturation and contrast; a shift by up to an eighth; a square of half the size made grey."""
SHIFT = 0.125
CUTOUT = 0.5
"""The publication's strengths, as shares of the size."""


def augment(images: Tensor, kinds: Sequence[Augmentation], groups: Sequence[int]) -> Tensor:
    """Return [N, C, H, W] varied in these ways, in the order colour, translation, cutout.

    `groups` are the channels of the images that lie behind one another in C: a pair is shifted and cut as a whole, and
    each of its images has colours of its own.
    """
    if "colour" in kinds:
        images = torch.cat([vary_colour(part) for part in torch.split(images, list(groups), dim=1)], dim=1)
    if "translation" in kinds:
        images = shift(images)
    if "cutout" in kinds:
        images = cut_out(images)
    return images


def vary_colour(images: Tensor) -> Tensor:
    """Change brightness by up to 0.5 (of a range of 2), saturation by 0 to 2 times, contrast by 0.5 to 1.5 times."""
    images = images + _uniform(images, -0.5, 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = (images - grey) * _uniform(images, 0.0, 2.0) + grey
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * _uniform(images, 0.5, 1.5) + mean


def shift(images: Tensor) -> Tensor:
    """Move every image by up to an eighth of its size, rounded, in both directions; what comes in is 0 (grey)."""
    height, width = images.shape[2:]
    rows = _places(images, height)
    columns = _places(images, width)
    padded = nnf.pad(images, (1, 1, 1, 1))  # a border of zeros, where all places outside lead
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def cut_out(images: Tensor) -> Tensor:
    """Make a rectangle of half the height and width 0 (grey), anywhere, also reaching over the border."""
    height, width = images.shape[2:]
    inside_rows = _within(images, height)
    inside_columns = _within(images, width)
    outside = ~(inside_rows[:, None, :, None] & inside_columns[:, None, None, :])
    return images * outside


def _uniform(images: Tensor, low: float, high: float) -> Tensor:
    """Draw one number for each image: [N, 1, 1, 1]."""
    return torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype) * (high - low) + low


def _places(images: Tensor, length: int) -> Tensor:
    """Return for each image and place of the result the place of the padded image that it shows: [N, length]."""
    reach = int(length * SHIFT + 0.5)
    moves = torch.randint(-reach, reach + 1, (len(images), 1), device=images.device)
    return (torch.arange(length, device=images.device) + moves + 1).clamp(0, length + 1)


def _within(images: Tensor, length: int) -> Tensor:
    """Say for each image which places lie within a stretch of half the length, put anywhere: [N, length] of bool."""
    size = int(length * CUTOUT + 0.5)
    centre = torch.randint(0, length + (1 - size % 2), (len(images), 1), device=images.device)
    first = centre - size // 2
    places = torch.arange(length, device=images.device)
    return (places >= first) & (places < first + size)
