"""Discriminators that judge patches (section 3.2.2 of Isola et al. 2017) or single pixels."""

from __future__ import annotations

from typing import Annotated, Literal, final

from pydantic import Field
from torch import Tensor, nn

from unpaired.core.settings import Settings
from unpaired.networks.base import Discriminator, Downsampling, Norm, Width
from unpaired.networks.blocks import BlurredDownsample, Stage, has_bias, normalization

SLOPE = 0.2
"""Slope of the leaky ReLU below 0."""


class PatchganConfig(Settings):
    """The PatchGAN discriminator: one logit for each overlapping patch of the image."""

    family: Literal["patchgan"] = "patchgan"
    """Which discriminator this is."""
    layers: Annotated[int, Field(ge=1, le=8)] = 3
    """Convolutions of stride 2; 3 judges patches of 70 x 70 pixels, the published choice."""
    width: Width = 64
    """Channels of the first layer; they double from layer to layer, up to eight times as many."""
    norm: Norm = "instance"
    """Norm after every convolution but the first and the last."""
    downsampling: Downsampling = "strided"
    """Convolutions of stride 2 as published, or "blur": anti-aliased, as in CUT."""


class PixelConfig(Settings):
    """The pixel discriminator of pix2pix: 1 x 1 convolutions, one logit for each pixel."""

    family: Literal["pixel"] = "pixel"
    """Which discriminator this is."""
    width: Width = 64
    """Channels of the first layer; the second has twice as many."""
    norm: Norm = "instance"
    """Norm after the second convolution."""


@final
class PatchganDiscriminator(Discriminator):
    """Judge [N, in_channels, H, W]: logits [N, 1, h, w], 30 x 30 of them for images of 256 x 256 and 3 layers."""

    config_class = PatchganConfig
    config: PatchganConfig

    def __init__(self, config: PatchganConfig, in_channels: int) -> None:
        # Behind the strides each of the two last convolutions takes away a row and a column.
        super().__init__(config, in_channels, minimum_size=3 * 2**config.layers)
        widths = [config.width * min(2**layer, 8) for layer in range(config.layers + 1)]
        norm, bias, blurred = config.norm, has_bias(config.norm), config.downsampling == "blur"
        self.stages = nn.ModuleList(
            Stage(
                nn.Conv2d(
                    widths[layer - 1] if layer else in_channels,
                    channels,
                    4,
                    stride=2 if layer < config.layers and not blurred else 1,
                    padding=1,
                    bias=bias or layer == 0,
                ),
                norm=normalization(norm, channels) if layer else None,
                activation=nn.LeakyReLU(SLOPE, inplace=True),
                after=BlurredDownsample() if blurred and layer < config.layers else None,
            )
            for layer, channels in enumerate(widths)
        )
        self.head = nn.Conv2d(widths[-1], 1, 4, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.see(image)
        for stage in self.stages:
            features = stage(features)
        logits: Tensor = self.head(features)
        return logits


@final
class PixelDiscriminator(Discriminator):
    """Judge [N, in_channels, H, W]: logits [N, 1, H, W]."""

    config_class = PixelConfig
    config: PixelConfig

    def __init__(self, config: PixelConfig, in_channels: int) -> None:
        super().__init__(config, in_channels, minimum_size=1 if config.norm == "none" else 2)
        width, bias = config.width, has_bias(config.norm)
        self.first = Stage(nn.Conv2d(in_channels, width, 1), activation=nn.LeakyReLU(SLOPE, inplace=True))
        self.second = Stage(
            nn.Conv2d(width, 2 * width, 1, bias=bias),
            norm=normalization(config.norm, 2 * width),
            activation=nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.head = nn.Conv2d(2 * width, 1, 1, bias=bias)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.first(self.see(image))))
        return logits


def receptive_field(config: PatchganConfig | PixelConfig) -> int:
    """Return the side in pixels of the patch that one logit sees: 70 for 3 layers, 1 for the pixel discriminator."""
    if isinstance(config, PixelConfig):
        return 1
    blurred = config.downsampling == "blur"
    halving = [(2, 3), (1, 4)] if blurred else [(2, 4)]  # (stride, kernel), from the logit back to the image
    side = 1
    for stride, kernel in [(1, 4), (1, 4), *(halving * config.layers)]:
        side = (side - 1) * stride + kernel
    return side
