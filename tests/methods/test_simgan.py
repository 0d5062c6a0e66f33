"""SimGAN: its equations by hand, its order of updates, and the contract of all methods."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import contract
from unpaired.core.errors import UserError
from unpaired.methods import Batch, ImageShapes
from unpaired.methods.simgan import Config, SimGAN
from unpaired.networks import PatchganConfig, ResnetConfig
from unpaired.training.config import TrainingConfig
from unpaired.training.trainer import Trainer

SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(16, 16))
SMALL = {
    "generator": ResnetConfig(width=4, blocks=1),
    "discriminator": PatchganConfig(width=4, layers=1),
    "pool_size": 2,
}


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
@pytest.mark.parametrize(("refiner_updates", "discriminator_updates"), [(2, 1), (1, 1), (1, 3)])
def test_contract(direction: str, refiner_updates: int, discriminator_updates: int) -> None:
    config = Config(
        **SMALL,  # type: ignore[arg-type]
        direction=direction,  # type: ignore[arg-type]
        refiner_updates=refiner_updates,
        discriminator_updates=discriminator_updates,
    )
    contract.keeps_it(lambda: SimGAN(config, SHAPES), lambda: contract.batches(3, 3, 16))


def test_two_ranks_equal_one() -> None:
    config = Config(**{**SMALL, "pool_size": 0}, refiner_updates=1)  # type: ignore[arg-type]
    contract.two_ranks_equal_one(lambda: SimGAN(config, SHAPES), lambda: contract.batches(3, 3, 16, rows=2))


class _Mean(nn.Module):
    """Answers with a multiple of what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, image: Tensor) -> Tensor:
        return self.scale * image


def _image(value: float) -> Tensor:
    return torch.full((1, 3, 16, 16), value)


def test_losses_and_counts_by_hand() -> None:
    method = SimGAN(Config(**{**SMALL, "pool_size": 0}), SHAPES)  # type: ignore[arg-type]
    method.R, method.D = contract.Constant(0.5), _Mean()
    batches = iter([Batch(_image(0.2), _image(-0.6)), Batch(_image(-0.1), _image(0.9))])
    first, second, third = method.step(batches)
    assert [u.player for u in (first, second, third)] == ["refiner", "refiner", "discriminator"]
    assert first.terms["gan"].item() == pytest.approx((0.5 - 1) ** 2)
    assert first.terms["regularization"].item() == pytest.approx(10 * abs(0.5 - 0.2))
    assert second.terms["regularization"].item() == pytest.approx(10 * abs(0.5 + 0.1))
    # The discriminator's first update sees the batch of the refiner's first.
    assert third.terms["discriminator"].item() == pytest.approx(((-0.6 - 1) ** 2 + 0.5**2) / 2)
    assert next(batches, None) is None


def test_what_is_logged_of_several_updates_is_their_mean() -> None:
    config = Config(**{**SMALL, "pool_size": 0}, refiner_updates=2, discriminator_updates=3)  # type: ignore[arg-type]
    method = SimGAN(config, SHAPES)
    method.R, method.D = contract.Constant(0.5), _Mean()
    method.R.value = nn.Parameter(torch.full((1, 1, 1, 1), 0.5))
    settings = TrainingConfig(precision="fp32", learning_rate=1e-9)
    trainer = Trainer(method, settings, torch.device("cpu"))
    losses = trainer.step(iter([Batch(_image(0.2), _image(-0.6))] * 3))
    assert losses["gan"].item() == pytest.approx((0.5 - 1) ** 2)
    assert losses["regularization"].item() == pytest.approx(10 * abs(0.5 - 0.2))
    assert losses["discriminator"].item() == pytest.approx(((-0.6 - 1) ** 2 + 0.5**2) / 2)


def test_the_penalty_needs_images_of_one_size() -> None:
    shapes = ImageShapes(channels_a=3, channels_b=3, size=None)
    SimGAN(Config(**SMALL), shapes)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"wgangp .* data\.preprocess"):
        SimGAN(Config(**SMALL, objective="wgangp"), shapes)  # type: ignore[arg-type]


def test_more_updates_of_the_discriminator_take_batches_of_their_own() -> None:
    config = Config(**{**SMALL, "pool_size": 0}, refiner_updates=1, discriminator_updates=2)  # type: ignore[arg-type]
    method = SimGAN(config, SHAPES)
    method.R, method.D = contract.Constant(0.5), _Mean()
    batches = iter([Batch(_image(0.2), _image(-0.6)), Batch(_image(-0.1), _image(0.9))])
    refiner, first, second = method.step(batches)
    assert refiner.player == "refiner"
    assert first.terms["discriminator"].item() == pytest.approx(((-0.6 - 1) ** 2 + 0.5**2) / 2)
    assert second.terms["discriminator"].item() == pytest.approx(((0.9 - 1) ** 2 + 0.5**2) / 2)


def test_the_discriminator_is_shown_past_results() -> None:
    torch.manual_seed(0)
    method = SimGAN(Config(**{**SMALL, "pool_size": 1}, refiner_updates=1), SHAPES)  # type: ignore[arg-type]
    method.R, method.D = contract.Constant(0.0), _Mean()
    shown = set()
    for number in range(40):
        method.R.value.data.fill_(number / 100)
        *_, update = method.step(iter([Batch(_image(0.2), _image(1.0))]))
        fake = (2 * update.terms["discriminator"].item()) ** 0.5  # on_real is 1: its part of the loss is 0
        shown.add(round(fake * 100) - number)
    assert 0 in shown
    assert min(shown) < 0


def test_different_channels_are_an_error() -> None:
    with pytest.raises(UserError, match=r"pixel by pixel.*label maps: data\.labels_a\.feed = colour"):
        SimGAN(Config(), ImageShapes(channels_a=1, channels_b=3, size=(16, 16)))
