"""Whether an exported file does what PyTorch does, at sizes of every kind."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.models.exactness import Exactness, Run, compare, fixed_pictures, reference
from unpaired.models.padding import pad_to
from unpaired.networks import Generator

TOLERANCE = 1e-3
"""Largest difference from float32 PyTorch that an exported file may have, an eighth of a step of 8-bit images."""
SIZES = ((1, 1), (1, 9), (37, 50), (64, 48), (96, 131))
"""(height, width) of the pictures: one pixel, narrower than the padding, odd, matching, larger."""


_MILLIONTH = 1e-6


def parity_images(channels: int) -> list[Tensor]:
    """Return pictures of all sizes, one of noise, and a batch of two."""
    images = fixed_pictures(channels, SIZES)
    return [*images, torch.cat([images[2], images[2].flip(-1)])]


def check_shapes(run: Run, network: Generator, images: Sequence[Tensor]) -> None:
    """Raise `UserError` unless every result has the shape that it should have and is finite."""
    for image in images:
        expected = (image.shape[0], network.out_channels, *image.shape[2:])
        result = run(image)
        if tuple(result.shape) != expected:
            raise _failed(f"an image of shape {list(image.shape)} became {list(result.shape)}, not {list(expected)}")
        if not bool(result.isfinite().all()):
            raise _failed(f"an image of shape {list(image.shape)} became values that are not finite")


def check_parity(run: Run, network: Generator) -> Exactness:
    """Compare a float32 file with PyTorch on every kind of size; `UserError` where they differ by more than TOLERANCE.

    Left out, but for shape and finiteness, are images whose result changes by more than that when they change by a
    millionth: InstanceNorm turns an image of one colour, such as one of one pixel, into magnified rounding errors.
    """
    expected, images = reference(network), parity_images(network.in_channels)
    check_shapes(run, network, images)
    comparable = []
    for image in images:
        if compare(run, expected, [image]).largest <= TOLERANCE:
            comparable.append(image)
        elif _is_stable(network, image):
            found = compare(run, expected, [image])
            raise _failed(f"for an image of shape {list(image.shape)} it {found}; at most {TOLERANCE:g} is allowed")
    return compare(run, expected, comparable)


def _is_stable(network: Generator, image: Tensor) -> bool:
    """Say whether the network's result hardly changes when every value of the padded image changes by a millionth."""
    padded, _ = pad_to(image, network.size_multiple, network.minimum_size)
    noise = torch.empty_like(padded).uniform_(-_MILLIONTH, _MILLIONTH, generator=torch.Generator().manual_seed(0))
    run = reference(network)
    return compare(lambda images: run(images + noise), run, [padded]).largest <= TOLERANCE


def _failed(what: str) -> UserError:
    return UserError(
        f"the exported file does not do what PyTorch does: {what}. Nothing was written. Try another --format, or "
        "another version of the runtime."
    )
