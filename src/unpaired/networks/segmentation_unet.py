"""A U-Net with batch norm that labels photos: small enough to be trained on a few hundred of them from nothing."""

from __future__ import annotations

from typing import Literal, final

import torch
import torch.nn.functional as nnf
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from unpaired.core.settings import STRICT
from unpaired.networks.base import Width

LEVELS = 4
LARGEST_FACTOR = 8
"""Levels have at most this many times the channels of the first one."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SegmentationUnetConfig:
    """A U-Net of four halvings."""

    family: Literal["unet"] = "unet"
    """Which network this is."""
    width: Width = 16
    """Channels of the first level; they double from level to level, up to eight times as many."""


@final
class SegmentationUnet(nn.Module):
    """Photos [N, channels, H, W] in [-1, 1] of any size to logits [N, classes, H, W]."""

    def __init__(self, config: SegmentationUnetConfig, channels: int, classes: int) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        widths = [config.width * min(2**level, LARGEST_FACTOR) for level in range(LEVELS + 1)]
        self.first = _double(channels, widths[0])
        self.down = nn.ModuleList(_double(widths[level], widths[level + 1]) for level in range(LEVELS))
        self.up = nn.ModuleList(_double(widths[level] + widths[level + 1], widths[level]) for level in range(LEVELS))
        self.last = nn.Conv2d(widths[0], classes, 1)

    def forward(self, photos: Tensor) -> Tensor:
        features = self.first(photos)
        skips = []
        for down in self.down:
            skips.append(features)
            features = down(nnf.max_pool2d(features, 2, ceil_mode=True))
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            enlarged = nnf.interpolate(features, size=skip.shape[-2:], mode="nearest")
            features = up(torch.cat([skip, enlarged], 1))
        logits: Tensor = self.last(features)
        return logits


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for count in (inputs, outputs):
        layers += [nn.Conv2d(count, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
