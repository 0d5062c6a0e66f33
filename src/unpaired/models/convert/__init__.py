"""Weight files of other programs, turned into the states of our networks and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.models.convert.official import official_discriminator, official_generator, to_official
from unpaired.models.convert.pytorch_gan import pytorch_gan_generator
from unpaired.networks import GeneratorConfig
from unpaired.networks.weight_files import read_weights

__all__ = [
    "Converted",
    "Origin",
    "convert_weights",
    "official_discriminator",
    "official_generator",
    "pytorch_gan_generator",
    "read_weights",
    "recognise",
    "to_official",
]

Origin = Literal[
    "official generator",
    "official discriminator",
    "pytorch-gan generator",
    "pytorch-gan discriminator",
    "unknown",
]
"""What wrote the weights ("official" is the authors' PyTorch code), and what they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A generator of another program."""

    config: GeneratorConfig
    """Settings of our network."""
    in_channels: int
    """Channels of the images that it takes."""
    out_channels: int
    """Channels of the images that it returns."""
    state: dict[str, Tensor]
    """State of our network, float32 on the CPU."""
    origin: Origin
    """Where the weights come from."""


_Conversion = Callable[[Mapping[str, Tensor]], tuple[GeneratorConfig, int, int, dict[str, Tensor]]]
CONVERSIONS: dict[Origin, _Conversion] = {
    "official generator": official_generator,
    "pytorch-gan generator": pytorch_gan_generator,
}


def recognise(weights: Mapping[str, Tensor]) -> Origin:
    """Tell from names and kernel sizes what a set of weights is; whether all of it fits, its conversion tells."""
    if _kernel(weights, "model.model.0.weight") == 4:
        return "official generator"
    if _kernel(weights, "net.0.weight") == 1:
        return "official discriminator"
    if _kernel(weights, "model.0.weight") == 4:
        # Behind the last norm PyTorch-GAN pads in a layer of its own, which shifts the head by one.
        return "pytorch-gan discriminator" if _kernel(weights, "model.12.weight") == 4 else "official discriminator"
    if _kernel(weights, "model.1.weight") == 7:
        return "pytorch-gan generator" if _is_pytorch_gan(weights) else "official generator"
    return "unknown"


def convert_weights(weights: Mapping[str, Tensor]) -> Converted:
    """Turn the generator weights of another program into ours; UserError that says why where they are none or unfit."""
    origin = recognise(weights)
    if origin not in CONVERSIONS:
        raise UserError(_refusal(origin, weights))
    config, in_channels, out_channels, state = CONVERSIONS[origin](weights)
    return Converted(config=config, in_channels=in_channels, out_channels=out_channels, state=state, origin=origin)


def _is_pytorch_gan(weights: Mapping[str, Tensor]) -> bool:
    if any(".conv_block." in name for name in weights):
        return False
    # Without residual blocks only the upsampling layer tells: the decoder's first convolution is 11, not 10.
    return any(".block." in name for name in weights) or "model.10.weight" not in weights


def _kernel(weights: Mapping[str, Tensor], name: str) -> int | None:
    tensor = weights.get(name)
    return None if tensor is None or tensor.dim() != 4 else tensor.shape[-1]


def _refusal(origin: Origin, weights: Mapping[str, Tensor]) -> str:
    if origin == "unknown":
        some = ", ".join(sorted(weights)[:3])
        return (
            "The weights fit no known generator: neither a ResNet or U-Net of the authors' PyTorch code nor the ResNet "
            f"of PyTorch-GAN's CycleGAN. Their names begin with {some}. Give the file of a generator, such as "
            "latest_net_G_A.pth."
        )
    return (
        f"These are the weights of a discriminator ({origin}), which judges images and cannot translate them. Give the "
        "file of a generator: latest_net_G_A.pth and not latest_net_D_A.pth, G_AB_*.pth and not D_A_*.pth."
    )
