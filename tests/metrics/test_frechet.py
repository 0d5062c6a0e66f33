"""Moments and the Fréchet distance against numpy, scipy's matrix root, torchmetrics and cases by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from unpaired.metrics.frechet import Moments, frechet_distance

Rows = NDArray[np.float64]


def features(seed: int, rows: int, dim: int, shift: float = 0.0) -> Rows:
    """Return features whose dimensions hang together."""
    mix = np.random.default_rng(99).standard_normal((dim, dim))
    return np.random.default_rng(seed).standard_normal((rows, dim)) @ mix + shift


def moments(rows: Rows) -> Moments:
    result = Moments(rows.shape[1])
    result.add(rows)
    return result


def by_matrix_root(a: Rows, b: Rows) -> float:
    """The formula as it stands, for covariances of full rank."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(sqrtm(first @ second))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40), st.integers(1, 6), st.lists(st.integers(1, 39), max_size=5), st.floats(-1e4, 1e4))
def test_moments_are_those_of_all_rows_for_any_batches(rows: int, dim: int, splits: list[int], shift: float) -> None:
    given_rows = features(rows, rows, dim, shift)
    parts = [part for part in np.split(given_rows, sorted(min(s, rows) for s in splits)) if len(part)]
    found = Moments(dim)
    for part in parts:
        found.add(part)
    assert found.count == rows
    np.testing.assert_allclose(found.mean, given_rows.mean(0), rtol=1e-12, atol=1e-10)
    expected = np.cov(given_rows, rowvar=False).reshape(dim, dim)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-9, atol=1e-9)


def test_rows_are_taken_away_again() -> None:
    rows = features(0, 30, 4, 5.0)
    left = moments(rows).without(rows[3::7])
    expected = moments(np.delete(rows, slice(3, None, 7), 0))
    assert left.count == expected.count
    np.testing.assert_allclose(left.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(left.covariance, expected.covariance, rtol=1e-10)
    with pytest.raises(ValueError, match="30 of 30 rows cannot be taken away"):
        moments(rows).without(rows)


def test_a_case_by_hand() -> None:
    a = np.array([[0.0, 1.0], [0.0, -1.0], [2.0, 1.0], [2.0, -1.0]])  # covariance 4/3 I, mean (1, 0)
    b = 2 * a + np.array([1.0, 3.0])  # covariance 16/3 I, mean (3, 3)
    roots = (4 / 3) ** 0.5, (16 / 3) ** 0.5
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(4 + 9 + 2 * (roots[1] - roots[0]) ** 2, rel=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 17, 64])
def test_against_the_matrix_root(dim: int) -> None:
    a, b = features(1, 200, dim), features(2, 150, dim, 0.3) * 1.2
    expected = by_matrix_root(a.reshape(-1, dim), b) if dim > 1 else None
    found = frechet_distance(moments(a), moments(b))
    if expected is None:  # in one dimension: the difference of the means and that of the deviations
        expected = float((a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2)
    assert found == pytest.approx(expected, rel=1e-8)


def test_against_torchmetrics_with_a_network_of_its_own() -> None:
    image = pytest.importorskip("torchmetrics.image.fid")

    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    random = torch.Generator().manual_seed(0)
    real = torch.rand(80, 3, 2, 2, generator=random)
    fake = torch.rand(60, 3, 2, 2, generator=random) ** 2
    reference = image.FrechetInceptionDistance(feature=Flat(), normalize=True, input_img_size=(3, 2, 2))
    reference.set_dtype(torch.float64)
    for images, is_real in ((real, True), (fake, False)):
        reference.update(images, real=is_real)
    ours = frechet_distance(moments(real.flatten(1).numpy()), moments(fake.flatten(1).numpy()))
    assert ours == pytest.approx(float(reference.compute()), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 10), st.integers(0, 2**31))
def test_it_is_symmetric_positive_and_zero_for_the_same(first: int, second: int, dim: int, seed: int) -> None:
    a, b = moments(features(seed, first, dim)), moments(features(seed + 1, second, dim))
    scale = np.trace(a.covariance) + np.trace(b.covariance)
    assert frechet_distance(a, b) >= 0
    assert abs(frechet_distance(a, b) - frechet_distance(b, a)) < 1e-10 * scale
    assert frechet_distance(a, a) < 1e-10 * scale


def test_covariances_without_full_rank() -> None:
    a, b = features(3, 5, 40), features(4, 6, 40)
    centred = (a - a.mean(0)) / 2, (b - b.mean(0)) / 5**0.5
    nuclear = np.linalg.norm(centred[0] @ centred[1].T, "nuc")  # the identity for few rows
    traces = (centred[0] ** 2).sum() + (centred[1] ** 2).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + traces - 2 * nuclear
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(expected, rel=1e-10)


def test_constant_features() -> None:
    a, b = features(5, 20, 3), features(6, 20, 3)
    a[:, 1], b[:, 1] = 4.0, 6.0  # differs in the mean alone
    expected = frechet_distance(moments(a[:, [0, 2]]), moments(b[:, [0, 2]])) + 4
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(expected, rel=1e-10)
    still = moments(np.full((5, 3), 2.0))
    assert frechet_distance(still, moments(np.full((7, 3), 3.0))) == pytest.approx(3, rel=1e-12)
    assert frechet_distance(still, still) == 0


def test_half_precision_is_taken() -> None:
    rows = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = Moments(3)
    found.add(rows)
    np.testing.assert_array_equal(found.mean, moments(rows.double().numpy()).mean)


def test_moments_are_stored_and_come_back() -> None:
    a = moments(features(7, 9, 4))
    back = Moments.from_arrays(a.to_arrays())
    back.add(features(8, 3, 4))
    a.add(features(8, 3, 4))
    assert back.count == a.count == 12
    np.testing.assert_array_equal(back.covariance, a.covariance)
    with pytest.raises(ValueError, match="do not belong together"):
        Moments.from_arrays(a.to_arrays() | {"mean": np.zeros(3)})


def test_what_has_no_distance_is_refused() -> None:
    one, two = moments(features(0, 1, 3)), moments(features(0, 2, 3))
    with pytest.raises(ValueError, match="at least 2 images; received 1"):
        frechet_distance(one, two)
    with pytest.raises(ValueError, match="different widths cannot be compared: 3 and 4"):
        frechet_distance(two, moments(features(0, 2, 4)))
    with pytest.raises(ValueError, match="3 expected, received 2"):
        two.add(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="not finite"):
        two.add(np.full((1, 3), np.inf))
    with pytest.raises(ValueError, match=r"too large to be computed with: 2e\+15; at most 1e\+15"):
        two.add(np.full((1, 3), -2e15))
    with pytest.raises(ValueError, match="no features have no mean"):
        Moments(2).mean  # noqa: B018
    with pytest.raises(ValueError, match="at least one dimension"):
        Moments(0)
    assert two.count == 2
