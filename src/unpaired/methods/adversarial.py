"""What methods with image discriminators share: the settings of the objective, and how a discriminator learns."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.core.settings import Settings, option
from unpaired.methods.base import ImageShapes
from unpaired.methods.losses import Objective, fake_loss, gradient_penalty, real_loss
from unpaired.networks import mixes_images

Weight = Annotated[float, Field(ge=0)]
"""Of a loss term."""


class AdversarialConfig(Settings):
    """Settings of the adversarial objective."""

    objective: Objective = "lsgan"
    """Adversarial loss: lsgan (section 4 of CycleGAN's paper), vanilla, hinge or wgangp."""
    gradient_penalty_weight: Weight = 10.0
    """Weight of the gradient penalty, for `wgangp` alone."""

    def check(self) -> None:
        """Refuse a weight that nothing would use."""
        if self.objective != "wgangp" and self.is_set("gradient_penalty_weight"):
            raise UserError(
                f"{option('method.gradient_penalty_weight', self.gradient_penalty_weight)} has no meaning with "
                f"{option('method.objective', self.objective)}: only wgangp has a gradient penalty. Leave it out, or "
                f"set {option('method.objective', 'wgangp')}."
            )


def require_one_size(config: AdversarialConfig, shapes: ImageShapes) -> None:
    """Raise UserError where the gradient penalty, which looks between a real image and a fake, would meet two sizes."""
    if config.objective == "wgangp" and shapes.size is None:
        raise UserError(
            "method.objective = wgangp looks at images between a real and a generated one, which must have one size, "
            f"and these keep sizes of their own. Set {option('data.preprocess')} to a mode that crops: "
            '"resize_and_crop", "crop" or "scale_width_and_crop"; or choose another method.objective.'
        )


def discriminator_loss(config: AdversarialConfig, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Return a discriminator's loss, divided by 2 to slow it down relative to the generators (CycleGAN, appendix 7.1).

    `real` and `fake` are [N, C, H, W] and carry no gradient to a generator (detach them). Both go through the
    discriminator in one call where their shapes and its norm allow it.
    """
    if real.shape == fake.shape and not mixes_images(discriminator):
        on_real, on_fake = discriminator(torch.cat([real, fake])).chunk(2)
    else:
        on_real, on_fake = discriminator(real), discriminator(fake)
    loss = (real_loss(config.objective, on_real) + fake_loss(config.objective, on_fake)) / 2
    if config.objective == "wgangp":
        loss = loss + gradient_penalty(discriminator, real, fake, config.gradient_penalty_weight)
    return loss
