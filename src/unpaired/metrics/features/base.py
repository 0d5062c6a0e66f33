"""What every source of features has in common: how images are checked, handed over in parts, and described."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from unpaired.core.errors import UserError

PIXELS_AT_ONCE = 1 << 19
"""Pixels of all images that a network sees at the same time: 8 of 256 x 256. It bounds the memory of activations (about
400 MB for VGG-16); a larger image passes alone."""
LARGEST = 1e15
"""Features beyond this are refused: their lengths would overflow in float32, and measures refuse them too."""
TOLERANCE = 1e-3
"""Values this far outside [-1, 1] are taken for rounding."""


class Features(ABC):
    """Turns images into features; `open_features` makes it.

    Images are float tensors [N, 1 or 3, H, W] with values in [-1, 1], on any device. They pass in parts of bounded
    size, without gradients and in full float32, so that the features of an image do not depend on its neighbours.
    """

    name: str
    """As printed with figures; "Inception-v3 (FID)" for that network with the checked weights alone."""
    plain_fid: bool = False
    """Whether a Fréchet distance of these features may be called FID."""
    fingerprint: str
    """SHA-256 of what computes: the file of weights or the program; with `name` and `input` it tells features apart."""
    dim: int
    """Length of a feature vector."""
    input: str
    """How images are resized and normalised before the network sees them, in words."""
    minimum_size: int = 1
    """The smallest height and width, in pixels, that the network takes."""
    gives_maps: bool = False
    """Whether `maps` returns features of every position."""
    channels: int = 3
    """Channels of the images that the network sees; for 3, grey images are repeated."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, images: Tensor) -> Tensor:
        """Return the feature vectors [N, dim], float32 on the CPU.

        Raises UserError for images of other shapes or values, and where a feature is not finite.
        """
        return self._in_parts(images, self._vectors, "features")

    def maps(self, images: Tensor) -> Tensor | None:
        """Return the features of every position [N, channels, h, w], float32 on the CPU; None where there are none.

        Raises UserError as a call does.
        """
        return self._in_parts(images, self._positions, "feature maps") if self.gives_maps else None

    @abstractmethod
    def _vectors(self, images: Tensor) -> Tensor:
        """Return [N, dim] of images [N, channels, H, W] on the device."""

    def _positions(self, images: Tensor) -> Tensor:
        """Return [N, channels, h, w] of images [N, channels, H, W] on the device."""
        raise NotImplementedError

    def _pixels(self, height: int, width: int) -> int:
        """Return how many pixels the network sees of an image; another number where it resizes."""
        return height * width

    def _in_parts(self, images: Tensor, compute: Callable[[Tensor], Tensor], what: str) -> Tensor:
        check_images(images, self.name, self.minimum_size)
        if self.channels == 1 and images.shape[1] == 3:
            raise UserError(f"{self.name} takes grey images; received colour ones. Give images of one channel.")
        several = max(1, PIXELS_AT_ONCE // self._pixels(images.shape[2], images.shape[3]))
        found: list[Tensor] = []
        # TensorFloat-32 and the choice of the fastest kernel would give other last digits on each machine.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            for start in range(0, len(images), several):
                part = images[start : start + several].to(self.device, torch.float32)
                found.append(compute(as_colour(part) if self.channels == 3 else part).float().cpu())
        features = torch.cat(found)
        usable = features.flatten(1).abs().amax(1) <= LARGEST  # NaN is not
        if not usable.all():
            raise UserError(
                f"{self.name} gave {what} that are not finite (NaN or infinite) or above {LARGEST:g} for "
                f"{int((~usable).sum())} of {len(images)} images, so nothing can be measured with it. Check the "
                "weights of this network."
            )
        return features


def check_images(images: Tensor, taker: str, minimum: int = 1) -> None:
    """Raise UserError, with the name of who takes them, unless images are [N, 1 or 3, H, W] floats in [-1, 1]."""
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point() or not len(images):
        raise UserError(
            f"{taker} takes at least one image as a float tensor [N, channels, height, width] with 1 or 3 channels; "
            f"received {images.dtype} {list(images.shape)}. Choose channels that are grey or colours."
        )
    height, width = images.shape[2:]
    if min(height, width) < minimum:
        raise UserError(
            f"{taker} takes images of at least {minimum} x {minimum} pixels; received {height} x {width} (height x "
            "width). Use larger images."
        )
    low, high = (value.item() for value in torch.aminmax(images))
    if not (low >= -1 - TOLERANCE and high <= 1 + TOLERANCE):  # also where they are NaN
        raise UserError(
            f"{taker} takes images with values in [-1, 1]; received values from {low:.4g} to {high:.4g}. Scale them, "
            "for example levels 0 .. 255 by x / 127.5 - 1."
        )


def as_colour(images: Tensor) -> Tensor:
    """Return images of three channels: grey ones repeated, colour ones as they are."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
