"""The ResNet generator that leaves out what its target domain cannot show: F of StegoGAN (Wu et al., CVPR 2024)."""

from __future__ import annotations

from typing import Literal, final

from torch import Tensor, nn

from unpaired.networks.blocks import Stage, has_bias, normalization
from unpaired.networks.resnet import ResnetConfig, ResnetGenerator


class MaskedResnetConfig(ResnetConfig):
    """The ResNet generator with a mask of its features behind the residual blocks."""

    family: Literal["masked_resnet"] = "masked_resnet"  # type: ignore[assignment]
    """Which generator this is."""


@final
class MaskedResnetGenerator(ResnetGenerator):
    """Translate as a ResNet does, of features that are multiplied by a mask in [0, 1] that it predicts from them."""

    config_class = MaskedResnetConfig

    def __init__(self, config: MaskedResnetConfig, in_channels: int, out_channels: int) -> None:
        super().__init__(config, in_channels, out_channels)
        width, bias = 4 * config.width, has_bias(config.norm)
        convolutions = [nn.Conv2d(width, width, 3, padding=1, bias=bias) for _ in range(2)]
        hidden = (Stage(each, norm=normalization(config.norm, width), activation=nn.ReLU()) for each in convolutions)
        self.mask = nn.Sequential(*hidden, nn.Conv2d(width, width, 3, padding=1), nn.Sigmoid())

    def forward(self, image: Tensor) -> Tensor:
        return self.decode(self.split(image)[0])

    def split(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the target can show of an image's features, the rest of them, and the mask.

        Each is [N, 4 width, H / 4, W / 4]. The first two add up to what the residual blocks made, and `decode` makes
        the translation of the first; the mask, in [0, 1], is their share of it.
        """
        features = self.encode(image)
        mask = self.run(self.mask, features)
        kept = features * mask
        return kept, features - kept, mask
