"""pix2pix: Image-to-Image Translation with Conditional Adversarial Networks.

Isola, Zhu, Zhou, Efros, CVPR 2017, arXiv:1611.07004. Learns from pairs: x is given, y is what it should become, and D
judges whether y belongs to x. Updates and defaults follow the authors' PyTorch code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import final

import torch

from unpaired import networks
from unpaired.core.errors import UserError
from unpaired.methods.base import Batch, Direction, ImageShapes, Method, Player, Term, Update
from unpaired.methods.losses import AdversarialConfig, Objective, Weight, discriminator_loss, generator_loss, l1


class Config(AdversarialConfig):
    """Settings of pix2pix. Defaults are those of the authors' PyTorch code."""

    direction: Direction = "a2b"
    """Which domain is given and which is made of it: a2b or b2a."""
    l1_weight: Weight = 100.0
    """lambda of Eq. 4."""
    objective: Objective = "vanilla"
    """Adversarial loss: vanilla (Eq. 1, the published one), lsgan, hinge or wgangp."""
    generator: networks.GeneratorConfig = networks.UnetConfig(norm="batch", dropout=True)
    """A U-Net whose depth fits the images (8 for 256 x 256), with dropout in place of a noise vector (section 2.1).

    Translators switch dropout off and use the running statistics of batch norm, so that a result can be repeated; the
    authors' test leaves both as they are in training.
    """
    discriminator: networks.DiscriminatorConfig = networks.PatchganConfig(norm="batch")
    """PatchGAN over both images together, with a 70 x 70 field."""
    init: networks.InitConfig = networks.InitConfig()
    """How the weights start: N(0, 0.02)."""


DEFAULT_DEPTH = 8
DEPTH_OF_DROPOUT = 6
SHALLOWEST = 2
"""Depths of a U-Net: as published, the least that has a place for dropout, and the least that there is."""


@final
class Pix2pix(Method):
    """A generator that learns from pairs, and a discriminator of pairs."""

    config_class = Config
    config: Config
    paired = True

    @classmethod
    def adapt(cls, config: Config, shapes: ImageShapes, chosen: frozenset[str]) -> tuple[Config, list[str]]:
        """Take a U-Net as deep as the images' size allows where the published depth does not fit, and say so."""
        unet = config.generator
        if not isinstance(unet, networks.UnetConfig) or "generator.depth" in chosen or shapes.size is None:
            return config, []
        height, width = shapes.size
        depth = min((side & -side).bit_length() - 1 for side in shapes.size)  # how often both can be halved
        if unet.depth != DEFAULT_DEPTH or depth >= DEFAULT_DEPTH:
            return config, []
        if depth < SHALLOWEST:
            raise UserError(
                f"pix2pix's U-Net halves images at least {SHALLOWEST} times, and {height} x {width} (height x width) "
                f"do not allow it. Set data.crop_size to multiples of {2**SHALLOWEST}; the more often both sides can "
                "be halved, the deeper the network."
            )
        replaced = f"a U-Net of depth {depth} is taken in place of {DEFAULT_DEPTH}"
        notice = f"{replaced}, which images of {height} x {width} do not fit"
        if not unet.dropout or depth >= DEPTH_OF_DROPOUT:
            return replace(config, generator=replace(unet, depth=depth)), [notice]
        if "generator.dropout" in chosen:
            raise UserError(
                f"method.generator.dropout is on and has no place in a U-Net of depth {depth}, the deepest for images "
                f"of {height} x {width}: it needs a depth of {DEPTH_OF_DROPOUT}. Leave it out, or set data.crop_size "
                f"to multiples of {2**DEPTH_OF_DROPOUT}."
            )
        notice += f"; it has no dropout, which needs a depth of {DEPTH_OF_DROPOUT}"
        return replace(config, generator=replace(unet, depth=depth, dropout=False)), [notice]

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        source, target = shapes.seen_from(config.direction)
        self.G = networks.build_generator(config.generator, source, target)
        self.D = networks.build_discriminator(config.discriminator, source + target)
        self.D.groups = (source, target)
        for network in (self.G, self.D):
            networks.initialize(network, config.init)

    def players(self) -> dict[str, Player]:
        return {"discriminator": Player("discriminator", self.D), "generator": Player("generator", self.G)}

    def terms(self) -> dict[str, Term]:
        return {
            "discriminator": Term("discriminator"),
            "gan": Term("adversarial"),
            "l1": Term("reconstruction", "l1_weight"),
        }

    def translators(self) -> dict[str, networks.Generator]:
        return {self.config.direction: self.G}

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the discriminator's update, then the generator's, as in the authors' code."""
        c = self.config
        x, y = next(batches).seen_from(c.direction)
        fake_y = self.G(x)

        with_real, with_fake = torch.cat([x, y], 1), torch.cat([x, fake_y.detach()], 1)
        yield Update("discriminator", discriminator=discriminator_loss(c, self.D, with_real, with_fake))

        yield Update(
            "generator",
            gan=generator_loss(c.objective, self.D(torch.cat([x, fake_y], 1))),  # Eq. 1
            l1=c.l1_weight * l1(fake_y, y),  # Eq. 3
        )
