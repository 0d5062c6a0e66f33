"""The ResNet generator of CycleGAN (section 7.1 of Zhu et al. 2017, after Johnson et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.core.settings import Settings
from unpaired.networks.base import Downsampling, Generator, Norm, Upsampling, Width
from unpaired.networks.blocks import (
    BlurredDownsample,
    ReflectedPair,
    ResidualBlock,
    Stage,
    has_bias,
    normalization,
    upsampling_layers,
)


class ResnetConfig(Settings):
    """The ResNet generator: 7 x 7 convolution, two downsamplings, residual blocks, two upsamplings, 7 x 7 and tanh."""

    family: Literal["resnet"] = "resnet"
    """Which generator this is."""
    width: Width = 64
    """Channels of the first layer; the residual blocks have four times as many."""
    blocks: Annotated[int, Field(ge=0, le=100)] = 9
    """Residual blocks; the paper takes 6 for images of 128 x 128 and 9 for 256 x 256 and more."""
    norm: Norm = "instance"
    """Norm after every convolution but the last."""
    downsampling: Downsampling = "strided"
    """Convolutions of stride 2 as published, or "blur": anti-aliased, as in CUT."""
    upsampling: Upsampling = "transposed"
    """Transposed convolutions as published; "nearest" or the anti-aliased "blur" leave no checkerboards."""
    dropout: bool = False
    """Drop half of the values between the two convolutions of every residual block."""


class ResnetGenerator(Generator):
    """Translate [N, in_channels, H, W] to [N, out_channels, H, W] in [-1, 1]; H and W multiples of 4, at least 8."""

    config_class: ClassVar[type[ResnetConfig]] = ResnetConfig
    config: ResnetConfig

    def __init__(self, config: ResnetConfig, in_channels: int, out_channels: int) -> None:
        # 8: a quarter of it is the least that reflection padding by 1 and a norm can work on.
        super().__init__(config, in_channels, out_channels, size_multiple=4, minimum_size=8)
        width, norm = config.width, config.norm
        self.stem = Stage(
            nn.Conv2d(in_channels, width, 7, bias=has_bias(norm)),
            before=nn.ReflectionPad2d(3),
            norm=normalization(norm, width),
            activation=nn.ReLU(inplace=True),
        )
        self.down = nn.ModuleList(_down(channels, config) for channels in (width, 2 * width))
        self.residual = nn.ModuleList(
            ResidualBlock(4 * width, norm, dropout=config.dropout) for _ in range(config.blocks)
        )
        self.up = nn.ModuleList(_up(channels, config) for channels in (4 * width, 2 * width))
        self.head = Stage(nn.Conv2d(width, out_channels, 7), before=nn.ReflectionPad2d(3), activation=nn.Tanh())

    @property
    def residual_channels(self) -> int:
        """Channels of the residual blocks that `use_winograd` computes; 0 where there are none."""
        return 4 * int(self.config.width) if any(isinstance(block, ReflectedPair) for block in self.residual) else 0

    def use_winograd(self) -> None:
        """Compute the residual blocks by `networks.winograd` from now on, which takes float32 or bfloat16 on the CPU.

        To be called again after the step of a fused optimiser, see `winograd.Kernels`.
        """
        for number, block in enumerate(self.residual, start=1):
            if isinstance(block, ReflectedPair):
                block.use_winograd(last=number == len(self.residual))

    def layers(self) -> list[nn.Module]:
        """Return the layers in order, numbered like those of the authors' code.

        A residual block is one layer; 0 is the padding of the image, 4 and 7 are the downsampling convolutions, 10 is
        the first residual block. With anti-aliased downsampling these are 4, 8 and 12.
        """
        return [layer for stage in self.stages() for layer in (stage.layers() if isinstance(stage, Stage) else [stage])]

    def stages(self) -> list[nn.Module]:
        """Return the parts that work one after the other."""
        return [self.stem, *self.down, *self.residual, *self.up, self.head]

    def forward(self, image: Tensor) -> Tensor:
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> Tensor:
        """Return what the residual blocks make of an image [N, in_channels, H, W]: [N, 4 width, H / 4, W / 4]."""
        self.check(image)
        return self._run([self.stem, *self.down, *self.residual], image)

    def decode(self, features: Tensor) -> Tensor:
        """Return the image [N, out_channels, H, W] that the rest makes of such features."""
        return self._run([*self.up, self.head], features)

    def _run(self, stages: Sequence[nn.Module], features: Tensor) -> Tensor:
        for stage in stages:
            features = self.run(stage, features)
        return features

    def features(self, image: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """Return what the layers numbered `taps` (ascending, see `layers`) make of [N, in_channels, H, W].

        As in the authors' CUT, a norm's result before the last tap is seen behind its ReLU, which works in place; that
        of the last tap, behind which they stop, is seen as it is.
        """
        return self._through(self.layers()[: max(taps) + 1], image, taps)[1]

    def with_features(self, image: Tensor, taps: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """Return the translation of [N, in_channels, H, W] and the `features` that it went through."""
        return self._through(self.layers(), image, taps)

    def _through(self, layers: Sequence[Any], image: Tensor, taps: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        self.check(image)
        features, found = image, []
        for number, layer in enumerate(layers):
            features = layer(features)
            if number in taps:
                kept = number == taps[-1] and _overwritten(layers[number + 1 :])
                found.append(features.clone() if kept else features)
        return features, found

    def feature_channels(self, taps: Sequence[int]) -> list[int]:
        """Return the channels of `features`; UserError where there is no such layer."""
        layers = self.layers()
        if not taps or not all(0 <= tap < len(layers) for tap in taps) or list(taps) != sorted(set(taps)):
            raise UserError(
                f"{f'layers {list(taps)}' if taps else 'no layers'} of the generator were asked for; it has "
                f"{len(layers)}, numbered from 0 to {len(layers) - 1}. Give numbers among these, each once, ascending."
            )
        channels, found = self.in_channels, []
        for number, layer in enumerate(layers):
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                channels = layer.out_channels
            if number in taps:
                found.append(channels)
        return found


def _overwritten(following: Sequence[Any]) -> bool:
    first = next((layer for layer in following if not isinstance(layer, nn.Identity)), None)
    return isinstance(first, nn.ReLU) and first.inplace


def _down(channels: int, config: ResnetConfig) -> Stage:
    blurred = config.downsampling == "blur"
    return Stage(
        nn.Conv2d(channels, 2 * channels, 3, stride=1 if blurred else 2, padding=1, bias=has_bias(config.norm)),
        norm=normalization(config.norm, 2 * channels),
        activation=nn.ReLU(inplace=True),
        after=BlurredDownsample() if blurred else None,
    )


def _up(channels: int, config: ResnetConfig) -> Stage:
    before, convolution = upsampling_layers(
        config.upsampling, channels, channels // 2, kernel=3, bias=has_bias(config.norm)
    )
    return Stage(
        convolution, before=before, norm=normalization(config.norm, channels // 2), activation=nn.ReLU(inplace=True)
    )
