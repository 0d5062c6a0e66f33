"""SimGAN: Learning from Simulated and Unsupervised Images through Adversarial Training.

Algorithm 1 of Shrivastava, Pfister, Tuzel, Susskind, Wang, Webb, CVPR 2017, arXiv:1612.07828, with the networks, the
adversarial loss and the history of CycleGAN, as the CycleGAN paper compares with it (section 5.1). `Refiner` is what
feature-loss GAN shares: a translator that is kept near its input, and a discriminator.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from unpaired import networks
from unpaired.core.errors import UserError
from unpaired.methods.base import Batch, Direction, ImageShapes, Method, Player, Term, Update
from unpaired.methods.losses import AdversarialConfig, Weight, discriminator_loss, generator_loss, l1, require_one_size
from unpaired.methods.pool import image_pool

Updates = Annotated[int, Field(ge=1, le=10_000)]


class RefinerConfig(AdversarialConfig):
    """Settings that SimGAN and feature-loss GAN share."""

    direction: Direction = "a2b"
    """Which domain is refined towards which: a2b or b2a."""
    regularization_weight: Weight = 10.0
    """lambda of Eq. 4: how strongly a result is kept near its input; the value of the CycleGAN authors' code."""
    refiner_updates: Updates = 2
    """K_g of Algorithm 1: updates of the refiner in one step; the paper's gaze experiments take 2."""
    discriminator_updates: Updates = 1
    """K_d of Algorithm 1: updates of the discriminator in one step."""
    pool_size: Annotated[int, Field(ge=0, le=100_000)] = 50
    """Past results shown to the discriminator (section 2.3); 0 shows the present ones."""
    generator: networks.GeneratorConfig = networks.ResnetConfig()
    """The refiner."""
    discriminator: networks.DiscriminatorConfig = networks.PatchganConfig()
    """PatchGAN with a 70 x 70 field: the local adversarial loss of section 2.2."""
    init: networks.InitConfig = networks.InitConfig()
    """How the weights start: N(0, 0.02)."""


class Refiner(Method):
    """A translator R, a discriminator, and a term that keeps R(x) near x, which each method defines."""

    config: RefinerConfig

    def __init__(self, config: RefinerConfig, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        require_one_size(config, shapes)
        source, target = shapes.seen_from(config.direction)
        self.R = networks.build_generator(config.generator, source, target)
        self.D = networks.build_discriminator(config.discriminator, target)
        for network in (self.R, self.D):
            networks.initialize(network, config.init)
        self.pool = image_pool(config.pool_size, target, shapes.size)

    def players(self) -> dict[str, Player]:
        return {"refiner": Player("generator", self.R), "discriminator": Player("discriminator", self.D)}

    def terms(self) -> dict[str, Term]:
        return {
            "gan": Term("adversarial"),
            "regularization": Term("regularization", "regularization_weight"),
            "discriminator": Term("discriminator"),
        }

    def translators(self) -> dict[str, networks.Generator]:
        return {self.config.direction: self.R}

    @abstractmethod
    def distance(self, refined: Tensor, image: Tensor) -> Tensor:
        """Return how far a result is from its input, a scalar: the norm in Eq. 3."""

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield K_g updates of the refiner, then K_d of the discriminator.

        Deviation from Algorithm 1, which draws a batch for each update: the k-th update of the discriminator sees the
        batch of the refiner's k-th, as in CycleGAN's code. With one update each, a step takes one batch. What the
        discriminator is shown was made before the refiner moved. And R is not trained on the distance alone before the
        first step.
        """
        c = self.config
        seen: list[tuple[Tensor, Tensor]] = []
        for _ in range(c.refiner_updates):
            x, y = next(batches).seen_from(c.direction)
            refined = self.R(x)
            yield Update(
                "refiner",
                gan=generator_loss(c.objective, self.D(refined)),
                regularization=c.regularization_weight * self.distance(refined, x),
            )
            seen.append((refined.detach(), y))
        for number in range(c.discriminator_updates):
            refined, y = seen[number] if number < len(seen) else self._another(batches)
            yield Update("discriminator", discriminator=discriminator_loss(c, self.D, y, self.pool(refined)))

    @torch.no_grad()
    def _another(self, batches: Iterator[Batch]) -> tuple[Tensor, Tensor]:
        x, y = next(batches).seen_from(self.config.direction)
        return self.R(x), y


class Config(RefinerConfig):
    """Settings of SimGAN."""


@final
class SimGAN(Refiner):
    """A refiner that stays near its input pixel by pixel, and a discriminator of its target."""

    config_class = Config

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        if shapes.channels_a != shapes.channels_b:
            raise UserError(
                "SimGAN compares a result with its input pixel by pixel and needs as many channels in A as in B; A has "
                f"{shapes.channels_a} and B has {shapes.channels_b}. Set data.channels_a and data.channels_b to one "
                "number (label maps: data.labels_a.feed = colour), or train cyclegan."
            )
        super().__init__(config, shapes)

    def distance(self, refined: Tensor, image: Tensor) -> Tensor:
        """Return the self-regularisation of Eq. 3 with the identity for psi: the mean absolute difference."""
        return l1(refined, image)
