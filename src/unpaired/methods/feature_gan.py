"""Feature loss + GAN: SimGAN whose result is compared with its input by features of a network in place of pixels.

A baseline of the CycleGAN paper (section 5.1): L1 between the features of VGG-16's layer relu4_2. EfficientNet-Lite0,
whose weights a package brings, takes its place where VGG-16's are not named.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated, Literal, final

import torch
import torch.nn.functional as nnf
from pydantic import Field
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.methods.base import ImageShapes
from unpaired.methods.losses import l1
from unpaired.methods.simgan import Refiner, RefinerConfig
from unpaired.metrics import features
from unpaired.metrics.features.published import find_vgg, read_vgg
from unpaired.metrics.features.weights import LITE0, find_weights
from unpaired.networks.efficientnet import Lite0Maps
from unpaired.networks.stacks import MINIMUM_SIZE, VggFeatures
from unpaired.networks.weight_files import read_weights

WEIGHTS = "method.vgg_weights"


class Config(RefinerConfig):
    """Settings of feature-loss GAN."""

    features: Literal["auto", "lite0", "vgg"] = "auto"
    """Network whose features are compared: VGG-16, as published, or EfficientNet-Lite0; `auto` is EfficientNet-Lite0
    where the extra `features` is installed and `vgg_weights` is not given. Noted when training begins."""
    vgg_weights: str | None = None
    """File of VGG-16 weights under torchvision's names (.pth or .safetensors); without it torchvision's own, from
    the cache or downloaded once."""
    vgg_sha256: str | None = None
    """Checksum of that file; noted when training begins, so that it goes on with the same weights only."""
    feature_size: Annotated[int, Field(ge=0, le=8192)] = 224
    """Both images are brought to this size before the network sees them, as in the CycleGAN authors' code; 0 leaves
    them as they are."""

    def check(self) -> None:
        """Refuse a size that VGG-16 cannot work on, and settings that nothing would use."""
        super().check()
        if self.features == "lite0" and self.vgg_weights is not None:
            raise UserError(
                f"{WEIGHTS} are VGG-16's, and method.features = lite0 takes EfficientNet-Lite0. Leave one of them out."
            )
        if 0 < self.feature_size < MINIMUM_SIZE:
            raise UserError(
                f"method.feature_size = {self.feature_size} is too small for VGG-16. Allowed: 0 (the images as they "
                f"are), or at least {MINIMUM_SIZE}."
            )


@final
class FeatureGAN(Refiner):
    """A refiner that stays near its input as VGG-16 sees both, and a discriminator of its target."""

    config_class = Config
    config: Config

    @classmethod
    def adapt(cls, config: Config, shapes: ImageShapes, chosen: frozenset[str]) -> tuple[Config, list[str]]:
        """Note which network it is and which file the weights come from, whole path and checksum."""
        if config.features == "auto":
            lite0 = config.vgg_weights is None and features.has_lite0()
            config = replace(config, features="lite0" if lite0 else "vgg")
        if config.features == "lite0":
            return config, ["images are compared by features of EfficientNet-Lite0, not by VGG-16's as published"]
        if config.vgg_weights is None:
            return config, []
        path = os.path.abspath(os.path.expanduser(config.vgg_weights))
        found = find_vgg(path, WEIGHTS).sha256
        if config.vgg_sha256 is not None and config.vgg_sha256 != found:
            raise UserError(
                f"{path} has changed since this run began: its SHA-256 is {found}, it was {config.vgg_sha256}. Put the "
                "old file back, or begin a new run."
            )
        return replace(config, vgg_weights=path, vgg_sha256=found), [f"VGG-16's weights come from {path}"]

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        for domain, channels in (("A", shapes.channels_a), ("B", shapes.channels_b)):
            if channels not in (1, 3):
                raise UserError(
                    "feature_gan compares images by a network that sees colour or grey; domain "
                    f"{domain} has {channels} channels. Set data.channels_{domain.lower()} = 3 (label maps: "
                    f"data.labels_{domain.lower()}.feed = colour), or train cyclegan."
                )
        super().__init__(config, shapes)
        is_empty = next(self.R.parameters()).is_meta  # where shapes alone are asked for, nothing is read
        if config.features == "lite0":
            path = None if is_empty else find_weights(LITE0).path
            self.features: nn.Module = Lite0Maps() if path is None else Lite0Maps(read_weights(path), str(path))
            return
        self.features = vgg = VggFeatures()
        if not is_empty:
            vgg.load(*read_vgg(config.vgg_weights, WEIGHTS))

    def distance(self, refined: Tensor, image: Tensor) -> Tensor:
        """Return the mean absolute difference of the features: of relu4_2, or of EfficientNet-Lite0's fifth stage."""
        with torch.no_grad():
            wanted = self.features(self._sized(image))
        return l1(self.features(self._sized(refined)), wanted)

    def _sized(self, image: Tensor) -> Tensor:
        size = self.config.feature_size
        if not size or image.shape[2:] == (size, size):
            return image
        return nnf.interpolate(image, (size, size), mode="bilinear", align_corners=False)
