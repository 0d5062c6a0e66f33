"""CycleGAN: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks.

Zhu, Park, Isola, Efros, ICCV 2017, arXiv:1703.10593. Symbols follow the paper: G: X -> Y, F: Y -> X, D_Y judges Y.
X is domain A and Y is domain B, so G is `a2b` and F is `b2a`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from unpaired.errors import UserError
from unpaired.losses import Objective, fake_loss, generator_loss, gradient_penalty, l1, real_loss
from unpaired.methods.base import Batch, ImageShapes, Method, Update
from unpaired.networks import (
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    InitConfig,
    PatchganConfig,
    ResnetConfig,
    build_discriminator,
    build_generator,
    initialize,
)
from unpaired.pool import image_pool
from unpaired.typed import STRICT

Weight = Annotated[float, Field(ge=0)]
GRADIENT_PENALTY_WEIGHT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Config:
    """Settings of CycleGAN. Defaults are those of the authors' PyTorch code."""

    cycle_weight: Weight = 10.0
    """lambda of Eq. 3."""
    identity_weight: Weight = 5.0
    """Weight of the identity loss (section 5.2: 0.5 lambda); 0 turns it off, as in most of the paper's experiments."""
    objective: Objective = "lsgan"
    """Adversarial loss: lsgan (section 4, the published one), vanilla, hinge or wgangp."""
    gradient_penalty_weight: Weight = GRADIENT_PENALTY_WEIGHT
    """Weight of the gradient penalty, for `wgangp` alone."""
    pool_size: Annotated[int, Field(ge=0)] = 50
    """Past fakes shown to the discriminators (section 4)."""
    generator: GeneratorConfig = ResnetConfig()
    """Both generators; the paper takes 6 blocks at 128 x 128 and 9 at 256 x 256 and above."""
    discriminator: DiscriminatorConfig = PatchganConfig()
    """Both discriminators: PatchGAN with a 70 x 70 field."""
    init: InitConfig = InitConfig()
    """How the weights start: N(0, 0.02)."""

    def __post_init__(self) -> None:
        """Refuse a weight that nothing would use."""
        if self.objective != "wgangp" and self.gradient_penalty_weight != GRADIENT_PENALTY_WEIGHT:
            raise UserError(
                f"method.gradient_penalty_weight = {self.gradient_penalty_weight} has no meaning with "
                f"method.objective = {self.objective}: only wgangp has a gradient penalty. Leave it out, or set "
                "method.objective = wgangp."
            )


def adapt(config: Config, shapes: ImageShapes, chosen: frozenset[str]) -> tuple[Config, list[str]]:
    """Turn the identity loss off where A and B have different numbers of channels, unless the user asked for it."""
    a, b = shapes.channels_a, shapes.channels_b
    if a == b or not config.identity_weight or "identity_weight" in chosen:
        return config, []
    notice = f"A has {a} channels and B has {b}: the identity loss is off (it needs the same number in both)."
    return replace(config, identity_weight=0.0), [notice]


class CycleGAN(Method):
    """Two translators that undo one another, and a discriminator for each domain."""

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        super().__init__()
        self.config = config
        a, b = shapes.channels_a, shapes.channels_b
        if config.identity_weight and a != b:
            raise UserError(
                f"the identity loss compares G(b) with b and needs as many channels in A as in B; A has {a}, B has "
                f"{b}. Set method.identity_weight = 0."
            )
        self.G = build_generator(config.generator, a, b)
        self.F = build_generator(config.generator, b, a)
        self.D_X = build_discriminator(config.discriminator, a)
        self.D_Y = build_discriminator(config.discriminator, b)
        for network in (self.G, self.F, self.D_X, self.D_Y):
            initialize(network, config.init)
        self.pool_x = image_pool(config.pool_size, (a, *shapes.size) if shapes.size else None)
        self.pool_y = image_pool(config.pool_size, (b, *shapes.size) if shapes.size else None)
        # Through batch normalisation the images of one call see one another, so calls must not be joined.
        self.joined_G = config.generator.norm != "batch"
        self.joined_D = config.discriminator.norm != "batch"

    def players(self) -> dict[str, list[nn.Module]]:
        """Return the generators and the discriminators, each with one optimiser as in the authors' code."""
        return {"generators": [self.G, self.F], "discriminators": [self.D_X, self.D_Y]}

    def translators(self) -> dict[str, Generator]:
        """Return G as `a2b` and F as `b2a`."""
        return {"a2b": self.G, "b2a": self.F}

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the generators' update, then the discriminators' (section 4)."""
        c = self.config
        x, y = next(batches)
        fake_y, same_y = self.translate(self.G, x, y)
        fake_x, same_x = self.translate(self.F, y, x)

        terms = {
            "gan_a2b": generator_loss(c.objective, self.D_Y(fake_y)),  # Eq. 1
            "gan_b2a": generator_loss(c.objective, self.D_X(fake_x)),
            "cycle_a": c.cycle_weight * l1(self.F(fake_y), x),  # Eq. 2
            "cycle_b": c.cycle_weight * l1(self.G(fake_x), y),
        }
        if same_x is not None and same_y is not None:  # section 5.2
            terms["identity_a"] = c.identity_weight * l1(same_x, x)
            terms["identity_b"] = c.identity_weight * l1(same_y, y)
        yield Update("generators", **terms)

        fake_x, fake_y = self.pool_x(fake_x), self.pool_y(fake_y)
        yield Update(
            "discriminators",
            discriminator_a=self.judge(self.D_X, x, fake_x),
            discriminator_b=self.judge(self.D_Y, y, fake_y),
        )

    def translate(self, network: nn.Module, image: Tensor, other: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the translation of `image`, and what the network makes of an image already in its target domain."""
        if not self.config.identity_weight:
            return network(image), None
        if not (self.join_calls and self.joined_G) or image.shape != other.shape:
            return network(image), network(other)
        translated, same = network(torch.cat([image, other])).chunk(2)
        return translated, same

    def judge(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """Return a discriminator's loss, divided by 2 to slow it down relative to the generators (appendix 7.1)."""
        c = self.config
        if self.joined_D and real.shape == fake.shape:
            on_real, on_fake = discriminator(torch.cat([real, fake])).chunk(2)
        else:
            on_real, on_fake = discriminator(real), discriminator(fake)
        loss = (real_loss(c.objective, on_real) + fake_loss(c.objective, on_fake)) / 2
        if c.objective == "wgangp":
            loss = loss + gradient_penalty(discriminator, real, fake, c.gradient_penalty_weight)
        return loss
