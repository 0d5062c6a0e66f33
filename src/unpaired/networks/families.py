"""The families of generators and discriminators: adding one is writing its file and adding a line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import torch

from unpaired.core.errors import UserError
from unpaired.core.families import Families
from unpaired.core.given import validated
from unpaired.networks.base import Discriminator, Generator
from unpaired.networks.bridge_resnet import BridgeResnetGenerator
from unpaired.networks.latent_search import LatentSearch
from unpaired.networks.masked_resnet import MaskedResnetGenerator
from unpaired.networks.patchgan import PatchganDiscriminator, PixelDiscriminator
from unpaired.networks.resnet import ResnetGenerator
from unpaired.networks.unet import UnetGenerator
from unpaired.networks.vit_unet import VitUnetGenerator

GENERATORS: dict[str, type[Generator]] = {
    "resnet": ResnetGenerator,
    "masked_resnet": MaskedResnetGenerator,
    "bridge_resnet": BridgeResnetGenerator,
    "unet": UnetGenerator,
    "vit_unet": VitUnetGenerator,
    "latent_search": LatentSearch,
}
DISCRIMINATORS: dict[str, type[Discriminator]] = {"patchgan": PatchganDiscriminator, "pixel": PixelDiscriminator}

MAXIMUM_CHANNELS = 4096
"""Of the images that a described generator takes or returns."""
MAXIMUM_PARAMETERS = 1_000_000_000
"""Of a described generator: 4 GB; the published ones have 2 to 54 million."""

_generators = Families("generator", Generator, GENERATORS)
_networks = {name: family for name, family in GENERATORS.items() if not family.is_search}
_discriminators = Families("discriminator", Discriminator, DISCRIMINATORS)

GeneratorConfig = Annotated[Any, Families("generator", Generator, _networks)]
"""Settings of any generator that can be trained by itself; `family` says which."""
DiscriminatorConfig = Annotated[Any, _discriminators]
"""Settings of any discriminator; `family` says which."""


def build_generator(config: Any, in_channels: int, out_channels: int) -> Generator:
    """Return a new generator from [N, in_channels, H, W] to [N, out_channels, H, W]; `initialize` draws its weights."""
    make: Any = _generators.find(config.family)
    network: Generator = make(config, in_channels, out_channels)
    return network


def build_discriminator(config: Any, in_channels: int) -> Discriminator:
    """Return a new discriminator of [N, in_channels, H, W]; `initialize` draws its weights."""
    make: Any = _discriminators.find(config.family)
    network: Discriminator = make(config, in_channels)
    return network


def describe_generator(network: Generator) -> dict[str, Any]:
    """Return plain JSON data from which `generator_from_description` builds the same network (without its weights)."""
    settings = dataclasses.asdict(network.config)
    return {**settings, "in_channels": network.in_channels, "out_channels": network.out_channels}


def generator_class(description: Mapping[str, Any]) -> type[Generator]:
    """Return the class of a described generator, which says what it takes and what it can do. UserError as below."""
    return _generators.find(description.get("family"))


def generator_from_description(description: Mapping[str, Any]) -> Generator:
    """Build the generator that `describe_generator` described.

    Safe on data from anywhere: every key, type and size is checked before memory is taken, and a user's own network is
    imported only where the user has named it or it is installed. UserError names what is wrong.
    """
    settings = dict(description)
    channels = [_channels(settings.pop(key, None), key) for key in ("in_channels", "out_channels")]
    kind = generator_class(settings).config_class
    config = validated(kind, settings, lambda name: f"The description of a generator is not valid: {name}")
    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in build_generator(config, *channels).parameters())
    if parameters > MAXIMUM_PARAMETERS:
        raise UserError(
            f"The description asks for a generator of {parameters:,} parameters; at most {MAXIMUM_PARAMETERS:,} are "
            "allowed. Check its width, blocks or depth."
        )
    return build_generator(config, *channels)


def _channels(value: object, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAXIMUM_CHANNELS:
        raise UserError(
            f"The description of a generator needs {key}, a whole number from 1 to {MAXIMUM_CHANNELS}; "
            f"received {value!r}."
        )
    return value
