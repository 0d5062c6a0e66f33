"""SimGAN: Learning from Simulated and Unsupervised Images through Adversarial Training.

Shrivastava, Pfister, Tuzel, Susskind, Wang, Webb, CVPR 2017, arXiv:1612.07828, as the CycleGAN paper compares with it.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from unpaired.core.errors import UserError
from unpaired.methods.base import ImageShapes
from unpaired.methods.losses import l1
from unpaired.methods.refiner import Refiner, RefinerConfig


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
