"""DCLGAN: Dual Contrastive Learning for Unsupervised Image-to-Image Translation.

Han, Shoeiby, Petersson, Armin, CVPR workshops 2021, arXiv:2104.07689. CUT in both directions: x from A, y from B,
G: X -> Y, F: Y -> X. A patch of G(x) is embedded by F's encoder and should be recognisable as made of the patch of x at
the same place, which G's encoder embeds: each domain has an encoder and an embedding of its own. There is no cycle.
Terms and weights follow the authors' code. Unlike there, the embeddings learn at the generators' rate and not at 1e-3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from unpaired import networks
from unpaired.core.errors import UserError
from unpaired.methods.base import Batch, ImageShapes, Method, Player, Term, Update
from unpaired.methods.cut import Layer, Maps, PatchConfig, PatchEmbedding, patch_nce, with_keys
from unpaired.methods.losses import (
    Weight,
    discriminator_loss,
    generator_loss,
    l1,
    require_one_size,
)


class Config(PatchConfig):
    """Settings of DCLGAN. Defaults are those of the authors' code."""

    gan_weight: Annotated[float, Field(gt=0)] = 1.0
    """lambda_GAN: weight of the adversarial loss; the mean of both directions is taken of this and the next two."""
    nce_weight: Annotated[float, Field(gt=0)] = 2.0
    """lambda_NCE: weight of the contrastive loss."""
    identity_weight: Weight = 1.0
    """lambda_idt: weight of the L1 distance between an image and what the generator into its own domain makes of it."""
    nce_layers: tuple[Layer, ...] = (4, 8, 12, 16)
    """Layers of the generators whose features are compared, numbered as in the authors' code."""
    generator: networks.ResnetConfig = networks.ResnetConfig(downsampling="blur", upsampling="blur")
    """ResNet with 9 blocks and anti-aliased sampling."""
    discriminator: networks.DiscriminatorConfig = networks.PatchganConfig(downsampling="blur")
    """PatchGAN with anti-aliased sampling."""


@final
class DCLGAN(Method):
    """Two generators, the discriminators of their targets, and the embeddings of both encoders."""

    config_class: ClassVar[type[Config]] = Config
    config: Config
    defaults: ClassVar[Mapping[str, Any]] = {"training.epochs": 200, "training.decay_epochs": 200}

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        a, b = shapes.channels_a, shapes.channels_b
        if a != b:
            raise UserError(
                f"DCLGAN sends images of both domains through each generator, so both need as many channels; A has {a} "
                f"and B has {b}. Set data.channels_a and data.channels_b to one number (label maps: data.labels_a.feed "
                "= colour), or train cyclegan."
            )
        require_one_size(config, shapes)
        self.G, self.F = (networks.ResnetGenerator(config.generator, a, b) for _ in range(2))
        self.D_X, self.D_Y = (networks.build_discriminator(config.discriminator, a) for _ in range(2))
        channels = self.G.feature_channels(config.nce_layers)
        self.H_X, self.H_Y = (PatchEmbedding(channels, config.embedding_width) for _ in range(2))
        for network in self.children():
            networks.initialize(network, config.init)

    def players(self) -> dict[str, Player]:
        return {
            "discriminators": Player("discriminator", self.D_X, self.D_Y),
            "generators": Player("generator", self.G, self.F, self.H_X, self.H_Y),
        }

    def terms(self) -> dict[str, Term]:
        adversarial, identity = Term("adversarial", "gan_weight"), Term("identity", "identity_weight")
        return {
            "discriminator_a": Term("discriminator"),
            "discriminator_b": Term("discriminator"),
            "gan_a2b": adversarial,
            "gan_b2a": adversarial,
            "nce_a2b": Term("contrastive", "nce_weight", "a2b"),
            "nce_b2a": Term("contrastive", "nce_weight", "b2a"),
            "identity_a": identity,
            "identity_b": identity,
        }

    def translators(self) -> dict[str, networks.Generator]:
        return {"a2b": self.G, "b2a": self.F}

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the discriminators' update, then that of generators and embeddings, as in the authors' code."""
        c = self.config
        x, y = next(batches)
        fake_y, keys_x = with_keys(self.G, c.generator, x, c.nce_layers)
        fake_x, keys_y = with_keys(self.F, c.generator, y, c.nce_layers)
        yield Update(
            "discriminators",
            discriminator_a=discriminator_loss(c, self.D_X, x, fake_x.detach()),
            discriminator_b=discriminator_loss(c, self.D_Y, y, fake_y.detach()),
        )

        terms = {  # the mean of both directions
            "gan_a2b": c.gan_weight / 2 * generator_loss(c.objective, self.D_Y(fake_y)),
            "gan_b2a": c.gan_weight / 2 * generator_loss(c.objective, self.D_X(fake_x)),
            "nce_a2b": c.nce_weight / 2 * self.patch_nce(fake_y, x, keys_x, "a2b"),
            "nce_b2a": c.nce_weight / 2 * self.patch_nce(fake_x, y, keys_y, "b2a"),
        }
        if c.identity_weight:
            terms["identity_a"] = c.identity_weight / 2 * l1(self.F(x), x)
            terms["identity_b"] = c.identity_weight / 2 * l1(self.G(y), y)
        yield Update("generators", **terms)

    def patch_nce(self, output: Tensor, image: Tensor, keys: Maps, direction: str) -> Tensor:
        """Return the mean over the layers of the contrastive loss: patches of `output` against those of `image`.

        `keys` are the image's features in its own domain's encoder, where they are at hand.
        """
        c = self.config
        domains = (self.G, self.H_X), (self.F, self.H_Y)
        (source, embed_source), (target, embed_target) = domains if direction == "a2b" else domains[::-1]
        queries = target.features(output, c.nce_layers)
        with torch.no_grad():
            keys = source.features(image, c.nce_layers) if keys is None else keys
        return patch_nce(c, queries, keys, embed_target, embed_source)
