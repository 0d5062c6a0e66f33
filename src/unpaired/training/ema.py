"""Averaged copies of the translators."""

from __future__ import annotations

import copy

import torch
from torch import nn

from unpaired.networks import Generator


class Averages(nn.Module):
    """An exponential moving average of each translator's weights.

    In the first steps the decay is limited to (1 + n) / (10 + n) after n updates, so that the random first weights are
    soon forgotten. Buffers are copied.
    """

    updates: torch.Tensor

    def __init__(self, networks: dict[str, Generator], decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.networks = {name: copy.deepcopy(network) for name, network in networks.items()}
        self.registered = nn.ModuleDict(self.networks).requires_grad_(False).eval()
        self.register_buffer("updates", torch.zeros((), dtype=torch.float32))

    @torch.no_grad()
    def update(self, networks: dict[str, Generator]) -> None:
        """Move every average towards the present weights; tensor operations only."""
        self.updates.add_(1.0)
        weight = 1.0 - torch.clamp((1.0 + self.updates) / (10.0 + self.updates), max=self.decay)
        for name, network in networks.items():
            average = self.networks[name]
            kept_weights: list[torch.Tensor] = list(average.parameters())
            weights: list[torch.Tensor] = list(network.parameters())
            change = torch._foreach_sub(weights, kept_weights)
            torch._foreach_mul_(change, weight)
            torch._foreach_add_(kept_weights, change)
            for kept, present in zip(average.buffers(), network.buffers(), strict=True):
                kept.copy_(present)
