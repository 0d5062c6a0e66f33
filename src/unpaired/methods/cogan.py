"""CoGAN: Coupled Generative Adversarial Networks.

Liu & Tuzel, NeurIPS 2016, arXiv:1606.07536. Symbols follow the paper: g_1 and g_2 render one latent vector z in the two
domains, f_1 and f_2 judge them; domain 1 is A and domain 2 is B. Nothing in the images says which of them correspond:
g_1 and g_2 share all layers but the last, f_1 and f_2 all but the first, and that is the whole coupling.

What is translated is searched for: the z whose rendering is the given image (`networks.latent_search`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor

from unpaired import networks
from unpaired.core.settings import Settings
from unpaired.methods.base import Batch, ImageShapes, Method, Player, Term, Update
from unpaired.methods.losses import fake_loss, generator_loss, real_loss


class Config(Settings):
    """Settings of CoGAN. The coupling, 100 latent numbers and the objective are the paper's; the layers are DCGAN's.

    The paper's generators for digits have the same plan (batch norm, all layers shared but a last one of stride 1)
    with PReLU and maps of odd sizes, its discriminators are LeNets with max pooling; theirs fit 28 x 28 alone.
    """

    objective: Literal["vanilla", "lsgan", "hinge"] = "vanilla"
    """Adversarial loss: vanilla (Eq. 1, in the non-saturating form of the authors' code), lsgan or hinge."""
    generator: networks.CoupledGeneratorConfig = networks.CoupledGeneratorConfig()
    """g_1 and g_2."""
    discriminator: networks.CoupledDiscriminatorConfig = networks.CoupledDiscriminatorConfig()
    """f_1 and f_2."""
    search: networks.SearchConfig = networks.SearchConfig()
    """How a translation looks for z; kept with the model. Training does not use it."""
    init: networks.InitConfig = networks.InitConfig()
    """How the weights start: N(0, 0.02), as in DCGAN."""


@final
class CoGAN(Method):
    """Two coupled generators and two coupled discriminators; both translators search in the same generators."""

    config_class = Config
    config: Config
    keeps_input = False
    defaults: ClassVar[Mapping[str, Any]] = {
        # The paper's digits. Adam's 2e-4, 0.5 and 0.999 are the training's own defaults, and the authors' code agrees.
        "training.batch_size": 128,
        # A constant rate in the authors' solver files.
        "training.schedule": "constant",
        # Published without flips; digits and writing must not be flipped. Turn it on for photos.
        "data.flip": False,
    }

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        a, b, size = shapes.channels_a, shapes.channels_b, shapes.one_size("CoGAN makes images of one size")
        generators = networks.CoupledGenerator(config.generator, a, b, size)
        self.f = networks.CoupledDiscriminator(config.discriminator, a, b, size)
        for network in (generators, self.f):
            networks.initialize(network, config.init)
        forward = networks.LatentSearchConfig(source="a", size=size, generator=config.generator, search=config.search)
        backward = networks.LatentSearchConfig(source="b", size=size, generator=config.generator, search=config.search)
        self.a2b = networks.LatentSearch(forward, a, b, generators)
        self.b2a = networks.LatentSearch(backward, b, a, generators)

    @property
    def g(self) -> networks.CoupledGenerator:
        """The coupled generators, which both translators hold."""
        return self.a2b.generator

    def players(self) -> dict[str, Player]:
        return {"discriminators": Player("discriminator", self.f), "generators": Player("generator", self.g)}

    def terms(self) -> dict[str, Term]:
        sides = {"discriminator": Term("discriminator"), "gan": Term("adversarial")}
        return {f"{name}_{domain}": term for name, term in sides.items() for domain in "ab"}

    def translators(self) -> dict[str, networks.Generator]:
        return {"a2b": self.a2b, "b2a": self.b2a}

    def generate(self, count: int) -> Batch:
        """Return `count` pairs, rendered from latent vectors that are always the same."""
        return Batch(*self.a2b.generate(count))

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the discriminators' update, then the generators' (the paper's algorithm 1), with one z for both.

        Gradients of shared layers are summed over the two domains where the algorithm averages them, which is the same
        to Adam.
        """
        c = self.config
        x1, x2 = next(batches)
        z = torch.randn(len(x1), c.generator.latent, device=x1.device)
        fake_1, fake_2 = self.g(z)

        real, fake = self.discriminate(Batch(x1, x2), Batch(fake_1.detach(), fake_2.detach()))
        yield Update(
            "discriminators",
            # Means over as many real as generated images.
            discriminator_a=(real_loss(c.objective, real[0]) + fake_loss(c.objective, fake[0])) / 2,
            discriminator_b=(real_loss(c.objective, real[1]) + fake_loss(c.objective, fake[1])) / 2,
        )

        on_1, on_2 = self.f(fake_1, fake_2)
        yield Update("generators", gan_a=generator_loss(c.objective, on_1), gan_b=generator_loss(c.objective, on_2))

    def discriminate(self, real: Batch, fake: Batch) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return the logits of f_1 and f_2 for real and for generated images."""
        both = self.f(torch.cat([real.x, fake.x]), torch.cat([real.y, fake.y]))
        (real_1, fake_1), (real_2, fake_2) = (logits.chunk(2) for logits in both)
        return (real_1, real_2), (fake_1, fake_2)
