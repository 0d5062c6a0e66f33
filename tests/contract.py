"""The contract that every method keeps, run by each method's own test."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from unpaired.methods import Batch, Method
from unpaired.training.config import TrainingConfig
from unpaired.training.trainer import Trainer


def batches(channels_a: int, channels_b: int, size: int, rows: int = 1, seed: int = 0) -> Iterator[Batch]:
    """Yield random batches without end."""
    generator = torch.Generator().manual_seed(seed)

    def image(channels: int) -> Tensor:
        return torch.rand(rows, channels, size, size, generator=generator) * 2 - 1

    while True:
        yield Batch(image(channels_a), image(channels_b))


def each_update_moves_its_player_alone(method: Method, stream: Iterator[Batch]) -> None:
    """Carry out one step by hand and look at who has moved after each update."""
    owners = {id(p): player for player, nets in method.players().items() for net in nets for p in net.parameters()}
    assert set(owners) == {id(p) for p in method.parameters()}, "a parameter without a player"
    optimizers = {
        player: torch.optim.SGD([p for net in nets for p in net.parameters()], lr=1.0)
        for player, nets in method.players().items()
    }
    for update in method.step(stream):
        before = [p.detach().clone() for p in method.parameters()]
        assert all(torch.isfinite(term) for term in update.terms.values())
        optimizers[update.player].zero_grad()
        loss = torch.stack(list(update.terms.values())).sum()
        players = [p for p in method.parameters() if owners[id(p)] == update.player]
        loss.backward(inputs=players)
        optimizers[update.player].step()
        moved = {owners[id(p)] for p, old in zip(method.parameters(), before, strict=True) if not torch.equal(p, old)}
        assert moved == {update.player}


def save_load_continue_is_exact(method: Method, stream: Iterator[Batch], steps: int = 4) -> None:
    """Stop in the middle, bring a copy to the stored state, and go on with both."""
    trainer = Trainer(method, TrainingConfig(precision="fp32", ema=0.9), torch.device("cpu"))
    first, second = itertools.tee(itertools.islice(stream, 100))
    for _ in range(steps):
        trainer.step(first)
        next(second)
    twin = Trainer(copy.deepcopy(method), TrainingConfig(precision="fp32", ema=0.9), torch.device("cpu"))
    for parameter in twin.method.parameters():
        parameter.data.zero_()
    twin.method.load_state_dict(method.state_dict())
    assert trainer.averages is not None
    assert twin.averages is not None
    twin.averages.load_state_dict(trainer.averages.state_dict())
    for player, optimizer in trainer.optimizers.items():
        twin.optimizers[player].load_state_dict(copy.deepcopy(optimizer.state_dict()))
    random = torch.get_rng_state()
    for _ in range(steps):
        trainer.step(first)
    torch.set_rng_state(random)
    for _ in range(steps):
        twin.step(second)
    for name, value in method.state_dict().items():
        assert torch.equal(value, twin.method.state_dict()[name]), name
    for name, value in trainer.averages.state_dict().items():
        assert torch.equal(value, twin.averages.state_dict()[name]), name


def trains_in_half_precision(method: Method, stream: Iterator[Batch]) -> None:
    """Take steps in bfloat16; weights stay in float32."""
    trainer = Trainer(method, TrainingConfig(precision="bf16"), torch.device("cpu"))
    for _ in range(2):
        losses = trainer.step(stream)
    assert all(torch.isfinite(value) for value in losses.values())
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert all(torch.isfinite(p).all() for p in method.parameters())
