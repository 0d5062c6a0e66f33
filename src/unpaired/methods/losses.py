"""Losses as pure functions: the adversarial objectives, the gradient penalty and L1; each returns a scalar mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor

from unpaired.networks.base import without_autocast

Objective = Literal["lsgan", "vanilla", "hinge", "wgangp"]
"""Least squares (Mao et al. 2017), cross entropy (Goodfellow et al. 2014), hinge (Lim & Ye 2017), Wasserstein
(Gulrajani et al. 2017, together with `gradient_penalty`)."""


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
    return (_GENERATOR if real else _OPPOSITE)[objective](precise(logits))


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
    """Return the mean absolute difference of two tensors of one shape, a float32 scalar."""
    assert image.shape == target.shape, (image.shape, target.shape)
    return nnf.l1_loss(precise(image), precise(target))


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


def precise(values: Tensor) -> Tensor:
    """Bring half precision to float32, in which means of many values are taken."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _to_one(logits: Tensor) -> Tensor:
    return (logits - 1).square().mean()


def _to_zero(logits: Tensor) -> Tensor:
    return logits.square().mean()


def _say_real(logits: Tensor) -> Tensor:
    return nnf.softplus(-logits).mean()  # the cross entropy of sigmoid(logits) with 1, without overflow


def _say_fake(logits: Tensor) -> Tensor:
    return nnf.softplus(logits).mean()


def _above_one(logits: Tensor) -> Tensor:
    return nnf.relu(1 - logits).mean()


def _below_minus_one(logits: Tensor) -> Tensor:
    return nnf.relu(1 + logits).mean()


def _high(logits: Tensor) -> Tensor:
    return -logits.mean()


def _low(logits: Tensor) -> Tensor:
    return logits.mean()


_Loss = Callable[[Tensor], Tensor]
_REAL: dict[Objective, _Loss] = {"lsgan": _to_one, "vanilla": _say_real, "hinge": _above_one, "wgangp": _high}
_FAKE: dict[Objective, _Loss] = {"lsgan": _to_zero, "vanilla": _say_fake, "hinge": _below_minus_one, "wgangp": _low}
_GENERATOR: dict[Objective, _Loss] = {"lsgan": _to_one, "vanilla": _say_real, "hinge": _high, "wgangp": _high}
_OPPOSITE: dict[Objective, _Loss] = {"lsgan": _to_zero, "vanilla": _say_fake, "hinge": _low, "wgangp": _low}
