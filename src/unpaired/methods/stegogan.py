"""StegoGAN: Leveraging Steganography for Non-Bijective Image-to-Image Translation.

Wu et al., CVPR 2024, arXiv:2403.20142: CycleGAN for a domain B that shows what A never does. F (B to A) splits its
features by a mask: what A can show is translated; the rest is carried apart, and G gets it back to reconstruct y and
for what D_Y judges, so that G need not invent it. Terms are named as in the authors' code, symbols as in `cyclegan`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated, final

import torch.nn.functional as nnf
from pydantic import Field
from torch import Tensor

from unpaired import networks
from unpaired.methods import cyclegan
from unpaired.methods.base import Batch, ImageShapes, Player, Term, Update
from unpaired.methods.losses import Weight, l1


class Config(cyclegan.Config):
    """Settings of StegoGAN; those that it shares with CycleGAN mean the same."""

    mask_weight: Weight = 0.3
    """lambda_reg: how strongly F is kept from leaving out content; the authors take 0.2 to 0.3."""
    match_weight: Weight = 1.0
    """lambda_consistency: how closely images with and without the content that is left out agree elsewhere."""
    cycle_noise: Annotated[float, Field(ge=0, le=128)] = 1.275
    """Noise added to F(y) before it is brought back, in levels of 0..255, so that nothing can be hidden there."""
    generator: networks.ResnetConfig = networks.ResnetConfig()
    """Both generators; F has a mask in addition."""


@final
class StegoGAN(cyclegan.CycleGAN):
    """CycleGAN with what B alone shows carried apart; G, the translator of A to B, is a plain ResNet."""

    config_class = Config
    config: Config
    G: networks.ResnetGenerator
    F: networks.MaskedResnetGenerator

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        own = networks.MaskedResnetConfig(**{**dataclasses.asdict(config.generator), "family": "masked_resnet"})
        self.F = networks.MaskedResnetGenerator(own, shapes.channels_b, shapes.channels_a)
        self.fuse = networks.ResidualBlock(4 * own.width, own.norm, dropout=False)
        for network in (self.F, self.fuse):
            networks.initialize(network, config.init)
        networks.initialize(self.F.mask, networks.InitConfig(scheme="kaiming"))  # as the authors do

    def players(self) -> dict[str, Player]:
        return {**super().players(), "generators": Player("generator", self.G, self.F, self.fuse)}

    def terms(self) -> dict[str, Term]:
        return {**super().terms(), "mask": Term("other", "mask_weight"), "match": Term("other", "match_weight")}

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the generators' update, then the discriminators'."""
        c = self.config
        x, y = next(batches)
        kept, left_out, mask = self.F.split(y)
        fake_x = self.F.decode(kept)
        of_x, of_fake_x = self.G.encode(x), self.G.encode(self.disturb_x(fake_x))
        plain_y = self.G.decode(of_x)  # what users get
        # With what y shows and A never does: D_Y finds it in fakes too, so there is no need to invent it.
        fake_y = self.G.decode(of_x + self.fuse(left_out.detach()))
        kept_again, _, mask_fake = self.F.split(fake_y)
        # How much the channel that loses most loses at each place, [N, 1, H / 4, W / 4].
        unmatched, unmatched_fake = ((1 - each).amax(1, keepdim=True) for each in (mask, mask_fake))

        terms = self.adversarial(fake_x, fake_y)  # L_GAN
        if c.weight_a:  # L_cycle, forward
            terms["cycle_a"] = c.weight_a * l1(self.F.decode(kept_again), x)
        if c.weight_b:  # L_cycle, backward
            terms["cycle_b"] = c.weight_b * l1(self.G.decode(of_fake_x + self.fuse(left_out)), y)
        if c.identity_weight:
            terms["identity_a"] = c.identity_weight * l1(self.F(x), x)
            terms["identity_b"] = c.identity_weight * l1(self.G(y), y)
        if c.mask_weight:  # L_reg; the root favours masks that leave out nothing nearly everywhere
            roots = [(each + 1e-10).sqrt().mean() for each in (unmatched, unmatched_fake)]
            terms["mask"] = c.mask_weight * (roots[0] + roots[1])
        if c.match_weight:  # L_consistency
            of_y = _apart(self.G.decode(of_fake_x), y, unmatched)
            terms["match"] = c.match_weight * (of_y + _apart(plain_y, fake_y, unmatched_fake))
        yield Update("generators", **terms)

        if c.gan_weight:
            yield self.judge(x, y, fake_x, fake_y)


def _apart(image: Tensor, target: Tensor, unmatched: Tensor) -> Tensor:
    """Return |image - target| where nothing is left out; the authors enlarge bilinearly, which CUDA cannot repeat."""
    weight = 1 - nnf.interpolate(unmatched, image.shape[2:], mode="nearest")
    return l1(image * weight, target * weight)
