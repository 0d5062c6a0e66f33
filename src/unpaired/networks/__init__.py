"""Networks: generators from image to image, discriminators from image to logits; one family per file.

    from unpaired.networks import ResnetConfig, ResnetGenerator

    network = ResnetGenerator(ResnetConfig(blocks=6), in_channels=3, out_channels=3)

`build_generator(config, 3, 3)` builds any family from its settings; `initialize` draws the published first weights.
"""

from unpaired.networks.base import Discriminator, Generator, Search, SearchError, mixes_images, on_both
from unpaired.networks.blocks import InitConfig, ResidualBlock, initialize
from unpaired.networks.bridge_resnet import (
    BridgeResnetConfig,
    BridgeResnetGenerator,
    TimedPatches,
    TimedPatchgan,
)
from unpaired.networks.coupled import (
    CoupledDiscriminator,
    CoupledDiscriminatorConfig,
    CoupledGenerator,
    CoupledGeneratorConfig,
)
from unpaired.networks.disturbance import Disturbance
from unpaired.networks.families import (
    DISCRIMINATORS,
    GENERATORS,
    DiscriminatorConfig,
    GeneratorConfig,
    build_discriminator,
    build_generator,
    describe_generator,
    generator_class,
    generator_from_description,
)
from unpaired.networks.latent_search import LatentSearch, LatentSearchConfig, SearchConfig
from unpaired.networks.masked_resnet import MaskedResnetConfig, MaskedResnetGenerator
from unpaired.networks.patchgan import (
    PatchganConfig,
    PatchganDiscriminator,
    PixelConfig,
    PixelDiscriminator,
    receptive_field,
)
from unpaired.networks.resnet import ResnetConfig, ResnetGenerator
from unpaired.networks.unet import UnetConfig, UnetGenerator
from unpaired.networks.vit_unet import VitUnetConfig, VitUnetGenerator

# fmt: off
__all__ = [
    "DISCRIMINATORS", "GENERATORS", "BridgeResnetConfig", "BridgeResnetGenerator", "CoupledDiscriminator",
    "CoupledDiscriminatorConfig", "CoupledGenerator", "CoupledGeneratorConfig", "Discriminator", "DiscriminatorConfig",
    "Disturbance", "Generator", "GeneratorConfig", "InitConfig", "LatentSearch", "LatentSearchConfig",
    "MaskedResnetConfig", "MaskedResnetGenerator", "PatchganConfig", "PatchganDiscriminator", "PixelConfig",
    "PixelDiscriminator", "ResidualBlock", "ResnetConfig", "ResnetGenerator", "Search", "SearchConfig", "SearchError",
    "TimedPatches", "TimedPatchgan", "UnetConfig", "UnetGenerator", "VitUnetConfig", "VitUnetGenerator",
    "build_discriminator", "build_generator", "describe_generator", "generator_class", "generator_from_description",
    "initialize", "mixes_images", "on_both", "receptive_field",
]
# fmt: on
