"""What every network says about itself, and the sizes that it accepts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unpaired.core.errors import UserError
from unpaired.networks.augmentation import Augmentation, augment

Norm = Literal["instance", "batch", "none"]
"""Normalisation after a convolution: InstanceNorm without parameters, BatchNorm, or nothing."""
Upsampling = Literal["transposed", "nearest", "blur"]
"""How a decoder doubles the size: transposed convolution, or a 3 x 3 convolution behind nearest neighbour or behind an
anti-aliased upsampling (Zhang 2019, as in the authors' CUT)."""
Downsampling = Literal["strided", "blur"]
"""How the size is halved: a convolution of stride 2, or one of stride 1 and an anti-aliased downsampling behind it
(Zhang 2019, as in the authors' CUT)."""
Width = Annotated[int, Field(gt=0, le=1024)]
"""Channels of the first layer; the others are multiples of it."""


class Generator(nn.Module, ABC):
    """A network from image to image: [N, in_channels, H, W] in [-1, 1] to [N, out_channels, H, W] in [-1, 1]."""

    config: Any
    """The settings that it was built from."""
    in_channels: int
    """Channels of the images that it takes."""
    out_channels: int
    """Channels of the images that it returns."""
    size_multiple: int
    """Height and width must be multiples of this."""
    minimum_size: int
    """The smallest height and width that it accepts, a multiple of `size_multiple`."""
    recompute: bool = False
    """Activation checkpointing: keep only what goes into each stage, and compute the rest again for the gradient."""

    def __init__(self, config: Any, in_channels: int, out_channels: int, *, size_multiple: int, minimum_size: int):
        super().__init__()
        self.config = config
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.size_multiple = size_multiple
        self.minimum_size = minimum_size

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Translate [N, in_channels, H, W] to [N, out_channels, H, W]; UserError for a size that does not fit."""

    def run(self, stage: nn.Module, features: Tensor) -> Tensor:
        """Apply one stage; with `recompute`, what it would keep for the gradient is made again when needed."""
        if self.recompute and torch.is_grad_enabled():
            # Reading the state of random numbers is forbidden while a CUDA graph is recorded; only dropout needs it.
            draws = any(isinstance(part, nn.Dropout) for part in stage.modules())
            return cast(Tensor, checkpoint(stage, features, use_reentrant=False, preserve_rng_state=draws))
        return cast(Tensor, stage(features))

    def check(self, image: Tensor) -> None:
        """Raise UserError unless the network accepts images of this shape."""
        _check_channels(image, self.in_channels)
        height, width = image.shape[2], image.shape[3]
        multiple, minimum = self.size_multiple, self.minimum_size
        if height % multiple or width % multiple or height < minimum or width < minimum:
            raise UserError(self._size_message(height, width))

    def _size_message(self, height: int, width: int) -> str:
        multiple = self.size_multiple
        sizes = f"{_around(height, multiple, self.minimum_size)} x {_around(width, multiple, self.minimum_size)}"
        return (
            f"The generator received images of {height} x {width} (height x width), but height and width must be "
            f"multiples of {multiple} and at least {self.minimum_size}. The nearest sizes that work are {sizes}. "
            "For training set crop_size to such a size; a translator pads images of any size by itself."
        )


class Discriminator(nn.Module, ABC):
    """A network from image to a map of logits: [N, in_channels, H, W] to [N, 1, h, w]; no sigmoid at the end."""

    config: Any
    """The settings that it was built from."""
    in_channels: int
    """Channels of the images that it takes."""
    minimum_size: int
    """The smallest height and width that it accepts."""
    groups: tuple[int, ...]
    """Channels of the images that it sees behind one another: one image, or a pair."""
    augmentations: tuple[Augmentation, ...] = ()
    """How images are varied before it judges them, in training; the trainer sets it."""

    def __init__(self, config: Any, in_channels: int, *, minimum_size: int):
        super().__init__()
        self.config = config
        self.in_channels = in_channels
        self.minimum_size = minimum_size
        self.groups = (in_channels,)

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Judge [N, in_channels, H, W]: logits [N, 1, h, w], one for each patch; UserError for too small an image."""

    def see(self, image: Tensor) -> Tensor:
        """Return [N, in_channels, H, W] as the network is to judge it: checked, and varied where that is on."""
        self.check(image)
        if self.training and self.augmentations:
            return augment(image, self.augmentations, self.groups)
        return image

    def check(self, image: Tensor) -> None:
        """Raise UserError unless the network accepts images of this shape."""
        _check_channels(image, self.in_channels)
        height, width = image.shape[2], image.shape[3]
        if height < self.minimum_size or width < self.minimum_size:
            raise UserError(
                f"The discriminator received images of {height} x {width} (height x width), but with these settings "
                f"both must be at least {self.minimum_size}. Take larger images (crop_size) or a discriminator with "
                "fewer layers."
            )


def _check_channels(image: Tensor, channels: int) -> None:
    if image.dim() != 4 or image.shape[1] != channels:
        raise UserError(
            f"The network takes images [N, {channels}, H, W], but received a tensor of shape {list(image.shape)}. "
            "Give it a batch of images with that number of channels."
        )


def _around(size: int, multiple: int, minimum: int) -> str:
    """Name the nearest accepted sizes below and above `size`."""
    below = size // multiple * multiple
    above = max(-(-size // multiple) * multiple, minimum)
    return str(above) if below < minimum or below == above else f"{below} or {above}"
