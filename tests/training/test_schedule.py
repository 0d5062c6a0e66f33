"""Learning rates against the published rule and PyTorch's own schedulers."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler

from unpaired.training.config import TrainingConfig
from unpaired.training.schedule import Plateau, factor


def _optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def _rates(scheduler: lr_scheduler.LRScheduler, epochs: int) -> list[float]:
    rates = []
    for _ in range(epochs):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def test_linear_holds_and_then_falls_in_equal_steps() -> None:
    config = TrainingConfig()
    assert [factor(config, epoch) for epoch in (0, 50, 99)] == [1.0, 1.0, 1.0]
    assert factor(config, 100) == pytest.approx(1 - 1 / 101)
    assert factor(config, 199) == pytest.approx(1 / 101)


def test_linear_is_the_authors_rule() -> None:
    config = TrainingConfig(epochs=3, decay_epochs=4)
    rule = lr_scheduler.LambdaLR(_optimizer(), lambda epoch: 1.0 - max(0, epoch + 1 - 3) / float(4 + 1))
    assert [factor(config, epoch) for epoch in range(7)] == pytest.approx(_rates(rule, 7))


def test_cosine_and_step_are_pytorchs() -> None:
    cosine = TrainingConfig(epochs=10, schedule="cosine")
    expected = _rates(lr_scheduler.CosineAnnealingLR(_optimizer(), T_max=10, eta_min=0), 10)
    assert [factor(cosine, epoch) for epoch in range(10)] == pytest.approx(expected, abs=1e-12)
    assert cosine.total_epochs == 10
    step = TrainingConfig(epochs=10, schedule="step", step_epochs=3)
    expected = _rates(lr_scheduler.StepLR(_optimizer(), step_size=3, gamma=0.1), 10)
    assert [factor(step, epoch) for epoch in range(10)] == pytest.approx(expected)


def test_plateau_is_pytorchs_with_the_authors_settings() -> None:
    losses = [5.0, 4.0, 4.1, 3.99, 4.0, 4.2, 4.0, 4.1, 4.0, 4.0, 3.0, *[3.1] * 20]
    optimizer = _optimizer()
    reference = lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.2, threshold=0.01, patience=5)
    ours = Plateau()
    for loss in losses:
        reference.step(loss)
        ours.observe(loss)
        assert ours.factor == pytest.approx(optimizer.param_groups[0]["lr"])
    assert ours.factor < 0.2
