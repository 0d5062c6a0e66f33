"""The U-Net generator of pix2pix (section 6.1.1 of Isola et al. 2017), which CycleGAN's code offers too."""

from __future__ import annotations

from typing import Annotated, Literal, final

import torch
import torch.nn.functional as nnf
from pydantic import Field, model_validator
from torch import Tensor, nn

from unpaired.core.settings import Settings
from unpaired.networks.base import Generator, Norm, Upsampling, Width
from unpaired.networks.blocks import Stage, has_bias, normalization, upsampling_layers


class UnetConfig(Settings):
    """The U-Net generator: an encoder that halves the size `depth` times, a decoder, and skips between them."""

    family: Literal["unet"] = "unet"
    """Which generator this is."""
    depth: Annotated[int, Field(ge=2, le=12)] = 8
    """Halvings; 8 is the authors' `unet_256`, 7 their `unet_128`. Sizes must be multiples of 2 ** depth."""
    width: Width = 64
    """Channels of the outermost level; they double from level to level, up to eight times as many."""
    norm: Norm = "instance"
    """Norm after every convolution but the first, the innermost and the last."""
    upsampling: Upsampling = "transposed"
    """Transposed convolutions as published, or "nearest" and a convolution, which leaves no checkerboards."""
    dropout: bool = False
    """Drop half of the values behind the upsamplings between levels of full width, as published; needs depth >= 6."""

    @model_validator(mode="after")
    def _dropout_has_a_place(self) -> UnetConfig:
        if self.dropout and self.depth < 6:
            raise ValueError(
                f"dropout has no place in a U-Net of depth {self.depth}: it stands between levels of full width, "
                "which begin at depth 6; take depth >= 6 or dropout = false"
            )
        return self


@final
class UnetGenerator(Generator):
    """Translate [N, in_channels, H, W] to [N, out_channels, H, W] in [-1, 1]; H and W are multiples of 2 ** depth."""

    config_class = UnetConfig
    config: UnetConfig

    def __init__(self, config: UnetConfig, in_channels: int, out_channels: int) -> None:
        # The innermost convolution has no norm, so a bottleneck of one pixel works.
        size = 2**config.depth
        super().__init__(config, in_channels, out_channels, size_multiple=size, minimum_size=size)
        widths = [config.width * min(2**level, 8) for level in range(config.depth)]
        self.down = nn.ModuleList(_down(level, in_channels, widths, config.norm) for level in range(config.depth))
        self.up = nn.ModuleList(_up(level, out_channels, widths, config) for level in range(config.depth))

    def forward(self, image: Tensor) -> Tensor:
        self.check(image)
        features = self.run(self.down[0], image)
        skips: list[Tensor] = []
        for down in self.down[1:]:
            # The decoder's ReLU turns the activated skip into what it would make of the plain one.
            features = nnf.leaky_relu_(features, 0.2)
            skips.append(features)
            features = self.run(down, features)
        features = self.run(self.up[-1], nnf.relu_(features))
        for up, skip in zip(reversed(self.up[:-1]), reversed(skips), strict=True):
            features = self.run(up, nnf.relu_(torch.cat([skip, features], 1)))
        return features


def _down(level: int, in_channels: int, widths: list[int], norm: Norm) -> Stage:
    first, innermost = level == 0, level == len(widths) - 1
    before = in_channels if first else widths[level - 1]
    return Stage(
        nn.Conv2d(before, widths[level], 4, stride=2, padding=1, bias=has_bias(norm)),
        norm=None if first or innermost else normalization(norm, widths[level]),
    )


def _up(level: int, out_channels: int, widths: list[int], config: UnetConfig) -> Stage:
    innermost = level == len(widths) - 1
    inputs = widths[level] if innermost else 2 * widths[level]
    outputs = out_channels if level == 0 else widths[level - 1]
    before, convolution = upsampling_layers(
        config.upsampling, inputs, outputs, kernel=4, bias=level == 0 or has_bias(config.norm)
    )
    if level == 0:
        return Stage(convolution, before=before, activation=nn.Tanh())
    drops = config.dropout and 4 <= level < len(widths) - 1
    return Stage(
        convolution, before=before, norm=normalization(config.norm, outputs), dropout=nn.Dropout(0.5) if drops else None
    )
