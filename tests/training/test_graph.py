"""Recorded steps: with a stand-in for the recording, everywhere; with real CUDA graphs, where there is a GPU."""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from contract import batches
from unpaired.methods import Batch, ImageShapes
from unpaired.methods.cyclegan import Config, CycleGAN
from unpaired.networks import PatchganConfig, ResnetConfig
from unpaired.training.config import TrainingConfig
from unpaired.training.graph import WARM_UP_STEPS, Losses, RecordedStep
from unpaired.training.trainer import Trainer

CONFIG = Config(generator=ResnetConfig(width=4, blocks=1), discriminator=PatchganConfig(width=4, layers=1), pool_size=3)
SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(16, 16))


def _trainer(device: str = "cpu", **settings: object) -> Trainer:
    torch.manual_seed(1)
    config = TrainingConfig(**{"precision": "fp32", "ema": 0.9, **settings})  # type: ignore[arg-type]
    return Trainer(CycleGAN(CONFIG, SHAPES), config, torch.device(device))


def _on(device: str, stream: Iterator[Batch]) -> Iterator[Batch]:
    for x, y in stream:
        yield Batch(x.to(device), y.to(device))


def stand_in(function: Callable[[], Losses]) -> tuple[Losses, Callable[[], None]]:
    """Do at every replay what was recorded, on the tensors that were there when it was recorded, and nothing before."""
    losses: Losses = {}

    def replay() -> None:
        for name, value in function().items():
            losses.setdefault(name, torch.zeros_like(value)).copy_(value)

    return losses, replay


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_recorded_step_does_what_an_ordinary_one_does(accumulate: int) -> None:
    plain, recorded = _trainer(accumulate=accumulate), _trainer(accumulate=accumulate)
    step = RecordedStep(recorded.take_step, stand_in)
    streams = itertools.tee(itertools.islice(batches(3, 3, 16), 40))
    for number in range(WARM_UP_STEPS + 5):
        for trainer in (plain, recorded):
            trainer.set_rate(1 / (1 + number))
        torch.manual_seed(number)
        one = plain.step(streams[0])
        torch.manual_seed(number)
        other = step.step(streams[1])
        for name, value in one.items():
            assert torch.equal(value, other[name]), (number, name)
    assert not step.failed
    for name, value in plain.method.state_dict().items():
        assert torch.equal(value, recorded.method.state_dict()[name]), name


def test_the_losses_of_a_replay_take_the_place_of_those_before() -> None:
    step = RecordedStep(_trainer().take_step, stand_in)
    stream = batches(3, 3, 16)
    results = [step.step(stream) for _ in range(WARM_UP_STEPS + 2)]
    assert results[-1]["cycle_a"] is results[-2]["cycle_a"]
    assert results[0]["cycle_a"] is not results[1]["cycle_a"]


def test_a_step_that_cannot_be_recorded_is_taken_as_usual() -> None:
    def refuse(function: Callable[[], Losses]) -> tuple[Losses, Callable[[], None]]:
        raise RuntimeError("operation not permitted when stream is capturing")

    plain, trainer = _trainer(), _trainer()
    told: list[str] = []
    step = RecordedStep(trainer.take_step, refuse, warn=told.append)
    streams = itertools.tee(itertools.islice(batches(3, 3, 16), 40))
    for number in range(WARM_UP_STEPS + 4):
        torch.manual_seed(number)
        one = plain.step(streams[0])
        torch.manual_seed(number)
        other = step.step(streams[1])
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    (warning,) = told
    assert "taken as usual" in warning
    assert "not permitted" in warning
    assert step.failed


def test_recording_takes_no_batch_and_computes_nothing() -> None:
    calls: list[int] = []

    def take(stream: Iterator[Batch]) -> dict[str, Tensor]:
        batch = next(stream)
        calls.append(int(batch.x[0, 0, 0, 0]))
        return {"loss": batch.x.sum()}

    step = RecordedStep(take, stand_in)
    stream = (Batch(torch.full((1, 1, 2, 2), float(k)), torch.zeros(1)) for k in itertools.count())
    losses = [float(step.step(stream)["loss"]) for _ in range(6)]
    assert calls == [0, 1, 2, 3, 4, 5]
    assert losses == [0.0, 4.0, 8.0, 12.0, 16.0, 20.0]


