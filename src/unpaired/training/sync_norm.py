"""Batch normalisation over the images of all processes."""

from __future__ import annotations

from typing import final

import torch
import torch.distributed.nn.functional as on_all
from torch import Tensor, nn

from unpaired.core.errors import UserError
from unpaired.training.distributed import World


@final
class SynchronizedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics in training are those of all processes, each with as many values.

    PyTorch's own `SyncBatchNorm` computes on CUDA only. Parameters, buffers and their names are those of BatchNorm2d.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise [N, C, H, W] over N, H and W of all processes."""
        if not self.training:
            return super().forward(features)
        values = features.float() if features.dtype in (torch.float16, torch.bfloat16) else features
        processes = torch.distributed.get_world_size()
        own = values.mean((0, 2, 3))
        mean = _sum(own) / processes
        # Not the mean square minus the squared mean, which cancels where the mean is large.
        own_variance = (values - own[:, None, None]).square().mean((0, 2, 3))
        variance = _sum(own_variance + (own - mean).square()) / processes
        self._remember(mean.detach(), variance.detach(), values.numel() // values.shape[1] * processes)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        normalized: Tensor = (values - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]
        return normalized.to(features.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        unbiased = variance * (count / max(1, count - 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)


def _sum(values: Tensor) -> Tensor:
    """Return the sum over all processes; the gradient takes the same way back."""
    total: Tensor = on_all.all_reduce(values)  # type: ignore[no-untyped-call]
    return total


def synchronize_batch_norm(module: nn.Module, world: World) -> None:
    """Replace every batch norm inside `module`, whose weights stay the same objects; nothing for one process.

    Raises UserError where there is none.
    """
    if not any(type(child) is nn.BatchNorm2d for child in module.modules()):
        raise UserError(
            "training.sync_batchnorm is on, and none of the networks has a batch norm. Leave it out; instance norm has "
            "nothing to synchronise."
        )
    if world.size > 1:
        _replace(module)


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            synchronized = SynchronizedBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
            synchronized._parameters = child._parameters
            synchronized._buffers = child._buffers
            module.add_module(name, synchronized.train(child.training))
        else:
            _replace(child)
