"""UNSB: Unpaired Image-to-Image Translation via Neural Schroedinger Bridge.

Kim, Kwon, Kim, Ye, ICLR 2024, arXiv:2305.15086. One direction: x_0 from the source, y from the target, and the times
t_0 = 0 to t_N = 1 between them. At each G predicts x_1 ~ q(x_1 | x_t), which should look like y (D: L_Adv), and

    L_SB(t_i) = E |x_t - x_1|^2 - 2 tau (1 - t_i) H(q(x_t, x_1))

makes it the Schroedinger bridge; an energy network estimates the entropy H. The contrastive loss of CUT keeps content.
Updates, weights and terms follow the authors' code but where the lines say so; each loss is computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from unpaired import networks
from unpaired.methods.base import Batch, Direction, ImageShapes, Method, Player, Term, Update
from unpaired.methods.cut import PatchConfig, PatchEmbedding, patch_nce
from unpaired.methods.losses import discriminator_loss, generator_loss, l2, precise


class Config(PatchConfig):
    """Settings of UNSB. Defaults are those of the authors' commands."""

    direction: Direction = "a2b"
    """Which domain is translated into which: a2b or b2a."""
    gan_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the adversarial loss."""
    sb_weight: Annotated[float, Field(gt=0)] = 1.0
    """lambda_SB: the weight of the loss of the bridge."""
    nce_weight: Annotated[float, Field(gt=0)] = 1.0
    """lambda_NCE: the weight of the contrastive loss of CUT."""
    identity: bool = True
    """Whether G should also leave images of the target as they are, by the same loss; the mean of both is taken."""
    generator: networks.BridgeResnetConfig = networks.BridgeResnetConfig(downsampling="blur", upsampling="blur")
    """ResNet with 9 blocks and anti-aliased sampling, with the steps and tau of the bridge."""
    discriminator: networks.PatchganConfig = networks.PatchganConfig(downsampling="blur")
    """PatchGAN with anti-aliased sampling, which takes the time; the energy network has the same layers."""


@final
class UNSB(Method):
    """A generator and a discriminator that know the time, an energy network, and the embedding of G's features."""

    config_class: ClassVar[type[Config]] = Config
    config: Config
    # 200 + 200 epochs in the authors' code, which counts one of the two images of A that a step takes.
    defaults: ClassVar[Mapping[str, Any]] = {"training.epochs": 400, "training.decay_epochs": 400}

    def __init__(self, config: Config, shapes: ImageShapes) -> None:
        super().__init__(config, shapes)
        source, target = shapes.seen_from(config.direction)
        shapes.one_size("UNSB compares two images in each step, which must have one size")
        self.G = networks.BridgeResnetGenerator(config.generator, source, target)
        self.D = networks.TimedPatchgan(config.discriminator, target)
        self.E = networks.TimedPatches(config.discriminator, 4 * target)
        self.H = PatchEmbedding(self.G.feature_channels(config.nce_layers), config.embedding_width)
        for network in self.children():
            networks.initialize(network, config.init)

    def players(self) -> dict[str, Player]:
        return {
            "discriminator": Player("discriminator", self.D),
            "energy": Player("other", self.E),
            "generator": Player("generator", self.G, self.H),
        }

    def terms(self) -> dict[str, Term]:
        return {
            "discriminator": Term("discriminator"),
            "energy": Term("other"),
            "gan": Term("adversarial", "gan_weight"),
            "transport": Term("regularization", "sb_weight"),
            "entropy": Term("other", "sb_weight"),
            "nce": Term("contrastive", "nce_weight"),
            "identity": Term("identity", "identity"),
        }

    def translators(self) -> dict[str, networks.Generator]:
        return {self.config.direction: self.G}

    def step(self, batches: Iterator[Batch]) -> Iterator[Update]:
        """Yield the updates of discriminator, energy network and generator with embedding, as in the authors' code."""
        c, tau, steps = self.config, self.config.generator.tau, self.config.generator.steps
        (x, y), (another, _) = (next(batches).seen_from(c.direction) for _ in range(2))
        time = torch.randint(steps, (1,), device=x.device)  # i of t_i
        x_t = self.sample(torch.cat([x, another, y] if c.identity else [x, another]), time)
        x_1 = self.G.predict(x_t, time, self.noise(x_t))
        fake_y = x_1[: len(x)]
        yield Update("discriminator", discriminator=discriminator_loss(c, self.D, y, fake_y.detach(), time))

        own, other = torch.cat([x_t, x_1], 1)[: 2 * len(x)].chunk(2)  # pairs (x_t, x_1) of x and of another image
        joint, marginal = self.energies(own.detach(), other.detach(), time)
        yield Update("energy", energy=(marginal + marginal.square()).mean() - joint)  # the square bounds it

        joint, marginal = self.energies(own, other, time)
        share = c.nce_weight / 2 if c.identity else c.nce_weight  # their code has the weight twice, as its square
        terms = {
            "gan": c.gan_weight * generator_loss(c.objective, self.D(fake_y, time)),
            # L_SB in their units: tau |x_t - x_1|^2 - tau (1 - i / N) H
            "transport": c.sb_weight * tau * l2(x_t[: len(x)], fake_y),
            "entropy": -c.sb_weight * tau * (1 - time[0] / steps) * (joint - marginal.mean()),
            "nce": share * self.patch_nce(fake_y, x),
        }
        if c.identity:
            terms["identity"] = share * self.patch_nce(x_1[2 * len(x) :], y)
        yield Update("generator", **terms)

    @torch.no_grad()
    def sample(self, image: Tensor, time: Tensor) -> Tensor:
        """Return x_t at a step of the bridges that begin at images: predicted and moved from step to step."""
        state = image
        for step in range(self.config.generator.steps - 1):
            if image.is_cpu and step >= int(time):
                break  # elsewhere, as a recorded step must, all are computed, and those before `time` count
            made = self.G.predict(state, self.G.step(step), self.noise(state))
            state = torch.where(step < time, self.G.move(state, made, step, torch.randn_like(state)), state)
        return state

    def noise(self, images: Tensor) -> Tensor:
        """Draw the noise of a prediction for each image."""
        return torch.randn(len(images), self.G.vectors.shape[1], device=images.device, dtype=images.dtype)

    def energies(self, own: Tensor, other: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean energy of pairs with themselves, and the log of the sum of exp of that with others, [N].

        H(q) is the information of a pair on itself: at least E[T(p, p)] - log E[exp T(p, p')], whatever T. The sum is
        over the patches of an image; in the authors' code also over the batch, of 1 image.
        """
        logits = self.E(torch.cat([torch.cat([own, own], 1), torch.cat([own, other], 1)]), time)
        joint, marginal = precise(logits).flatten(1).chunk(2)
        return joint.mean(), marginal.logsumexp(1)

    def patch_nce(self, output: Tensor, image: Tensor) -> Tensor:
        """Return the contrastive loss of CUT: patches of `output` against those of `image`."""
        c, noise = self.config, self.noise(image)
        queries = self.G.features(output, c.nce_layers, noise)
        with torch.no_grad():
            keys = self.G.features(image, c.nce_layers, noise)
        return patch_nce(c, queries, keys, self.H, self.H)
