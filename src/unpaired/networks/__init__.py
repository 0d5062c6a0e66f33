"""Networks: generators from image to image, discriminators from image to logits; one family per file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field

from unpaired.core.errors import UserError, did_you_mean
from unpaired.core.given import validated
from unpaired.networks.base import Discriminator, Generator
from unpaired.networks.coupled import (
    CoupledDiscriminator,
    CoupledDiscriminatorConfig,
    CoupledGenerator,
    CoupledGeneratorConfig,
)
from unpaired.networks.disturbance import Disturbance
from unpaired.networks.init import InitConfig, initialize
from unpaired.networks.latent_search import LatentSearch, LatentSearchConfig, SearchConfig, SearchError
from unpaired.networks.patchgan import (
    PatchganConfig,
    PatchganDiscriminator,
    PixelConfig,
    PixelDiscriminator,
    receptive_field,
)
from unpaired.networks.resnet import ResnetConfig, ResnetGenerator
from unpaired.networks.unet import UnetConfig, UnetGenerator

__all__ = [
    "CoupledDiscriminator",
    "CoupledDiscriminatorConfig",
    "CoupledGenerator",
    "CoupledGeneratorConfig",
    "Discriminator",
    "DiscriminatorConfig",
    "Disturbance",
    "Generator",
    "GeneratorConfig",
    "InitConfig",
    "LatentSearch",
    "LatentSearchConfig",
    "PatchganConfig",
    "PatchganDiscriminator",
    "PixelConfig",
    "PixelDiscriminator",
    "ResnetConfig",
    "ResnetGenerator",
    "SearchConfig",
    "SearchError",
    "UnetConfig",
    "UnetGenerator",
    "build_discriminator",
    "build_generator",
    "describe_generator",
    "generator_from_description",
    "initialize",
    "receptive_field",
]

GeneratorConfig = Annotated[ResnetConfig | UnetConfig, Field(discriminator="family")]
"""Settings of any generator; `family` says which."""
TranslatorConfig = Annotated[ResnetConfig | UnetConfig | LatentSearchConfig, Field(discriminator="family")]
"""Settings of all that a model folder can hold: the generators, and the search that CoGAN translates by."""
DiscriminatorConfig = Annotated[PatchganConfig | PixelConfig, Field(discriminator="family")]
"""Settings of any discriminator; `family` says which."""

GENERATORS: dict[type[Any], Callable[[Any, int, int], Generator]] = {
    ResnetConfig: ResnetGenerator,
    UnetConfig: UnetGenerator,
    LatentSearchConfig: LatentSearch,
}
DISCRIMINATORS: dict[type[Any], Callable[[Any, int], Discriminator]] = {
    PatchganConfig: PatchganDiscriminator,
    PixelConfig: PixelDiscriminator,
}
FAMILIES = ("resnet", "unet", "latent_search")

MAXIMUM_CHANNELS = 4096
"""Of the images that a described generator takes or returns."""
MAXIMUM_PARAMETERS = 1_000_000_000
"""Of a described generator: 4 GB; the published ones have 2 to 54 million."""


def build_generator(config: TranslatorConfig, in_channels: int, out_channels: int) -> Generator:
    """Return a new generator from [N, in_channels, H, W] to [N, out_channels, H, W]; `initialize` draws its weights."""
    return GENERATORS[type(config)](config, in_channels, out_channels)


def build_discriminator(config: DiscriminatorConfig, in_channels: int) -> Discriminator:
    """Return a new discriminator of [N, in_channels, H, W]; `initialize` draws its weights."""
    return DISCRIMINATORS[type(config)](config, in_channels)


def describe_generator(network: Generator) -> dict[str, Any]:
    """Return plain JSON data from which `generator_from_description` builds the same network (without its weights)."""
    settings = dataclasses.asdict(network.config)
    return {**settings, "in_channels": network.in_channels, "out_channels": network.out_channels}


def generator_from_description(description: Mapping[str, Any]) -> Generator:
    """Build the generator that `describe_generator` described.

    Safe on data from anywhere: every key, type and size is checked before memory is taken. UserError names what is
    wrong.
    """
    settings = dict(description)
    channels = [_channels(settings.pop(key, None), key) for key in ("in_channels", "out_channels")]
    family = settings.get("family")
    if family not in FAMILIES:
        hint = did_you_mean(family, FAMILIES) if isinstance(family, str) else ""
        raise UserError(f"Unknown generator family {family!r}; allowed are {', '.join(FAMILIES)}.{hint}")
    config = validated(TranslatorConfig, settings, lambda name: f"The description of a generator is not valid: {name}")
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
