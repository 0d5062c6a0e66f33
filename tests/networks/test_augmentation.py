from __future__ import annotations

import itertools

import pytest
import torch

from unpaired.networks import PatchganConfig, PatchganDiscriminator
from unpaired.networks.augmentation import augment, cut_out, shift, vary_colour
from unpaired.training.config import TrainingConfig


def test_a_shift_moves_the_picture_and_fills_with_grey() -> None:
    torch.manual_seed(0)
    height, width = 16, 24
    images = 1 + torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width).expand(200, 2, -1, -1)
    moved = shift(images)
    possible = {by: _shifted(images[0, 0], *by) for by in itertools.product(range(-2, 3), range(-3, 4))}
    seen = set()
    for image in moved[:, 0]:
        fitting = [by for by, shifted in possible.items() if torch.equal(image, shifted)]
        assert len(fitting) == 1
        seen.add(fitting[0])
    assert {dy for dy, _ in seen} == set(range(-2, 3))  # an eighth of 16 and of 24
    assert {dx for _, dx in seen} == set(range(-3, 4))
    assert torch.equal(moved[:, 0], moved[:, 1])


def _shifted(image: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    height, width = image.shape
    result = torch.zeros_like(image)
    for y, x in itertools.product(range(height), range(width)):
        if 0 <= y + dy < height and 0 <= x + dx < width:
            result[y, x] = image[y + dy, x + dx]
    return result


def test_a_cut_is_one_rectangle_of_at_most_half_the_sides() -> None:
    torch.manual_seed(0)
    holes = cut_out(torch.ones(300, 1, 10, 14))[:, 0] == 0
    assert holes.any(dim=(1, 2)).all()
    rows, columns = holes.any(dim=2), holes.any(dim=1)
    assert torch.equal(holes, rows[:, :, None] & columns[:, None, :])
    assert rows.sum(1).max() == 5
    assert columns.sum(1).max() == 7
    assert rows.any(dim=0).all()
    assert columns.any(dim=0).all()


def test_colours_change_by_the_published_amounts() -> None:
    torch.manual_seed(0)
    flat = torch.zeros(2000, 3, 2, 2)
    brightness = vary_colour(flat)[:, 0, 0, 0]
    assert -0.5 <= brightness.min() < -0.45
    assert 0.45 < brightness.max() <= 0.5
    contrasted = torch.tensor([-0.5, 0.5]).reshape(1, 1, 1, 2).expand(2000, 3, 1, 2)
    spread = vary_colour(contrasted)
    spread = spread[:, 0, 0, 1] - spread[:, 0, 0, 0]
    assert 0.5 <= spread.min() < 0.52
    assert 1.48 < spread.max() <= 1.5
    coloured = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1).expand(4000, 3, 1, 1)
    ratio = vary_colour(coloured)
    ratio = (ratio[:, 2] - ratio[:, 1]).flatten()  # saturation times contrast, of 1
    assert 0 <= ratio.min() < 0.05
    assert 2.5 < ratio.max() <= 3.0


def test_images_of_a_pair_are_moved_together_and_coloured_apart() -> None:
    torch.manual_seed(0)
    pairs = torch.rand(8, 1, 16, 16).expand(8, 6, 16, 16)
    moved = augment(pairs, ("translation", "cutout"), (3, 3))
    assert torch.equal(moved[:, :3], moved[:, 3:])
    coloured = augment(pairs, ("colour",), (3, 3))
    assert not torch.allclose(coloured[:, :3], coloured[:, 3:])


def test_gradients_flow_through() -> None:
    images = torch.rand(2, 3, 16, 16, requires_grad=True)
    augment(images, ("colour", "translation", "cutout"), (3,)).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_a_discriminator_varies_what_it_sees_in_training_only() -> None:
    torch.manual_seed(0)
    network = PatchganDiscriminator(PatchganConfig(width=4, layers=1), 3)
    image = torch.rand(1, 3, 16, 16)
    plain = network(image)
    network.augmentations = ("translation", "cutout")
    assert not torch.equal(network(image), plain)
    assert torch.equal(network.eval()(image), plain)


def test_the_setting_names_each_kind_once() -> None:
    assert TrainingConfig(augment=("colour",)).augment == ("colour",)
    with pytest.raises(ValueError, match="twice"):
        TrainingConfig(augment=("colour", "colour"))
    with pytest.raises(ValueError, match="cutout"):
        TrainingConfig(augment=("rotation",))  # type: ignore[arg-type]
