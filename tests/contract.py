"""The contract that every method keeps, run by each method's own test."""

from __future__ import annotations

import copy
import itertools
import operator
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unpaired.methods import Batch, Method
from unpaired.networks import Discriminator
from unpaired.training.config import TrainingConfig
from unpaired.training.distributed import World
from unpaired.training.trainer import Trainer


def batches(channels_a: int, channels_b: int, size: int, rows: int = 1, seed: int = 0) -> Iterator[Batch]:
    """Yield random batches without end."""
    generator = torch.Generator().manual_seed(seed)

    def image(channels: int) -> Tensor:
        return torch.rand(rows, channels, size, size, generator=generator) * 2 - 1

    while True:
        yield Batch(image(channels_a), image(channels_b))


class Constant(nn.Module):
    """Answers every image with one value, in the shape of the image; the value is its only parameter."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, image: Tensor) -> Tensor:
        return torch.zeros_like(image) + self.value


def keeps_it(make: Callable[[], Method], stream: Callable[[], Iterator[Batch]]) -> None:
    """Check everything that holds for every method; `make` and `stream` return new ones."""
    torch.manual_seed(0)
    each_update_moves_its_player_alone(make(), stream())
    save_load_continue_is_exact(make(), stream())
    trains_in_half_precision(make(), stream())
    takes_augmented_images(make(), stream())
    translators_are_parts_of_it(make())


def each_update_moves_its_player_alone(method: Method, stream: Iterator[Batch]) -> None:
    """Carry out one step by hand and look at who has moved after each update."""
    owners = {id(p): name for name, player in method.players().items() for p in player.parameters()}
    assert set(owners) == {id(p) for p in method.parameters()}, "a parameter without a player"
    optimizers = {name: torch.optim.SGD(player.parameters(), lr=1.0) for name, player in method.players().items()}
    terms = method.terms()
    for update in method.step(stream):
        before = [p.detach().clone() for p in method.parameters()]
        assert all(torch.isfinite(term) for term in update.terms.values())
        assert update.terms.keys() <= terms.keys(), "a term that the method does not declare"
        judges = {name for name in update.terms if terms[name].kind == "discriminator"}
        assert judges == (set(update.terms) if method.players()[update.player].role == "discriminator" else set())
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
    seen = list(itertools.islice(stream, 100))
    first = iter(seen)
    for _ in range(steps):
        trainer.step(first)
    second = iter(seen[len(seen) - operator.length_hint(first) :])  # a step may take several batches
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


def takes_augmented_images(method: Method, stream: Iterator[Batch]) -> None:
    """Take steps with every differentiable augmentation: figures stay finite, and everyone still moves."""
    before = [p.detach().clone() for p in method.parameters()]
    config = TrainingConfig(precision="fp32", augment=("colour", "translation", "cutout"))
    trainer = Trainer(method, config, torch.device("cpu"))
    discriminators = [network for network in method.modules() if isinstance(network, Discriminator)]
    assert bool(discriminators) == any(player.role == "discriminator" for player in method.players().values())
    for network in discriminators:
        image = torch.rand(4, network.in_channels, *next(stream).x.shape[2:])
        torch.manual_seed(0)
        assert not torch.equal(network.see(image), network.see(image))
    for _ in range(2):
        losses = trainer.step(stream)
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(p).all() for p in method.parameters())
    assert any(not torch.equal(p, old) for p, old in zip(method.parameters(), before, strict=True))


def translators_are_parts_of_it(method: Method) -> None:
    """A checkpoint finds the translators' weights among the method's own."""
    modules = set(method.modules())
    translators = method.translators()
    assert translators
    assert set(translators) <= {"a2b", "b2a"}
    assert all(network in modules for network in translators.values())


def two_ranks_equal_one(make: Callable[[], Method], stream: Callable[[], Iterator[Batch]]) -> None:
    """Two processes with a row each move the weights as one with both rows does, in float64.

    For methods that draw nothing, on networks whose images do not see one another. `stream` yields batches of 2 rows.
    """
    torch.manual_seed(0)
    alone = Trainer(make().double(), TrainingConfig(precision="fp32"), torch.device("cpu"))
    ranks = _InThreads.pair()
    trainers = [
        Trainer(copy.deepcopy(alone.method), TrainingConfig(precision="fp32"), torch.device("cpu"), world=rank)
        for rank in ranks
    ]
    batches = [Batch(b.x.double(), b.y.double()) for b in itertools.islice(stream(), 4)]
    with ThreadPoolExecutor(2) as threads:
        rows = [iter([Batch(b.x[r : r + 1], b.y[r : r + 1]) for b in batches]) for r in range(2)]
        for _ in range(_steps(alone, iter(batches))):
            list(threads.map(lambda pair: pair[0].step(pair[1]), zip(trainers, rows, strict=True)))
    for name, value in alone.method.state_dict().items():
        if name.endswith("weight"):  # biases before an InstanceNorm have no true gradient
            for trainer in trainers:
                torch.testing.assert_close(trainer.method.state_dict()[name], value, rtol=1e-6, atol=1e-9)


def _steps(trainer: Trainer, stream: Iterator[Batch]) -> int:
    """Take steps until the batches are used up, and return how many those were."""
    count = 0
    while True:
        first = next(stream, None)
        if first is None:
            return count
        trainer.step(itertools.chain([first], stream))
        count += 1


@dataclass(frozen=True, slots=True)
class _InThreads(World):
    """Two processes that are threads, which meet whenever they average."""

    size: int = 2
    meeting: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))
    brought: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def pair(cls) -> list[_InThreads]:
        first = cls(rank=0)
        return [first, cls(rank=1, meeting=first.meeting, brought=first.brought)]

    def average(self, tensor: Tensor) -> None:
        self.brought[self.rank] = tensor.clone()
        self.meeting.wait(60)
        mean = (self.brought[0] + self.brought[1]) / 2
        self.meeting.wait(60)
        tensor.copy_(mean)

    def copy_from_first(self, tensors: list[Tensor]) -> None:
        """They begin as copies."""
