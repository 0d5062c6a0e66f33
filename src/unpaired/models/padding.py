"""Padding of images to sizes that a network accepts, and back."""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.networks import Generator


def padded_size(height: int, width: int, multiple: int, minimum: int) -> tuple[int, int]:
    """Return the smallest (height, width) at least as large that is divisible by `multiple` and not below `minimum`."""
    return _round_up(max(height, minimum), multiple), _round_up(max(width, minimum), multiple)


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def pad_to(image: Tensor, multiple: int, minimum: int = 1) -> tuple[Tensor, tuple[int, int]]:
    """Pad `image` [N, C, H, W] on the right and at the bottom by reflection; return it and its own (H, W).

    Works for every size from 1 x 1 up: where the padding is wider than the image, the reflection goes back and forth.
    Nothing is copied where nothing is to be added. `UserError` for an image without pixels.
    """
    height, width = int(image.shape[-2]), int(image.shape[-1])
    if height < 1 or width < 1:
        raise UserError(f"an image of {height} x {width} (height x width) has no pixels: nothing can be translated.")
    new_height, new_width = padded_size(height, width, multiple, minimum)
    below, right = new_height - height, new_width - width
    if below == 0 and right == 0:
        return image, (height, width)
    if below < height and right < width:
        return nnf.pad(image, (0, right, 0, below), mode="reflect"), (height, width)
    rows = _reflected_indices(height, new_height, image.device)
    columns = _reflected_indices(width, new_width, image.device)
    return image.index_select(-2, rows).index_select(-1, columns), (height, width)


def crop_back(padded: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the part of `padded` [N, C, H, W] that the image of (height, width) `size` was before `pad_to`."""
    return padded[..., : size[0], : size[1]]


def forward_padded(network: Generator, images: Tensor) -> Tensor:
    """Send images [N, C, H, W] of any size through a network, padded as it needs them, and crop the result back.

    By `forward`: networks that are compiled for training batches are not compiled again for other sizes.
    """
    padded, size = pad_to(images, network.size_multiple, network.minimum_size)
    return crop_back(network.forward(padded), size)


def _reflected_indices(length: int, padded: int, device: torch.device) -> Tensor:
    """Return 0, 1, ..., length - 1, length - 2, ..., 1, 0, 1, ... up to `padded` entries: a triangular wave."""
    if length == 1:
        return torch.zeros(padded, dtype=torch.int64, device=device)
    period = 2 * (length - 1)
    position = torch.arange(padded, device=device) % period
    return torch.where(position < length, position, period - position)
