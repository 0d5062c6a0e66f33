"""What SimGAN and feature-loss GAN have in common: a translator that is kept near its input, and a discriminator.

Algorithm 1 of Shrivastava et al., CVPR 2017, arXiv:1612.07828, with the networks, the adversarial loss and the history
of CycleGAN, as in its paper's comparison (section 5.1).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from unpaired.methods.adversarial import AdversarialConfig, Weight, discriminator_loss, require_one_size
from unpaired.methods.base import Batch, Direction, ImageShapes, Method, Player, Term, Update
from unpaired.methods.losses import generator_loss
from unpaired.methods.pool import image_pool
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

Updates = Annotated[int, Field(gt=0)]


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
    pool_size: Annotated[int, Field(ge=0)] = 50
    """Past results shown to the discriminator (section 2.3); 0 shows the present ones."""
    generator: GeneratorConfig = ResnetConfig()
    """The refiner."""
    discriminator: DiscriminatorConfig = PatchganConfig()
    """PatchGAN with a 70 x 70 field: the local adversarial loss of section 2.2."""
    init: InitConfig = InitConfig()
    """How the weights start: N(0, 0.02)."""


class Refiner(Method):
    """A translator R, a discriminator, and a term that keeps R(x) near x, which each method defines."""

    config: RefinerConfig

    def __init__(self, config: RefinerConfig, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        require_one_size(config, shapes)
        source, target = shapes.seen_from(config.direction)
        self.R = build_generator(config.generator, source, target)
        self.D = build_discriminator(config.discriminator, target)
        for network in (self.R, self.D):
            initialize(network, config.init)
        self.pool = image_pool(config.pool_size, target, shapes.size)

    def players(self) -> dict[str, Player]:
        """Return the refiner and the discriminator."""
        return {"refiner": Player("generator", self.R), "discriminator": Player("discriminator", self.D)}

    def terms(self) -> dict[str, Term]:
        """Return the distance from the input, and the two sides of the game."""
        return {
            "gan": Term("adversarial"),
            "regularization": Term("regularization", "regularization_weight"),
            "discriminator": Term("discriminator"),
        }

    def translators(self) -> dict[str, Generator]:
        """Return R as the one direction that there is."""
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
