"""Losses as pure functions, each a scalar mean, and what methods with image discriminators share."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Annotated, Literal

import torch
import torch.nn.functional as nnf
from pydantic import Field
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.core.settings import Settings, option
from unpaired.methods.base import ImageShapes
from unpaired.networks.base import on_both, without_autocast

Weight = Annotated[float, Field(ge=0)]
"""Of a loss term."""
Objective = Literal["lsgan", "vanilla", "hinge", "wgangp"]
"""Least squares (Mao et al. 2017), cross entropy (Goodfellow et al. 2014), hinge (Lim & Ye 2017), Wasserstein
(Gulrajani et al. 2017, together with `gradient_penalty`)."""
_counts_known: ContextVar[bool] = ContextVar("counts_known", default=False)
_Loss = Callable[[Tensor], Tensor]
_REAL: dict[Objective, _Loss] = {
    "lsgan": lambda logits: (logits - 1).square().mean(),
    "vanilla": lambda logits: nnf.softplus(-logits).mean(),  # cross entropy of the sigmoid with 1, without overflow
    "hinge": lambda logits: nnf.relu(1 - logits).mean(),
    "wgangp": lambda logits: -logits.mean(),
}
_FAKE: dict[Objective, _Loss] = {
    "lsgan": lambda logits: logits.square().mean(),
    "vanilla": lambda logits: nnf.softplus(logits).mean(),
    "hinge": lambda logits: nnf.relu(1 + logits).mean(),
    "wgangp": lambda logits: logits.mean(),
}


def real_loss(objective: Objective, logits: Tensor) -> Tensor:
    """Return the discriminator's loss of its logits for real images, a float32 scalar."""
    return _REAL[objective](precise(logits))


def fake_loss(objective: Objective, logits: Tensor) -> Tensor:
    """Return the discriminator's loss of its logits for generated images, a float32 scalar."""
    return _FAKE[objective](precise(logits))


def generator_loss(objective: Objective, logits: Tensor, *, real: bool = True) -> Tensor:
    """Return the generator's loss of the discriminator's logits for its images, a float32 scalar.

    "vanilla" is the non-saturating form that the authors of GAN advise: the generator minimises -log D(G(x)). A
    generator may also want its images to be called fake (`real` = False), where those of another one are to be called
    real, as in BiGAN; the loss is then that of the opposite logits.
    """
    # Hinge is for discriminators; its generator wants high logits, as the Wasserstein distance's does.
    judged: Objective = "wgangp" if objective == "hinge" else objective
    return (real_loss if real else fake_loss)(judged, logits)


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, weight: float = 10.0
) -> Tensor:
    """Return the penalty of WGAN-GP, a scalar: `weight` times the mean of (|gradient| - 1)^2 (Gulrajani et al., Eq. 3).

    `real` and `fake` are [N, C, H, W] of one shape and are not differentiated. The gradient is that of the sum of an
    image's logits, at a point drawn uniformly between its real and its fake version; images must not see one another
    inside the discriminator, so it should have no BatchNorm.
    """
    assert real.shape == fake.shape, (real.shape, fake.shape)
    real, fake = precise(real.detach()), precise(fake.detach())
    share = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
    between = torch.lerp(fake, real, share).requires_grad_()
    logits = precise(discriminator(between))
    (gradient,) = torch.autograd.grad(logits.sum(), between, create_graph=True)
    norms: Tensor = torch.linalg.vector_norm(precise(gradient).flatten(1), dim=1)
    return weight * (norms - 1).square().mean()


