"""Weights of PyTorch-GAN's CycleGAN (Linder-Norén's collection)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.models.convert.layout import settings, shape, to_ours
from unpaired.models.convert.official import resnet_names
from unpaired.networks import GeneratorConfig, ResnetConfig, build_generator

GENERATOR = "a generator of PyTorch-GAN's CycleGAN"


def pytorch_gan_generator(weights: Mapping[str, Tensor]) -> tuple[GeneratorConfig, int, int, dict[str, Tensor]]:
    """Find the architecture of a generator: (settings, in_channels, out_channels, state of our network).

    It is the ResNet generator with InstanceNorm and nearest upsampling. Raises UserError that names every tensor that
    is missing, unexpected or of a wrong shape, and for channels other than 3: PyTorch-GAN pads the image by as many
    pixels as it has channels, so that other numbers change its size.
    """
    width, in_channels = shape(weights, "model.1.weight", 4, GENERATOR)[:2]
    blocks = len({name.split(".")[1] for name in weights if ".block." in name})
    if in_channels != 3:
        raise UserError(
            f"The weights look like {GENERATOR}, for images of {in_channels} channels. PyTorch-GAN pads by as many "
            "pixels as there are channels, so only networks for 3 channels keep the size of an image; others cannot be "
            "converted."
        )
    found = {"width": width, "blocks": blocks, "norm": "instance", "upsampling": "nearest"}
    config = settings(ResnetConfig, found, GENERATOR)
    names = resnet_names(config.blocks, "block", dropout=False, upsampled=1)
    with torch.device("meta"):
        network = build_generator(config, in_channels, in_channels)
    return config, in_channels, in_channels, to_ours(weights, network, names, GENERATOR)
