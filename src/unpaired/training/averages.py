"""Means of logged losses, kept on the device so that a step never waits for the host, and averages of weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unpaired.networks import Generator


class Means:
    """Sums of named scalars since the last `clear`."""

    def __init__(self, device: torch.device | None = None) -> None:
        """Begin with nothing; `device` is that of the values."""
        self.count = 0
        self._device = device
        self._sums: dict[str, Tensor] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take in one step's values."""
        self.count += 1
        if self._sums.keys() != values.keys():
            zeros = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in values.items()}
            self._sums = {name: self._sums.get(name, zero) for name, zero in zeros.items()}
        torch._foreach_add_(list(self._sums.values()), [values[name] for name in self._sums])

    def read(self) -> dict[str, float]:
        """Return the means, with one transfer from the device."""
        if not self._sums or not self.count:
            return {}
        sums = torch.stack(list(self._sums.values())).tolist()
        return {name: value / self.count for name, value in zip(self._sums, sums, strict=True)}

    def sums(self) -> dict[str, Tensor]:
        """Return the sums; not finite as soon as one value was not."""
        return dict(self._sums)

    def clear(self) -> None:
        """Begin anew."""
        self.count = 0
        self._sums = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain JSON, exact."""
        return {"count": self.count, "sums": {name: float(value) for name, value in self._sums.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.count = int(state["count"])
        self._sums = {name: torch.tensor(value, device=self._device) for name, value in state["sums"].items()}


class Averages(nn.Module):
    """An exponential moving average of each translator's weights.

    In the first steps the decay is limited to (1 + n) / (10 + n) after n updates, so that the random first weights are
    soon forgotten. Buffers are copied.
    """

    updates: Tensor

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
            kept_weights: list[Tensor] = list(average.parameters())
            weights: list[Tensor] = list(network.parameters())
            change = torch._foreach_sub(weights, kept_weights)
            torch._foreach_mul_(change, weight)
            torch._foreach_add_(kept_weights, change)
            for kept, present in zip(average.buffers(), network.buffers(), strict=True):
                kept.copy_(present)
