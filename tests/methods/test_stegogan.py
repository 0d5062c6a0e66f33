"""StegoGAN against its equations by hand, and the contract of all methods."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import contract
from unpaired.core.errors import UserError
from unpaired.methods import METHODS, Batch, ImageShapes
from unpaired.methods.stegogan import Config, StegoGAN
from unpaired.models.convert.weights import to_official
from unpaired.networks import (
    MaskedResnetConfig,
    MaskedResnetGenerator,
    PatchganConfig,
    ResnetConfig,
    ResnetGenerator,
    describe_generator,
    generator_from_description,
)

SHAPES = ImageShapes(channels_a=3, channels_b=3, size=(32, 32))
SMALL = Config(generator=ResnetConfig(width=4, blocks=1), discriminator=PatchganConfig(width=4, layers=1), pool_size=2)


class Shift(nn.Module):
    """A generator whose features are the image itself, whose decoder adds a value, and which leaves a quarter out."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def encode(self, image: Tensor) -> Tensor:
        return image

    def decode(self, features: Tensor) -> Tensor:
        return features + self.value

    def split(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return 0.75 * image, 0.25 * image, torch.full_like(image[:, :, ::4, ::4], 0.75)

    def forward(self, image: Tensor) -> Tensor:
        return self.decode(image)


def test_contract() -> None:
    contract.keeps_it(lambda: StegoGAN(SMALL, SHAPES), lambda: contract.batches(3, 3, 32))


def test_losses_by_hand() -> None:
    method = StegoGAN(replace(SMALL, cycle_noise=0.0), SHAPES)
    method.G, method.F, method.fuse = Shift(0.5), Shift(-0.1), nn.Identity()  # type: ignore[assignment]
    method.D_X, method.D_Y = contract.Constant(0.3), contract.Constant(0.9)
    x, y = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), -0.6)
    generators, discriminators = method.step(iter([Batch(x, y)]))
    # F(y) = 0.75 y - 0.1 = -0.55; G(x) = 0.7, and 0.55 with the quarter of y that F left out, -0.15.
    expected = {
        "gan_a2b": (0.9 - 1) ** 2,
        "gan_b2a": (0.3 - 1) ** 2,
        "cycle_a": 10 * abs(0.75 * 0.55 - 0.1 - 0.2),
        "cycle_b": 10 * abs(-0.55 - 0.15 + 0.5 + 0.6),
        "identity_a": 5 * abs(0.2 - 0.1 - 0.2),
        "identity_b": 5 * abs(-0.6 + 0.5 + 0.6),
        "mask": 0.3 * (0.5 + 0.5),  # the root of 0.25, for y and for G(x) with the content of y
        "match": 0.75 * abs(-0.55 + 0.5 + 0.6) + 0.75 * abs(0.7 - 0.55),
    }
    assert {name: term.item() for name, term in generators.terms.items()} == pytest.approx(expected, rel=1e-5)
    assert set(discriminators.terms) == {"discriminator_a", "discriminator_b"}


def test_the_content_that_d_y_sees_moves_no_mask() -> None:
    torch.manual_seed(0)
    method = StegoGAN(SMALL, SHAPES)
    update = next(method.step(contract.batches(3, 3, 32)))
    mask = [*method.F.mask.parameters()]
    assert all(each is None for each in torch.autograd.grad(update.terms["gan_a2b"], mask, allow_unused=True))
    assert all(each is not None for each in torch.autograd.grad(update.terms["mask"], mask))


def test_weights_of_0_leave_terms_out() -> None:
    config = replace(SMALL, mask_weight=0.0, match_weight=0.0, identity_weight=0.0)
    assert set(next(StegoGAN(config, SHAPES).step(contract.batches(3, 3, 32))).terms) == {
        *("gan_a2b", "gan_b2a", "cycle_a", "cycle_b")
    }
    alone = Config(generator=SMALL.generator, gan_weight=0.0)
    contract.each_update_moves_its_player_alone(StegoGAN(alone, SHAPES), contract.batches(3, 3, 32))


def test_two_ranks_equal_one() -> None:
    config = replace(SMALL, pool_size=0, cycle_noise=0.0)
    contract.two_ranks_equal_one(lambda: StegoGAN(config, SHAPES), lambda: contract.batches(3, 3, 32, rows=2))


def test_a2b_is_a_plain_resnet_and_b2a_describes_itself() -> None:
    method = METHODS["stegogan"](SMALL, SHAPES)
    networks = method.translators()
    assert type(networks["a2b"]) is ResnetGenerator
    again = generator_from_description(describe_generator(networks["b2a"]))
    assert isinstance(again, MaskedResnetGenerator)
    again.load_state_dict(networks["b2a"].state_dict())
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.equal(again.eval()(image), networks["b2a"].eval()(image))
    kept, left_out, mask = again.split(image)
    torch.testing.assert_close(kept + left_out, again.encode(image))
    assert mask.shape == kept.shape == (1, 16, 4, 4)
    assert 0 <= mask.min() <= mask.max() <= 1
    with pytest.raises(UserError, match="masked_resnet"):
        to_official(MaskedResnetConfig(), again.state_dict())
