from __future__ import annotations

import json
import math

import pytest
import torch

from unpaired.models.exactness import EXACT, Exactness, compare, fixed_pictures, reference
from unpaired.networks import ResnetConfig, build_generator


def test_differences_are_those_computed_by_hand() -> None:
    images = [torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 4)]
    shifts = iter([torch.tensor([[[[0.0, 0.2], [0.0, -0.2]]]]), torch.tensor([[[[0.0, 0.0, 0.0, 0.1]]]])])
    found = compare(lambda image: image + next(shifts), lambda image: image, images)
    assert found.largest == pytest.approx(0.2)
    assert found.typical == pytest.approx(0.5 / 8)
    assert found.psnr == pytest.approx(10 * math.log10(4 / 0.02)), "that of the image that fares worst"
    assert str(found) == "differs from float32 by at most 0.2, typically 0.063 in a range of 2 (PSNR 23.0 dB)"


def test_what_is_not_finite_is_a_large_difference() -> None:
    found = compare(lambda image: image / 0, lambda image: image, [torch.zeros(1, 1, 2, 2)])
    assert found.largest == 2.0


def test_equal_results() -> None:
    assert compare(lambda image: image, lambda image: image, fixed_pictures(2)) == EXACT
    assert str(EXACT) == "equals float32"


@pytest.mark.parametrize("exactness", [EXACT, Exactness(largest=0.5, typical=0.25, psnr=20.0)])
def test_json_and_back(exactness: Exactness) -> None:
    assert Exactness.from_json(json.loads(json.dumps(exactness.to_json()))) == exactness


def test_pictures_are_always_the_same_and_have_structure() -> None:
    pictures = fixed_pictures(3)
    for one, again in zip(pictures, fixed_pictures(3), strict=True):
        assert torch.equal(one, again)
        assert one.abs().max() <= 1
    assert len({picture.shape[2:] for picture in pictures}) == 3
    neighbours = [float((picture[..., 1:] - picture[..., :-1]).abs().mean()) for picture in pictures]
    assert max(neighbours[:-1]) < 0.2 < neighbours[-1], "pictures are smooth, noise is not"


def test_the_reference_takes_any_size() -> None:
    network = build_generator(ResnetConfig(width=2, blocks=0), 3, 1).eval()
    assert reference(network)(torch.zeros(2, 3, 5, 11)).shape == (2, 1, 5, 11)
