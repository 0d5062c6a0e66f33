"""One training step: run the method to its next `yield`, take that update, go on.

The trainer knows precision, optimisers, accumulation, clipping and averages; it knows no loss.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unpaired.methods.base import Batch, Method, Update
from unpaired.networks import Generator
from unpaired.training.config import TrainingConfig
from unpaired.training.ema import Averages

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Trainer:
    """Carries out the updates of a method with one Adam per player."""

    def __init__(self, method: Method, config: TrainingConfig, device: torch.device) -> None:
        self.method = method.to(device).train()
        self.config = config
        self.device = device
        self.dtype = AUTOCAST[config.precision]
        # Gradients in half precision underflow; the scaler's own state is part of a checkpoint.
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.parameters: dict[str, list[nn.Parameter]] = {
            player: [p for network in networks for p in network.parameters()]
            for player, networks in method.players().items()
        }
        self.optimizers = {
            player: torch.optim.Adam(
                parameters, lr=config.learning_rate, betas=config.betas, fused=device.type in ("cpu", "cuda")
            )
            for player, parameters in self.parameters.items()
        }
        self.averages = Averages(method.translators(), config.ema) if config.ema else None
        if self.averages:
            self.averages.to(device)

    def translators(self) -> dict[str, Generator]:
        """Return the networks that users get: the averages where there are any."""
        if self.averages is None:
            return self.method.translators()
        return self.averages.networks

    def set_rate(self, factor: float) -> None:
        """Set every player's learning rate to `factor` x the first one."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate * factor

    def step(self, batches: Iterator[Batch]) -> dict[str, Tensor]:
        """Take one training step and return every term's value, a scalar on the device, averaged over batches."""
        log: dict[str, Tensor] = {}
        runs = [self.method.step(batches) for _ in range(self.config.accumulate)]
        while True:
            player = ""
            for run in runs:  # batches advance in lockstep, one update at a time
                with self._autocast():
                    update = next(run, None)
                if update is None:
                    break
                if not player:
                    self.optimizers[update.player].zero_grad(set_to_none=True)
                player = update.player
                self._backward(update, log)
            if not player:
                break
            self._optimize(player)
        if self.averages:
            self.averages.update(self.method.translators())
        return log

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def _backward(self, update: Update, log: dict[str, Tensor]) -> None:
        share = 1.0 / self.config.accumulate
        loss = torch.stack(list(update.terms.values())).sum()
        if share != 1.0:
            loss = loss * share
        # Only this player's parameters get gradients, so nothing has to be frozen and thawed.
        torch.autograd.backward(self.scaler.scale(loss), inputs=self.parameters[update.player])
        for name, term in update.terms.items():
            value = term.detach() * share if share != 1.0 else term.detach()
            log[name] = log[name] + value if name in log else value

    def _optimize(self, player: str) -> None:
        optimizer = self.optimizers[player]
        if self.config.clip_norm is not None:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.parameters[player], self.config.clip_norm)
        self.scaler.step(optimizer)
        self.scaler.update()  # after every update: a player may move twice in one step
