"""What a set of weights is, by its names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.models.convert.weights import official_generator, pytorch_gan_generator
from unpaired.networks import GeneratorConfig

Origin = Literal[
    "official generator",
    "official discriminator",
    "pytorch-gan generator",
    "pytorch-gan discriminator",
    "pix2pixHD generator",
    "unknown",
]
"""What wrote the weights ("official" is the authors' PyTorch code), and what they are."""


class Converted(NamedTuple):
    """A generator of another program."""

    config: GeneratorConfig
    """Settings of our network."""
    in_channels: int
    out_channels: int
    state: dict[str, Tensor]
    """State of our network, float32 on the CPU."""
    origin: Origin


CONVERSIONS = {"official generator": official_generator, "pytorch-gan generator": pytorch_gan_generator}


def recognise(weights: Mapping[str, Tensor]) -> Origin:
    """Tell from names and kernel sizes what a set of weights is; whether all of it fits, its conversion tells."""
    if _kernel(weights, "model.model.0.weight") == 4:
        return "official generator"
    if _kernel(weights, "net.0.weight") == 1:
        return "official discriminator"
    if _kernel(weights, "model.0.weight") == 4:
        # Behind the last norm PyTorch-GAN pads in a layer of its own, which shifts the head by one.
        return "pytorch-gan discriminator" if _kernel(weights, "model.12.weight") == 4 else "official discriminator"
    if _is_pix2pix_hd(weights):
        return "pix2pixHD generator"
    if _kernel(weights, "model.1.weight") == 7:
        return "pytorch-gan generator" if _is_pytorch_gan(weights) else "official generator"
    return "unknown"


def convert_weights(weights: Mapping[str, Tensor]) -> Converted:
    """Turn the generator weights of another program into ours; UserError that says why where they are none or unfit."""
    origin = recognise(weights)
    if origin in CONVERSIONS:
        return Converted(*CONVERSIONS[origin](weights), origin)
    if origin == "unknown":
        some = ", ".join(name[:80] for name in sorted(weights)[:3])
        raise UserError(
            "The weights fit no known generator: neither a ResNet or U-Net of the authors' PyTorch code nor the ResNet "
            f"of PyTorch-GAN's CycleGAN. Their names begin with {some}. Give the file of a generator, such as "
            "latest_net_G_A.pth."
        )
    if origin == "pix2pixHD generator":
        raise UserError(
            "These are the weights of a generator of pix2pixHD, which is not supported: only networks that halve the "
            "image twice, as CycleGAN's, pix2pix's and CUT's ResNets do, and U-Nets can be converted."
        )
    raise UserError(
        f"These are the weights of a discriminator ({origin}), which judges images and cannot translate them. Give the "
        "file of a generator: latest_net_G_A.pth and not latest_net_D_A.pth, G_AB_*.pth and not D_A_*.pth."
    )


def _is_pytorch_gan(weights: Mapping[str, Tensor]) -> bool:
    if any(".conv_block." in name for name in weights):
        return False
    # Without residual blocks only the upsampling layer tells: the decoder's first convolution is 11, not 10.
    return any(".block." in name for name in weights) or "model.10.weight" not in weights


def _is_pix2pix_hd(weights: Mapping[str, Tensor]) -> bool:
    """Say whether more downsamplings than two stand before the residual blocks, or there are local enhancers."""
    blocks = [name.split(".")[1] for name in weights if name.startswith("model.") and ".conv_block." in name]
    first = min((int(number) for number in blocks if number.isdigit()), default=0)
    return first > 12 or any(name.startswith("model1_") for name in weights)


def _kernel(weights: Mapping[str, Tensor], name: str) -> int | None:
    tensor = weights.get(name)
    return None if tensor is None or tensor.dim() != 4 else tensor.shape[-1]