def l1(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of two tensors of one shape, a float32 scalar.

    Within `counting_known` it is the mean over the values that neither lacks (NaN); 0 where there are none.
    """
    return _mean_distance(nnf.l1_loss, image, target)


def l2(image: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of two tensors of one shape, a float32 scalar; NaN as in `l1`."""
    return _mean_distance(nnf.mse_loss, image, target)


def _mean_distance(distance: Callable[..., Tensor], image: Tensor, target: Tensor) -> Tensor:
    assert image.shape == target.shape, (image.shape, target.shape)
    image, target = precise(image), precise(target)
    if not _counts_known.get():
        return distance(image, target)
    missing = image.isnan() | target.isnan()
    total = distance(image.masked_fill(missing, 0), target.masked_fill(missing, 0), reduction="sum")
    return total / (~missing).sum().clamp(min=1)


@contextlib.contextmanager
def counting_known(on: bool = True) -> Iterator[None]:
    """Let `l1` leave out values that are NaN while the block runs; without `on` it does nothing."""
    token = _counts_known.set(on)
    try:
        yield
    finally:
        _counts_known.reset(token)


def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss that tells each query's own key from the other keys of its image, a float32 scalar.

    `queries` and `keys` are [N, P, C] of unit length, row p of an image belonging to row p; keys are not
    differentiated. Eq. 2 of CUT (Park et al. 2020): cross entropy over `queries . keys / temperature`.
    """
    assert queries.shape == keys.shape, (queries.shape, keys.shape)
    with without_autocast(queries):  # it would bring the products back to half precision
        logits = torch.bmm(precise(queries), precise(keys.detach()).transpose(1, 2)) / temperature
    own = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
    return nnf.cross_entropy(logits.flatten(0, 1), own.flatten())


def hard_nce(queries: Tensor, keys: Tensor, temperature: float, hardness: float) -> Tensor:
    """Return hDCE, the decoupled contrastive loss with hard negatives of Jung et al. 2022 (L_hDCE), a float32 scalar.

    `queries` and `keys` are as in `info_nce`. The product of a query with another key is weighed by
    exp((s - max s) / hardness), s being the cosine of that key and its own; its own key is not among the negatives. As
    in the authors' code the weight multiplies the product and not its exponential.
    """
    assert queries.shape == keys.shape, (queries.shape, keys.shape)
    own = torch.eye(queries.shape[1], dtype=torch.bool, device=queries.device)
    with without_autocast(queries):
        keys = precise(keys.detach())
        products, likeness = precise(queries) @ keys.transpose(1, 2), keys @ keys.transpose(1, 2)
    hardest = likeness.masked_fill(own, -1).amax(2, keepdim=True)
    negatives = (((likeness - hardest) / hardness).exp() * products).masked_fill(own, -10)  # as good as not there
    positive = products.diagonal(dim1=1, dim2=2)[:, :, None]
    return ((negatives - positive) / temperature).logsumexp(2).mean()


def relation_distance(queries: Tensor, keys: Tensor) -> Tensor:
    """Return the semantic relation consistency of Jung et al. 2022 (L_SRC), a float32 scalar.

    `queries` and `keys` are as in `info_nce`. Each patch has a distribution over the patches of its image, the softmax
    of cosines; the Jensen-Shannon divergences of the translation's from the source's are added over the patches.
    """
    assert queries.shape == keys.shape, (queries.shape, keys.shape)
    with without_autocast(queries):
        queries, keys = precise(queries), precise(keys.detach())
        p, q = ((rows @ rows.transpose(1, 2)).log_softmax(2) for rows in (queries, keys))
    middle = torch.logaddexp(p, q) - math.log(2)
    divergence = (p.exp() * (p - middle) + q.exp() * (q - middle)).sum((1, 2)) / 2
    return divergence.mean()


def precise(values: Tensor) -> Tensor:
    """Bring half precision to float32, in which means of many values are taken."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


class AdversarialConfig(Settings):
    """Settings of the adversarial objective."""

    objective: Objective = "lsgan"
    """Adversarial loss: lsgan (section 4 of CycleGAN's paper), vanilla, hinge or wgangp."""
    gradient_penalty_weight: Weight = 10.0
    """Weight of the gradient penalty, for `wgangp` alone."""

    def check(self) -> None:
        """Refuse a weight that nothing would use, and a discriminator for which the objective is not defined."""
        if self.objective != "wgangp" and self.is_set("gradient_penalty_weight"):
            raise UserError(
                f"{option('method.gradient_penalty_weight', self.gradient_penalty_weight)} has no meaning with "
                f"{option('method.objective', self.objective)}: only wgangp has a gradient penalty. Leave it out, or "
                f"set {option('method.objective', 'wgangp')}."
            )
        batch = getattr(getattr(self, "discriminator", None), "norm", None) == "batch"
        if self.objective == "wgangp" and batch and (self.is_set("objective") or self.is_set("discriminator")):
            raise UserError(
                f"{option('method.objective', 'wgangp')} bounds the discriminator's gradient for each image, and with "
                f"{option('method.discriminator.norm', 'batch')} the images of a batch see one another. Set "
                f"{option('method.discriminator.norm')} to instance or none."
            )

    def refuse_without_gan(self, *names: str) -> None:
        """Raise UserError for settings of the game that were given though there is none."""
        for name in names:
            if self.is_set(name):
                given, no_gan = option(f"method.{name}", self.__dict__[name]), option("method.gan_weight", 0)
                raise UserError(
                    f"{given} has no meaning with {no_gan}: there are no discriminators. Leave it out, or set "
                    f"{option('method.gan_weight')} above 0."
                )


def unused_discriminator(gan_weight: float, chosen: frozenset[str]) -> list[str]:
    """Return a notice where a discriminator was described, as for a whole comparison, and none is built."""
    if gan_weight or not any(name.split(".")[0] == "discriminator" for name in chosen):
        return []
    return [f"{option('method.discriminator')} has no use: {option('method.gan_weight', 0)} builds no discriminators"]


def require_one_size(config: AdversarialConfig, shapes: ImageShapes) -> None:
    """Raise UserError where the gradient penalty, which looks between a real image and a fake, would meet two sizes."""
    if config.objective == "wgangp":
        shapes.one_size(
            "method.objective = wgangp looks at images between a real and a generated one, which must have one size",
            "; or choose another method.objective",
        )


def discriminator_loss(
    config: AdversarialConfig, discriminator: nn.Module, real: Tensor, fake: Tensor, *conditions: Tensor
) -> Tensor:
    """Return a discriminator's loss, divided by 2 to slow it down relative to the generators (CycleGAN, appendix 7.1).

    `real` and `fake` are [N, C, H, W] and carry no gradient to a generator (detach them). Both go through the
    discriminator in one call where their shapes and its norm allow it, with `conditions` that hold for all images.
    """
    on_real, on_fake = on_both(discriminator, real, fake, *conditions)
    loss = (real_loss(config.objective, on_real) + fake_loss(config.objective, on_fake)) / 2
    if config.objective == "wgangp":
        loss = loss + gradient_penalty(
            lambda image: discriminator(image, *conditions), real, fake, config.gradient_penalty_weight
        )
    return loss
