"""Weights for tests, in the formats in which the published ones come."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from unpaired.networks.vgg import KEYS, WIDTHS


def write_vgg(path: Path) -> Path:
    """Write random weights of VGG-16, scaled so that features stay near 1; return the path."""
    generator, channels, tensors = torch.Generator().manual_seed(0), 3, {}
    for key, width in zip(KEYS, (width for group in WIDTHS for width in group), strict=True):
        scale = (2 / (9 * channels)) ** 0.5
        tensors[f"features.{key}.weight"] = torch.randn(width, channels, 3, 3, generator=generator) * scale
        tensors[f"features.{key}.bias"] = torch.zeros(width)
        channels = width
    save_file(tensors, path)
    return path
