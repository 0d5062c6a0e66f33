"""What every network says about itself, and the sizes that it accepts."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unpaired.core.errors import UserError, option
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


Input = Literal["image", "style", "time", "noise"]
"""What a generator's `forward` takes."""
Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all for the images of this call, mean absolute error of the present image)."""


class Network(nn.Module, ABC):
    """What generators and discriminators have in common: settings and channels."""

    config_class: ClassVar[type[Any]]
    """The class of its settings, whose field `family` names this network."""
    config: Any
    """The settings that it was built from."""
    in_channels: int
    """Channels of the images that it takes."""


class Generator(Network):
    """A network from image to image: [N, in_channels, H, W] in [-1, 1] to [N, out_channels, H, W] in [-1, 1].

    A family is one file with a class `NAME(config, in_channels, out_channels)`, and one line in
    `networks.families.GENERATORS`; or a class of the user's, named as `package.module:NAME`.
    """

    takes: ClassVar[tuple[Input, ...]] = ("image",)
    """What a step of it takes, in order. `forward` takes an image alone: with a time, it makes all steps by itself
    (`stop_after` of its settings), with noise drawn from a seed (`seed`), so that a translation can be repeated."""
    differentiable: ClassVar[bool] = True
    """Whether gradients flow from the result to the image."""
    exportable: ClassVar[bool] = True
    """Whether other runtimes can compute it."""
    is_search: ClassVar[bool] = False
    """Whether it is a `Search`: an optimisation for each image in place of a network."""
    sees_whole_image: ClassVar[bool] = False
    """Whether a part of its result depends on the whole image, as through attention, by more than the norms."""
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

    @property
    def search(self) -> Search | None:
        """The network itself where it `is_search`, else None."""
        return None

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Translate [N, in_channels, H, W] to [N, out_channels, H, W]; UserError for a size that does not fit."""

    def draw(self) -> None:
        """Draw the noise of translations anew from `config.seed`, where it takes noise."""

    def fields(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return what `forward` sees at positions beside the image, [F, h, w], by default nothing (F = 0).

        `rows` [h] and `columns` [w] are int64, from the top left of the image. Where F is not 0, `forward` takes the
        fields of the image [N, F, H, W] as a second argument, by default those that it makes itself: so that an image
        can be computed by tiles.
        """
        return torch.empty(0, len(rows), len(columns))

    def run(self, stage: nn.Module, *inputs: Tensor) -> Tensor:
        """Apply one stage; with `recompute`, what it would keep for the gradient is made again when needed."""
        if self.recompute and torch.is_grad_enabled():
            # Reading the state of random numbers is forbidden while a CUDA graph is recorded; only dropout needs it.
            draws = any(isinstance(part, nn.Dropout) for part in stage.modules())
            return cast(Tensor, checkpoint(stage, *inputs, use_reentrant=False, preserve_rng_state=draws))
        return cast(Tensor, stage(*inputs))

    def check(self, image: Tensor) -> None:
        """Raise UserError unless the network accepts images of this shape."""
        _check_channels(image, self.in_channels)
        height, width = image.shape[2], image.shape[3]
        multiple, minimum = self.size_multiple, self.minimum_size
        if height % multiple or width % multiple or height < minimum or width < minimum:
            sizes = f"{_around(height, multiple, minimum)} x {_around(width, multiple, minimum)}"
            raise UserError(
                f"The generator received images of {height} x {width} (height x width), but height and width must be "
                f"multiples of {multiple} and at least {minimum}. The nearest sizes that work are {sizes}. For "
                f"training set {option('data.crop_size')} to such a size; a translator pads images by itself."
            )


@dataclass(frozen=True, slots=True)
class SearchError:
    """What remains between an image, at the search's size, and the nearest image that was found."""

    l1: float
    """Mean absolute difference, in units of the range [-1, 1], which is 2 wide."""
    psnr: float
    """Peak signal-to-noise ratio in dB; infinite where nothing differs."""


class Search(Generator):
    """A generator that searches for the translation of each image: seconds to minutes, in float32, on PyTorch alone."""

    differentiable = False
    exportable = False
    is_search = True
    progress: Progress | None = None
    """Called with how far the search is."""
    last_errors: list[SearchError]
    """For each image of the last call: how far the nearest image that was found is from it."""

    @property
    def search(self) -> Search:
        """The search itself."""
        return self

    @property
    @abstractmethod
    def summary(self) -> str:
        """How it searches, in a few words, such as "a search of 100 steps for each image"."""

    @abstractmethod
    def generate(self, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Return `count` pairs (of A, of B) of generated images, [count, C, H, W] each: always the same for a seed."""


class Discriminator(Network):
    """A network from image to a map of logits: [N, in_channels, H, W] to [N, 1, h, w]; no sigmoid at the end.

    A family is one file with a class `NAME(config, in_channels)`, and one line in `networks.families.DISCRIMINATORS`;
    or a class of the user's, named as `package.module:NAME`.
    """

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


def without_autocast(values: Tensor) -> contextlib.AbstractContextManager[object]:
    """Switch autocast off on the device of `values`; rehearsals on `meta` know no autocast."""
    return contextlib.nullcontext() if values.is_meta else torch.autocast(values.device.type, enabled=False)


def mixes_images(network: nn.Module) -> bool:
    """Whether the images of one call see one another, as they do through batch norm; then calls must not be joined."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def on_both(network: nn.Module, one: Tensor, other: Tensor, *conditions: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a network makes of two batches [N, C, H, W], in one call where that gives the same.

    `conditions` are further inputs, which hold for all images.
    """
    if one.shape != other.shape or mixes_images(network):
        return network(one, *conditions), network(other, *conditions)
    of_one, of_other = network(torch.cat([one, other]), *conditions).chunk(2)
    return of_one, of_other


def _check_channels(image: Tensor, channels: int) -> None:
    if image.dim() != 4 or image.shape[1] != channels:
        raise UserError(
            f"The network takes images [N, {channels}, H, W], but received a tensor of shape {list(image.shape)}. "
            "Give it a batch of images with that number of channels."
        )


def _around(size: int, multiple: int, minimum: int) -> str:
    below = size // multiple * multiple
    above = max(-(-size // multiple) * multiple, minimum)
    return str(above) if below < minimum or below == above else f"{below} or {above}"
