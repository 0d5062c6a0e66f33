"""CycleGAN: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks.

Zhu, Park, Isola, Efros, ICCV 2017, arXiv:1703.10593. Symbols follow the paper: G: X -> Y, F: Y -> X, D_Y judges Y.
X is domain A and Y is domain B, so G is `a2b` and F is `b2a`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from unpaired import networks
from unpaired.core.errors import UserError
from unpaired.core.settings import option
from unpaired.methods.base import Batch, ImageShapes, Method, Player, Term, Update
from unpaired.methods.losses import (
    AdversarialConfig,
    Weight,
    discriminator_loss,
    generator_loss,
    l1,
    require_one_size,
    unused_discriminator,
)
from unpaired.methods.pool import image_pool


class Config(AdversarialConfig):
    """Settings of CycleGAN. Defaults are those of the authors' PyTorch code; weights of 0 are the paper's ablations."""

    gan_weight: Weight = 1.0
    """Weight of the adversarial losses; 0 leaves them and the discriminators out ("cycle alone" of tables 4 and 5)."""
    cycle_weight: Weight = 10.0
    """lambda of Eq. 3, for both directions; 0 leaves the cycles out ("GAN alone")."""
    cycle_a_weight: Weight | None = None
    """Weight of the forward cycle, A to B to A; `cycle_weight` where it is not set."""
    cycle_b_weight: Weight | None = None
    """Weight of the backward cycle, B to A to B; `cycle_weight` where it is not set."""
    identity_weight: Weight = 5.0
    """Weight of the identity loss (section 5.2: 0.5 lambda); 0 turns it off, as in most of the paper's experiments."""
    pool_size: Annotated[int, Field(ge=0, le=100_000)] = 50
    """Past fakes shown to the discriminators (section 4); 0 shows the present ones."""
    generator: networks.GeneratorConfig = networks.ResnetConfig()
    """Both generators; the paper takes 6 blocks at 128 x 128 and 9 at 256 x 256 and above."""
    discriminator: networks.DiscriminatorConfig = networks.PatchganConfig()
    """Both discriminators: PatchGAN with a 70 x 70 field."""
    cycle_noise: Annotated[float, Field(ge=0, le=128)] = 0.0
    """Defence against hidden information: noise added to a translation before it is brought back, its standard
    deviation in levels of 0..255. See `unpaired audit`."""
    cycle_jpeg: Annotated[int, Field(ge=1, le=100)] | None = None
    """The same with JPEG of this quality, for domains of 1 or 3 channels; after the noise where both are set."""
    init: networks.InitConfig = networks.InitConfig()
    """How the weights start: N(0, 0.02)."""

    def check(self) -> None:
        """Refuse settings that nothing would use, and a training without any loss."""
        super().check()
        if not any((self.gan_weight, self.weight_a, self.weight_b, self.identity_weight)):
            raise UserError(
                "all weights of the losses are 0: there is nothing to learn. Set method.gan_weight, "
                "method.cycle_weight or method.identity_weight above 0."
            )
        if self.cycle_a_weight is not None and self.cycle_b_weight is not None and self.is_set("cycle_weight"):
            raise UserError(
                f"{option('method.cycle_weight', self.cycle_weight)} has no meaning where "
                f"{option('method.cycle_a_weight')} and {option('method.cycle_b_weight')} are both set. Leave it out."
            )
        if (self.cycle_noise or self.cycle_jpeg) and not (self.weight_a or self.weight_b):
            name = "cycle_noise" if self.cycle_noise else "cycle_jpeg"
            raise UserError(
                f"method.{name} disturbs translations before they are brought back, and with both weights of the "
                "cycles 0 none is. Leave it out, or set method.cycle_weight above 0."
            )
        if not self.gan_weight:
            self.refuse_without_gan("objective", "pool_size", "gradient_penalty_weight")

    @property
    def weight_a(self) -> float:
        """The weight of the forward cycle, whichever setting gives it."""
        return self.cycle_weight if self.cycle_a_weight is None else self.cycle_a_weight

    @property
    def weight_b(self) -> float:
        """The weight of the backward cycle, whichever setting gives it."""
        return self.cycle_weight if self.cycle_b_weight is None else self.cycle_b_weight


