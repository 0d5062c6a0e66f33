"""Masked images: the self-supervised pretraining of UVCGAN, whose generators begin from it.

Torbunov et al., WACV 2023, arXiv:2203.02557, section 3.3: squares of an image are covered at random and the generator
is to give the whole image back. As in the authors' code of both versions, one generator learns from the images of
both domains, and what is covered becomes black. `training.init_from` gives its weights to a method that translates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from unpaired import networks
from unpaired.core.errors import UserError
from unpaired.core.settings import Settings
from unpaired.data.values import LOW
from unpaired.methods.base import Batch, ImageShapes, Method, Player, Term, Update
from unpaired.methods.losses import l1


class Config(Settings):
    """Settings of the pretraining. Defaults are those of the authors' code."""

    patch: Annotated[int, Field(ge=1, le=4096)] = 32
    """Height and width of the squares that are covered, in pixels."""
    covered: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """Probability with which each square is covered."""
    generator: networks.GeneratorConfig = networks.VitUnetConfig()
    """The generator that is to be trained further: UVCGANv2's, or any other."""
    init: networks.InitConfig = networks.InitConfig()
    """How the weights start: N(0, 0.02)."""


@final
class Masked(Method):
    """One generator that gives images of both domains back, of which squares are covered."""

    config_class = Config
    translates = False
    config: Config
    # The authors' batch has 32 images, here 16 of each domain; their rate is 5e-3 / 512 times that.
    # No evaluation: it makes no translations.
    defaults = {  # noqa: RUF012
        "training.batch_size": 16,
        "training.learning_rate": 32 * 5e-3 / 512,
        "training.betas": (0.9, 0.99),
        "training.evaluate_images": 0,
    }

    @classmethod
    def adapt(cls, config: Config, shapes: ImageShapes, chosen: frozenset[str]) -> tuple[Config, list[str]]:
        """Say what the result is good for."""
        return config, [
            "masked translates nothing: it learns to fill in what is covered, and both directions of its model give "
            "images back as they are. Its weights are for another training: unpaired train cyclegan --init-from RUN."
        ]

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        if shapes.channels_a != shapes.channels_b:
            raise UserError(
                "masked trains one generator on the images of both domains and needs as many channels in A as in B; A "
                f"has {shapes.channels_a} and B has {shapes.channels_b}. Set data.channels_a and data.channels_b to "
                "one number, or train without a pretraining."
            )
        self.G = networks.build_generator(config.generator, shapes.channels_a, shapes.channels_b)
        networks.initialize(self.G, config.init)

    def players(self) -> dict[str, Player]:
        return {"generator": Player("generator", self.G)}

    def terms(self) -> dict[str, Term]:
        return {f"reconstruction_{domain}": Term("reconstruction") for domain in ("a", "b")}

    def translators(self) -> dict[str, networks.Generator]:
        """Return the generator as both directions, so that both of a method that begins from it find its weights."""
        return {"a2b": self.G, "b2a": self.G}

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the generator's update: the mean absolute difference over the whole image, covered or not."""
        x, y = next(batches)
        again_x, again_y = networks.on_both(self.G, self.cover(x), self.cover(y))
        yield Update("generator", reconstruction_a=l1(again_x, x), reconstruction_b=l1(again_y, y))

    def cover(self, image: Tensor) -> Tensor:
        """Return [N, C, H, W] with each square of the grid black with the probability `covered`, drawn per image."""
        patch, (height, width) = self.config.patch, image.shape[2:]
        squares = torch.rand(len(image), 1, -(-height // patch), -(-width // patch), device=image.device)
        hidden = (squares < self.config.covered).repeat_interleave(patch, 2).repeat_interleave(patch, 3)
        return image.masked_fill(hidden[:, :, :height, :width], LOW)
