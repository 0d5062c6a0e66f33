"""The features of VGG-16 (Simonyan & Zisserman 2015) that a method compares images by while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.networks.stacks import VGG16, Stack, minimum_size, until

LAYER = "relu4_2"
LAYERS = until(VGG16, LAYER)
MINIMUM_SIZE = minimum_size(LAYERS)
"""Pixels: 8; three halvings leave one."""


@final
class VggFeatures(nn.Module):
    """The fixed features of relu4_2: images [N, 1 or 3, H, W] in [-1, 1] to [N, 512, H / 8, W / 8].

    Nothing trains its weights, and they stand in no state dict. Without any (`load` was not called) it refuses to work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loaded = False
        self.stack = Stack(LAYERS)

    def load(self, weights: Mapping[str, Tensor], origin: str) -> None:
        """Take weights named as torchvision names them; UserError, with `origin`, where they are not VGG-16's."""
        self.stack.load(weights, origin, "VGG-16")
        self.loaded = True

    def forward(self, image: Tensor) -> Tensor:
        """Return the features; grey images are seen as colour ones."""
        assert self.loaded or image.is_meta, "VGG-16 has no weights"
        if image.shape[1] not in (1, 3) or min(image.shape[2:]) < MINIMUM_SIZE:
            raise UserError(
                f"VGG-16 takes images of 1 or 3 channels and at least {MINIMUM_SIZE} x {MINIMUM_SIZE} pixels; received "
                f"{list(image.shape)}. Choose other channels or a larger crop_size."
            )
        found: dict[str, Tensor] = self.stack(image, [LAYER])
        return found[LAYER]
