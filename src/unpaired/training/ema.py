"""Averaged copies of the translators."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Averages(nn.Module):
    """An exponential moving average of each translator's weights.

    In the first steps the decay is limited to (1 + n) / (10 + n) after n updates, so that the random first weights are
    soon forgotten. Buffers are copied.
    """

    updates: torch.Tensor

    def __init__(self, networks: dict[str, nn.Module], decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.networks = nn.ModuleDict({name: copy.deepcopy(network) for name, network in networks.items()})
        self.networks.requires_grad_(False).eval()
        self.register_buffer("updates", torch.zeros((), dtype=torch.float32))

    @torch.no_grad()
    def update(self, networks: dict[str, nn.Module]) -> None:
        """Move every average towards the present weights; tensor operations only."""
        self.updates.add_(1.0)
        weight = 1.0 - torch.clamp((1.0 + self.updates) / (10.0 + self.updates), max=self.decay)
        for name, network in networks.items():
            average = self.networks[name]
            kept_weights = list(average.parameters())
            change = torch._foreach_sub(list(network.parameters()), kept_weights)
            torch._foreach_mul_(change, weight)
            torch._foreach_add_(kept_weights, change)
            for kept, present in zip(average.buffers(), network.buffers(), strict=True):
                kept.copy_(present)
