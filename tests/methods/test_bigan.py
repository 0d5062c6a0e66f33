"""BiGAN/ALI: its equations by hand, and the contract of all methods."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import contract
from unpaired.methods import Batch, ImageShapes
from unpaired.methods.bigan import BiGAN, Config
from unpaired.networks import PatchganConfig, ResnetConfig

SHAPES = ImageShapes(channels_a=1, channels_b=3, size=(16, 16))
SMALL = {
    "generator": ResnetConfig(width=4, blocks=1),
    "discriminator": PatchganConfig(width=4, layers=1),
    "pool_size": 2,
}


@pytest.mark.parametrize("objective", ["lsgan", "vanilla", "hinge"])
def test_contract(objective: str) -> None:
    config = Config(**SMALL, objective=objective)  # type: ignore[arg-type]
    contract.keeps_it(lambda: BiGAN(config, SHAPES), lambda: contract.batches(1, 3, 16))


def test_two_ranks_equal_one() -> None:
    config = Config(**{**SMALL, "pool_size": 0})  # type: ignore[arg-type]
    contract.two_ranks_equal_one(lambda: BiGAN(config, SHAPES), lambda: contract.batches(1, 3, 16, rows=2))


class _Constant(nn.Module):
    def __init__(self, value: float, channels: int) -> None:
        super().__init__()
        self.value, self.channels = nn.Parameter(torch.tensor(value)), channels

    def forward(self, image: Tensor) -> Tensor:
        return image.new_zeros(len(image), self.channels, *image.shape[2:]) + self.value


class _FirstPlusTenLast(nn.Module):
    """Tells the images of a pair apart: the first channel counts once, the last ten times."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, pair: Tensor) -> Tensor:
        return self.scale * (pair[:, :1] + 10 * pair[:, -1:])


@pytest.mark.parametrize("objective", ["lsgan", "vanilla"])
def test_losses_by_hand(objective: str) -> None:
    method = BiGAN(Config(**{**SMALL, "pool_size": 0}, objective=objective), SHAPES)  # type: ignore[arg-type]
    method.G, method.F, method.D = _Constant(0.05, 3), _Constant(-0.2, 1), _FirstPlusTenLast()
    x, y = torch.full((1, 1, 16, 16), 0.4), torch.full((1, 3, 16, 16), 0.03)
    discriminator, generators = method.step(iter([Batch(x, y)]))
    forward, backward = 0.4 + 10 * 0.05, -0.2 + 10 * 0.03  # D(x, G(x)) and D(F(y), y)
    if objective == "lsgan":
        expected = ((forward - 1) ** 2 + backward**2) / 2, forward**2, (backward - 1) ** 2
    else:
        says = lambda z: math.log(1 + math.exp(z))  # noqa: E731
        expected = (says(-forward) + says(backward)) / 2, says(forward), says(-backward)
    terms = discriminator.terms["discriminator"], generators.terms["gan_a2b"], generators.terms["gan_b2a"]
    assert [term.item() for term in terms] == pytest.approx(expected, rel=1e-5)
    assert (discriminator.player, generators.player) == ("discriminator", "generators")


def test_the_discriminator_varies_each_image_of_a_pair_for_itself() -> None:
    assert BiGAN(Config(**SMALL), SHAPES).D.groups == (1, 3)  # type: ignore[arg-type]


def test_an_objective_that_is_not_symmetric_is_an_error() -> None:
    with pytest.raises(ValueError, match="lsgan, vanilla, hinge"):
        Config(objective="wgangp")
