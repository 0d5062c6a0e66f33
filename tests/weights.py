"""Weights for tests, in the formats in which the published ones come."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from unpaired.networks.inception import Inception
from unpaired.networks.stacks import LAYERS, Convolution, Layer


def write_vgg(path: Path) -> Path:
    """Write random weights of the first layers of VGG-16, so scaled that features stay near 1; return the path."""
    save_file(random_stack(LAYERS), path)
    return path


def random_inception(*, seed: int = 0) -> dict[str, Tensor]:
    """Return weights named as in pytorch-fid's file, with those of the classifier; no normalisation is the identity."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}
    for name, value in Inception().state_dict().items():
        if name.endswith("conv.weight"):  # as large as keeps the scale of the activations
            scale = (2 / value[0].numel()) ** 0.5
            weights[name] = torch.randn(value.shape, generator=generator) * scale
        elif name.endswith(("bn.weight", "running_var")):
            weights[name] = torch.rand(value.shape, generator=generator) + 0.5
        elif name.endswith(("bn.bias", "running_mean")):
            weights[name] = torch.randn(value.shape, generator=generator) * 0.2
    weights["fc.weight"] = torch.randn(1008, 2048, generator=generator) * 0.01
    weights["fc.bias"] = torch.zeros(1008)
    return weights


def random_stack(layers: tuple[Layer, ...], *, seed: int = 0) -> dict[str, Tensor]:
    """Return weights of AlexNet or VGG-16, named as torchvision names them."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}
    channels = 3
    for layer in layers:
        if isinstance(layer, Convolution):
            shape = (layer.width, channels, layer.kernel, layer.kernel)
            scale = (2 / (channels * layer.kernel**2)) ** 0.5
            weights[f"features.{layer.key}.weight"] = torch.randn(shape, generator=generator) * scale
            weights[f"features.{layer.key}.bias"] = torch.randn(layer.width, generator=generator) * 0.1
            channels = layer.width
    return weights


def random_heads(widths: tuple[int, ...]) -> dict[str, Tensor]:
    """Return linear heads of LPIPS, named as in the authors' files."""
    generator = torch.Generator().manual_seed(1)
    return {f"lin{n}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator) for n, width in enumerate(widths)}