class CycleGAN(Method):
    """Two translators that undo one another, and a discriminator for each domain."""

    config_class = Config
    config: Config

    @classmethod
    def adapt(cls, config: Config, shapes: ImageShapes, chosen: frozenset[str]) -> tuple[Config, list[str]]:
        """Turn the identity loss off where A and B have different numbers of channels, unless the user asked for it."""
        a, b = shapes.channels_a, shapes.channels_b
        notices = unused_discriminator(config.gan_weight, chosen)
        if a == b or not config.identity_weight or "identity_weight" in chosen:
            return config, notices
        notice = f"A has {a} channels and B has {b}: the identity loss is off (it needs the same number in both)."
        return replace(config, identity_weight=0.0), [*notices, notice]

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        a, b = shapes.channels_a, shapes.channels_b
        if config.identity_weight and a != b:
            raise UserError(
                f"the identity loss compares G(b) with b and needs as many channels in A as in B; A has {a}, B has "
                f"{b}. Set method.identity_weight = 0."
            )
        self.G = networks.build_generator(config.generator, a, b)
        self.F = networks.build_generator(config.generator, b, a)
        if config.gan_weight:
            require_one_size(config, shapes)
            self.D_X = networks.build_discriminator(config.discriminator, a)
            self.D_Y = networks.build_discriminator(config.discriminator, b)
        for network in self.children():
            networks.initialize(network, config.init)
        for domain, channels, weight in (("B", b, config.weight_a), ("A", a, config.weight_b)):
            if config.cycle_jpeg and weight and channels not in (1, 3):
                raise UserError(
                    f"method.cycle_jpeg compresses translations to domain {domain}, and JPEG holds images of 1 or 3 "
                    f"channels; {domain} has {channels}. Set method.cycle_noise in place of it."
                )
        self.disturb_y, self.disturb_x = (
            networks.Disturbance(channels, noise=config.cycle_noise, jpeg=config.cycle_jpeg)
            if weight
            else nn.Identity()
            for channels, weight in ((b, config.weight_a), (a, config.weight_b))
        )
        if config.gan_weight:
            self.pool_x = image_pool(config.pool_size, a, shapes.size)
            self.pool_y = image_pool(config.pool_size, b, shapes.size)
        else:
            self.obsolete = ("D_X.", "D_Y.", "pool_x.", "pool_y.")

    def players(self) -> dict[str, Player]:
        judges = {"discriminators": Player("discriminator", self.D_X, self.D_Y)} if self.config.gan_weight else {}
        return {"generators": Player("generator", self.G, self.F), **judges}

    def terms(self) -> dict[str, Term]:
        cycle_a, cycle_b = (
            f"cycle_{domain}_weight" if own is not None else "cycle_weight"
            for domain, own in (("a", self.config.cycle_a_weight), ("b", self.config.cycle_b_weight))
        )
        adversarial, identity = Term("adversarial", "gan_weight"), Term("identity", "identity_weight")
        return {
            "gan_a2b": adversarial,
            "gan_b2a": adversarial,
            "cycle_a": Term("cycle", cycle_a, "a2b"),
            "cycle_b": Term("cycle", cycle_b, "b2a"),
            "identity_a": identity,
            "identity_b": identity,
            "discriminator_a": Term("discriminator"),
            "discriminator_b": Term("discriminator"),
        }

    def translators(self) -> dict[str, networks.Generator]:
        return {"a2b": self.G, "b2a": self.F}

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the generators' update, then the discriminators' (section 4)."""
        c = self.config
        x, y = next(batches)
        fake_y, same_y = self.translate(self.G, x, y)
        fake_x, same_x = self.translate(self.F, y, x)

        terms = self.adversarial(fake_x, fake_y)
        if c.weight_a:  # Eq. 2, forward
            terms["cycle_a"] = c.weight_a * l1(self.F(self.disturb_y(fake_y)), x)
        if c.weight_b:  # Eq. 2, backward
            terms["cycle_b"] = c.weight_b * l1(self.G(self.disturb_x(fake_x)), y)
        if same_x is not None and same_y is not None:  # section 5.2
            terms["identity_a"] = c.identity_weight * l1(same_x, x)
            terms["identity_b"] = c.identity_weight * l1(same_y, y)
        yield Update("generators", **terms)

        if c.gan_weight:
            yield self.judge(x, y, fake_x, fake_y)

    def adversarial(self, fake_x: Tensor, fake_y: Tensor) -> dict[str, Tensor]:
        """Return the generators' adversarial losses (Eq. 1); none where their weight is 0."""
        c = self.config
        if not c.gan_weight:
            return {}
        return {
            "gan_a2b": c.gan_weight * generator_loss(c.objective, self.D_Y(fake_y)),
            "gan_b2a": c.gan_weight * generator_loss(c.objective, self.D_X(fake_x)),
        }

    def judge(self, x: Tensor, y: Tensor, fake_x: Tensor, fake_y: Tensor) -> Update:
        """Return the discriminators' update: real images against fakes of this step and of earlier ones."""
        fake_x, fake_y = self.pool_x(fake_x), self.pool_y(fake_y)  # both draw before anything else does
        return Update(
            "discriminators",
            discriminator_a=discriminator_loss(self.config, self.D_X, x, fake_x),
            discriminator_b=discriminator_loss(self.config, self.D_Y, y, fake_y),
        )

    def translate(self, network: nn.Module, image: Tensor, other: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the translation of `image`, and what the network makes of an image already in its target domain."""
        if not self.config.identity_weight:
            return network(image), None
        return networks.on_both(network, image, other)
