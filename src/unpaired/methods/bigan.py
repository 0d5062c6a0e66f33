"""BiGAN and ALI, as the CycleGAN paper compares with them (section 5.1): two translators and one joint discriminator.

Adversarial Feature Learning, Donahue, Krähenbühl, Darrell, ICLR 2017, arXiv:1605.09782; Adversarially Learned
Inference, Dumoulin et al., ICLR 2017, arXiv:1606.00704. Their D judges pairs of an image and a latent; here the latent
is an image of the other domain, so that D judges (x, G(x)) and (F(y), y). Updates follow the CycleGAN authors' Torch
code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, final

import torch
from pydantic import Field

from unpaired import networks
from unpaired.core.errors import UserError
from unpaired.methods.base import Batch, ImageShapes, Method, Player, Term, Update
from unpaired.methods.losses import AdversarialConfig, Objective, discriminator_loss, generator_loss
from unpaired.methods.pool import image_pool


class Config(AdversarialConfig):
    """Settings of BiGAN/ALI."""

    objective: Objective = "lsgan"
    """Adversarial loss: lsgan, as in the CycleGAN paper's comparison, vanilla (the publications') or hinge."""
    pool_size: Annotated[int, Field(ge=0, le=100_000)] = 50
    """Past pairs of either kind shown to the discriminator; 0 shows the present ones."""
    generator: networks.GeneratorConfig = networks.ResnetConfig()
    """Both translators."""
    discriminator: networks.DiscriminatorConfig = networks.PatchganConfig()
    """PatchGAN over both images of a pair together, with a 70 x 70 field."""
    init: networks.InitConfig = networks.InitConfig()
    """How the weights start: N(0, 0.02)."""

    def check(self) -> None:
        """Refuse the objective that is not symmetric."""
        super().check()
        if self.objective == "wgangp":
            raise UserError(
                "method.objective = wgangp is not defined for bigan, whose two kinds of pairs are both generated. "
                "Allowed: lsgan, vanilla, hinge."
            )


@final
class BiGAN(Method):
    """Translators in both directions that nothing but a discriminator of pairs holds together."""

    config_class = Config
    config: Config
    keeps_input = False

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        a, b = shapes.channels_a, shapes.channels_b
        self.G = networks.build_generator(config.generator, a, b)
        self.F = networks.build_generator(config.generator, b, a)
        self.D = networks.build_discriminator(config.discriminator, a + b)
        self.D.groups = (a, b)
        for network in (self.G, self.F, self.D):
            networks.initialize(network, config.init)
        self.pool_forward = image_pool(config.pool_size, a + b, shapes.size)
        self.pool_backward = image_pool(config.pool_size, a + b, shapes.size)

    def players(self) -> dict[str, Player]:
        return {"discriminator": Player("discriminator", self.D), "generators": Player("generator", self.G, self.F)}

    def terms(self) -> dict[str, Term]:
        adversarial = Term("adversarial")
        return {"discriminator": Term("discriminator"), "gan_a2b": adversarial, "gan_b2a": adversarial}

    def translators(self) -> dict[str, networks.Generator]:
        return {"a2b": self.G, "b2a": self.F}

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the discriminator's update, then that of the generators, who argue the opposite (Eq. 2 of BiGAN)."""
        c = self.config
        x, y = next(batches)
        forward, backward = torch.cat([x, self.G(x)], 1), torch.cat([self.F(y), y], 1)

        past_forward, past_backward = self.pool_forward(forward), self.pool_backward(backward)
        # (x, G(x)) counts as real and (F(y), y) as fake; the game is the same the other way round.
        yield Update("discriminator", discriminator=discriminator_loss(c, self.D, past_forward, past_backward))

        yield Update(
            "generators",
            gan_a2b=generator_loss(c.objective, self.D(forward), real=False),
            gan_b2a=generator_loss(c.objective, self.D(backward)),
        )
