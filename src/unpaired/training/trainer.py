"""One training step: run the method to its next `yield`, take that update, go on.

The trainer knows precision, optimisers, accumulation, averaging over processes, clipping and averages of weights; it
knows no loss.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unpaired.core.errors import UserError, option
from unpaired.methods.base import Batch, Method, Update
from unpaired.methods.losses import counting_known
from unpaired.methods.missing import leave_out_missing, share_missing
from unpaired.networks import Discriminator, Generator, ResnetGenerator
from unpaired.training.averages import Averages
from unpaired.training.config import TrainingConfig
from unpaired.training.distributed import ALONE, World, synchronize_batch_norm
from unpaired.training.graph import Losses, RecordedStep
from unpaired.training.modes import residual_channels, settle, widest_layer

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Trainer:
    """Carries out the updates of a method with one Adam per player.

    `fixed_sizes` says that all batches have one shape, without which a step cannot be recorded; `missing` that images
    have pixels without a value, which are NaN (see `methods.missing`). With several processes
    each has a trainer; they begin with the first one's weights and average gradients and losses at every update.
    `warn` is called where a step cannot be recorded.
    """

    def __init__(
        self,
        method: Method,
        config: TrainingConfig,
        device: torch.device,
        *,
        world: World = ALONE,
        fixed_sizes: bool = True,
        missing: bool = False,
        warn: Callable[[str], None] = warnings.warn,
    ) -> None:
        residual = residual_channels(method)
        self.config = config = settle(config, device, widest_layer(method), residual=residual, fixed_sizes=fixed_sizes)
        self.device, self.world = device, world
        if config.sync_batchnorm:
            synchronize_batch_norm(method, world)
        self.method = method.to(device).train()
        self._channels_last = config.memory_format == "channels_last"
        if self._channels_last:
            self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        world.copy_from_first([*method.parameters()])
        self.dtype = AUTOCAST[config.precision]
        # Gradients in half precision underflow; the scaler's own state is part of a checkpoint.
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.parameters = {
            name: [weight for weight in player.parameters() if weight.requires_grad]  # the others are frozen
            for name, player in method.players().items()
        }
        self.optimizers = {player: self._optimizer(weights) for player, weights in self.parameters.items() if weights}
        self.averages = Averages(method.translators(), config.ema) if config.ema else None
        if self.averages:
            self.averages.to(device)
        self._stop = torch.zeros((), device=device)
        self._stop_heard = torch.zeros((), device=device)
        self._missing = missing
        if missing:
            leave_out_missing(method)  # the averages have been copied: users' translators fill images themselves
        self._prepare_networks(fixed_sizes)
        self._recorded = RecordedStep(self.take_step, warn=warn) if config.graph == "on" else None

    def _optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Adam:
        on_cuda = self.device.type == "cuda"
        rate = self.config.learning_rate
        return torch.optim.Adam(
            parameters,
            # A recorded step reads the rate where it lies.
            lr=torch.tensor(rate, device=self.device) if on_cuda else rate,
            betas=self.config.betas,
            fused=self.device.type in ("cpu", "cuda"),
            capturable=on_cuda,
        )

    def _prepare_networks(self, fixed_sizes: bool) -> None:
        """After the averages have been copied: a copy of a compiled network would be compiled again."""
        networks = [network for player in self.method.players().values() for network in player.networks]
        by_winograd = self.config.convolution == "winograd"
        self._by_winograd = [each for each in networks if by_winograd and isinstance(each, ResnetGenerator)]
        for generator in self._by_winograd:
            generator.use_winograd()
        if self.config.recompute:
            _require_recomputable([network for network in networks if isinstance(network, Generator)])
        for network in networks:
            if isinstance(network, Generator):
                network.recompute = self.config.recompute
            for part in network.modules():  # a coupled discriminator holds one of each domain
                if isinstance(part, Discriminator):
                    part.augmentations = self.config.augment
            if self.config.compile == "on":
                network.compile(dynamic=False if fixed_sizes else None)

    def translators(self) -> dict[str, Generator]:
        """Return the networks that users get: the averages where there are any."""
        if self.averages is None:
            return self.method.translators()
        return self.averages.networks

    def set_rate(self, factor: float) -> None:
        """Set every player's learning rate to `factor` x the first one."""
        rate = self.config.learning_rate * factor
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def rates(self) -> dict[str, float]:
        """Return every player's present learning rate."""
        return {player: float(optimizer.param_groups[0]["lr"]) for player, optimizer in self.optimizers.items()}

    def request_stop(self) -> None:
        """Tell all processes, with the next step's gradients, that this one is to stop."""
        self._stop.fill_(1.0)

    def stop_heard(self) -> bool:
        """Whether any process had asked to stop before the last step; the same answer in all of them. Waits for it."""
        if self.world.size == 1:
            return bool(self._stop)
        return bool(self._stop_heard > 0)

    def step(self, batches: Iterator[Batch]) -> Losses:
        """Take one training step and return every term's value, a scalar on the device.

        Values are averaged over accumulated batches, over processes, and over the updates of a player that moves more
        than once. Those of a recorded step are overwritten by the next one.
        """
        try:
            with self._current_device():
                return self._recorded.step(batches) if self._recorded is not None else self.take_step(batches)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{self.device} has not enough memory for a training step ({str(error).splitlines()[0]}). Choose a "
                f"smaller {option('training.batch_size')} (training.accumulate makes up for it) or "
                f"{option('data.crop_size')}, or set "
                "training.recompute = true."
            ) from error
        except RuntimeError as error:
            if "not enough memory" in str(error) or "can't allocate memory" in str(error):
                raise UserError(
                    f"there is not enough memory for a training step. Choose a smaller {option('training.batch_size')} "
                    f"or {option('data.crop_size')}."
                ) from error
            if self.config.compile == "on" and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise UserError(
                    f"the networks cannot be compiled ({error}). Set {option('training.compile', 'off')}."
                ) from error
            raise

    def close(self) -> None:
        """Free what only further steps would need, before the other processes are left."""
        if self._recorded is not None:
            self._recorded.close()

    def _current_device(self) -> contextlib.AbstractContextManager[object]:
        """Streams belong to the current GPU: on another one, a recording would record nothing."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext()

    def take_step(self, batches: Iterator[Batch]) -> Losses:
        """Take one step, operation by operation; what `step` records where it can."""
        log: Losses = {}
        counts: dict[str, int] = {}
        if self._channels_last:
            batches = (Batch(*(image.contiguous(memory_format=torch.channels_last) for image in b)) for b in batches)
        if self._missing:
            batches = map(share_missing, batches)
        runs = [self.method.step(batches) for _ in range(self.config.accumulate)]
        while True:
            player = ""
            values: Losses = {}
            for run in runs:  # batches advance in lockstep, one update at a time
                with self._autocast(), counting_known(self._missing):
                    update = next(run, None)
                if update is None:
                    break
                if not player and update.player in self.optimizers:
                    self.optimizers[update.player].zero_grad(set_to_none=True)
                player = update.player
                self._backward(update, values)
            if not player:
                break
            if self.world.size > 1:
                self._average(player, values)
            for name, value in values.items():
                log[name] = log[name] + value if name in log else value
                counts[name] = counts.get(name, 0) + 1
            if player in self.optimizers:
                self._optimize(player)
        if self.averages:
            self.averages.update(self.method.translators())
        return {name: value / counts[name] if counts[name] > 1 else value for name, value in log.items()}

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def _backward(self, update: Update, values: Losses) -> None:
        share = 1.0 / self.config.accumulate
        loss = torch.stack(list(update.terms.values())).sum()
        if share != 1.0:
            loss = loss * share
        if update.player in self.optimizers:
            # Only this player's parameters get gradients, so nothing has to be frozen and thawed.
            torch.autograd.backward(self.scaler.scale(loss), inputs=self.parameters[update.player])
        for name, term in update.terms.items():
            value = term.detach() * share if share != 1.0 else term.detach()
            values[name] = values[name] + value if name in values else value

    def _average(self, player: str, values: Losses) -> None:
        """Average gradients, losses and the wish to stop over all processes, in one message."""
        gradients = [p.grad for p in self.parameters[player] if p.grad is not None]
        scalars = torch.stack([*values.values(), self._stop])
        scalars = scalars.to(gradients[0].dtype) if gradients else scalars
        message = torch.cat([*(gradient.reshape(-1) for gradient in gradients), scalars])
        self.world.average(message)
        sizes = [*(gradient.numel() for gradient in gradients), len(scalars)]
        *averaged, scalars = torch.split(message, sizes)
        if gradients:
            parts = [part.view(gradient.shape) for part, gradient in zip(averaged, gradients, strict=True)]
            torch._foreach_copy_(gradients, parts)
        for name, value in zip(list(values), scalars, strict=False):
            values[name] = value.clone()
        self._stop_heard.copy_(scalars[-1])

    def _optimize(self, player: str) -> None:
        optimizer = self.optimizers[player]
        if self.config.clip_norm is not None:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.parameters[player], self.config.clip_norm)
        self.scaler.step(optimizer)
        self.scaler.update()  # after every update: a player may move twice in one step
        for generator in self._by_winograd:
            generator.use_winograd()  # anew: the fused Adam does not tell that weights have changed


def _require_recomputable(generators: list[Generator]) -> None:
    """Raise UserError where `training.recompute` would do nothing, or something else than it says."""
    if not generators:
        raise UserError(
            "training.recompute is on, and none of this method's networks can compute again what it has not kept. "
            f"Leave training.recompute out; a smaller {option('training.batch_size')} saves memory too."
        )
    if any(isinstance(part, nn.BatchNorm2d) for generator in generators for part in generator.modules()):
        raise UserError(
            "training.recompute is on, and the generator has batch norm, whose running statistics would count every "
            "image twice. Leave training.recompute out, or set method.generator.norm = instance."
        )
