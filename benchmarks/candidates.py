"""Candidates of the search for a better CycleGAN that the package does not have; each is a setting of a method.

    [method]
    name = "candidates:Candidate"
    r1_weight = 0.1

These are a user's own methods (docs/extensions.md), so that an idea is measured before it gets a place in the package.
`benchmarks/records/failed.md` says what was found. They are for trials alone: counters of steps are not part of a
checkpoint. One of the optimisers needs `pip install schedulefree`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, final

import torch
import torch.nn.functional as nnf
from pydantic import Field
from torch import Tensor, nn

import unpaired
from unpaired import networks
from unpaired.core.errors import UserError
from unpaired.core.settings import Settings
from unpaired.methods import Batch, ImageShapes, Method, Player, Term, Update, cyclegan
from unpaired.methods.losses import Weight, discriminator_loss, generator_loss, l1, precise
from unpaired.training.trainer import Trainer

Every = Annotated[int, Field(ge=1)]
UPDATE_SIZE = 0.2
"""Root mean square of the values of an orthogonal update, near that of Adam's (Liu et al. 2025, "Muon is scalable")."""


class Config(cyclegan.Config):
    """Settings of CycleGAN, and one for each candidate."""

    r1_weight: Weight = 0.0
    """Gradient penalty on real images: half of gamma in R1 (Mescheder et al. 2018)."""
    r2_weight: Weight = 0.0
    """The same on fakes."""
    penalty_every: Every = 4
    """Steps between penalties, which weigh so many times as much ("lazy", Karras et al. 2020)."""
    relativistic: bool = False
    """Relativistic loss of pairs with softplus (Huang et al. 2024, R3GAN), in place of `objective`."""
    spectral_norm: bool = False
    """Spectral norm of the discriminators' convolutions (Miyato et al. 2018)."""
    scales: Annotated[int, Field(ge=1, le=3)] = 1
    """Layers of a discriminator that judge: the last; the last two; the last three. They share its features."""
    identity_every: Every = 1
    """Steps between identity losses, which weigh so many times as much."""
    identity_steps: Annotated[int, Field(ge=0)] | None = None
    """Steps after which there is no identity loss any more."""
    cycle_features: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the cycle that compares features of the discriminators in place of pixels (Wang and Lin 2024)."""
    small_steps: Annotated[int, Field(ge=0)] = 0
    """First steps, with images of half the height and width."""
    optimizer: Literal["adam", "muon", "schedulefree"] = "adam"
    """Adam; Muon (Jordan 2024) for convolutions; AdamW without a schedule (Defazio et al. 2024)."""

    def check(self) -> None:
        """Refuse trainings without discriminators, which most candidates are about."""
        super().check()
        if not self.gan_weight:
            raise UserError("method.gan_weight is 0, and candidates need discriminators. Set it above 0.")


@final
class Candidate(cyclegan.CycleGAN):
    """CycleGAN with the candidates."""

    config_class = Config
    config: Config

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        self.steps = 0
        if config.optimizer != "adam":
            replace_optimizer()
        self.D_X, self.D_Y = Judge(self.D_X, config), Judge(self.D_Y, config)

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the updates of CycleGAN with what the candidates change."""
        c = self.config
        x, y = next(batches)
        small = self.steps < c.small_steps
        if small:
            x, y = nnf.avg_pool2d(x, 2), nnf.avg_pool2d(y, 2)
        fake_y, same_y = self.translate(self.G, x, y)
        fake_x, same_x = self.translate(self.F, y, x)
        terms = {
            "gan_a2b": c.gan_weight * self.against(self.D_Y, y, fake_y),
            "gan_b2a": c.gan_weight * self.against(self.D_X, x, fake_x),
            "cycle_a": c.weight_a * self.distance(self.D_X, self.F(self.disturb_y(fake_y)), x),
            "cycle_b": c.weight_b * self.distance(self.D_Y, self.G(self.disturb_x(fake_x)), y),
        }
        if same_x is not None and same_y is not None:
            weight = c.identity_weight * c.identity_every
            terms |= {"identity_a": weight * l1(same_x, x), "identity_b": weight * l1(same_y, y)}
        yield Update("generators", **terms)
        if not small:  # the pools hold images of one size
            fake_x, fake_y = self.pool_x(fake_x), self.pool_y(fake_y)
        losses = self.between(self.D_X, x, fake_x.detach()), self.between(self.D_Y, y, fake_y.detach())
        yield Update("discriminators", discriminator_a=losses[0], discriminator_b=losses[1])
        self.steps += 1

    def translate(self, network: nn.Module, image: Tensor, other: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the translation, and the identity in steps that have one."""
        c = self.config
        if self.steps % c.identity_every or (c.identity_steps is not None and self.steps >= c.identity_steps):
            return network(image), None
        return super().translate(network, image, other)

    def distance(self, judge: Judge, again: Tensor, image: Tensor) -> Tensor:
        """Return how far an image is from its cycle, in pixels and in features."""
        share = self.config.cycle_features
        if not share:
            return l1(again, image)
        with torch.no_grad():
            target = judge.features(image)[-1]
        return (1 - share) * l1(again, image) + share * l1(judge.features(again)[-1], target)

    def against(self, judge: Judge, real: Tensor, fake: Tensor) -> Tensor:
        """Return the generator's loss; a relativistic one compares with the real images of the batch."""
        if not self.config.relativistic:
            return generator_loss(self.config.objective, judge(fake))
        with torch.no_grad():
            on_real = precise(judge(real))
        return nnf.softplus(on_real - precise(judge(fake))).mean()

    def between(self, judge: Judge, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss, with penalties in steps that have them."""
        c = self.config
        if c.relativistic:
            on_real, on_fake = networks.on_both(judge, real, fake)
            loss = nnf.softplus(precise(on_fake) - precise(on_real)).mean()
        else:
            loss = discriminator_loss(c, judge, real, fake)
        for weight, image in ((c.r1_weight, real), (c.r2_weight, fake)):
            if weight and self.steps % c.penalty_every == 0:
                image = image.detach().requires_grad_()
                total = precise(judge(image)).flatten(1).mean(1).sum()
                (gradient,) = torch.autograd.grad(total, image, create_graph=True)
                loss = loss + c.penalty_every * weight * gradient.float().square().flatten(1).sum(1).mean()
        return loss


class Judge(nn.Module):
    """A PatchGAN whose last layers judge, each through a head of its own."""

    def __init__(self, patchgan: nn.Module, config: Config) -> None:
        super().__init__()
        assert isinstance(patchgan, networks.PatchganDiscriminator)
        self.patchgan = patchgan
        width = patchgan.config.width
        channels = [width * 2 ** min(layer, 3) for layer in range(patchgan.config.layers + 1)]
        self.heads = nn.ModuleList(nn.Conv2d(each, 1, 4, padding=1) for each in channels[-config.scales : -1])
        networks.initialize(self.heads, config.init)
        for part in [each for each in self.modules() if config.spectral_norm and isinstance(each, nn.Conv2d)]:
            nn.utils.parametrizations.spectral_norm(part)

    def features(self, image: Tensor) -> list[Tensor]:
        """Return what each stage makes of images [N, C, H, W]."""
        found = [self.patchgan.see(image)]
        for stage in self.patchgan.stages:
            found.append(stage(found[-1]))
        return found[1:]

    def forward(self, image: Tensor) -> Tensor:
        """Return logits [N, S, h, w] of S scales; those of coarser ones are repeated, so that all weigh the same."""
        found = self.features(image)
        heads = [*self.heads, self.patchgan.head]
        logits = [head(each) for head, each in zip(heads, found[-len(heads) :], strict=True)]
        size = logits[0].shape[-2:]
        return torch.cat([each if each.shape[-2:] == size else nnf.interpolate(each, size) for each in logits], 1)


# ------------------------------------------------------------------------------------------------------- distillation


class DistilledConfig(Settings):
    """Settings of a distillation."""

    teacher: str = ""
    """The run of a CycleGAN, both of whose directions are learnt."""
    generator: networks.GeneratorConfig = networks.UnetConfig(depth=3, width=32)
    """The one generator."""
    init: networks.InitConfig = networks.InitConfig()
    """How its weights start."""


@final
class Distilled(Method):
    """One generator for both directions, which sees by the image what it is to make of it."""

    config_class = DistilledConfig
    config: DistilledConfig

    def __init__(self, config: DistilledConfig, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        self.G = networks.build_generator(config.generator, shapes.channels_a, shapes.channels_b)
        networks.initialize(self.G, config.init)
        teachers = (unpaired.Translator.load(config.teacher, way, checkpoint="last") for way in ("a2b", "b2a"))
        self.teachers = tuple(each.network for each in teachers)  # a tuple: they are not part of a checkpoint

    def players(self) -> dict[str, Player]:
        """Return the one player."""
        return {"generator": Player("generator", self.G)}

    def terms(self) -> dict[str, Term]:
        """Return the distance from each teacher."""
        return {"a2b": Term("reconstruction"), "b2a": Term("reconstruction")}

    def translators(self) -> dict[str, networks.Generator]:
        """Return the generator as both directions."""
        return {"a2b": self.G, "b2a": self.G}

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the generator's update: the mean absolute difference from the teachers' translations."""
        x, y = next(batches)
        with torch.no_grad():
            to_y, to_x = self.teachers[0](x), self.teachers[1](y)
        of_x, of_y = networks.on_both(self.G, x, y)
        yield Update("generator", a2b=l1(of_x, to_y), b2a=l1(of_y, to_x))


# --------------------------------------------------------------------------------------------------------- optimisers


class Muon(torch.optim.Adam):
    """Adam, but for convolutions, whose momentum is made orthogonal by five steps of Newton and Schulz."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move all weights."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.ndim == 4 and weight.grad is not None and min(weight.shape[:2]) > 3:
                    momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                    momentum.lerp_(weight.grad, 0.05)
                    flat = orthogonal(weight.grad.lerp(momentum, 0.95).flatten(1))
                    scale = UPDATE_SIZE * max(flat.shape) ** 0.5
                    weight.add_(flat.view_as(weight).to(weight.dtype), alpha=-group["lr"] * scale)
                    weight.grad = None
        return super().step(closure)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return the nearest matrix with singular values of about 1 (Jordan 2024)."""
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


@cache
def replace_optimizer() -> None:
    """Let trainers of this process take the optimiser that the method's settings name; there is no other way in."""
    adam, of_users, optimize = Trainer._optimizer, Trainer.translators, Trainer._optimize

    def optimizer(trainer: Trainer, parameters: list[nn.Parameter]) -> Any:
        config, kind = trainer.config, getattr(trainer.method.config, "optimizer", "adam")
        if kind == "muon":
            return Muon(parameters, lr=config.learning_rate, betas=config.betas)
        if kind == "schedulefree":
            import schedulefree

            return schedulefree.AdamWScheduleFree(
                parameters, lr=config.learning_rate, betas=config.betas, warmup_steps=100
            )
        return adam(trainer, parameters)

    def translators(trainer: Trainer) -> Any:
        for each in trainer.optimizers.values():
            if hasattr(each, "eval"):
                each.eval()  # its averages of the weights take their place
        return of_users(trainer)

    def step(trainer: Trainer, player: str) -> None:
        if hasattr(trainer.optimizers[player], "train"):
            trainer.optimizers[player].train()  # back to those that gradients are taken at
        optimize(trainer, player)

    Trainer._optimizer, Trainer.translators, Trainer._optimize = optimizer, translators, step  # type: ignore[method-assign]
