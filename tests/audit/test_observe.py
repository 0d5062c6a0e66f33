"""The observer's score and the area under its ROC curve."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unpaired.audit.disturb import LEVEL
from unpaired.audit.observe import area, filters_of, mean_area, scores
from unpaired.audit.plant import Structure, drawn


def planted_in_noise(one: Structure, contrast: float, *, noise: float = 0.1, shift: int = 0) -> torch.Tensor:
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * noise
    top = 32 + shift - one.size // 2
    region = image[0, :, top : top + one.size, top : top + one.size]
    region[:] = one.put(region.clone(), contrast)
    return image


@pytest.mark.parametrize("one", drawn([5, 12]), ids=lambda one: one.title)
def test_filters_are_orthonormal_and_blind_to_brightness(one: Structure) -> None:
    for structure in (one, Structure("own", one.profile.abs(), torch.rand(3, one.size, one.size))):
        filters = filters_of(structure).flatten(1)
        assert torch.allclose(filters @ filters.T, torch.eye(len(filters), dtype=torch.float64), atol=1e-9)
        assert filters.sum(1).abs().max() < 1e-9
        assert len(filters) == 1 + (structure.picture is not None)


@pytest.mark.parametrize("one", drawn([6, 12]), ids=lambda one: one.title)
def test_the_score_rises_with_contrast_and_forgives_a_pixel(one: Structure) -> None:
    found = [float(scores(planted_in_noise(one, c), [(32, 32)], one)) for c in (0.0, 0.1, 0.3, 1.0)]
    assert found[0] < 0.2
    assert found == sorted(found)
    assert found[-1] > 0.75
    assert float(scores(planted_in_noise(one, 0.3, shift=1), [(32, 32)], one)) > found[2] * 0.8


def test_sign_colour_and_brightness_do_not_matter() -> None:
    one = drawn([8])[0]
    image = planted_in_noise(one, 0.3)
    expected = float(scores(image, [(32, 32)], one))
    assert float(scores(-image[:, [2, 0, 1]] + 0.3, [(32, 32)], one)) == pytest.approx(expected, rel=1e-6)
    grey = torch.zeros(1, 1, 64, 64)
    assert float(scores(grey, [(32, 32)], one)) == 0
    grey[..., 28:36, 28:36] = LEVEL / 4
    faint = [float(scores(grey, [(32, 32)], one, floor)) for floor in (LEVEL, LEVEL / 16)]
    assert faint[0] < 0.05
    assert faint[1] > 0.5


@given(
    st.integers(2, 6).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, n, elements=st.integers(0, 5).map(float)),
            arrays(np.float64, (n, 3), elements=st.integers(0, 5).map(float)),
        )
    )
)
def test_the_area_is_the_probability_of_naming_the_right_one(values: tuple[np.ndarray, np.ndarray]) -> None:
    positive, negative = values
    found = area(positive, negative)
    pairs = [(p > n) + (p == n) / 2 for p in positive for n in negative.ravel()]
    assert found.value == pytest.approx(np.mean(pairs))
    assert found.influence.mean() == pytest.approx(0, abs=1e-12)
    assert area(negative[:, 0], np.stack([positive] * 3, 1)).value + area(positive, negative[:, :1]).value == (
        pytest.approx(1)
    )


def test_its_error_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(400, 30))  # what the places of an image have in common
    areas = [area(row + 1 + rng.normal(size=30), row[:, None] + rng.normal(size=(30, 4))) for row in shared]
    spread = np.std([each.value for each in areas])
    assert np.mean([each.error for each in areas]) == pytest.approx(spread, rel=0.1)
    both = mean_area([areas[0], areas[0]])
    assert both.error == pytest.approx(areas[0].error)
    assert area(np.ones(1), np.zeros((1, 2))).error is None