def test_closing_lets_go_of_the_recording() -> None:
    graphs: list[weakref.ref[Callable[[], None]]] = []

    def recorder(function: Callable[[], Losses]) -> tuple[Losses, Callable[[], None]]:
        losses, replay = stand_in(function)
        graphs.append(weakref.ref(replay))
        return losses, replay

    trainer = _trainer()
    trainer._recorded = RecordedStep(trainer.take_step, recorder)
    stream = batches(3, 3, 16)
    for _ in range(WARM_UP_STEPS + 2):
        trainer.step(stream)
    (graph,) = graphs
    assert graph() is not None
    trainer.close()
    assert graph() is None


def test_a_step_is_taken_with_its_gpu_as_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []

    @contextlib.contextmanager
    def device(place: torch.device) -> Iterator[None]:
        current.append(place)
        yield
        current.pop()

    trainer = _trainer()
    during: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(trainer, "take_step", lambda stream: during.extend(current) or {})
    trainer.step(batches(3, 3, 16))
    assert during == []
    trainer.device = torch.device("cuda", 1)
    trainer.step(batches(3, 3, 16))
    assert during == [torch.device("cuda", 1)]


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")


@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"clip_norm": 1.0}, {"recompute": True}], ids=str)
def test_cuda_graph_and_plain_execution_agree(precision: str, settings: dict[str, object]) -> None:
    plain = _trainer("cuda", precision=precision, graph="off", **settings)
    recorded = _trainer("cuda", precision=precision, graph="on", **settings)
    streams = itertools.tee(itertools.islice(_on("cuda", batches(3, 3, 16)), 60))
    states = [torch.cuda.get_rng_state(), torch.cuda.get_rng_state()]
    tolerance = 1e-3 if precision == "fp32" else 5e-2
    for number in range(WARM_UP_STEPS + 6):
        results = []
        for side, (trainer, stream) in enumerate(zip((plain, recorded), streams, strict=True)):
            trainer.set_rate(1 / (1 + number))
            torch.cuda.set_rng_state(states[side])
            results.append({name: float(value) for name, value in trainer.step(stream).items()})
            states[side] = torch.cuda.get_rng_state()
        for name, value in results[0].items():
            assert results[1][name] == pytest.approx(value, rel=tolerance, abs=tolerance), (number, name)
    assert recorded._recorded is not None
    assert not recorded._recorded.failed


@needs_cuda
def test_training_goes_on_after_a_recording_that_cuda_declares_invalid() -> None:
    trainer = _trainer("cuda", graph="on")
    told: list[str] = []

    def waits_for_the_device(stream: Iterator[Batch]) -> Losses:
        losses = trainer.take_step(stream)
        float(losses["cycle_a"])  # forbidden while a graph is recorded
        return losses

    step = RecordedStep(waits_for_the_device, warn=told.append)
    stream, before = _on("cuda", batches(3, 3, 16)), torch.cuda.current_stream()
    for _ in range(WARM_UP_STEPS + 3):  # pools draw random numbers in each of them
        assert torch.isfinite(step.step(stream)["cycle_a"])
    assert step.failed
    assert len(told) == 1
    assert torch.cuda.current_stream() == before
    # Memory used on two streams comes back only where nothing is being recorded.
    side = torch.cuda.Stream()
    held = torch.cuda.memory_allocated()
    for _ in range(4):
        block = torch.empty(1 << 20, device="cuda")
        block.record_stream(side)
        del block
        torch.cuda.synchronize()
    torch.empty(1, device="cuda")
    assert torch.cuda.memory_allocated() <= held + (4 << 20)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_step_on_a_gpu_that_is_not_the_current_one_is_recorded_there() -> None:
    trainer = _trainer("cuda:1", graph="on")
    stream = _on("cuda:1", batches(3, 3, 16))
    weights = []
    for _ in range(WARM_UP_STEPS + 3):
        trainer.step(stream)
        weights.append(next(trainer.method.parameters()).detach().clone())
    assert trainer._recorded is not None
    assert not trainer._recorded.failed
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(weights))
