"""The trainer's core: accumulation, clipping, averages, learning rates, devices."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch

from contract import batches
from unpaired.core.device import find_device
from unpaired.core.errors import UserError
from unpaired.methods import Batch, ImageShapes, Player
from unpaired.methods.cyclegan import Config, CycleGAN
from unpaired.networks import PatchganConfig, ResnetConfig, UnetConfig, VitUnetConfig, build_generator
from unpaired.networks.winograd import Kernels
from unpaired.training.config import TrainingConfig
from unpaired.training.trainer import Trainer

CONFIG = Config(generator=ResnetConfig(width=4, blocks=1), discriminator=PatchganConfig(width=4, layers=1), pool_size=0)
SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(16, 16))
CPU = torch.device("cpu")


def _method() -> CycleGAN:
    torch.manual_seed(1)
    return CycleGAN(CONFIG, SHAPES).double()


def _double(rows: int) -> list[Batch]:
    return [Batch(x.double(), y.double()) for x, y in itertools.islice(batches(3, 3, 16, rows), 3)]


def test_accumulating_two_batches_equals_one_of_twice_the_size() -> None:
    whole, halves = _double(4), [Batch(x[k : k + 2], y[k : k + 2]) for x, y in _double(4) for k in (0, 2)]
    at_once = Trainer(_method(), TrainingConfig(precision="fp32", batch_size=4), CPU)
    in_parts = Trainer(_method(), TrainingConfig(precision="fp32", batch_size=2, accumulate=2), CPU)
    stream, parts = iter(whole), iter(halves)
    for _ in range(3):
        one, other = at_once.step(stream), in_parts.step(parts)
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-9, atol=1e-12)
    for (name, one_p), other_p in zip(at_once.method.named_parameters(), in_parts.method.parameters(), strict=True):
        if name.endswith("weight"):  # biases before InstanceNorm are moved by rounding alone
            torch.testing.assert_close(one_p, other_p, rtol=1e-7, atol=1e-9)


def test_clipping_bounds_the_gradient_of_each_player() -> None:
    trainer = Trainer(_method(), TrainingConfig(precision="fp32", clip_norm=1e-3), CPU)
    trainer.step(iter(_double(1)))
    for parameters in trainer.parameters.values():
        gradients = [p.grad for p in parameters if p.grad is not None]
        assert torch.nn.utils.get_total_norm(gradients) <= 1e-3 * (1 + 1e-6)


def test_averages_follow_the_formula() -> None:
    trainer = Trainer(_method(), TrainingConfig(precision="fp32", ema=0.5), CPU)
    assert trainer.averages is not None
    name, weight = next(iter(trainer.method.translators()["a2b"].named_parameters()))
    expected = weight.detach().clone()
    stream = batches(3, 3, 16)
    for updates in range(1, 6):
        x, y = next(stream)
        trainer.step(iter([Batch(x.double(), y.double())]))
        decay = min(0.5, (1 + updates) / (10 + updates))
        expected = decay * expected + (1 - decay) * weight.detach()
        average = dict(trainer.translators()["a2b"].named_parameters())[name]
        torch.testing.assert_close(average, expected)
        assert not average.requires_grad
    assert not torch.equal(expected, weight)


def test_synchronising_batch_norms_that_are_not_there_is_an_error() -> None:
    config = TrainingConfig(precision="fp32", sync_batchnorm=True)
    with pytest.raises(UserError, match=r"training\.sync_batchnorm is on, and none of the networks has a batch norm"):
        Trainer(CycleGAN(CONFIG, SHAPES), config, CPU)
    Trainer(CycleGAN(replace(CONFIG, generator=ResnetConfig(width=4, blocks=1, norm="batch")), SHAPES), config, CPU)


def test_too_little_memory_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(stream: object) -> dict[str, torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")

    trainer = Trainer(CycleGAN(CONFIG, SHAPES), TrainingConfig(precision="fp32"), CPU)
    monkeypatch.setattr(trainer, "take_step", refuse)
    with pytest.raises(UserError, match=r"not enough memory for a training step .*training\.batch_size"):
        trainer.step(batches(3, 3, 16))


def test_rates_are_set_for_every_player() -> None:
    trainer = Trainer(_method(), TrainingConfig(learning_rate=1e-3), CPU)
    trainer.set_rate(0.25)
    rates = [group["lr"] for optimizer in trainer.optimizers.values() for group in optimizer.param_groups]
    assert rates == [2.5e-4, 2.5e-4]


def test_devices() -> None:
    assert find_device("cpu").type == "cpu"
    assert find_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("tpu", "cdua", "cuda:99", "xla", "meta"):
        with pytest.raises(UserError, match=name):
            find_device(name)


@pytest.mark.slow
def test_memory_does_not_grow_over_many_steps() -> None:
    import gc
    import resource
    import sys

    if sys.platform != "linux":
        pytest.skip("the peak of the resident set is read as Linux reports it")
    torch.manual_seed(0)
    trainer = Trainer(
        CycleGAN(replace(CONFIG, pool_size=10), SHAPES),
        TrainingConfig(precision="fp32", ema=0.9),
        CPU,
    )
    stream = batches(3, 3, 16)

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects())

    for _ in range(30):  # until the pools of 10 are full and allocators have settled
        trainer.step(stream)
    count, peak = tensors(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100):
        trainer.step(stream)
    assert tensors() == count
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert grown < 3 * 1024, f"{grown} KiB more after 100 steps"


def test_recomputing_through_batch_norm_is_an_error() -> None:
    method = CycleGAN(replace(CONFIG, generator=ResnetConfig(width=4, blocks=1, norm="batch")), SHAPES)
    with pytest.raises(UserError, match=r"training\.recompute is on, and the generator has batch norm"):
        Trainer(method, TrainingConfig(precision="fp32", recompute=True), CPU)


@pytest.mark.parametrize(
    "generator",
    [
        ResnetConfig(width=4, blocks=1, dropout=True),
        UnetConfig(depth=4, width=4),
        VitUnetConfig(width=4, depth=2, tokens=8, heads=2, blocks=1),
    ],
    ids=lambda config: config.family,
)
def test_recomputing_activations_changes_nothing(generator: Any) -> None:
    results = []
    for recompute in (False, True):
        torch.manual_seed(1)
        method = CycleGAN(replace(CONFIG, generator=generator), SHAPES)
        trainer = Trainer(method, TrainingConfig(precision="fp32", recompute=recompute), CPU)
        stream = batches(3, 3, 16)
        losses = [trainer.step(stream) for _ in range(3)]
        results.append((losses, method.state_dict()))
    (plain, plain_state), (again, again_state) = results
    assert all(
        torch.equal(value, other[name]) for one, other in zip(plain, again, strict=True) for name, value in one.items()
    )
    assert all(torch.equal(value, again_state[name]) for name, value in plain_state.items())


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.03)])
def test_convolving_by_winograd_trains_the_same(precision: Literal["fp32", "bf16"], tolerance: float) -> None:
    results = []
    for convolution in ("direct", "winograd", "winograd"):
        torch.manual_seed(1)
        method = CycleGAN(CONFIG, SHAPES)
        trainer = Trainer(method, TrainingConfig(precision=precision, convolution=convolution), CPU)
        stream = batches(3, 3, 16)
        results.append([{name: value.item() for name, value in trainer.step(stream).items()} for _ in range(3)])
        stage = method.G.residual[0].first
        if stage.kernels is not None:
            weight, dtype = stage.convolution.weight, torch.bfloat16 if precision == "bf16" else torch.float32
            assert torch.equal(stage.kernels.of(weight, dtype), Kernels().of(weight, dtype))
    direct, winograd, again = results
    assert winograd == again != direct
    assert direct[0] == pytest.approx(winograd[0], rel=tolerance)
    assert direct[2] == pytest.approx(
        winograd[2], rel=max(1e-2, tolerance)
    )  # Adam's first steps follow the gradients' signs


def test_recomputing_keeps_less_for_the_gradient() -> None:
    def kept(recompute: bool) -> int:
        total = 0

        def note(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        network = build_generator(ResnetConfig(width=8, blocks=6), 3, 3)
        network.recompute = recompute
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            network(torch.rand(1, 3, 32, 32))
        return total

    assert kept(True) < 0.6 * kept(False)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_channels_last_agrees_with_contiguous(precision: str) -> None:
    losses = []
    for layout in ("contiguous", "channels_last"):
        torch.manual_seed(1)
        method = CycleGAN(replace(CONFIG, pool_size=2), SHAPES)
        settings = {"precision": precision, "memory_format": layout}
        trainer = Trainer(method, TrainingConfig(**settings), CPU)  # type: ignore[arg-type]
        stream = batches(3, 3, 16)
        losses.append([trainer.step(stream) for _ in range(2)][-1])
    for name, value in losses[0].items():
        assert float(losses[1][name]) == pytest.approx(float(value), rel=2e-2 if precision == "bf16" else 1e-4), name


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of the compiler, inside
def test_compiled_networks_give_the_same_losses_and_plain_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs as for every backend, run without its C++, which takes half a minute to compile (see test_blocks)."""
    compiling = functools.partialmethod(torch.nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(torch.nn.Module, "compile", compiling)
    losses, states = [], []
    for compiled in ("off", "on"):
        torch.manual_seed(1)
        method = CycleGAN(replace(CONFIG, pool_size=2), SHAPES)
        trainer = Trainer(method, TrainingConfig(precision="fp32", compile=compiled, ema=0.9), CPU)  # type: ignore[arg-type]
        stream = batches(3, 3, 16)
        losses.append([trainer.step(stream) for _ in range(2)][-1])
        states.append(method.state_dict())
    assert states[0].keys() == states[1].keys()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 3, "nothing was compiled"
    for name, value in losses[0].items():
        assert float(losses[1][name]) == pytest.approx(float(value), rel=1e-4), name


def test_networks_that_cannot_be_compiled_are_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import InternalTorchDynamoError

    def fail(self: Trainer, stream: object) -> None:
        raise InternalTorchDynamoError("no such operator")

    trainer = Trainer(_method(), TrainingConfig(precision="fp32"), CPU)
    monkeypatch.setattr(Trainer, "take_step", fail)
    with pytest.raises(InternalTorchDynamoError):
        trainer.step(batches(3, 3, 16))
    trainer.config = replace(trainer.config, compile="on")
    with pytest.raises(UserError, match=r"cannot be compiled \(no such operator\).*training\.compile"):
        trainer.step(batches(3, 3, 16))


def test_parameters_that_two_networks_share_reach_the_optimiser_once() -> None:
    shared = torch.nn.Linear(2, 2)
    one, other = torch.nn.Sequential(shared, torch.nn.Linear(2, 1)), torch.nn.Sequential(shared, torch.nn.Linear(2, 1))
    parameters = Player("generator", one, other).parameters()
    assert len(parameters) == len({id(p) for p in parameters}) == 6
    torch.optim.Adam(parameters)  # it warns, here an error, of parameters that it gets twice
