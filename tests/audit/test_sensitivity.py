"""How far an output moves for one level of change, in cases where it is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from audits import Affine, Forgetful, hiding, random_images, translator
from unpaired.audit.measure import response
from unpaired.networks import Generator


class Sum(Generator):
    """The sum over 3 x 3 pixels, which wrap around."""

    def __init__(self) -> None:
        super().__init__(None, 1, 1, size_multiple=4, minimum_size=8)

    def forward(self, image: Tensor) -> Tensor:
        self.check(image)
        around = nn.functional.pad(image, (1, 1, 1, 1), mode="circular")
        return nn.functional.conv2d(around, torch.ones(1, 1, 3, 3))


def test_a_factor_is_a_factor_for_every_change() -> None:
    images = [image[None] * 0.1 for image in random_images(3).images]
    found = response(translator(Affine(torch.eye(3) * 4)), images, seed=0)
    assert found.random == pytest.approx([4, 4, 4], rel=1e-3)
    assert found.worst == pytest.approx([4, 4, 4], rel=1e-3)


def test_what_adds_up_is_found() -> None:
    images = [image[None] for image in random_images(4, 1, 16).images]
    found = response(translator(Sum()), images, seed=0)
    # Random signs add up to the root of nine; nine of one sign are the most, and nothing can do more.
    assert found.random.mean() == pytest.approx(3, rel=0.1)
    assert (found.worst > 6).all()
    assert (found.worst <= 9 + 1e-3).all()


def test_reading_what_is_hidden_takes_a_sensitive_network() -> None:
    images = [image[None] for image in random_images(2).images]
    there, back = hiding(2.0)
    assert response(there, images, seed=0).worst == pytest.approx([2 / 127.5] * 2, rel=1e-3)
    hidden = [there.translate_tensor(image) * 0.999 for image in images]
    assert (response(back, hidden, seed=0).worst > 40).all()


def test_a_network_that_forgets_responds_to_nothing() -> None:
    found = response(translator(Forgetful()), [torch.zeros(1, 3, 8, 8)], seed=0)
    assert (found.random.item(), found.worst.item()) == (0, 0)


def test_padding_counts_for_nothing_and_the_seed_decides() -> None:
    images = [random_images(1, 1, 10).images]
    first, again, other = (response(translator(Sum()), images, seed=seed) for seed in (1, 1, 2))
    assert first.random == again.random
    assert first.random != other.random
    assert first.worst.item() <= 9 + 1e-3
